# syntax=docker/dockerfile:1
FROM python:3.12-slim

RUN apt-get update \
    && apt-get install --yes --no-install-recommends openssh-client restic \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --system --uid 50000 --create-home muara \
    && install --directory --owner muara --group muara /opt/muara \
    && install --directory --owner muara --group muara --mode 700 /var/lib/muara
USER muara
WORKDIR /opt/muara

# The lock file alone first: a change of code does not install everything again.
COPY requirements/run.txt requirements/run.txt
RUN python -m venv .venv \
    && .venv/bin/pip install --no-cache-dir uv \
    && .venv/bin/uv pip install --no-cache --requirements requirements/run.txt

# Never into an image: secrets, residents' data, the machine's own environment, history.
COPY --exclude=.env --exclude=var --exclude=.venv --exclude=.git . .
RUN .venv/bin/uv pip install --no-cache --no-deps --no-build-isolation --editable .

ENV PATH=/opt/muara/.venv/bin:$PATH \
    MUARA_HOME=/var/lib/muara \
    AIRFLOW_HOME=/var/lib/muara/airflow
VOLUME /var/lib/muara
# Whatever runs here writes files for its own user only.
ENTRYPOINT ["sh", "-c", "umask 077 && exec \"$@\"", "--"]
CMD ["muara", "--help"]
