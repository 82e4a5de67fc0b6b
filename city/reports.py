"""Citizens' reports: each has a planned course; the inbox shows it as far as it has come.

Table `report` of the truth plans the times a report is verified, processed and finished or refused.
Delays follow SP4N-LAPOR's limits (3 and 5 working days) loosely; shares are assumed; texts are
ours.
"""

from datetime import date

import numpy as np

from city.places import city_map, settings
from city.sql import Con, Rng, column, feeding

REPORTS_PER_RESIDENT = 12_000 / 356_629  # a year
LEAST_REPORTS = 800
FIRST_NUMBER = 9_165_816
ISO_STAMP = "'%Y-%m-%dT%H:%M:%S+07:00'"
DAY = 86400
NEVER = 100_000 * DAY


def create_tables(con: Con) -> None:
    """Tables `report` (a planned course per row) and `category`, and the inbox's services."""
    con.execute(
        """
        CREATE TABLE report (
            report_number BIGINT, reporter_key BIGINT, reporter_name VARCHAR,
            reporter_phone VARCHAR, category INT, text VARCHAR, place VARCHAR, rw_index INT,
            latitude DOUBLE, longitude DOUBLE, categorised BOOLEAN, type VARCHAR, channel VARCHAR,
            anonymous BOOLEAN, secret BOOLEAN, requested_at TIMESTAMP, verified_at TIMESTAMP,
            processed_at TIMESTAMP, finished_at TIMESTAMP, refused BOOLEAN, answer VARCHAR)
        """
    )
    known = settings("reports")["categories"]
    kept = ("code", "name", "description", "keywords", "group", "agency")
    columns = {name: [category[name] for category in known] for name in kept}
    with feeding(con, "written", {"category": range(len(known)), **columns}):
        con.execute("CREATE TABLE category AS FROM written")
    con.execute(
        """
        INSERT INTO sound.services
        SELECT category, code, name, description, keywords, "group" FROM category
        """
    )


def yearly(residents: int) -> int:
    return max(LEAST_REPORTS, round(residents * REPORTS_PER_RESIDENT))


def file(con: Con, rng: Rng, count: int, days: int, today: date) -> None:
    """Plans `count` reports of adult residents made in the last `days` days."""
    known, city = settings("reports"), city_map()
    adults = column(
        con,
        f"""
        SELECT person_key FROM person
        WHERE status = 'resident' AND birth_date < DATE '{today}' - 6600
        """,
    )
    weight = np.array([category["weight"] for category in known["categories"]], dtype=float)
    category = rng.choice(len(weight), count, p=weight / weight.sum())
    rw = rng.choice(len(city.weight), count, p=city.weight)
    latitude, longitude = city.near(rng, rw)
    rt = 1 + (rng.random(count) * city.rt_count[rw]).astype(int)
    street = rng.choice(settings("places")["streets"], count)
    spelling = rng.choice(
        ["RT {:02d} RW {:02d}", "RT {:03d}/RW {:03d}", "RT.{:03d}/RW.{:03d}"], count
    )
    where = [s.format(t, w) for s, t, w in zip(spelling, rt, city.rw[rw], strict=True)]
    texts = [category["texts"] for category in known["categories"]]
    text = [
        texts[c][int(chance * len(texts[c]))].format(place=s.title(), rt=w)
        for c, chance, s, w in zip(category, rng.random(count), street, where, strict=True)
    ]
    refused = rng.random(count) < 0.06
    verified = rng.exponential(1.2, count).clip(0.05, 12) * DAY
    worked = rng.exponential(2.5, count).clip(0.05, 60) * DAY
    processed = np.where(refused | (rng.random(count) < 0.07), NEVER, verified + worked)
    solved = processed + rng.exponential(7, count).clip(0.1, 150) * DAY
    finished = np.where(rng.random(count) < 0.05, NEVER, solved)
    columns = {
        "reporter_key": rng.choice(adults, count),
        "category": category,
        "text": text,
        "place": [f"{s} {w}" for s, w in zip(street, where, strict=True)],
        "rw_index": rw,
        "located": rng.random(count) < 0.75,
        "latitude": latitude.round(6),
        "longitude": longitude.round(6),
        "categorised": rng.random(count) > 0.37,
        "type": rng.choice(
            ["pengaduan", "aspirasi", "permintaan_informasi"], count, p=[0.8, 0.1, 0.1]
        ),
        "channel": rng.choice(
            ["app", "web", "whatsapp", "sms", "email"], count, p=[0.4, 0.15, 0.33, 0.09, 0.03]
        ),
        "anonymous": rng.random(count) < 0.18,
        "secret": rng.random(count) < 0.05,
        "ago": rng.integers(0, days, count),
        "second": rng.integers(18000, 72000, count),
        "verified": verified.astype(int),
        "processed": processed.astype(int),
        "finished": finished.astype(int),
        "refused": refused,
        "answer": np.where(refused, known["refusal"], rng.choice(known["answers"], count)),
    }
    with feeding(con, "drawn", columns):
        con.execute(
            f"""
            INSERT INTO report
            WITH timed AS (
                SELECT *, DATE '{today}' - ago::INT + to_seconds(second) AS requested_at FROM drawn
            ), numbered AS (
                SELECT *, row_number() OVER (ORDER BY requested_at, reporter_key) AS place_in_time
                FROM timed
            )
            SELECT coalesce((SELECT max(report_number) + 1 FROM report), {FIRST_NUMBER})
                    + place_in_time - 1,
                reporter_key, name, phone, category, text, place, rw_index,
                if(located, latitude, NULL), if(located, longitude, NULL),
                categorised, type, channel, anonymous, secret, requested_at,
                requested_at + to_seconds(verified), requested_at + to_seconds(processed),
                requested_at + to_seconds(finished), refused, answer
            FROM numbered JOIN person ON person_key = reporter_key
            """
        )


def advance(con: Con, day: date) -> None:
    """Brings the inbox to the end of this day; its rows are a function of the plan."""
    end = f"DATE '{day}' + INTERVAL 1 DAY"
    con.execute("DELETE FROM sound.requests")
    con.execute(
        f"""
        INSERT INTO sound.requests
        WITH course AS (
            SELECT report.*, list_filter([
                {{'state': 'belum_diverifikasi', 'at': requested_at}},
                {{'state': if(refused, 'ditolak', 'diverifikasi'), 'at': verified_at}},
                {{'state': 'diproses', 'at': processed_at}},
                {{'state': 'selesai', 'at': finished_at}}
            ], lambda step: step.at < {end}) AS history
            FROM report WHERE requested_at < {end}
        ), shown AS (
            SELECT *, history[-1].state AS state, history[-1].at AS updated_at,
                list_transform(history, lambda step: {{
                    'state': step.state, 'at': strftime(step.at, {ISO_STAMP})}}) AS steps
            FROM course
        )
        SELECT report_number, report_number,
            if(state IN ('selesai', 'ditolak'), 'closed', 'open'),
            if(state IN ('diproses', 'selesai', 'ditolak'), answer, NULL),
            if(categorised, category.name, NULL), if(categorised, code, NULL), text,
            if(state = 'belum_diverifikasi', NULL, agency),
            strftime(requested_at, {ISO_STAMP}), strftime(updated_at, {ISO_STAMP}),
            strftime(requested_at + INTERVAL 7 DAY, {ISO_STAMP}),
            place || ', ' || kelurahan_name, postcode, latitude, longitude,
            to_json({{
                'lapor_state': state, 'report_type': type, 'channel': channel,
                'is_anonymous': anonymous, 'is_secret': secret,
                'reporter_name': if(anonymous, NULL, reporter_name),
                'reporter_phone': reporter_phone,
                'reporter_email': if(channel = 'email', 'warga' || reporter_key || '@surel.example',
                    NULL),
                'history': steps}})
        FROM shown JOIN category USING (category) JOIN rw USING (rw_index)
        """
    )
