"""Who is compared, in which environment, with which command, and where each leaves its table.

Every contender has a folder of its own, empty before a full load. `full` copies the whole table;
`first` does too, in the way that nights can follow; `night` brings the changes.
"""

import hashlib
import importlib.metadata
import json
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.peers.measure import Command, measure
from benchmarks.peers.source import CHECKSUM, Source, as_checksum
from benchmarks.peers.tools.lake import attach

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
DEFINITIONS = ROOT / "benchmarks" / "definitions"
ENGINES = {"postgres": "postgresql", "mariadb": "mysql"}

Build = Callable[["Contender", Path, str, Source, Path], Command]
Check = Callable[["Contender", Path], list[str]]


@dataclass(frozen=True)
class Contender:
    """`build(contender, environment, mode, source, folder)` is its command; `check` reads back."""

    name: str
    to: str
    build: Build
    check: Check
    environment: str | None = None
    servers: tuple[str, ...] = ("postgres", "mariadb")
    nights: bool = True
    versions: tuple[str, ...] = ()


def contenders() -> list[Contender]:
    return [
        *(
            Contender(f"ours-{way}", "DuckLake, governed", _ours, _check_ours, nights=True)
            for way in ("snapshot", "cursor", "checksum")
        ),
        Contender("scanner", "DuckLake", _script("scanner"), _check_lake, "duckdb",
                  versions=("duckdb",)),
        Contender("connectorx", "DuckLake", _script("cx"), _check_lake, "connectorx",
                  versions=("connectorx", "duckdb")),
        Contender("adbc", "DuckLake", _script("adbc"), _check_lake, "adbc", ("postgres",),
                  versions=("adbc-driver-postgresql", "duckdb")),
        Contender("dlt", "DuckDB file", _script("dlt_table"), _check_file, "dlt",
                  versions=("dlt", "connectorx", "duckdb")),
        Contender("ingestr", "DuckDB file", _ingestr, _check_file, "ingestr",
                  versions=("ingestr", "duckdb")),
        Contender("sling", "DuckDB file", _sling, _check_file, "sling",
                  versions=("sling-linux-amd64", "duckdb-cli")),
    ]  # fmt: skip


class NotInstalled(Exception):
    """A peer whose packages cannot be had here; carries the installer's last words."""


def install(contender: Contender, cache: Path) -> Path:
    """The folder of the contender's virtual environment, made when it is not as its file says."""
    if contender.environment is None:
        return Path(sys.prefix)
    wanted = HERE / "requirements" / f"{contender.environment}.txt"
    folder = cache / contender.environment
    done = folder / "installed"
    state = hashlib.sha256(wanted.read_bytes() + sys.version.encode()).hexdigest()
    if done.exists() and done.read_text() == state:
        return folder
    uv = Path(sys.prefix) / "bin" / "uv"
    for words in (
        ["venv", "--clear", "--python", sys.executable, folder],
        ["pip", "install", "--compile-bytecode", "--python", folder / "bin" / "python",
         "--requirement", wanted],
    ):  # fmt: skip
        result = subprocess.run([uv, "--quiet", *words], capture_output=True, text=True)
        if result.returncode:
            raise NotInstalled(" ".join(result.stderr.split())[-300:])
    done.write_text(state)
    return folder


def versions(contender: Contender, environment: Path) -> dict[str, str]:
    if contender.environment is None:
        return {name: importlib.metadata.version(name) for name in ("muara", "duckdb")}
    found = importlib.metadata.distributions(
        path=[str(one) for one in environment.glob("lib/python*/site-packages")]
    )
    known = {one.metadata["Name"]: one.version for one in found}
    return {name: known.get(name, "?") for name in contender.versions}


def _address(source: Source) -> dict[str, str]:
    at = source.parts
    return {
        "SOURCE_KIND": source.kind,
        "SOURCE_HOST": str(at.host),
        "SOURCE_PORT": str(at.port),
        "SOURCE_USER": str(at.username),
        "SOURCE_PASSWORD": str(at.password),
        "SOURCE_DATABASE": str(at.database),
    }


def _script(name: str) -> Build:
    def build(_: Contender, environment: Path, mode: str, source: Source, folder: Path) -> Command:
        backend = ENGINES[source.kind]
        if name == "dlt_table":
            backend = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}[backend]
        if name != "dlt_table" and mode == "first":
            mode = "full"
        return Command(
            [str(environment / "bin" / "python"), str(HERE / "tools" / f"{name}.py"), mode,
             str(folder)],
            {
                **_address(source),
                "SOURCE_URL": source.plain_url(backend),
                "RUNTIME__DLTHUB_TELEMETRY": "false",
                "DLT_DATA_DIR": str(folder / "dlt"),
            },
        )  # fmt: skip

    return build


def _ingestr(_: Contender, environment: Path, mode: str, source: Source, folder: Path) -> Command:
    """It writes DuckDB files through DuckDB's ADBC driver, which it would download. DuckDB's Python
    package is one too, once Python's own library is there beside it."""
    library = next(environment.glob("lib/python*/site-packages/_duckdb*.so"))
    (folder / "duckdb.toml").write_text(
        f'manifest_version = 1\n[Driver]\nshared = "{library}"\nentrypoint = "duckdb_adbc_init"\n'
    )
    python = Path(sysconfig.get_config_var("LIBDIR")) / sysconfig.get_config_var("LDLIBRARY")
    schema = "public" if source.kind == "postgres" else source.parts.database
    words = ["ingest", "--yes", "--progress", "log", "--source-table", f"{schema}.penduduk"]
    words += ["--dest-table", "bench.penduduk"]
    if mode != "full":
        words += ["--incremental-strategy", "merge", "--incremental-key", "updated_at"]
        words += ["--primary-key", "id"]
    if mode == "night":  # it keeps no state of its own: whoever schedules it says since when
        words += ["--interval-start", source.since.isoformat()]
    return Command(
        [str(environment / "bin" / "ingestr"), *words],
        {
            "SOURCE_URI": source.plain_url(ENGINES[source.kind]),
            "DESTINATION_URI": f"duckdb:///{folder}/out.duckdb",
            "ADBC_DRIVER_PATH": str(folder),
            "LD_PRELOAD": str(python),
            "DISABLE_TELEMETRY": "true",
            "INGESTR_DISABLE_TELEMETRY": "true",
        },
    )


def _sling(_: Contender, environment: Path, mode: str, source: Source, folder: Path) -> Command:
    schema = "public" if source.kind == "postgres" else source.parts.database
    words = ["run", "--src-conn", "SOURCE", "--src-stream", f"{schema}.penduduk"]
    words += ["--tgt-conn", "TARGET", "--tgt-object", "bench.penduduk"]
    if mode == "full":
        words += ["--mode", "full-refresh"]
    else:
        words += ["--mode", "incremental", "--primary-key", "id", "--update-key", "updated_at"]
    url = source.plain_url(ENGINES[source.kind])
    program = next(environment.glob("lib/python*/site-packages/sling_linux_amd64/bin/sling-*"))
    program.chmod(0o755)
    return Command(
        [str(program), *words],
        {
            "SOURCE": url + ("?sslmode=disable" if source.kind == "postgres" else ""),
            "TARGET": json.dumps(
                {"type": "duckdb", "instance": f"{folder}/out.duckdb", "copy_method": "csv_files"}
            ),
            "SLING_HOME_DIR": str(folder / "sling"),
            "SLING_DISABLE_TELEMETRY": "true",
            "DUCKDB_USE_INSTALLED_EXTENSIONS": "true",
            "DUCKDB_PATH": str(environment / "bin" / "duckdb"),
        },
    )


def _ours(it: Contender, _: Path, mode: str, source: Source, folder: Path) -> Command:
    return ours_of(it, source.url, folder)


def ours_of(it: Contender, url: str, folder: Path) -> Command:
    """One sync of ours, of the definition that the contender is named after."""
    name = it.name.replace("ours-", "bench_")
    return Command(
        [sys.executable, "-m", "muara", "sync", name, "penduduk", "--json"],
        {"AIRFLOW_CONN_BENCH": url, **home_of(folder)},
    )


def home_of(folder: Path) -> dict[str, str]:
    return {
        "PYTHONPATH": str(ROOT),
        "MUARA_HOME": str(folder),
        "MUARA_CONNECTORS": str(DEFINITIONS / "connectors"),
        "MUARA_EXPECTATIONS": str(DEFINITIONS / "expectations"),
    }


def imports() -> Command:
    """What our process spends before any work: it imports, and nothing else."""
    code = "import muara.cli, pipeline.sync, warehouse.reference, connectorx, ibis, pandas, psycopg"
    return Command([sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)})


def extracted(output: str) -> int | None:
    """Rows that our reader counted, from the ledger row that `muara sync --json` answers with."""
    start = output.find("[")
    return sum(row["extracted"] for row in json.loads(output[start:])) if start >= 0 else None


def _check_ours(it: Contender, folder: Path) -> list[str]:
    landing = f"lake.landing.{it.name.replace('ours-', 'bench_')}__penduduk"
    now = (
        f"(SELECT resident_id AS id, income_idr AS penghasilan, nik FROM {landing} "
        f"JOIN (SELECT _record_id, max(_batch_id) AS _batch_id FROM {landing} GROUP BY ALL) "
        "USING (_record_id, _batch_id) WHERE _op <> 'delete')"
    )
    words = [sys.executable, "-m", "muara", "sql", CHECKSUM.format(table=now), "--json"]
    _, output = measure(Command(words, home_of(folder)), folder)
    return as_checksum(tuple(json.loads(output)[0].values()))


def _check_lake(_: Contender, folder: Path) -> list[str]:
    with attach(folder) as connection:
        return _asked(connection, "lake.penduduk")


def _check_file(_: Contender, folder: Path) -> list[str]:
    with duckdb.connect(str(folder / "out.duckdb"), read_only=True) as connection:
        return _asked(connection, "bench.penduduk")


def _asked(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    return as_checksum(connection.execute(CHECKSUM.format(table=table)).fetchone() or ())
