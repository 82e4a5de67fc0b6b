"""The agency's side: a private server with `penduduk`, what changes in it, what it says of itself.

`Source` also builds the floor: the server's own client that throws the rows away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import sqlalchemy as sa

from benchmarks.peers.measure import Command
from benchmarks.penduduk import fill_mariadb, fill_postgres
from tests import servers

SERVERS = {"postgres": "PostgreSQL", "mariadb": "MariaDB"}
# Of a table, whatever engine holds it: rows, sum of ids, sum of incomes, distinct NIKs.
CHECKSUM = (
    "SELECT count(*), sum(CAST(id AS DECIMAL(18, 0))), "
    "sum(CAST(penghasilan AS DECIMAL(18, 2))), count(DISTINCT nik) FROM {table}"
)


@dataclass(frozen=True)
class Source:
    """One database of a running server."""

    kind: str
    url: str = field(repr=False)
    since: datetime = datetime.min  # the newest change that the first loads brought

    @property
    def parts(self) -> sa.URL:
        return sa.make_url(self.url)

    def plain_url(self, backend: str) -> str:
        """The URL as tools other than SQLAlchemy write it, such as `postgresql://…`."""
        return self.parts.set(drivername=backend).render_as_string(hide_password=False)

    def fill(self, rows: int, first: int = 1) -> None:
        (fill_postgres if self.kind == "postgres" else fill_mariadb)(self.url, rows, first)

    def execute(self, *statements: str) -> None:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.begin() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)

    def ask(self, query: str) -> tuple:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return tuple(connection.exec_driver_sql(query).one())

    def checksum(self) -> list[str]:
        return as_checksum(self.ask(CHECKSUM.format(table="penduduk")))

    def change(self, condition: str) -> int:
        """Change the income of the rows that meet the condition, now; how many there are."""
        self.execute(
            f"UPDATE penduduk SET penghasilan = penghasilan + 1, updated_at = '{_now()}' "
            f"WHERE {condition}"
        )
        return self.ask(f"SELECT count(*) FROM penduduk WHERE {condition}")[0]

    def change_silently(self, number: int, rows: int) -> None:
        """`number` changed, half as many deleted and half as many new, with no trace of when."""
        step = rows // number
        self.execute(
            f"UPDATE penduduk SET penghasilan = penghasilan + 1 WHERE mod(id, {step}) = 3",
            f"DELETE FROM penduduk WHERE mod(id, {2 * step}) = 5",
        )
        self.fill(number // 2, rows + 1)

    def read(self) -> int:
        """A counter that grows as the source is read: see `READ_UNIT`."""
        if self.kind == "postgres":
            query = "SELECT tup_returned FROM pg_stat_database WHERE datname = current_database()"
            return int(self.ask(query)[0])
        return int(self.ask("SHOW GLOBAL STATUS LIKE 'Bytes_sent'")[1])

    def floor(self, condition: str | None = None) -> Command:
        """The server's own client, for all rows or those that meet the condition."""
        where = f" WHERE {condition}" if condition else ""
        query = f"SELECT * FROM penduduk{where}"
        at = self.parts
        if self.kind == "postgres":
            return Command(
                ["psql", "--no-psqlrc", "--quiet", "--command", f"COPY ({query}) TO STDOUT"],
                {
                    "PGHOST": str(at.host),
                    "PGPORT": str(at.port),
                    "PGUSER": str(at.username),
                    "PGPASSWORD": str(at.password),
                    "PGDATABASE": str(at.database),
                },
            )
        where_to = [f"--host={at.host}", f"--port={at.port}", f"--user={at.username}"]
        return Command(
            ["mariadb", "--no-defaults", *where_to, "--quick", "--execute", query, at.database],
            {"MYSQL_PWD": str(at.password)},
        )


# PostgreSQL counts the rows it touched, MariaDB the bytes it sent.
READ_UNIT = {"postgres": "rows", "mariadb": "bytes"}


@contextmanager
def running(kind: str) -> Iterator[servers.Server]:
    """A private server on the loopback, gone when the context ends."""
    with (servers.postgres if kind == "postgres" else servers.mariadb)() as server:
        yield server


def database(kind: str, server: servers.Server, name: str, rows: int) -> Source:
    """A new database with `rows` rows; `updated_at` is indexed, as a cursor needs it to be."""
    source = Source(kind, server.create_database(name))
    source.fill(rows)
    source.execute("CREATE INDEX penduduk_updated_at ON penduduk (updated_at)")
    return source


def as_checksum(row: tuple) -> list[str]:
    """Equal numbers as equal text, whatever type an engine gives them."""
    return [f"{value:.2f}" for value in map(float, row)]


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
