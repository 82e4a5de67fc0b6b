"""Citizens' reports: each has a planned course; the inbox shows it as far as it has come.

Table `report` of the truth plans the times a report is verified, processed and finished or refused.
Delays follow SP4N-LAPOR's limits (3 and 5 working days) loosely; shares are assumed; texts are ours.
"""

from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from city.places import city_map, settings

REPORTS_PER_RESIDENT = 12_000 / 356_629  # a year
LEAST_REPORTS = 800
FIRST_NUMBER = 9_165_816
STAMP = "'%Y-%m-%dT%H:%M:%S+07:00'"


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        "CREATE TABLE report (report_number BIGINT, reporter_key BIGINT, reporter_name VARCHAR, reporter_phone VARCHAR,"
        " category INT, text VARCHAR, place VARCHAR, rw_index INT, latitude DOUBLE, longitude DOUBLE, categorised BOOLEAN,"
        " type VARCHAR, channel VARCHAR, anonymous BOOLEAN, secret BOOLEAN, requested_at TIMESTAMP, verified_at TIMESTAMP,"
        " processed_at TIMESTAMP, finished_at TIMESTAMP, refused BOOLEAN, answer VARCHAR)"
    )
    categories = settings("reports")["categories"]
    columns = ("code", "name", "description", "keywords", "group", "agency")
    con.register("category", pa.table({"category": range(len(categories)), **{c: [k[c] for k in categories] for c in columns}}))
    con.execute("CREATE TABLE category AS SELECT * FROM category ORDER BY category")
    con.unregister("category")
    con.execute('INSERT INTO sound.services SELECT category, code, name, description, keywords, "group" FROM category')


def yearly(residents: int) -> int:
    return max(LEAST_REPORTS, round(residents * REPORTS_PER_RESIDENT))


def file(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, count: int, days: int, today: date) -> None:
    """Plans `count` reports of adult residents made in the last `days` days."""
    known, city = settings("reports"), city_map()
    adults = con.execute(
        f"SELECT person_key FROM person WHERE status = 'resident' AND birth_date < DATE '{today}' - 6600 ORDER BY ALL"
    ).fetchnumpy()["person_key"]
    weight = np.array([category["weight"] for category in known["categories"]], dtype=float)
    category = rng.choice(len(weight), count, p=weight / weight.sum())
    rw = rng.choice(len(city.weight), count, p=city.weight / city.weight.sum())
    latitude, longitude = city.near(rng, rw)
    nowhere = rng.random(count) < 0.25
    street = rng.choice(settings("places")["streets"], count)
    rt = 1 + (rng.random(count) * city.rt_count[rw]).astype(int)
    spell = ["RT {:02d} RW {:02d}", "RT {:03d}/RW {:03d}", "RT.{:03d}/RW.{:03d}"]
    where = [spell[s].format(t, w) for s, t, w in zip(rng.integers(0, 3, count), rt, city.rw[rw], strict=True)]
    texts = [category["texts"] for category in known["categories"]]
    text = [
        texts[c][int(chance * len(texts[c]))].format(place=s.title(), rt=w)
        for c, chance, s, w in zip(category, rng.random(count), street, where, strict=True)
    ]
    refused = rng.random(count) < 0.06
    verified = rng.exponential(1.2, count).clip(0.05, 12) * 86400
    processed = np.where(rng.random(count) < 0.93, verified + rng.exponential(2.5, count).clip(0.05, 60) * 86400, 1e10)
    finished = np.where(refused, verified, np.where(rng.random(count) < 0.95, processed + rng.exponential(7, count).clip(0.1, 150) * 86400, 1e10))
    drawn = {
        "reporter_key": rng.choice(adults, count),
        "category": category,
        "text": text,
        "place": [f"{s} {w}" for s, w in zip(street, where, strict=True)],
        "rw_index": rw,
        "latitude": np.where(nowhere, np.nan, latitude.round(6)),
        "longitude": np.where(nowhere, np.nan, longitude.round(6)),
        "categorised": rng.random(count) > 0.37,
        "type": rng.choice(["pengaduan", "aspirasi", "permintaan_informasi"], count, p=[0.8, 0.1, 0.1]),
        "channel": rng.choice(["app", "web", "whatsapp", "sms", "email"], count, p=[0.4, 0.15, 0.33, 0.09, 0.03]),
        "anonymous": rng.random(count) < 0.18,
        "secret": rng.random(count) < 0.05,
        "ago": np.sort(rng.integers(0, days, count))[::-1].copy(),
        "second": rng.integers(18000, 72000, count),
        "verified": verified.astype(int),
        "processed": processed.astype(int),
        "finished": finished.astype(int),
        "refused": refused,
        "answer": np.where(refused, known["answers"][3], rng.choice(known["answers"][:3], count)),
    }
    con.register("drawn", pa.table(drawn))
    con.execute(
        f"""
        INSERT INTO report
        WITH timed AS (SELECT *, DATE '{today}' - ago::INT + to_seconds(second) AS requested_at FROM drawn)
        SELECT coalesce((SELECT max(report_number) FROM report), {FIRST_NUMBER - 1}) + row_number() OVER (ORDER BY requested_at, reporter_key),
            reporter_key, name, phone, category, text, place, rw_index,
            if(isnan(latitude), NULL, latitude), if(isnan(longitude), NULL, longitude),
            categorised, type, channel, anonymous, secret, requested_at, requested_at + to_seconds(verified),
            if(processed >= 1e10 OR refused, NULL, requested_at + to_seconds(processed)),
            if(finished >= 1e10, NULL, requested_at + to_seconds(finished)), refused, answer
        FROM timed JOIN person ON person_key = reporter_key ORDER BY requested_at, reporter_key
        """
    )
    con.unregister("drawn")


def advance(con: duckdb.DuckDBPyConnection, day: date) -> None:
    """Brings the inbox to the end of this day; its rows are a function of the plan."""
    con.execute("DELETE FROM sound.requests")
    con.execute(
        f"""
        INSERT INTO sound.requests
        WITH course AS (
            SELECT report.*, list_filter([
                {{'state': 'belum_diverifikasi', 'at': requested_at}},
                {{'state': if(refused, 'ditolak', 'diverifikasi'), 'at': verified_at}},
                {{'state': 'diproses', 'at': processed_at}},
                {{'state': 'selesai', 'at': if(refused, NULL, finished_at)}}
            ], lambda step: step.at < DATE '{day}' + INTERVAL 1 DAY) AS history
            FROM report WHERE requested_at < DATE '{day}' + INTERVAL 1 DAY
        ), shown AS (SELECT *, history[-1].state AS state, history[-1].at AS updated_at FROM course)
        SELECT report_number, report_number, if(state IN ('selesai', 'ditolak'), 'closed', 'open'),
            if(state IN ('diproses', 'selesai', 'ditolak'), answer, NULL), if(categorised, category.name, NULL), if(categorised, code, NULL),
            text, if(state = 'belum_diverifikasi', NULL, agency), strftime(requested_at, {STAMP}), strftime(updated_at, {STAMP}),
            strftime(requested_at + INTERVAL 7 DAY, {STAMP}), place || ', ' || kelurahan_name, postcode, latitude, longitude,
            to_json({{'lapor_state': state, 'report_type': type, 'channel': channel, 'is_anonymous': anonymous, 'is_secret': secret,
                'reporter_name': if(anonymous, NULL, reporter_name), 'reporter_phone': reporter_phone,
                'history': list_transform(history, lambda step: {{'state': step.state, 'at': strftime(step.at, {STAMP})}})}})
        FROM shown JOIN category USING (category) JOIN rw USING (rw_index) ORDER BY report_number
        """
    )
