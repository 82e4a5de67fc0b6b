"""The camera inventory of all owners and its measured status (ZoneMinder's shape; Owner and Installed assumed)."""

from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from city.places import city_map, settings

# Status, its share, and the frames and bandwidth measured with it.
STATUS = {"Connected": 0.80, "Running": 0.06, "NotRunning": 0.08, "Signal": 0.04, "Unknown": 0.02}


def install(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, today: date) -> None:
    """Fills `Monitors` and `Monitor_Status`; a third of the cameras is older than 2020."""
    known, city = settings("places"), city_map()
    owner = np.repeat(list(known["cameras"]), list(known["cameras"].values()))
    count = len(owner)
    rw = rng.choice(len(city.weight), count)
    latitude, longitude = city.near(rng, rw)
    site = rng.choice(known["camera_sites"], count)
    number = np.arange(1, count + 1)
    age = np.where(rng.random(count) < 0.33, rng.integers(2500, 3900, count), rng.integers(30, 2400, count))
    function = rng.choice(["Monitor", "Modect", "None"], count, p=[0.62, 0.33, 0.05])
    text = lambda values, form="{}": [form.format(value) for value in values]  # noqa: E731
    con.register(
        "monitor",
        pa.table(
            {
                "row_id": number,
                "Id": text(number),
                "Name": [f"{s} {city.name[r].upper()} RW {city.rw[r]:02d} - {n:02d}" for s, r, n in zip(site, rw, number, strict=True)],
                "Function": function,
                "Enabled": text((function != "None").astype(int)),
                "Latitude": text(latitude, "{:.8f}"),
                "Longitude": text(longitude, "{:.8f}"),
                "Host": text(number, "10.20.30.{}"),
                "Path": text(number, "/axis-media/{}.amp"),
                "Owner": owner,
                "Installed": [date.fromordinal(today.toordinal() - int(days)).isoformat() for days in age],
            }
        ),
    )
    con.execute("INSERT INTO sound.Monitors SELECT * FROM monitor ORDER BY row_id")
    con.unregister("monitor")
    _measure(con, rng, number, today)


def flicker(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, day: date) -> None:
    """A few cameras fail or recover and are measured anew."""
    numbers = con.execute(
        "SELECT row_id FROM sound.Monitor_Status WHERE row_id NOT IN (SELECT row_id FROM bad.Monitor_Status) ORDER BY ALL"
    ).fetchnumpy()["row_id"]
    _measure(con, rng, np.sort(rng.choice(numbers, 7, replace=False)), day)


def _measure(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, numbers: np.ndarray, day: date) -> None:
    count = len(numbers)
    status = rng.choice(list(STATUS), count, p=list(STATUS.values()))
    live = np.isin(status, ["Connected", "Running"])
    con.register(
        "measured",
        pa.table(
            {
                "row_id": numbers,
                "status": status,
                "fps": np.where(live, rng.uniform(8, 25, count), 0),
                "analysis": np.where(status == "Connected", rng.uniform(5, 12, count), 0),
                "bandwidth": np.where(live, rng.integers(90_000, 900_000, count), 0),
                "second": 72000 - rng.integers(0, 900, count),
            }
        ),
    )
    con.execute("DELETE FROM sound.Monitor_Status WHERE row_id IN (SELECT row_id FROM measured)")
    con.execute(
        f"""INSERT INTO sound.Monitor_Status SELECT row_id, row_id, status, fps::DECIMAL(10, 2), analysis::DECIMAL(5, 2), bandwidth,
            strftime(DATE '{day}' + to_seconds(second), '%Y-%m-%d %H:%M:%S') FROM measured ORDER BY row_id"""
    )
    con.unregister("measured")
