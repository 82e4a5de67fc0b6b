"""How long an event of life may take to be reported, by the law of its day."""

import ibis
import ibis.expr.types as ir


def with_limit(rows: ir.Table, day: str, limits: ir.Table, event: str) -> ir.Table:
    """Adds `limit_days`, those of the limit of `ref.reporting_limit` that held on the date in
    column `day`; before the oldest one on the list, the oldest's. NULL where the date is."""
    limit = limits.filter(limits.event == event)
    in_time = ibis.window(order_by=limit.valid_from)
    limit = limit.select(
        limit_days=limit.days,
        limit_from=(ibis.row_number().over(in_time) == 0).ifelse(
            ibis.null("date"), limit.valid_from
        ),
        limit_until=limit.valid_from.lead().over(in_time),
    )
    held = (limit.limit_from.isnull() | (rows[day] >= limit.limit_from)) & (
        limit.limit_until.isnull() | (rows[day] < limit.limit_until)
    )
    joined = rows.left_join(limit, [rows[day].notnull(), held])
    return joined.drop("limit_from", "limit_until")
