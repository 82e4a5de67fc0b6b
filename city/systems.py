"""The legacy systems: where they are, what shape they have (`systems.yml`), and how rows get into them.

Embedded SQLite files by default; with URLs the same tables on MariaDB and PostgreSQL. Everything is kept
in the city's DuckDB file as text, as its owner would show it, and the systems' own types take it from there.
"""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import sqlalchemy as sa

from city.places import settings

DATABASES = ("simreda", "civil_registry", "brojol", "cctv", "report_inbox")
NOTICE_COLUMNS = list(settings("systems")["brojol"]["tables"]["hospital_notice"]["columns"])


@dataclass(frozen=True)
class Systems:
    """SQLAlchemy URLs of the systems' databases; None is the embedded SQLite file under the city's home."""

    simreda: str | None = None
    civil_registry: str | None = None
    brojol: str | None = None
    cctv: str | None = None

    def url(self, home: Path, system: str) -> str:
        given = getattr(self, system, None)
        return given or f"sqlite:///{home.absolute() / 'systems' / f'{system}.db'}"


@dataclass(frozen=True)
class Table:
    """One table of a legacy system. `identity` tells its rows apart: the primary key, or where it has
    none the column that does so for sound rows."""

    system: str
    name: str
    columns: dict[str, str]
    key: str | None
    identity: str
    is_files: bool

    @property
    def quoted(self) -> str:
        return ", ".join(f'"{column}"' for column in self.columns)

    def create(self, dialect: str) -> str:
        """CREATE TABLE in the dialect; only MariaDB knows old character sets."""
        quote = "`" if dialect == "mysql" else '"'
        lines = []
        for column, kind in self.columns.items():
            kind, *charset = kind.split(" ")
            suffix = f" CHARACTER SET {charset[0]}" if charset and dialect == "mysql" else ""
            key = " PRIMARY KEY" if column == self.key else ""
            null = " NULL" if dialect == "mysql" and not key else ""
            lines.append(f"{quote}{column}{quote} {kind}{suffix}{null}{key}")
        tail = " DEFAULT CHARACTER SET utf8mb4" if dialect == "mysql" else ""
        return f"CREATE TABLE {quote}{self.name}{quote} ({', '.join(lines)}){tail}"

    @property
    def digest(self) -> str:
        """SQL: the MD5 of the row's columns as sent, in order, NULL as \\N, joined with |. It names the row
        in the truth where the table has no primary key."""
        values = ", ".join(f"""coalesce("{column}", '\\N')""" for column in self.columns)
        return f"md5(concat_ws('|', {values}))"

    @property
    def natural_key(self) -> str:
        """SQL: the key of change files: the primary key or the identity as sent, '' if NULL."""
        return f"""coalesce("{self.identity}", '')"""


def tables() -> list[Table]:
    """Every table of every system, hospital files included."""
    return [
        Table(
            system=system,
            name=name,
            columns=shape["columns"],
            key=shape.get("key"),
            identity=shape.get("key") or shape["natural"],
            is_files=shape.get("files", False),
        )
        for system, known in settings("systems").items()
        for name, shape in known["tables"].items()
    ]


def create_mirrors(con: duckdb.DuckDBPyConnection) -> None:
    """Schemas sound, bad and sent of the city's own file: every table as text, with its row_id."""
    for schema in ("sound", "bad", "sent"):
        con.execute(f"CREATE SCHEMA {schema}")
    for table in tables():
        columns = ", ".join(f'"{column}" VARCHAR' for column in table.columns)
        con.execute(f"CREATE TABLE sound.{table.name} (row_id BIGINT, {columns})")
        con.execute(f"CREATE TABLE bad.{table.name} (row_id BIGINT, {columns}, fault VARCHAR, since DATE, copy_of BIGINT)")
        con.execute(
            f"""CREATE VIEW sent.{table.name} AS
            SELECT row_id, {table.quoted}, NULL AS fault, NULL AS since FROM sound.{table.name} ANTI JOIN bad.{table.name} USING (row_id)
            UNION ALL SELECT row_id, {table.quoted}, fault, since FROM bad.{table.name}"""
        )


def write_all(con: duckdb.DuckDBPyConnection, home: Path, systems: Systems) -> None:
    """Creates every system anew and loads what it shows."""
    for system in DATABASES:
        own = [table for table in tables() if table.system == system and not table.is_files]
        url = systems.url(home, system)
        dialect = sa.make_url(url).get_backend_name()
        if dialect == "sqlite":
            Path(sa.make_url(url).database).unlink(missing_ok=True)
        with _connect(url) as connection:
            for table in own:
                quote = connection.dialect.identifier_preparer.quote_identifier
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(table.name)}")
                connection.exec_driver_sql(table.create(connection.dialect.name.replace("mariadb", "mysql")))
        {"sqlite": _load_sqlite, "postgresql": _load_postgresql}.get(dialect, _load_mysql)(con, url, own)
        with _connect(url) as connection:
            for table in own:
                if not table.key:
                    connection.exec_driver_sql(f"CREATE INDEX {table.name}_{table.identity} ON {table.name} ({table.identity})")
    for hospital in settings("places")["hospitals"]:
        (home / "systems" / "hospital_drops" / hospital).mkdir(parents=True, exist_ok=True)
    drop_notices(con, home, "SELECT row_id FROM sent.hospital_notice")


def apply(con: duckdb.DuckDBPyConnection, home: Path, systems: Systems, changes: str = "change") -> None:
    """Brings the systems from yesterday to today: only the rows of table `change` (system, table_name,
    op, row_id, identity) are inserted, updated or deleted, each system in one transaction."""
    touched = con.execute(f"SELECT DISTINCT table_name FROM {changes}").fetchnumpy()["table_name"]
    for system in DATABASES:
        own = [table for table in tables() if table.system == system and table.name in touched and not table.is_files]
        if not own:
            continue
        with _connect(systems.url(home, system)) as connection:
            for table in own:
                _apply(con, connection, table, changes)
    drop_notices(con, home, f"SELECT row_id FROM {changes} WHERE table_name = 'hospital_notice'")


def _apply(con: duckdb.DuckDBPyConnection, connection: sa.Connection, table: Table, changes: str) -> None:
    columns = [sa.column(column) for column in table.columns]
    target = sa.table(table.name, *columns)
    identity = target.c[table.identity] == sa.bindparam("_identity")
    of_table = f"{changes} WHERE table_name = '{table.name}'"
    gone = con.execute(f"SELECT identity FROM {of_table} AND op = 'delete' ORDER BY ALL").fetchall()
    if gone:
        connection.execute(sa.delete(target).where(identity), [{"_identity": key} for (key,) in gone])
    for op in ("update", "insert"):
        cursor = con.execute(
            f"""SELECT {table.quoted}, "{table.identity}" AS _identity FROM sent.{table.name}
            WHERE row_id IN (SELECT row_id FROM {of_table} AND op = '{op}') ORDER BY ALL"""
        )
        names = [name for name, *_ in cursor.description]
        rows: list[dict[str, Any]] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        if not rows:
            continue
        if op == "update":
            values = {column.name: sa.bindparam(f"v_{column.name}") for column in columns}
            renamed = [{"_identity": row.pop("_identity")} | {f"v_{name}": value for name, value in row.items()} for row in rows]
            connection.execute(sa.update(target).where(identity).values(values), renamed)
        else:
            connection.execute(sa.insert(target), [{name: row[name] for name in table.columns} for row in rows])


def drop_notices(con: duckdb.DuckDBPyConnection, home: Path, rows: str) -> None:
    """Writes the hospitals' files of these rows: <code>/kelahiran_<code>_<YYYYMMDD>.csv, whole or not at all."""
    cursor = con.execute(
        f"""SELECT split_part(no_surat, '/', 1) AS hospital, strftime(strptime(tgl_surat, '%d/%m/%Y'), '%Y%m%d') AS day,
            list([{", ".join(NOTICE_COLUMNS)}] ORDER BY no_surat, row_id) AS lines
        FROM sent.hospital_notice WHERE row_id IN ({rows}) GROUP BY ALL ORDER BY ALL"""
    )
    for hospital, day, lines in cursor.fetchall():
        folder = home / "systems" / "hospital_drops" / hospital
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{day}.part"
        with temporary.open("w", encoding="cp1252", newline="") as file:
            writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
            writer.writerow(NOTICE_COLUMNS)
            writer.writerows(lines)
        os.replace(temporary, folder / f"kelahiran_{hospital}_{day}.csv")


@contextmanager
def _connect(url: str) -> Iterator[sa.Connection]:
    """A transaction. MariaDB's strict mode is off, as on old servers: zero dates are stored as they come."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            if connection.dialect.name in ("mysql", "mariadb"):
                connection.exec_driver_sql("SET SESSION sql_mode = ''")
            yield connection
    finally:
        engine.dispose()


def load_sqlite_extension(con: duckdb.DuckDBPyConnection) -> None:
    """DuckDB's SQLite reader, from its PyPI package; every column is text, and SQLite's own column types
    decide what is stored."""
    package = Path(find_spec("duckdb_extension_sqlite_scanner").origin).parent
    con.execute(f"LOAD '{package / 'extensions' / f'v{duckdb.__version__}' / 'sqlite_scanner.duckdb_extension'}'")
    con.execute("SET sqlite_all_varchar = true")


def _load_sqlite(con: duckdb.DuckDBPyConnection, url: str, own: list[Table]) -> None:
    load_sqlite_extension(con)
    con.execute(f"ATTACH '{sa.make_url(url).database}' AS target (TYPE sqlite)")
    con.execute("BEGIN")
    for table in own:
        con.execute(f"INSERT INTO target.{table.name} SELECT {table.quoted} FROM sent.{table.name}")
    con.execute("COMMIT")
    con.execute("DETACH target")


def _load_postgresql(con: duckdb.DuckDBPyConnection, url: str, own: list[Table]) -> None:
    with TemporaryDirectory() as folder, _connect(url) as connection:
        for table in own:
            path = Path(folder) / f"{table.name}.csv"
            con.execute(
                f"COPY (SELECT {table.quoted} FROM sent.{table.name}) TO '{path}' (FORMAT csv, HEADER false, NULLSTR '\\N')"
            )
            statement = f"COPY {table.name} ({table.quoted}) FROM STDIN (FORMAT csv, NULL '\\N')"
            with connection.connection.cursor() as cursor, cursor.copy(statement) as copy, path.open("rb") as file:
                while block := file.read(1 << 20):
                    copy.write(block)


def _load_mysql(con: duckdb.DuckDBPyConnection, url: str, own: list[Table]) -> None:
    with _connect(url) as connection:
        for table in own:
            target = sa.table(table.name, *(sa.column(column) for column in table.columns))
            for batch in _batches(con, table):
                connection.execute(sa.insert(target), [dict(zip(table.columns, row, strict=True)) for row in batch])


def _batches(con: duckdb.DuckDBPyConnection, table: Table) -> Iterator[list[tuple]]:
    cursor = con.cursor().execute(f"SELECT {table.quoted} FROM sent.{table.name}")
    while batch := cursor.fetchmany(5000):
        yield batch
