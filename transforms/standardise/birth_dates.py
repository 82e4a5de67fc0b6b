"""Birth dates and what is often wrong with them, as evidence; typing them is `typed`'s.

Sources: docs/identity.md, "Birth dates"."""

import ibis
import ibis.expr.types as ir

from transforms.standardise.typed import try_strptime

OLDEST_YEARS = 120


def believable(born: ir.DateValue, today: ir.DateValue) -> ir.DateValue:
    """The date, NULL where nobody alive or lately dead was born then: after today, or too early."""
    age = today.year() - born.year()
    return ((born <= today) & (age <= OLDEST_YEARS)).ifelse(born, ibis.null("date"))


def swapped(born: ir.DateValue) -> ir.DateValue:
    """The date with day and month in each other's place, as American spreadsheets read it; NULL
    where that is no date, or the same."""
    other = try_strptime(born.strftime("%Y-%d-%m"), "%Y-%m-%d").date()
    return other.nullif(born)


def of_this_century(born: ir.DateValue, today: ir.DateValue) -> ir.DateValue:
    """A date of the years 0 to 99, as a two-digit year is read, in the newest century that is not
    after `today`; any other date as it is."""
    year = born.year() + 2000
    full = year - (year > today.year()).cast("int32") * 100
    text = full.cast("string") + born.strftime("-%m-%d")
    return (born.year() < 100).ifelse(try_strptime(text, "%Y-%m-%d").date(), born)


def day(born: ir.DateValue) -> ir.StringValue:
    """The date as text, the smaller of day and month first: a date and its `swapped` are one."""
    first, second = (pick(born.day(), born.month()) for pick in (ibis.least, ibis.greatest))
    return ibis.literal(".").join([part.cast("string") for part in (born.year(), first, second)])
