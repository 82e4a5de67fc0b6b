"""How rows get into the legacy systems: all of them at first, then each day those that change."""

import csv
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import sqlalchemy as sa

from city import books, messages
from city.places import settings
from city.sql import Con, quoted
from city.systems import DATABASES, Systems, Table, tables

BATCH = 5000  # rows
BLOCK = 1 << 20  # bytes


def write_all(con: Con, home: Path, systems: Systems) -> None:
    """Creates every system anew and loads what it shows."""
    for system in DATABASES:
        own = [table for table in tables() if table.system == system and not table.is_files]
        url = systems.url(home, system)
        dialect = sa.make_url(url).get_backend_name()
        load = {"sqlite": _load_sqlite, "postgresql": _load_postgresql, "mysql": _load_mysql}
        with connect(url) as connection:
            quote = connection.dialect.identifier_preparer.quote_identifier
            for table in own:
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {quote(table.name)}")
                connection.exec_driver_sql(table.create(dialect))
        load[dialect](con, url, own)
        with connect(url) as connection:
            for table in own:
                if not table.key:
                    on = f"{table.name} ({table.identity})"
                    connection.exec_driver_sql(f"CREATE INDEX by_{table.identity} ON {on}")
    for hospital in settings("places")["hospitals"]:
        (home / "systems" / "hospital_drops" / hospital).mkdir(parents=True, exist_ok=True)
    _drop_notices(con, home, "SELECT row_id FROM sent.hospital_notice")
    books.write(con, home)
    messages.deliver(con, home, "SELECT row_id FROM sent.surat")


def apply(con: Con, home: Path, systems: Systems) -> None:
    """Brings the systems from yesterday to today: only the rows of table `change` (system,
    table_name, op, row_id, identity) are touched, each system in one transaction."""
    touched = set(con.execute("SELECT DISTINCT table_name FROM change").fetchnumpy()["table_name"])
    for system in DATABASES:
        with connect(systems.url(home, system)) as connection:
            for table in tables():
                if table.system == system and table.name in touched and not table.is_files:
                    _apply(con, connection, table)
    _drop_notices(con, home, "SELECT row_id FROM change WHERE table_name = 'hospital_notice'")
    if "resident_book" in touched:
        books.write(con, home)
    messages.deliver(con, home, "SELECT row_id FROM change WHERE table_name = 'surat'")


def _apply(con: Con, connection: sa.Connection, table: Table) -> None:
    target = sa.table(table.name, *map(sa.column, table.columns))
    identity = target.c[table.identity] == sa.bindparam("_identity")
    of_table = f"FROM change WHERE table_name = '{table.name}'"
    gone = con.execute(f"SELECT identity {of_table} AND op = 'delete'").fetchall()
    if gone:
        keys = [{"_identity": key} for (key,) in gone]
        connection.execute(sa.delete(target).where(identity), keys)
    for op in ("update", "insert"):
        rows = con.execute(
            f"""
            SELECT {table.quoted} FROM sent.{table.name}
            WHERE row_id IN (SELECT row_id {of_table} AND op = '{op}') ORDER BY row_id
            """
        ).fetchall()
        if rows and op == "insert":
            connection.execute(sa.insert(target), _named(table, rows))
        elif rows:
            new = {name: sa.bindparam(f"new_{name}") for name in table.columns}
            statement = sa.update(target).where(identity).values(new)
            connection.execute(
                statement,
                [
                    {"_identity": row[table.identity]} | {f"new_{k}": v for k, v in row.items()}
                    for row in _named(table, rows)
                ],
            )


def _named(table: Table, rows: Sequence[tuple[Any, ...]]) -> list[dict[str, Any]]:
    return [dict(zip(table.columns, row, strict=True)) for row in rows]


def _drop_notices(con: Con, home: Path, rows: str) -> None:
    """Writes the hospitals' files of these rows: <code>/kelahiran_<code>_<YYYYMMDD>.csv, whole or
    not at all."""
    (notices,) = (table for table in tables() if table.name == "hospital_notice")
    files = con.execute(
        f"""
        SELECT split_part(no_surat, '/', 1) AS hospital,
            strftime(strptime(tgl_surat, '%d/%m/%Y'), '%Y%m%d') AS day,
            list([{notices.quoted}] ORDER BY no_surat, row_id) AS lines
        FROM sent.hospital_notice WHERE row_id IN ({rows})
        GROUP BY ALL
        """
    ).fetchall()
    for hospital, day, lines in files:
        folder = home / "systems" / "hospital_drops" / hospital
        temporary = folder / f".{day}.part"
        with temporary.open("w", encoding="cp1252", newline="") as file:
            writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
            writer.writerow(notices.columns)
            writer.writerows(lines)
        os.replace(temporary, folder / f"kelahiran_{hospital}_{day}.csv")


@contextmanager
def connect(url: str) -> Iterator[sa.Connection]:
    """A transaction. MariaDB's strict mode is off, as on old servers: it stores zero dates."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "mysql":
                connection.exec_driver_sql("SET SESSION sql_mode = ''")
            yield connection
    finally:
        engine.dispose()


def load_sqlite_extension(con: Con) -> None:
    """DuckDB's SQLite extension, from its PyPI package where there is one. Every column is text;
    SQLite's own column types decide what is stored."""
    package = find_spec("duckdb_extension_sqlite_scanner")
    if package and package.origin:
        folder = Path(package.origin).parent / "extensions" / f"v{duckdb.__version__}"
        con.execute(f"LOAD {quoted(folder / 'sqlite_scanner.duckdb_extension')}")
    else:
        con.install_extension("sqlite_scanner")
        con.load_extension("sqlite_scanner")
    con.execute("SET sqlite_all_varchar = true")


def _load_sqlite(con: Con, url: str, own: list[Table]) -> None:
    load_sqlite_extension(con)
    con.execute(f"ATTACH {quoted(sa.make_url(url).database)} AS target (TYPE sqlite)")
    con.execute("BEGIN")
    for table in own:
        con.execute(f"INSERT INTO target.{table.name} SELECT {table.quoted} FROM sent.{table.name}")
    con.execute("COMMIT")
    con.execute("DETACH target")


def _load_postgresql(con: Con, url: str, own: list[Table]) -> None:
    null = "'\\N'"
    with TemporaryDirectory() as folder, connect(url) as connection:
        for table in own:
            path = Path(folder) / table.name
            rows = f"SELECT {table.quoted} FROM sent.{table.name}"
            con.execute(
                f"COPY ({rows}) TO {quoted(path)} (FORMAT csv, HEADER false, NULLSTR {null})"
            )
            into = f"COPY {table.name} ({table.quoted}) FROM STDIN (FORMAT csv, NULL {null})"
            with connection.connection.cursor() as cursor, path.open("rb") as file:
                with cursor.copy(into) as copy:
                    while block := file.read(BLOCK):
                        copy.write(block)


def _load_mysql(con: Con, url: str, own: list[Table]) -> None:
    with connect(url) as connection:
        for table in own:
            target = sa.table(table.name, *map(sa.column, table.columns))
            cursor = con.cursor().execute(f"SELECT {table.quoted} FROM sent.{table.name}")
            while rows := cursor.fetchmany(BATCH):
                connection.execute(sa.insert(target), _named(table, rows))
