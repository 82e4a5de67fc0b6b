"""What of a night is unlike the habit of who sent it: too little, nothing new, an odd clock.

A unit is a stream, or one submitter of it. What it sends on each weekday is learned from its own
ordinary nights: neither off nor slow by the city's calendar, nor under an alarm. How unlikely a
count is comes from the negative binomial distribution, exactly, so that twelve births a night may
become five without an alarm and never none. A unit that is too young is not judged.
docs/decisions/0013-silence.md says how the constants were chosen and what they let through.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa

from common.calendar import Calendar
from common.definition import Source, Stream

Kind = Literal["missing", "thin", "frozen", "clock"]

LOOKBACK_NIGHTS = 112
NIGHTS_PER_WEEKDAY = 8
LEAST_PER_WEEKDAY = 4
LEAST_FREEDOM = 6
CHANCES = {1: 5e-5} | dict.fromkeys((2, 3, 5, 8, 14, 21), 4e-6)
"""Nights judged together → below which chance of so little they are unlike the habit. One night of
a busy hospital tells as much as two weeks of a quiet one; most weight is on the first morning."""
THIN = 2 / 3
"""More than this share of what was expected is never too little, however unlikely."""
OUTLIER = 4.0
UPPER = 0.05
STAMPED_ROWS, STAMPED_NIGHTS, STAMPED_LOOKBACK = 3, 14, 28
LEAST_HOURS = 6.0


@dataclass(frozen=True, order=True)
class Unit:
    """A stream, or with a code one submitter of it."""

    source: str
    stream: str
    submitter: str = ""


@dataclass(frozen=True)
class Finding:
    """One thing unlike its habit: `expected` and `seen` in rows over the last `nights` nights from
    `since` on, or in hours between the stamps and the end of the night for a clock.

    `cause`: `habit`, `promise`, `not_run`, or the class of the error with which reading failed.
    """

    unit: Unit
    kind: Kind
    cause: str
    since: date
    nights: int = 1
    expected: float | None = None
    seen: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class Verdict:
    """What a morning says: what is unlike, the most telling of a unit's volume and of its clock;
    which units were read at all, which of them sent anything new, which were judged by volume and
    by clock, and which are too young for it."""

    findings: list[Finding]
    present: frozenset[Unit]
    active: frozenset[Unit]
    volume_judged: frozenset[Unit]
    clock_judged: frozenset[Unit]
    learning: frozenset[Unit]


def judge(
    connection: duckdb.DuckDBPyConnection,
    sources: dict[str, Source],
    calendar: Calendar,
    until: datetime,
) -> Verdict:
    """Judge what should have arrived by `until` (the city's time); the lake is attached as `lake`.

    Of a stream that is read several times a day the last whole day is judged.
    """
    night = until.date()
    turns = {source.name: _turns(source.schedule, until) for source in sources.values()}
    connection.register("unit", _units(sources, turns))
    connection.register("night", _nights(calendar, night))
    connection.execute(ARRIVALS)
    unread = list(_unread(connection, sources, turns))
    volumes, judged = _volumes(connection)
    clocks, clock_judged = _clocks(connection)
    promises = list(_promises(connection, calendar))
    arrived = connection.execute(
        "SELECT source, stream, submitter, changed > 0, share > 0 FROM arrival "
        "JOIN unit USING (source, stream, submitter) JOIN night USING (night) WHERE night = judged"
    ).fetchall()
    connection.unregister("unit")
    connection.unregister("night")
    found: dict[tuple[Unit, bool], Finding] = {}
    for finding in (*unread, *promises, *volumes, *clocks):
        found.setdefault((finding.unit, finding.kind == "clock"), finding)
    return Verdict(
        findings=[found[key] for key in sorted(found)],
        present=frozenset(Unit(*key) for *key, _, _ in arrived),
        active=frozenset(Unit(*key) for *key, is_active, _ in arrived if is_active),
        volume_judged=frozenset(judged),
        clock_judged=frozenset(clock_judged),
        learning=frozenset(Unit(*key) for *key, _, is_due in arrived if is_due) - judged,
    )


@dataclass(frozen=True)
class Turn:
    """The last night on which a source was due, and the last one that is over: another one where it
    is read several times a day."""

    due: date
    whole: date


def _turns(schedule: str, until: datetime) -> Turn:
    from croniter import croniter

    last = croniter(schedule, until + timedelta(seconds=1)).get_prev(datetime)
    before = croniter(schedule, last).get_prev(datetime)
    after = croniter(schedule, last).get_next(datetime)
    is_often = last.date() in (before.date(), after.date())
    return Turn(last.date(), last.date() - timedelta(days=is_often))


def _units(sources: dict[str, Source], turns: dict[str, Turn]) -> pa.Table:
    rows = [
        (source.name, stream.name, code, stream.strategy, turns[source.name].whole,
         stream.submitter.every if code and stream.submitter else None)
        for source in sources.values()
        for stream in source.streams
        for code in ("", *_codes(stream))
    ]  # fmt: skip
    names = ("source", "stream", "submitter", "strategy", "judged", "every")
    kinds = (pa.string(), pa.string(), pa.string(), pa.string(), pa.date32(), pa.string())
    columns = zip(*rows, strict=True)
    return pa.table([pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)],
                    names)  # fmt: skip


def _codes(stream: Stream) -> Iterable[str]:
    return stream.submitter.contacts if stream.submitter else ()


def _nights(calendar: Calendar, last: date) -> pa.Table:
    """Night and the share of ordinary work that is expected in it."""
    nights = [last - timedelta(days=back) for back in range(LOOKBACK_NIGHTS)]
    return pa.table({"night": nights, "share": [calendar.share(night) for night in nights]})


ARRIVALS = """
CREATE OR REPLACE TEMP TABLE alarmed AS
SELECT source, stream, submitter_code AS submitter, kind = 'clock' AS is_clock, night.night
FROM lake.ops.alarm JOIN night ON night.night BETWEEN alarm.since AND alarm.last_night
WHERE state <> 'accepted';

CREATE OR REPLACE TEMP VIEW loaded AS
SELECT source, stream, batch_id, night, extracted, inserted + updated AS landed, files_loaded
FROM lake.ops.ledger WHERE outcome = 'loaded' AND strategy IS DISTINCT FROM 'replay';

CREATE OR REPLACE TEMP TABLE arrival AS
WITH batch AS (
    FROM loaded SEMI JOIN night USING (night)
    WHERE batch_id NOT IN (SELECT min(batch_id) FROM loaded GROUP BY source, stream)),
held AS (
    SELECT first_batch_id AS batch_id, count(*) AS held FROM lake.quarantine.row
    SEMI JOIN batch ON batch_id = first_batch_id GROUP BY ALL),
whole AS (
    SELECT batch.source, batch.stream, '' AS submitter, batch.night,
        sum(files_loaded) AS files,
        CASE WHEN any_value(strategy) IN ('files', 'mailbox') THEN sum(extracted)
            ELSE max(extracted) END AS rows,
        sum(landed + coalesce(held, 0)) AS changed,
        arg_max(middle_at, changed) AS middle_at, max(newest_at) AS newest_at
    FROM batch JOIN unit ON unit.source = batch.source AND unit.stream = batch.stream
        AND unit.submitter = ''
    LEFT JOIN held USING (batch_id)
    LEFT JOIN lake.ops.submission AS sent
        ON sent.batch_id = batch.batch_id AND sent.submitter_code = ''
    GROUP BY ALL),
part AS (
    SELECT unit.source, unit.stream, unit.submitter, batch.night,
        coalesce(sum(sent.files), 0) AS files, coalesce(sum(sent.rows), 0) AS rows,
        coalesce(sum(sent.changed), 0) AS changed,
        arg_max(sent.middle_at, sent.changed) AS middle_at, max(sent.newest_at) AS newest_at
    FROM unit JOIN batch USING (source, stream)
    SEMI JOIN (FROM lake.ops.submission WHERE submitter_code = '') AS counted
        ON counted.batch_id = batch.batch_id
    LEFT JOIN lake.ops.submission AS sent
        ON sent.batch_id = batch.batch_id AND sent.submitter_code = unit.submitter
    WHERE unit.submitter <> ''
    GROUP BY ALL)
FROM whole UNION ALL BY NAME FROM part;
"""


def _unread(
    connection: duckdb.DuckDBPyConnection, sources: dict[str, Source], turns: dict[str, Turn]
) -> Iterator[Finding]:
    """Streams without a loaded batch on the last night on which they were due. One that was never
    tried counts from the warehouse's second night on."""
    newest = {
        (source, stream): (night, failed, code)
        for source, stream, night, failed, code in connection.execute(
            """
            SELECT source, stream, max(night) FILTER (outcome = 'loaded'),
                max(night) FILTER (outcome <> 'loaded'),
                arg_max(error_code, batch_id) FILTER (outcome <> 'loaded')
            FROM lake.ops.ledger WHERE strategy IS DISTINCT FROM 'replay'
            GROUP BY source, stream
            """
        ).fetchall()
    }
    (first,) = connection.execute("SELECT min(night) FROM lake.ops.ledger").fetchall()[0]
    for source in sources.values():
        due = turns[source.name].due
        for stream in source.streams:
            loaded, failed, code = newest.get((source.name, stream.name), (None, None, None))
            if first is None or first >= due or (loaded and loaded >= due):
                continue
            cause = code if failed and failed >= due and code else "not_run"
            yield Finding(Unit(source.name, stream.name), "missing", cause, due)


def _promises(connection: duckdb.DuckDBPyConnection, calendar: Calendar) -> Iterator[Finding]:
    """Submitters that promised to send and did not."""
    rows = connection.execute(
        """
        SELECT source, stream, submitter, every, judged FROM arrival
        JOIN unit USING (source, stream, submitter)
        WHERE night = judged AND every IS NOT NULL AND files = 0 AND rows = 0
        """
    ).fetchall()
    for source, stream, submitter, every, judged in rows:
        days = (judged, judged - timedelta(days=1))
        is_due = calendar.share(judged) > 0 and all(day.isoweekday() < 6 for day in days)
        if every == "night" or is_due:
            unit = Unit(source, stream, submitter)
            yield Finding(unit, "missing", "promise", judged, expected=1, seen=0)


VOLUMES = """
WITH counted AS (
    UNPIVOT (SELECT source, stream, submitter, night, rows::DOUBLE AS rows,
        changed::DOUBLE AS changed FROM arrival)
    ON rows, changed INTO NAME measure VALUE seen),
trial AS (
    SELECT source, stream, submitter, judged, unnest({windows}) AS size, true AS is_fresh
    FROM unit
    UNION
    SELECT source, stream, submitter, judged, nights, false
    FROM unit JOIN lake.ops.alarm USING (source, stream)
    WHERE alarm.submitter_code = unit.submitter AND state <> 'closed' AND cause = 'habit'
        AND kind <> 'clock'),
tried AS (
    SELECT trial.*, arrival.night, isodow(arrival.night) AS weekday, share FROM trial
    JOIN arrival USING (source, stream, submitter) JOIN night USING (night)
    LEFT JOIN alarmed ON alarmed.source = trial.source AND alarmed.stream = trial.stream
        AND alarmed.submitter = trial.submitter AND alarmed.night = arrival.night AND NOT is_clock
    WHERE arrival.night <= judged AND share > 0
        AND (alarmed.night IS NULL OR NOT is_fresh OR arrival.night = judged)
    QUALIFY row_number() OVER (PARTITION BY trial.source, trial.stream, trial.submitter, size,
        is_fresh ORDER BY arrival.night DESC) <= size),
span AS (
    SELECT source, stream, submitter, size, is_fresh, min(night) AS since FROM tried
    GROUP BY ALL HAVING max(night) = any_value(judged) AND count(*) = size),
newest AS (
    SELECT span.source, span.stream, span.submitter, size, is_fresh, measure,
        isodow(counted.night) AS weekday, arg_max(seen, counted.night, {per_weekday}) AS seen
    FROM span JOIN counted USING (source, stream, submitter) JOIN night USING (night)
    ANTI JOIN alarmed ON alarmed.source = span.source AND alarmed.stream = span.stream
        AND alarmed.submitter = span.submitter AND alarmed.night = counted.night AND NOT is_clock
    WHERE counted.night < since AND share = 1 AND (measure = 'changed' OR size = 1)
    GROUP BY ALL),
usual AS (
    SELECT * EXCLUDE (seen), list_median(seen) AS middle,
        middle + {outlier} * greatest(1.4826 * list_mad(seen), sqrt(middle), 1) AS most,
        list_transform(seen, lambda one: least(one, most)) AS seen
    FROM newest),
habit AS (
    SELECT source, stream, submitter, size, is_fresh, measure, weekday, len(seen) AS n,
        list_avg(seen) AS mean, list_var_pop(seen) * n AS squares
    FROM usual),
spread AS (
    SELECT source, stream, submitter, size, is_fresh, measure,
        sum(squares / mean) FILTER (mean > 0) AS pearson,
        sum(n - 1) FILTER (mean > 0)::DOUBLE AS freedom
    FROM habit GROUP BY ALL),
expected AS (
    SELECT source, stream, submitter, size, is_fresh, measure, weekday,
        sum(seen) AS seen, sum(share) * any_value(mean) AS expected, count(*) AS nights,
        any_value(n) AS n
    FROM tried JOIN counted USING (source, stream, submitter, night)
    JOIN habit USING (source, stream, submitter, size, is_fresh, measure, weekday)
    GROUP BY ALL)
SELECT source, stream, submitter, size, is_fresh, measure, since, sum(seen) AS seen,
    sum(expected) AS expected, sum(expected * (1 + nights / n)) AS variance,
    pearson, freedom, any_value(
        sent.rows > 0 OR sent.files > 0 OR (strategy IN ('checksum', 'cursor') AND submitter = '')
    ) AS is_read
FROM expected JOIN span USING (source, stream, submitter, size, is_fresh)
JOIN spread USING (source, stream, submitter, size, is_fresh, measure)
JOIN unit USING (source, stream, submitter)
JOIN arrival AS sent USING (source, stream, submitter)
WHERE sent.night = judged AND (measure = 'changed' OR strategy IN ('snapshot', 'files', 'mailbox'))
GROUP BY ALL
HAVING sum(nights) = size AND min(n) >= {least} AND coalesce(freedom, 0) >= {freedom}
"""


def _volumes(connection: duckdb.DuckDBPyConnection) -> tuple[list[Finding], set[Unit]]:
    """Too little, nothing at all and the most unlikely first; and the units that were judged."""
    tried = connection.execute(
        VOLUMES.format(
            windows=list(CHANCES),
            per_weekday=NIGHTS_PER_WEEKDAY,
            outlier=OUTLIER,
            least=LEAST_PER_WEEKDAY,
            freedom=LEAST_FREEDOM,
        )
    ).to_arrow_table()
    judged = {Unit(*key) for key in _rows(tried, "source", "stream", "submitter")}
    number = {name: tried[name].to_numpy() for name in
              ("seen", "expected", "variance", "pearson", "freedom")}  # fmt: skip
    chance = chance_of_so_little(**number)
    limit = np.array([CHANCES[size] for size in tried["size"].to_pylist()])
    is_little = (chance < limit) & (number["seen"] <= THIN * number["expected"])
    told = {"chance": pa.array(chance), "came": pa.array(number["seen"] > 0)}
    for name, values in told.items():
        tried = tried.append_column(name, values)
    little = tried.filter(pa.array(is_little)).sort_by(
        [("came", "ascending"), ("chance", "ascending")]
    )
    return [_little(row) for row in little.to_pylist()], judged


def chance_of_so_little(
    seen: np.ndarray,
    expected: np.ndarray,
    variance: np.ndarray,
    pearson: np.ndarray,
    freedom: np.ndarray,
) -> np.ndarray:
    """P(X ≤ seen) of a negative binomial X of mean `expected`, elementwise; 1 where nothing is
    expected.

    `variance` is that of a Poisson count including what is uncertain in its mean. It is multiplied
    by how much more the unit varies (Pearson's chi-square by its degrees of freedom), taken at its
    95 % upper limit, and never by less than 1.
    """
    from scipy.special import betainc, chdtri

    dispersion = np.maximum(1, pearson / chdtri(freedom, 1 - UPPER))
    total = np.maximum(variance * dispersion, expected * 1.0001)
    with np.errstate(divide="ignore", invalid="ignore"):
        size = expected**2 / (total - expected)
        chance = betainc(size, seen + 1, expected / total)
    return np.where(expected > 0, chance, 1.0)


def _little(row: dict[str, Any]) -> Finding:
    """Nothing at all is missing; nothing new although rows came is frozen; else it is thin."""
    kind: Kind = "thin"
    if row["measure"] == "changed" and row["seen"] == 0:
        kind = "frozen" if row["is_read"] else "missing"
    elif row["seen"] == 0:
        kind = "missing"
    return Finding(Unit(row["source"], row["stream"], row["submitter"]), kind, "habit",
                   row["since"], row["size"], round(row["expected"], 1), row["seen"],
                   row["chance"])  # fmt: skip


CLOCKS = """
WITH stamped AS (
    SELECT source, stream, submitter, night, judged, changed,
        epoch(night + INTERVAL 1 DAY - newest_at) / 3600 AS behind,
        epoch(night + INTERVAL 1 DAY - middle_at) / 3600 AS middle
    FROM arrival JOIN unit USING (source, stream, submitter) JOIN night USING (night)
    WHERE changed >= {rows} AND newest_at IS NOT NULL AND share > 0),
usual AS (
    SELECT * FROM stamped ANTI JOIN (FROM alarmed WHERE is_clock) AS odd
        USING (source, stream, submitter, night)
    WHERE night < judged
    QUALIFY row_number() OVER (PARTITION BY source, stream, submitter ORDER BY night DESC)
        <= {lookback}),
habit AS (
    SELECT source, stream, submitter,
        median(behind) AS behind_usual, max(behind) AS behind_most,
        greatest({hours}, max(behind) - min(behind)) AS behind_play,
        median(middle) AS middle_usual, min(middle) AS middle_least,
        greatest({hours}, max(middle) - min(middle)) AS middle_play
    FROM usual GROUP BY ALL HAVING count(*) >= {nights})
SELECT source, stream, submitter, night, behind > behind_most + behind_play AS is_behind,
    middle < middle_least - middle_play AS is_ahead, behind, behind_usual, middle, middle_usual
FROM stamped JOIN habit USING (source, stream, submitter) WHERE night = judged
"""


def _clocks(connection: duckdb.DuckDBPyConnection) -> tuple[list[Finding], set[Unit]]:
    """Stamps that are all older than they ever were, or half of them newer, by more than the
    habit's own range; and the units that could be judged.

    A single wrong stamp in the future moves neither: of the future the median is asked.
    """
    rows = connection.execute(
        CLOCKS.format(
            rows=STAMPED_ROWS,
            lookback=STAMPED_LOOKBACK,
            nights=STAMPED_NIGHTS,
            hours=LEAST_HOURS,
        )
    ).fetchall()
    found, judged = [], set()
    for *key, night, is_behind, is_ahead, behind, behind_usual, middle, middle_usual in rows:
        unit = Unit(*key)
        judged.add(unit)
        if is_behind or is_ahead:
            usual, seen = (behind_usual, behind) if is_behind else (middle_usual, middle)
            found.append(Finding(unit, "clock", "habit", night, 1, round(usual, 1), round(seen, 1)))
    return found, judged


def _rows(table: pa.Table, *names: str) -> Iterable[tuple[Any, ...]]:
    return zip(*(table[name].to_pylist() for name in names), strict=True)
