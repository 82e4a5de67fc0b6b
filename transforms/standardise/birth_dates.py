"""Birth dates and what is often wrong with them, as evidence; typing them is `typed`'s.

Sources: docs/identity.md, "Birth dates"."""

import ibis
import ibis.expr.types as ir

OLDEST_YEARS = 120


def believable(born: ir.DateValue, today: ir.DateValue) -> ir.DateValue:
    """The date, NULL where nobody alive or lately dead was born then: after today, or too early."""
    age = today.year() - born.year()
    return ((born <= today) & (age <= OLDEST_YEARS)).ifelse(born, ibis.null("date"))


def day(born: ir.DateValue) -> ir.StringValue:
    """The date as text, the smaller of day and month first, as American spreadsheets exchange
    them: both readings are one."""
    first, second = (pick(born.day(), born.month()) for pick in (ibis.least, ibis.greatest))
    return ibis.literal(".").join([part.cast("string") for part in (born.year(), first, second)])
