"""The camera inventory of all owners and its measured status (ZoneMinder's shape).

Owner, Installed and all shares are assumed.
"""

from datetime import date, timedelta

import numpy as np

from city.places import city_map, settings
from city.sql import STAMP, Con, Rng, column, feeding, untouched

STATUS = {"Connected": 0.80, "Running": 0.06, "NotRunning": 0.08, "Signal": 0.04, "Unknown": 0.02}
MEASURED_DAILY = 7


def install(con: Con, rng: Rng, today: date) -> None:
    """Fills `Monitors` and `Monitor_Status`; a third of the cameras is older than 2020."""
    known, city = settings("places"), city_map()
    owner = np.repeat(list(known["cameras"]), list(known["cameras"].values()))
    count = len(owner)
    rw = rng.choice(len(city.weight), count)
    latitude, longitude = city.near(rng, rw)
    old, young = rng.integers(2500, 3900, count), rng.integers(30, 2400, count)
    age = np.where(rng.random(count) < 0.33, old, young)
    columns = {
        "number": range(1, count + 1),
        "rw_index": rw,
        "site": rng.choice(known["camera_sites"], count),
        "function": rng.choice(["Monitor", "Modect", "None"], count, p=[0.62, 0.33, 0.05]),
        "latitude": latitude,
        "longitude": longitude,
        "owner": owner,
        "installed": [today - timedelta(days=int(days)) for days in age],
    }
    with feeding(con, "camera", columns):
        con.execute(
            """
            INSERT INTO sound.Monitors
            SELECT number, number,
                printf('%s %s RW %02d - %02d', site, upper(kelurahan_name), rw, number),
                function, if(function = 'None', 0, 1), printf('%.8f', latitude),
                printf('%.8f', longitude), '10.20.30.' || number,
                printf('/axis-media/%d.amp', number), owner, installed
            FROM camera JOIN rw USING (rw_index)
            """
        )
    _measure(con, rng, np.arange(1, count + 1), today)


def flicker(con: Con, rng: Rng, day: date) -> None:
    """A few cameras fail or recover and are measured anew."""
    numbers = column(con, untouched("Monitor_Status"))
    _measure(con, rng, np.sort(rng.choice(numbers, MEASURED_DAILY, replace=False)), day)


def _measure(con: Con, rng: Rng, numbers: np.ndarray, day: date) -> None:
    count = len(numbers)
    status = rng.choice(list(STATUS), count, p=list(STATUS.values()))
    live = np.isin(status, ["Connected", "Running"])
    columns = {
        "number": numbers,
        "status": status,
        "fps": np.where(live, rng.uniform(8, 25, count), 0),
        "analysis": np.where(status == "Connected", rng.uniform(5, 12, count), 0),
        "bandwidth": np.where(live, rng.integers(90_000, 900_000, count), 0),
        "second": 72000 - rng.integers(0, 900, count),
    }
    with feeding(con, "measured", columns):
        con.execute(
            "DELETE FROM sound.Monitor_Status WHERE row_id IN (SELECT number FROM measured)"
        )
        con.execute(
            f"""
            INSERT INTO sound.Monitor_Status
            SELECT number, number, status, fps::DECIMAL(10, 2), analysis::DECIMAL(5, 2), bandwidth,
                strftime(DATE '{day}' + to_seconds(second), {STAMP})
            FROM measured
            """
        )
