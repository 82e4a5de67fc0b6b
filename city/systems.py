"""The legacy systems: where they are, and what shape they have (`systems.yml`).

Embedded SQLite files by default; with URLs the same tables on MariaDB and PostgreSQL. The city's
own DuckDB file mirrors every table as text, as its owner would show it.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from city.places import settings
from city.sql import Con

DATABASES = ("simreda", "civil_registry", "brojol", "cctv", "report_inbox")


@dataclass(frozen=True)
class Systems:
    """SQLAlchemy URLs of the systems' databases; None is the embedded SQLite file under the
    city's home, where the report inbox and the hospitals' files always are."""

    simreda: str | None = None
    civil_registry: str | None = None
    brojol: str | None = None
    cctv: str | None = None

    def url(self, home: Path, system: str) -> str:
        embedded = f"sqlite:///{home.absolute() / 'systems' / f'{system}.db'}"
        return getattr(self, system, None) or embedded


@dataclass(frozen=True)
class Table:
    """One table of a legacy system. `identity` tells its rows apart: the primary key, or where it
    has none the column that does so for sound rows."""

    system: str
    name: str
    columns: dict[str, str]
    key: str | None
    identity: str
    is_files: bool

    @property
    def quoted(self) -> str:
        """SQL: its columns."""
        return ", ".join(f'"{column}"' for column in self.columns)

    @property
    def digest(self) -> str:
        """SQL: the MD5 of a row's columns as sent, in order, NULL as \\N, joined with |. It names
        the row in the truth where the table has no primary key."""
        values = ", ".join(f"""coalesce("{column}", '\\N')""" for column in self.columns)
        return f"md5(concat_ws('|', {values}))"

    def create(self, dialect: str) -> str:
        """CREATE TABLE in the dialect; only MariaDB knows old character sets."""
        mysql = dialect == "mysql"
        quote = "`" if mysql else '"'
        lines = []
        for column, kind in self.columns.items():
            kind, _, charset = kind.partition(" ")
            charset = f" CHARACTER SET {charset}" if charset and mysql else ""
            key = " PRIMARY KEY" if column == self.key else ""
            lines.append(f"{quote}{column}{quote} {kind}{charset}{key}")
        charset = " DEFAULT CHARACTER SET utf8mb4" if mysql else ""
        return f"CREATE TABLE {quote}{self.name}{quote} ({', '.join(lines)}){charset}"


@cache
def tables() -> tuple[Table, ...]:
    """Every table of every system, the rows of the hospitals' files among them."""
    return tuple(
        Table(
            system=system,
            name=name,
            columns=shape["columns"],
            key=shape.get("key"),
            identity=shape.get("key") or shape["natural"],
            is_files=shape.get("files", False),
        )
        for system, known in settings("systems").items()
        for name, shape in known.items()
    )


def create_mirrors(con: Con) -> None:
    """Schemas sound, bad and sent of the city's own file: every table as text, with its row_id."""
    for schema in ("sound", "bad", "sent"):
        con.execute(f"CREATE SCHEMA {schema}")
    for table in tables():
        columns = ", ".join(f'"{column}" VARCHAR' for column in table.columns)
        con.execute(f"CREATE TABLE sound.{table.name} (row_id BIGINT, {columns})")
        con.execute(
            f"""
            CREATE TABLE bad.{table.name}
                (row_id BIGINT, {columns}, fault VARCHAR, since DATE, copy_of BIGINT)
            """
        )
        con.execute(
            f"""
            CREATE VIEW sent.{table.name} AS
            SELECT row_id, {table.quoted}, NULL AS fault, NULL AS since
            FROM sound.{table.name} ANTI JOIN bad.{table.name} USING (row_id)
            UNION ALL
            SELECT row_id, {table.quoted}, fault, since FROM bad.{table.name}
            """
        )
