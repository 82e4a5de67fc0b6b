"""How a column leaves: the mask of the schema home, as SQL.

`pseudonym` is keyed per audience, so that two audiences cannot join their copies.
"""

from common.quoting import identifier, literal
from warehouse.tables import Column, Table


def masked(name: str, column: Column, audience: str) -> tuple[str, str] | None:
    """(output name, SQL) of a column for an audience; None where it is dropped."""
    column_name = identifier(name)
    match column.mask:
        case "keep":
            return name, column_name
        case "pseudonym":
            return (
                name,
                f"CASE WHEN {column_name} IS NOT NULL "
                f"THEN keyed({literal(f'{audience}:')} || {column_name}) END",
            )
        case "year":
            return name.removesuffix("_date") + "_year", f"CAST(year({column_name}) AS INTEGER)"
        case "month":
            month = f"date_trunc('month', {column_name})::DATE"
            return name.removesuffix("_date") + "_month", month
        case "coarse":
            return name, f"round({column_name}, 2)"
        case _:
            return None


def selection(table: Table, audience: str) -> list[tuple[str, str]]:
    """Every column of a table that an audience without special grants may have."""
    pairs = (masked(name, column, audience) for name, column in table.all_columns.items())
    return [pair for pair in pairs if pair is not None]
