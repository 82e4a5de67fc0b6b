"""What a publication tells of single people: brought to the profile's floor, measured, and refused
where it is below.

The measure knows nothing of how the tables were made: it asks the published rows themselves. Of a
table about people it takes every column but the surrogate, and all versions of a record together.
Their surrogates are keyed per table and publication, so that neither two tables nor two nights can
be joined, and each table is measured alone.
"""

from dataclasses import asdict
from typing import Any

import duckdb
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from common.errors import DefinitionError, DisclosureRefused
from common.quoting import identifier
from common.settings import Settings
from warehouse.cells import counts, enough, pooled
from warehouse.coarsening import coarsen
from warehouse.masks import selection
from warehouse.tables import Table

FILE = "disclosure.yml"


class Floor(BaseModel):
    """`disclosure.yml` of a profile: how many records at least are alike, the smallest count of
    people, and the largest share of the rows about people that may be withheld."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    people: int = Field(ge=2)
    cells: int = Field(ge=2)
    withheld: float = Field(ge=0, le=1)


def load_floor(settings: Settings) -> Floor:
    """The profile's floor. Raises DefinitionError with every fault, also when there is none."""
    path = settings.profile / FILE
    try:
        return Floor.model_validate(yaml.load(path.read_text(), Loader=yaml.CSafeLoader))
    except FileNotFoundError:
        faults = ["there is none"]
    except (yaml.YAMLError, UnicodeDecodeError):
        faults = ["not readable as YAML"]
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
    raise DefinitionError(
        "; ".join(faults),
        where=FILE,
        next_step="correct it in the profile; profiles/kota_cirebon has an example.",
    )


def release(
    connection: duckdb.DuckDBPyConnection, table: Table, target: str, scope: str, floor: Floor
) -> dict[str, Any]:
    """Create table `target` with what may be published of a table of the lake. Returns what a
    measure of the result cannot know, for the manifest."""
    if table.is_about_people:
        done = coarsen(connection, table, target, scope, floor.people)
        return asdict(done)
    chosen = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in selection(table, scope))
    rows = f"SELECT {chosen} FROM lake.{table.name}"
    if counts(table):
        rows = pooled(table, f"({rows})", floor.cells)
    connection.execute(f"CREATE TABLE {target} AS {rows} ORDER BY ALL")
    return {}


def measure(
    connection: duckdb.DuckDBPyConnection, table: Table, rows: str, floor: Floor
) -> dict[str, Any]:
    """What published `rows` of a table tell of single people; empty of a table that tells nothing.

    About people: how many records are alike where fewest are (`k`), how many are like no other and
    like too few, and the share of the rows that hold each column. Counts: the smallest that is not
    none, and how many are below the floor.
    """
    if table.is_about_people:
        return _people(connection, table, rows, floor)
    found = {}
    for name, whole in counts(table).items():
        count = identifier(name)
        rest = f"{identifier(whole)} - {count}" if whole else "NULL"
        cells, smallest, below = connection.execute(
            f"SELECT count({count}), min({count}) FILTER ({count} > 0), "
            f"count(*) FILTER (NOT ({enough(count, rest, floor.cells)})) FROM {rows}"
        ).fetchall()[0]
        found[name] = {"cells": cells, "smallest": smallest, "below_floor": below}
    return {"counts": found} if found else {}


def _people(
    connection: duckdb.DuckDBPyConnection, table: Table, rows: str, floor: Floor
) -> dict[str, Any]:
    told = [
        name
        for name, _ in selection(table, "")
        if name not in table.columns or table.columns[name].mask != "pseudonym"
    ]
    row = ", ".join(f"coalesce(CAST({identifier(name)} AS VARCHAR), chr(30))" for name in told)
    records, unique, below, least = connection.execute(
        f"""
        SELECT coalesce(sum(alike), 0), coalesce(sum(alike) FILTER (alike = 1), 0),
            coalesce(sum(alike) FILTER (alike < {floor.people}), 0), min(alike)
        FROM (SELECT count(*) AS alike FROM (
                SELECT list_sort(list(concat_ws(chr(31), {row}))) AS said FROM {rows}
                GROUP BY {identifier(table.key[0])})
            GROUP BY said)
        """
    ).fetchall()[0]
    each = ", ".join(f"count({identifier(name)})" for name in told)
    number, *held = connection.execute(f"SELECT count(*), {each} FROM {rows}").fetchall()[0]
    return {
        "k": least,
        "records": int(records),
        "unique": int(unique),
        "below_floor": int(below),
        "rows": number,
        "held": {
            name: round(some / number, 3) if number else None
            for name, some in zip(told, held, strict=True)
        },
    }


def refuse_below(floor: Floor, measured: dict[str, dict[str, Any]]) -> None:
    """Raise DisclosureRefused where a publication is below the floor; every table is named."""
    faults = []
    for name, found in measured.items():
        if found.get("below_floor"):
            faults.append(
                f"{name}: {found['below_floor']} records are like fewer than {floor.people}"
            )
        faults += [
            f"{name}.{count}: {of['below_floor']} counts below {floor.cells}"
            for count, of in found.get("counts", {}).items()
            if of["below_floor"]
        ]
    withheld = sum(found.get("withheld", 0) for found in measured.values())
    kept = sum(found.get("rows", 0) for found in measured.values())
    if withheld > floor.withheld * (withheld + kept):
        faults.append(f"{withheld} of {withheld + kept} rows about people would be withheld")
    if faults:
        raise DisclosureRefused(
            "; ".join(faults),
            where="published",
            next_step="what was published before stays. See docs/warehouse.md, "
            "'What analysts may learn of one person'.",
        )
