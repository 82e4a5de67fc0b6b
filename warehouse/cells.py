"""Counts of people, as they leave: no cell is smaller than the floor, and every sum stays right.

A small cell is pooled with its neighbours, which differ from it in the last column of the key only:
with the one that is empty there, the other small ones, then the smallest of the rest, until each
number of the pool is none or at least the floor. The pool stands where that column is empty. Where
all neighbours together are too few, the column before is emptied too, and so on. Nothing can be
computed back by subtraction, for nothing but the detail is left out.
"""

from common.quoting import identifier, literal
from warehouse.tables import Table


def counts(table: Table) -> dict[str, str | None]:
    """The counts of people in a table, each with the count it is a part of."""
    return {
        name: column.of for name, column in table.columns.items() if column.disclosure == "cell"
    }


def pooled(table: Table, rows: str, floor: int) -> str:
    """The query of what may leave of a table of counts, whose rows are those of `rows`."""
    key = [identifier(name) for name in table.key]
    cells = " UNION ALL ".join(
        f"SELECT {', '.join(key)}, {literal(name)} AS counted, {identifier(name)} AS n, "
        + (f"{identifier(whole)} - {identifier(name)}" if whole else "NULL")
        + f" AS rest FROM {rows}"
        for name, whole in counts(table).items()
    )
    parts = [f"cells AS ({cells})"]
    for place in range(len(key) - 1, -1, -1):
        name = "cells" if place == len(key) - 1 else f"pooled{place + 1}"
        parts.append(f"groups{place} AS ({_groups(name, key, place, floor)})")
        parts.append(f"pooled{place} AS ({_emptied(name, key, place)})")
    back = ", ".join(
        f"any_value(n) FILTER (counted = {literal(name)}) AS {identifier(name)}"
        for name in counts(table)
    )
    return (
        f"WITH {', '.join(parts)} SELECT {', '.join(key)}, {back} FROM pooled0 "
        f"WHERE {enough('n', 'rest', floor)} GROUP BY {', '.join(key)}"
    )


def enough(count: str, rest: str, floor: int) -> str:
    """SQL: the count, and what it lacks of the whole, are none or at least the floor."""
    return (
        f"({count} = 0 OR {count} >= {floor}) AND ({rest} IS NULL OR {rest} = 0 "
        f"OR {rest} >= {floor})"
    )


def _groups(cells: str, key: list[str], place: int, floor: int) -> str:
    """Every group of cells that agree up to this column of the key, and whether it is pooled."""
    group = ", ".join(["counted", *key[: place + 1]])
    neighbours = "PARTITION BY " + ", ".join(["counted", *key[:place]])
    running = f"({neighbours} ORDER BY turn)"
    return f"""
        SELECT {group}, some_small AND turn <= coalesce(
            min(turn) FILTER (is_enough AND turn >= due) OVER ({neighbours}), turn) AS is_pooled
        FROM (
            SELECT *, {enough(f"sum(n) OVER {running}", f"sum(rest) OVER {running}", floor)}
                    AS is_enough,
                count(*) FILTER (is_small OR {key[place]} IS NULL) OVER ({neighbours}) AS due,
                bool_or(is_small) OVER ({neighbours}) AS some_small
            FROM (
                SELECT *, row_number() OVER ({neighbours} ORDER BY {key[place]} IS NULL DESC,
                    is_small DESC, n = 0, n, {key[place]}) AS turn
                FROM (
                    SELECT {group}, sum(n) AS n, sum(rest) AS rest,
                        NOT ({enough("sum(n)", "sum(rest)", floor)}) AS is_small
                    FROM {cells} GROUP BY {group})))
    """


def _emptied(cells: str, key: list[str], place: int) -> str:
    """The cells, those of pooled groups with this column of the key and what follows it empty."""
    shown = ", ".join(
        f"CASE WHEN NOT is_pooled THEN one.{name} END AS {name}" if other >= place
        else f"one.{name} AS {name}"
        for other, name in enumerate(key)
    )  # fmt: skip
    same = " AND ".join(
        f"one.{name} IS NOT DISTINCT FROM of_group.{name}"
        for name in ["counted", *key[: place + 1]]
    )
    return f"""
        SELECT {shown}, one.counted AS counted, CAST(sum(n) AS BIGINT) AS n,
            CAST(sum(rest) AS BIGINT) AS rest
        FROM {cells} AS one JOIN groups{place} AS of_group ON {same} GROUP BY ALL
    """
