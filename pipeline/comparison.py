"""A stream compared with that of another source which speaks of the same records.

Differences are no alarm: each is listed for the two offices, and none is resolved here.
"""

from dataclasses import dataclass

import duckdb

from common import clock
from common.definition import Source, Stream, load_source
from common.errors import DefinitionError
from common.log import log
from common.settings import Settings
from pipeline.sync import own_errors
from warehouse import comparison
from warehouse.catalog import reading
from warehouse.comparison import Compared, Disagreement


@dataclass(frozen=True)
class Comparison:
    """The outcome as recorded, and every record on which the two differ."""

    outcome: Compared
    disagreements: list[Disagreement]


def compare(settings: Settings, source: Source, stream: Stream) -> Comparison | None:
    """Compare a stream with the one its definition names and record the outcome; None when it
    names none. Raises DefinitionError when an expression of it does not fit, and WarehouseFault."""
    if stream.compare is None:
        return None
    name, _, other_stream = stream.compare.stream.partition(".")
    other = load_source(settings, name)
    outcome = Compared(
        source.name, stream.name, stream.compare.stream, clock.today(settings), clock.now()
    )
    where = f"{source.name}.{stream.name}"
    with own_errors(where):
        try:
            with reading(settings) as connection:
                found = comparison.compare(
                    connection, outcome, source, stream, other, other.stream(other_stream)
                )
        except (duckdb.BinderException, duckdb.ParserException) as error:
            raise DefinitionError(
                f"`compare` does not fit {stream.compare.stream}: {str(error).splitlines()[0]}",
                where=where,
                next_step="correct its expressions; they may use the columns of that stream.",
            ) from None
        comparison.record(settings, outcome)
    counts = {name: count for name, count in vars(outcome).items() if isinstance(count, int)}
    log.info("compared", source=source.name, stream=stream.name, other=outcome.other, **counts)
    return Comparison(outcome, found)
