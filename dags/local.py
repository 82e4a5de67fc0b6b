"""Airflow on one machine without Docker: metadata in SQLite, LocalExecutor, nothing but loopback;
beside it the portal.

    python -m dags.local night     every DAG once, in one process, in asset order
    python -m dags.local prepare   metadata, pools, warehouse tables; before Airflow starts anywhere
    python -m dags.local up        services and portal in the foreground, until Ctrl-C or `down`
    python -m dags.local down      stop what `up` started

Airflow reads its settings when it is imported, so nothing here imports it before `main` has put
them into the environment. Settings that are already in the environment win.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any, TextIO

import psutil
from pydantic import Field

from common.definition import Source, load_sources
from common.errors import DefinitionError, HomeFault
from common.failures import ours, print_no_traces
from common.home_files import read_json, write_json
from common.lock import alone
from common.night import AFTER_SOURCES, BEFORE_SOURCES, by_schedule
from common.settings import ROOT, Settings

DAGS = ROOT / "dags"
BUNDLE = "dags-folder"
PORT = "8080"
QUIET = "great_expectations=WARNING httpx=WARNING py.warnings=ERROR"
# In the order of their start.
SERVICES = {
    "api-server": ["airflow", "api-server"],
    "scheduler": ["airflow", "scheduler", "--skip-serve-logs"],
    "dag-processor": ["airflow", "dag-processor"],
    "triggerer": ["airflow", "triggerer", "--skip-serve-logs"],
    "portal": ["muara", "portal"],
}
SECONDS_TO_STOP = 30
WRITTEN_AGAIN = "see that no Airflow runs (`ps`), then delete it; it is made again."


def airflow_home(settings: Settings) -> Path:
    return settings.home / "airflow"


def events(settings: Settings) -> Path:
    """Where OpenLineage events go unless `AIRFLOW__OPENLINEAGE__TRANSPORT` says otherwise."""
    return settings.home / "lineage" / "events.jsonl"


def environment(settings: Settings) -> dict[str, str]:
    """Environment variables of every Airflow process on this machine."""
    home = airflow_home(settings)
    port = os.environ.get("AIRFLOW__API__PORT", PORT)
    chosen = settings.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    return {f"MUARA_{name.upper()}": str(value) for name, value in chosen.items()} | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(DAGS),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(DAGS / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://127.0.0.1:{port}/execution/",
        "AIRFLOW__CORE__HIDE_SENSITIVE_VAR_CONN_FIELDS": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__API__HOST": "127.0.0.1",
        "AIRFLOW__API__PORT": port,
        "AIRFLOW__API__EXPOSE_CONFIG": "False",
        "AIRFLOW__API__ENABLE_SWAGGER_UI": "False",
        "AIRFLOW__LOGGING__COLORED_CONSOLE_LOG": "False",
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": QUIET,
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS": "0o700",
        "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS": "0o600",
        "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(
            {"type": "file", "log_file_path": str(events(settings)), "append": True}
        ),
        "AIRFLOW__OPENLINEAGE__NAMESPACE": "muara",
        "AIRFLOW__OPENLINEAGE__EXTRACTORS": "dags.lineage.Extractor",
        # A fork for each event, the default, makes a small night half as long again.
        "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
        "AIRFLOW__OPENLINEAGE__DISABLE_SOURCE_CODE": "True",
        "GX_ANALYTICS_ENABLED": "False",
    }


def create_metadata(sources: dict[str, Source]) -> None:
    """Airflow's keys (in airflow.cfg) and tables where missing, one pool per agency system."""
    from airflow.configuration import write_default_airflow_configuration_if_needed
    from airflow.models.pool import Pool
    from airflow.utils import db
    from sqlalchemy.exc import SQLAlchemyError

    try:
        write_default_airflow_configuration_if_needed()
        db.initdb()
        for source in sources.values():
            Pool.create_or_update_pool(
                source.name, source.pool_slots, f"What {source.title} bears", include_deferred=False
            )
    except SQLAlchemyError as error:
        raise HomeFault(
            f"Airflow's metadata cannot be used ({type(error).__name__})",
            where=os.environ["AIRFLOW_HOME"],
            next_step="look at its disk and database. Airflow's runs are all that is in it: where "
            "it is SQLite, airflow.db may be deleted, and it is made again.",
        ) from None


def _night(settings: Settings) -> Iterator[tuple[str, str, list[str], float]]:
    """Every DAG of the night once, in its order, in this process: its id, the state of its run,
    the tasks that failed and seconds, as each one ends. A failed DAG stops no other."""
    known = load_sources(settings)
    create_metadata(known)
    events(settings).parent.mkdir(exist_ok=True, mode=0o700)
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=DAGS, bundle_path=DAGS, bundle_name=BUNDLE)
    if bag.import_errors:
        names = ", ".join(sorted(Path(path).name for path in bag.import_errors))
        raise DefinitionError(f"DAG files cannot be imported: {names}")
    syncs = [f"sync_{source.name}" for source in by_schedule(known)]
    before, after = ([stage.name for stage in some] for some in (BEFORE_SOURCES, AFTER_SOURCES))
    for dag_id in [*before, *syncs, *after]:
        started = time.monotonic()
        state, failed = _run(bag.dags[dag_id])
        yield dag_id, state, failed, time.monotonic() - started


def _run(dag: Any) -> tuple[str, list[str]]:
    """State of a run of the DAG, and the tasks that failed in it; the DAG when Airflow did."""
    try:
        run = dag.test()
        failed = [one.task_id for one in run.get_task_instances() if one.state == "failed"]
    except Exception as error:
        print(f"{dag.dag_id}: Airflow itself failed, {type(error).__name__}", file=sys.stderr)
        return "failed", [dag.dag_id]
    return str(run.state), sorted(f"{dag.dag_id}.{task}" for task in failed)


def night_report(settings: Settings) -> Path:
    """Where `night` says which tasks failed, for who started it: `{"failed": ["publish.link"]}`."""
    return airflow_home(settings) / "night.json"


def night(settings: Settings) -> int:
    """Run the night and print a line per DAG; Airflow's own output goes to a file."""
    log, report = airflow_home(settings) / "logs" / "night.log", night_report(settings)
    states, failures = [], []
    with (
        alone(settings, "airflow", what="another night in Airflow", next_step="wait for its end."),
        _output_to(log) as terminal,
    ):
        report.unlink(missing_ok=True)
        for dag_id, state, failed, seconds in _night(settings):
            print(f"{dag_id:28} {state:8} {seconds:6.1f} s", file=terminal, flush=True)
            states.append(state)
            failures += failed or [dag_id] * (state != "success")
        write_json(report, {"failed": failures})
    if bad := [state for state in states if state != "success"]:
        print(
            f"{len(bad)} of {len(states)} DAGs failed: {', '.join(failures)}; why is in {log}",
            file=sys.stderr,
        )
    return 1 if failures else 0


@contextmanager
def _output_to(path: Path) -> Iterator[TextIO]:
    """Everything this process writes goes to `path`; yields the terminal it had before."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    saved = os.dup(1), os.dup(2)
    with path.open("a") as file, os.fdopen(os.dup(1), "w") as terminal:
        sys.stdout.flush()
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
        try:
            yield terminal
        finally:
            sys.stdout.flush()
            for target, original in enumerate(saved, start=1):
                os.dup2(original, target)
                os.close(original)


def prepare(settings: Settings) -> int:
    """What must be there before the first task runs anywhere. Call when no batch is running."""
    from pipeline.sync import prepare

    sources = load_sources(settings)
    create_metadata(sources)
    _choose_password()
    events(settings).parent.mkdir(exist_ok=True, mode=0o700)
    prepare(settings, sources)
    return 0


def up(settings: Settings) -> int:
    """Start every service and wait for Ctrl-C, `down` or the end of one of them."""
    home = airflow_home(settings)
    logs, pidfile = home / "logs", home / "up.pid"
    if _alive(pidfile):
        print("already up; `make down` stops it", file=sys.stderr)
        return 1
    logs.mkdir(parents=True, exist_ok=True, mode=0o700)
    password_file = _choose_password()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    services: dict[str, subprocess.Popen[bytes]] = {}
    try:
        if _start("prepare", [sys.executable, "-m", "dags.local", "prepare"], logs).wait():
            print(f"preparing failed; why is in {logs}/prepare.log", file=sys.stderr)
            return 1
        for name, command in SERVICES.items():
            services[name] = _start(name, [sys.executable, "-m", *command], logs)
            _note(pidfile, [os.getpid(), *(service.pid for service in services.values())])
            if name == "api-server":  # a task that cannot reach it fails
                _wait_until_healthy(services, ["metadatabase"])
        _wait_until_healthy(services, ["scheduler", "dag_processor"])
        if not _ended(services) and not _door_is_there():
            print(f"Airflow left out its door; why is in {logs}/api-server.log", file=sys.stderr)
            return 1
        if not _ended(services):
            print(
                f"Airflow   http://127.0.0.1:{os.environ['AIRFLOW__API__PORT']}\n"
                f"sign in   admin, with the password in {password_file}\n"
                f"portal    {settings.portal_address}\n"
                f"logs      {logs}\n"
                "stop      Ctrl-C, or `make down`",
                flush=True,
            )
        while not (ended := _ended(services)):
            time.sleep(0.5)
        print(f"{', '.join(ended)} ended; why is in {logs}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop([psutil.Process(one.pid) for one in services.values() if one.poll() is None])
        pidfile.unlink(missing_ok=True)


def _start(name: str, command: list[str], logs: Path) -> subprocess.Popen[bytes]:
    """A child in a session of its own: Ctrl-C reaches us alone, and we stop the children."""
    with (logs / f"{name}.log").open("a") as log:
        return subprocess.Popen(
            command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )


def _ended(services: dict[str, subprocess.Popen[bytes]]) -> list[str]:
    return [name for name, service in services.items() if service.poll() is not None]


def down(settings: Settings) -> int:
    """Stop what `up` started, even where `up` itself was killed."""
    pidfile = airflow_home(settings) / "up.pid"
    if running := _alive(pidfile):
        _stop(running)
    else:
        print("nothing is up")
    pidfile.unlink(missing_ok=True)
    return 0


def _choose_password() -> Path:
    """The file with a password for user admin, chosen before Airflow would choose one and print it
    into a log."""
    path = Path(os.environ["AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE"])
    if not path.exists():
        write_json(path, {"admin": secrets.token_urlsafe(12)})
    read_json(path, dict[str, Annotated[str, Field(min_length=8)]], WRITTEN_AGAIN)
    return path


def _wait_until_healthy(services: dict[str, subprocess.Popen[bytes]], parts: list[str]) -> None:
    """Wait for these parts of Airflow, or until a service has ended."""
    address = f"http://127.0.0.1:{os.environ['AIRFLOW__API__PORT']}/api/v2/monitor/health"
    while not _ended(services):
        with suppress(OSError, ValueError):
            with urllib.request.urlopen(address, timeout=5) as answer:
                health = json.load(answer)
            if all(health[part]["status"] == "healthy" for part in parts):
                return
        time.sleep(0.5)


def _door_is_there() -> bool:
    """Whether `dags/door.py` stands before Airflow, which goes on without a plugin that fails."""
    address = f"http://127.0.0.1:{os.environ['AIRFLOW__API__PORT']}/openapi.json"
    try:
        urllib.request.urlopen(address, timeout=30).close()
    except urllib.error.HTTPError as error:
        return error.code == 404
    return False


def _note(pidfile: Path, pids: list[int]) -> None:
    """Process ids with their start times, so that a reused id is never mistaken for ours."""
    write_json(pidfile, [[pid, psutil.Process(pid).create_time()] for pid in pids])


def _alive(pidfile: Path) -> list[psutil.Process]:
    """The processes noted in the file that still run, `up` itself first."""
    found = []
    kind = list[tuple[int, float]]
    for pid, created in read_json(pidfile, kind, WRITTEN_AGAIN) if pidfile.exists() else []:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            if process.create_time() == created:
                found.append(process)
    return found


def _stop(processes: list[psutil.Process]) -> None:
    """Ask them to end, and after a while end them and all they started.

    Each is asked once, by its parent if that is among them: a scheduler that is asked twice drops
    its workers. A batch that is killed leaves no trace in the warehouse.
    """
    everyone = set(processes)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            everyone |= set(process.children(recursive=True))
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.parent() not in everyone:
                process.terminate()
    _, left = psutil.wait_procs(everyone, timeout=SECONDS_TO_STOP)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def main() -> int:
    commands = {"night": night, "prepare": prepare, "up": up, "down": down}
    parser = argparse.ArgumentParser(
        prog="python -m dags.local", description="Airflow on one machine, without Docker."
    )
    parser.add_argument("command", choices=commands)
    chosen = parser.parse_args().command
    print_no_traces()
    try:
        settings = Settings()
        os.environ.update(environment(settings) | os.environ)
        return commands[chosen](settings)
    except Exception as failure:
        error = ours(failure)
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())
