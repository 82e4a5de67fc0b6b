"""Whether anybody is named where nobody may be.

What identifies people is read from the warehouse once: every direct identifier that the schema home
declares, and what quarantined rows hold. It is then looked for in all that left tonight, column by
column, except where a contract grants direct identifiers in clear; and in logs, metadata, lineage,
Data Docs, manifests and the names of files. Numbers are found also when they are grouped, reversed,
part of a longer run of digits or a decimal; names in any case and spacing. Compressed files and
members of archives are opened. What is found is a place and a kind, never the value.
"""

import codecs
import gzip
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

import duckdb
import pyarrow as pa

from common.definition import Source, Stream
from common.quoting import identifier, json_key, literal
from common.settings import Settings
from pipeline.rejections import ABOUT_THE_ROW, CODES, COVER, FOLDER
from warehouse.shares import Contract, share_of
from warehouse.tables import tables

NOBODY = ("logs", "airflow", "data_docs", "lineage", "queries", "rules", "checks.json")
"""Of MUARA_HOME: where nobody may be named at all."""
BLOCK = 1 << 20
OVERLAP = 256
DIGITS = 4
"""A number of fewer different digits is a placeholder, and nobody's."""
BORNE_BY = 20
"""A name or text that more records than this have in common says of nobody who it is."""
SHORT = {"name": 14, "text": 20, "token": 8}
"""Shorter ones are not looked for: they may be ordinary words."""
WORDS = (2, 6)
COLUMN_WORDS = (3, 6)
"""How many words of a name are looked for inside a longer text; in data, where two words name
streets and buildings, too, a name of two is only found when it fills the cell."""
SEPARATORS = r"[\s.\-/]"
TWO_WORDS = r"[A-Za-z]\S*\s+\S*[A-Za-z]"
BETWEEN_TOKENS = r"""[\s,;"'()<>\[\]{}=]+"""
LONG_NUMBER = re.compile(rf"\d(?:{SEPARATORS}?\d){{15,}}")


class Search:
    """What identifies people, in a connection to the lake, and what was found so far."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        connection.execute(f"CREATE OR REPLACE TEMP TABLE known AS {_known()}")

    def look(self, rows: str, words: tuple[int, int] = WORDS) -> set[str]:
        """Places, each with the kind of what was found there, of the query `rows` of (place, value)
        with text values."""
        found = self.connection.execute(_found(rows, *words)).fetchall()
        return {f"{place} ({kind})" for place, kind in found}

    def look_at(self, texts: Iterable[tuple[str, str]], words: tuple[int, int] = WORDS) -> set[str]:
        """The same of texts with their places."""
        places, values = [], []
        for place, value in texts:
            places.append(place)
            values.append(value)
        if not places:
            return set()
        given = pa.table({"place": places, "value": pa.array(values, pa.string())})
        self.connection.register("given_texts", given)
        try:
            return self.look("SELECT place, value FROM given_texts", words)
        finally:
            self.connection.unregister("given_texts")


def in_metadata(settings: Settings, search: Search) -> list[str]:
    """Files in which nobody may be named, and are; manifests among them."""
    home = settings.home
    paths = [path for name in NOBODY for path in _files(home / name)]
    paths += sorted((home / "extracts").rglob("manifest.json"))
    paths += sorted((home / "published").rglob("manifest.json"))
    found = search.look_at(
        (f"the name of a file in {path.parent.relative_to(home).as_posix()}", path.name)
        for folder in (*NOBODY, "extracts", "published", "shares")
        for path in _files(home / folder)
    )
    for texts in _batches((path.relative_to(home).as_posix(), path) for path in paths):
        found |= search.look_at(texts)
    return sorted(found)


def in_deliveries(
    settings: Settings,
    search: Search,
    contracts: dict[str, Contract],
    sources: dict[str, Source],
    night: str,
) -> list[str]:
    """Columns of what left tonight that hold more than they may, and columns nobody granted."""
    home = settings.home
    found: set[str] = set()
    published = home / "published" / "current"
    for path in _files(published.resolve()):
        found |= _in_file(search, home, path, None)
    for agency, contract in contracts.items():
        granted = {one.name: _granted(one.table, one.columns) for one in contract.datasets}
        if (share := share_of(settings, agency)).exists():
            found |= _in_file(search, home, share, granted)
        for path in _files(home / "extracts" / agency / night):
            found |= _in_file(search, home, path, granted)
    for agency in sorted({source.agency for source in sources.values()}):
        for path in _files(home / "extracts" / agency / FOLDER):
            if path.suffix == ".xlsx":
                owned = [source for source in sources.values() if source.agency == agency]
                found |= _in_rejections(search, home, path, owned)
    return sorted(found)


def _files(folder: Path) -> Iterator[Path]:
    if folder.is_file():
        yield folder
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _granted(table: str, columns: Iterable[tuple[str, str]]) -> dict[str, bool]:
    """Columns of a dataset, each with whether it may name somebody."""
    held = tables()[table].all_columns
    return {
        name: name in held and held[name].disclosure == "direct" and sql == identifier(name)
        for name, sql in columns
    }


def _in_file(
    search: Search, home: Path, path: Path, granted: dict[str, dict[str, bool]] | None
) -> set[str]:
    """`granted`: dataset → its columns, each with whether it may name somebody; None where nobody
    may be named and every column may be."""
    place = path.relative_to(home).as_posix()
    connection = search.connection
    found: set[str] = set()
    kind = path.name.removesuffix(".gz").rpartition(".")[2]
    if kind == "duckdb":
        connection.execute(f"ATTACH {literal(path)} AS looked_at (READ_ONLY)")
        try:
            for schema, name in connection.execute(
                "SELECT schema_name, table_name FROM duckdb_tables() "
                "WHERE database_name = 'looked_at' ORDER BY ALL"
            ).fetchall():
                rows = f"looked_at.{identifier(schema)}.{identifier(name)}"
                found |= _in_columns(search, f"{place}#{name}", rows, name, granted)
        finally:
            connection.execute("DETACH looked_at")
    elif kind in ("parquet", "csv"):
        rows, dataset = f"read_parquet({literal(path)})", path.name.partition(".")[0]
        if kind == "csv":
            rows = f"read_csv({literal(path)}, all_varchar = true, header = true)"
        found |= _in_columns(search, f"{place}#", rows, dataset, granted)
    elif path.name != "manifest.json":
        for texts in _batches([(place, path)]):
            found |= search.look_at(texts)
    names_nobody = granted is None or not any(any(one.values()) for one in granted.values())
    if kind in ("duckdb", "parquet") and names_nobody:
        found |= search.look_at((f"{place} as bytes", number) for number in _numbers(path))
    return found


def _in_columns(
    search: Search,
    place: str,
    rows: str,
    dataset: str,
    granted: dict[str, dict[str, bool]] | None,
) -> set[str]:
    names = [name for (name, *_) in search.connection.execute(f"DESCRIBE FROM {rows}").fetchall()]
    if granted is not None and dataset not in granted:
        return {f"{place} (no dataset of the contract)"}
    may_name = dict.fromkeys(names, False) if granted is None else granted[dataset]
    found = {f"{place}.{name} (not granted)" for name in names if name not in may_name}
    # All cells in one pass: a reading per column holds tens of megabytes each.
    asked = ", ".join(
        f"{{place: {literal(f'{place}.{name}')}, value: CAST({identifier(name)} AS VARCHAR)}}"
        for name in names
        if not may_name.get(name)
    )
    cells = f"SELECT unnest([{asked}], recursive := true) FROM {rows}"
    return found | (search.look(cells, COLUMN_WORDS) if asked else set())


def _numbers(path: Path) -> Iterator[str]:
    """Long numbers among the bytes of a file, wherever they stand."""
    kept = ""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            text = kept + block.decode("latin-1")
            yield from LONG_NUMBER.findall(text)
            kept = text[-OVERLAP:]


def _in_rejections(search: Search, home: Path, path: Path, owned: list[Source]) -> set[str]:
    """Whom a workbook of rejected rows names beside the cells that its agency sent itself, and
    columns that are none of its streams' or are protected."""
    place = path.relative_to(home).as_posix()
    allowed = set(ABOUT_THE_ROW) | {
        theirs
        for source in owned
        for stream in source.streams
        for theirs, column in stream.columns.items()
        if not column.protected
    }
    found: set[str] = set()
    sent = " UNION ALL ".join(
        f"SELECT unnest(json_extract_string(row_as_sent, [{_shown(stream)}])) AS value "
        f"FROM lake.quarantine.row WHERE source = {literal(source.name)} "
        f"AND stream = {literal(stream.name)} AND state = 'open'"
        for source in owned
        for stream in source.streams
    )
    search.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE sent AS SELECT DISTINCT {_spelling('value')} AS value "
        f"FROM ({sent}) WHERE value IS NOT NULL"
    )
    for name, rows in _sheets(path):
        head = next(rows, [])
        if name not in (COVER, CODES):
            found |= {f"{place}#{name}.{one} (not of this stream)" for one in head
                      if one and one not in allowed}  # fmt: skip
        cells = pa.table({"value": pa.array([one for row in rows for one in row], pa.string())})
        search.connection.register("cells", cells)
        found |= search.look(
            f"SELECT {literal(f'{place}#{name}')} AS place, value FROM cells "
            f"WHERE {_spelling('value')} NOT IN (FROM sent)"
        )
        search.connection.unregister("cells")
    return found


def _shown(stream: Stream) -> str:
    return ", ".join(
        json_key(column.name) for column in stream.columns.values() if not column.protected
    )


def _sheets(path: Path) -> Iterator[tuple[str, Iterator[list[str]]]]:
    """The sheets of a workbook, each with its rows of text."""
    from python_calamine import CalamineWorkbook

    with CalamineWorkbook.from_path(path) as book:
        for name in book.sheet_names:
            rows = book.get_sheet_by_name(name).to_python()
            yield name, (["" if cell is None else str(cell) for cell in row] for row in rows)


# What identifies people.


def _known() -> str:
    """(kind, value), each once: number, phone, token, name, text."""
    direct = [
        (table, name)
        for table in tables().values()
        if table.identity and not table.remade
        for name, column in table.columns.items()
        if column.disclosure == "direct" and column.type == "VARCHAR"
    ]
    said = [
        f"SELECT {identifier(name)} AS value, {_is_name(name)} AS is_name FROM lake.{table.name}"
        for table, name in direct
    ]
    for is_name in (True, False):
        keys = "|".join(sorted({name for _, name in direct if _is_name(name) is is_name}))
        held = f'"(?:{keys})": ?"([^"]+)"'
        said.append(
            f"SELECT unnest(regexp_extract_all(row_as_sent, {literal(held)}, 1)), {is_name} "
            "FROM lake.quarantine.row"
        )
    digits = f"regexp_replace(value, {literal(SEPARATORS)}, '', 'g')"
    return f"""
        WITH said AS (
            SELECT value, bool_or(is_name) AS is_name, count(*) AS many
            FROM ({" UNION ALL ".join(said)}) WHERE value IS NOT NULL GROUP BY value),
        numbers AS (
            SELECT DISTINCT value FROM (
                SELECT unnest(regexp_extract_all({digits}, '\\d{{16}}')) AS value FROM (
                    SELECT value FROM said UNION ALL SELECT row_as_sent FROM lake.quarantine.row))
            WHERE len(list_distinct(string_split(value, ''))) >= {DIGITS}),
        phrases AS (
            SELECT is_name, CASE WHEN is_name THEN {_words("value")} ELSE {_spelling("value")} END
                AS value, sum(many) AS many
            FROM said WHERE regexp_matches(value, {literal(TWO_WORDS)}) GROUP BY ALL)
        SELECT 'number' AS kind, value FROM numbers
        UNION SELECT 'number', reverse(value) FROM numbers
        UNION SELECT 'phone', {_phone("value")} FROM said
            WHERE regexp_full_match({digits}, '(\\+?62|0)\\d{{8,12}}')
        UNION SELECT 'token', upper(value) FROM said
            WHERE length(value) >= {SHORT["token"]} AND NOT regexp_matches(value, '\\s')
                AND (value LIKE '%@%'
                    OR regexp_matches(value, '[A-Za-z]') AND regexp_matches(value, '\\d'))
        UNION SELECT 'name', value FROM phrases
            WHERE is_name AND many <= {BORNE_BY} AND length(value) >= {SHORT["name"]}
        UNION SELECT 'text', value FROM phrases
            WHERE NOT is_name AND many <= {BORNE_BY} AND length(value) >= {SHORT["text"]}
    """


def _is_name(column: str) -> bool:
    return column.endswith("name")


def _spelling(value: str) -> str:
    """SQL: a text in one case and spacing."""
    return f"trim(regexp_replace(upper({value}), '\\s+', ' ', 'g'))"


def _words(value: str) -> str:
    """SQL: the words of a text in one spelling."""
    return f"trim(regexp_replace(upper({value}), '[^A-Z]+', ' ', 'g'))"


def _phone(value: str) -> str:
    """SQL: a phone number without what a number of the country begins with."""
    return f"regexp_replace(regexp_replace({value}, '\\D', '', 'g'), '^(62|0)', '')"


# Looking.


def _found(rows: str, fewest: int, most: int) -> str:
    following = [f"lead(word, {more}) OVER text" for more in range(1, most)]
    windows = ", ".join(
        " || ' ' || ".join(["word", *following[: many - 1]]) for many in range(fewest, most + 1)
    )
    phone = "\\b(?:62|0)(?:[\\s.\\-]?\\d){8,12}\\b"
    return f"""
        WITH looked AS MATERIALIZED (
            SELECT DISTINCT place, value FROM ({rows}) WHERE length(value) >= 8),
        packed AS (
            SELECT place, unnest(regexp_extract_all(
                regexp_replace(value, {literal(SEPARATORS)}, '', 'g'), '\\d{{16,}}')) AS run
            FROM looked WHERE regexp_matches(value, {literal(LONG_NUMBER.pattern)})
            UNION ALL
            SELECT place, CAST(CAST(TRY_CAST(value AS DOUBLE) AS HUGEINT) AS VARCHAR) FROM looked
            WHERE TRY_CAST(value AS DOUBLE) BETWEEN 1e14 AND 1e16),
        word AS (
            SELECT place, line, unnest(words) AS word, generate_subscripts(words, 1) AS turn
            FROM (
                SELECT place, row_number() OVER () AS line,
                    string_split({_words("value")}, ' ') AS words
                FROM looked WHERE regexp_matches(value, {literal(TWO_WORDS)}))),
        candidate AS (
            SELECT place, 'number' AS kind,
                unnest([substr(run, start, 16) FOR start IN range(1, length(run) - 14)]) AS value
            FROM packed
            UNION ALL
            SELECT place, 'phone', {_phone("one")} FROM (
                SELECT place, unnest(regexp_extract_all(value, {literal(phone)})) AS one
                FROM looked)
            UNION ALL
            SELECT place, 'phone', regexp_extract(value, '^(8\\d{{8,11}})(\\.0+)?$', 1) FROM looked
            UNION ALL
            SELECT place, 'token', trim(one, '.:') FROM (
                SELECT place, unnest(regexp_split_to_array(upper(value), {literal(BETWEEN_TOKENS)}))
                    AS one FROM looked)
            WHERE length(one) >= {SHORT["token"]}
            UNION ALL
            SELECT place, 'name', {_words("value")} FROM looked
            UNION ALL
            SELECT place, 'text', {_spelling("value")} FROM looked
            UNION ALL
            SELECT place, 'name', unnest([{windows}]) FROM word
            WINDOW text AS (PARTITION BY line ORDER BY turn))
        SELECT DISTINCT place, kind FROM candidate SEMI JOIN known USING (kind, value)
    """


def _batches(files: Iterable[tuple[str, Path]]) -> Iterator[list[tuple[str, str]]]:
    """The lines of files, each with its file, about a block at a time."""
    batch: list[tuple[str, str]] = []
    size = 0
    for place, path in files:
        for block in _blocks(path):
            batch += [(place, line) for line in set(block.splitlines())]
            size += len(block)
            if size >= BLOCK:
                yield batch
                batch, size = [], 0
    yield batch


def _blocks(path: Path) -> Iterator[str]:
    """The text of a file, of what it is compressed from, and of the members of an archive."""
    with path.open("rb") as file:
        yield from _texts(file)


def _texts(file: BinaryIO) -> Iterator[str]:
    head = file.read(4)
    file.seek(0)
    if head[:2] == b"\x1f\x8b":
        with gzip.open(file) as inner:
            yield from _decoded(inner)
    elif head == b"PK\x03\x04":
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                yield member.filename
                with archive.open(member) as inner:
                    yield from _texts(io.BytesIO(inner.read()))
    else:
        yield from _decoded(file)


def _decoded(file: BinaryIO | gzip.GzipFile) -> Iterator[str]:
    """Blocks that overlap, so that nothing is cut in two."""
    decoder, kept = None, ""
    while block := file.read(BLOCK):
        if decoder is None:
            decoder = codecs.getincrementaldecoder(_encoding(block))(errors="replace")
        text = kept + decoder.decode(block)
        yield text
        kept = text[-OVERLAP:]


def _encoding(block: bytes) -> str:
    if block[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return "utf-16"
    head = block[:512]
    if head[1::2].count(0) > len(head) // 4:
        return "utf-16-le"
    return "utf-8"
