"""How a column leaves: the mask of the schema home, as SQL.

`pseudonym` is keyed per audience, so that two audiences cannot join their copies.
"""

from common.quoting import identifier, literal
from warehouse.tables import Column, Mask, Table


def masked(name: str, column: Column, audience: str) -> tuple[str, str] | None:
    """(output name, SQL) of a column for an audience; None where it is dropped."""
    match column.mask:
        case "drop":
            return None
        case "pseudonym":
            held = identifier(name)
            return (
                name,
                f"CASE WHEN {held} IS NOT NULL THEN keyed({literal(f'{audience}:')} || {held}) END",
            )
        case mask:
            return output_name(name, mask), stepped(name, mask)


def output_name(name: str, mask: Mask) -> str:
    """What a column is called once it is masked: its name says what it still holds."""
    bare = name.removesuffix("_date").removesuffix("_at")
    return bare + {"month": "_month", "five_years": "_years", "decade": "_years"}.get(
        mask, name.removeprefix(bare)
    )


def stepped(name: str, mask: Mask) -> str:
    """A column in one of its coarser forms, as SQL."""
    held = identifier(name)
    match mask:
        case "month":
            return f"date_trunc('month', {held})::DATE"
        case "five_years":
            return _years(held, 5)
        case "decade":
            return _years(held, 10)
        case "district":
            return f"regexp_replace({held}, '\\.[^.]+$', '')"
        case "coarse":
            return f"round({held}, 2)"
        case _:
            return held


def _years(day: str, span: int) -> str:
    """Such as 1985-1989."""
    first = f"CAST(year({day}) // {span} * {span} AS INTEGER)"
    return f"{first} || '-' || ({first} + {span - 1})"


def selection(table: Table, audience: str) -> list[tuple[str, str]]:
    """Every column of a table that an audience without special grants may have, in its finest form.

    Of a table about people that is only what `keeps` names and the surrogate of its own records: no
    two of these tables can be joined.
    """
    pairs = (
        masked(name, column, audience)
        for name, column in table.all_columns.items()
        if not table.is_about_people or column.mask != "pseudonym" or name in table.key
    )
    return [pair for pair in pairs if pair is not None]
