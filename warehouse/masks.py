"""How a column leaves: the mask of the schema home, as SQL.

`pseudonym` is keyed per audience, so that two audiences cannot join their copies.
"""

from warehouse.tables import Column, Table


def masked(name: str, column: Column, audience: str) -> tuple[str, str] | None:
    """(output name, SQL) of a column for an audience; None where it is dropped."""
    match column.mask:
        case "keep":
            return name, f'"{name}"'
        case "pseudonym":
            return (
                name,
                f'CASE WHEN "{name}" IS NOT NULL THEN keyed(\'{audience}:\' || "{name}") END',
            )
        case "year":
            return name.removesuffix("_date") + "_year", f'CAST(year("{name}") AS INTEGER)'
        case "month":
            return name.removesuffix("_date") + "_month", f"date_trunc('month', \"{name}\")::DATE"
        case "coarse":
            return name, f'round("{name}", 2)'
        case _:
            return None


def selection(table: Table, audience: str) -> list[tuple[str, str]]:
    """Every column of a table that an audience without special grants may have."""
    pairs = (masked(name, column, audience) for name, column in table.all_columns.items())
    return [pair for pair in pairs if pair is not None]
