"""The batch that every contender judges: residents of the sample city, as the pipeline stages them.

All there are, or as many as are wanted: of copies whose NIK ends in other digits.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

import city
from common.definition import load_source
from common.settings import Settings
from connectors.readers import Progress, Pull, read
from expectations.suite import Rule, columns_named_in, load_rules
from pipeline.sync import prepare, sync
from transforms.standardise.typed import typed
from warehouse import staging
from warehouse.catalog import attach, open_duckdb

SOURCE, STREAM = "civil_registry", "resident"
SERIAL_STEP = 1117


def rules(settings: Settings) -> list[Rule]:
    """The rules about rows of the registry's residents."""
    every = load_rules(settings, load_source(settings, SOURCE))[STREAM]
    return [rule for rule in every if rule.is_about_rows]


def make(home: Path, rows: int | None, target: Path) -> None:
    """Write the staged batch (`typed.parquet`) to `target`. The city in `home` must be there; its
    families are loaded, for rules look at them."""
    settings = Settings(home=home, today=city.today(home / "city"))
    source = load_source(settings, SOURCE)
    resolve = city.connections(home / "city", "http://127.0.0.1:9").__getitem__
    prepare(settings, {SOURCE: source})
    sync(settings, source, source.stream("family"), resolve)
    stream = source.stream(STREAM)
    pull = Pull(source, stream, resolve(stream.connection), settings, Progress())
    with staging.staging(settings, source, stream) as area:
        staging.stage(area, _multiplied(pull, rows))
        staging.judge_duplicates(area)
        staging.type_rows(
            area, lambda table: typed(table, stream), columns_named_in(rules(settings))
        )
        area.connection.execute(f"COPY (FROM typed) TO '{target}' {staging.AS_PARQUET}")


def _multiplied(pull: Pull, rows: int | None) -> Iterator[tuple[pa.RecordBatch, str | None]]:
    pieces = [piece.rows for piece in read(pull)]
    left, copy = rows or sum(piece.num_rows for piece in pieces), 0
    while left > 0:
        for piece in pieces:
            piece = _renumbered(piece.slice(0, left), copy)
            yield piece, None
            left -= piece.num_rows
            if left <= 0:
                return
        copy += 1


def _renumbered(piece: pa.RecordBatch, copy: int) -> pa.RecordBatch:
    """The same people with other serials; a NIK of another length than 16 stays as it is."""
    if copy == 0:
        return piece
    place = piece.schema.get_field_index("nik")
    nik = piece.column(place)
    whole = pc.match_substring_regex(nik, "^[0-9]{16}$")
    serial = pc.utf8_slice_codeunits(pc.if_else(whole, nik, "0" * 16), 12)
    moved = pc.add(pc.cast(serial, pa.int64()), copy * SERIAL_STEP)
    moved = pc.subtract(moved, pc.multiply(pc.divide(moved, 10_000), 10_000))
    text = pc.utf8_lpad(pc.cast(moved, pa.string()), 4, "0")
    changed = pc.binary_join_element_wise(pc.utf8_slice_codeunits(nik, 0, 12), text, "")
    return piece.set_column(place, "nik", pc.if_else(whole, changed, nik))


@contextmanager
def opened(home: Path, batch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection as the pipeline's: the lake attached, and what rules refer to."""
    settings = Settings(home=home, today=city.today(home / "city"))
    source = load_source(settings, SOURCE)
    spill = batch.parent / "spill"
    connection = open_duckdb(settings, spill=spill)
    try:
        attach(connection, settings)
        connection.execute(f"CREATE VIEW typed AS FROM read_parquet('{batch}')")
        connection.execute("CREATE VIEW staged AS FROM typed; CREATE VIEW known AS FROM typed")
        area = staging.Staging(connection, source, source.stream(STREAM), batch.parent)
        staging.give_context(area, settings.today)
        yield connection
    finally:
        connection.close()
