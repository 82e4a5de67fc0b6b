# Muara. `make night` is all a newcomer needs: a whole city's night, from nothing.
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RESIDENTS ?= 356629
SEED ?= 1
JOBS ?= 2
unexport PYTHONDONTWRITEBYTECODE

help:  ## what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/run.done: requirements/run.txt pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Muara needs Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 …"; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/run.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.done: $(VENV)/run.done requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes -r requirements/dev.txt
	@touch $@

setup: $(VENV)/run.done  ## install what running needs into .venv

# The sample city has nobody to protect; a real one writes its own reference into muara.toml.
night: export MUARA_IMPACT_ASSESSMENT ?= sample city, invented people
night: setup  ## a whole night through Airflow, on the sample city; again: the next night
	@$(BIN)/muara city build --if-missing --residents $(RESIDENTS) --seed $(SEED)
	@$(BIN)/muara night

tomorrow: setup  ## advance the sample city by one day
	@$(BIN)/muara city tomorrow

up: setup  ## start Airflow (scheduler and UI) and the portal on this machine
	@$(BIN)/muara serve

down:  ## stop what `make up` started
	@$(BIN)/python -m dags.local down

check: $(VENV)/dev.done  ## lint, types, layers, definitions, documentation
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/muara check
	$(BIN)/python docs/generate.py --check

$(VENV)/s3.done: $(VENV)/run.done requirements/s3.txt
	$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python $(VENV)/s3
	$(BIN)/uv pip install --quiet --python $(VENV)/s3/bin/python --require-hashes -r requirements/s3.txt
	@touch $@

servers: $(VENV)/dev.done $(VENV)/s3.done
	@sh tests/install-servers.sh

test: servers  ## everything, with real servers and the whole city once
	$(BIN)/python -m pytest -m "not soak" -n $(JOBS) --dist worksteal

soak: servers  ## what is too long for `make test`
	$(BIN)/python -m pytest -m soak -rP --show-capture=stdout

fast: $(VENV)/dev.done  ## unit, spec and property tests only
	$(BIN)/python -m pytest -m "not soak" -n $(JOBS) --dist worksteal tests/unit tests/spec tests/property

bench: setup  ## build, stages and the whole night, as a table
	$(BIN)/python benchmarks/night.py

bench-peers: servers  ## loads and nights beside other tools, on private PostgreSQL and MariaDB
	$(BIN)/python -m benchmarks.peers --json var/bench/peers.json

bench-files: servers  ## files of every kind into Parquet beside other tools
	$(BIN)/python -m benchmarks.files --json var/bench/files.json
	$(BIN)/python -m benchmarks.workbooks --json var/bench/workbooks.json

bench-identity: $(VENV)/dev.done  ## persons against the truth of a sample city of 20,000, FEBRL 3 and 4, price of a night
	$(BIN)/python -m benchmarks.identity
	$(BIN)/python -m benchmarks.linking --residents $(RESIDENTS)
	$(BIN)/python -m benchmarks.febrl

bench-rules: setup  ## the registry's rules beside a hand-written aggregate and pandas
	$(BIN)/python -m benchmarks.rules --json var/bench/rules.json

lock: $(VENV)/run.done  ## resolve requirements again
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 requirements/run.in -o requirements/run.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 -c requirements/run.txt requirements/dlt.in -o requirements/dlt.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 -c requirements/run.txt requirements/dev.in -o requirements/dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --python-version 3.11 requirements/s3.in -o requirements/s3.txt

clean:  ## forget the sample city and its warehouse
	rm -rf var

.PHONY: help setup night tomorrow up down check servers test soak fast bench bench-files bench-identity bench-peers bench-rules lock clean
