"""Simreda's tables: units, the code lists of two regulations, the plans, and the chain of proposals.

An RW's proposal is forwarded to the kelurahan (about 60 %), the kecamatan (50 % of those) and the city
(40 % of those). Simreda's schema, its fourth level and all amounts are assumed; the codes are law.
"""

import csv
import gzip
from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa

from city.places import REFERENCE, city_map, settings

PROPOSALS_PER_RESIDENT = 9000 / 356_629  # of all proposal years together
LEAST_PROPOSALS = 900
STAMP = "'%Y-%m-%d %H:%M:%S'"


def draw_up(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, residents: int, today: date) -> None:
    """Fills every Simreda table as of today."""
    known = settings("planning")
    _write_units(con, known["units"])
    _write_codes(con)
    _write_plans(con, rng, known, today)
    _write_proposals(con, rng, known, max(LEAST_PROPOSALS, round(residents * PROPOSALS_PER_RESIDENT)), today)


def _write_units(con: duckdb.DuckDBPyConnection, units: list[list]) -> None:
    """`ref_unit`, and table unit_field: the fields of government each unit plans for."""
    numbered = {
        "n": range(1, len(units) + 1),
        "bidang": [unit[0] for unit in units],
        "name": [unit[1] for unit in units],
        "agency": [unit[2] for unit in units],
        "fields": [[unit[0], *(unit[3] if len(unit) > 3 else [])] for unit in units],
    }
    con.register("unit", pa.table(numbered))
    con.execute(
        "INSERT INTO sound.ref_unit SELECT n, n, replace(bidang, '.', '')::INT,"
        " bidang || '.' || printf('%02d', row_number() OVER (PARTITION BY bidang ORDER BY n)), name, agency FROM unit ORDER BY n"
    )
    con.execute("CREATE TABLE unit_field AS SELECT n AS id_unit, unnest(fields) AS bidang FROM unit")
    con.unregister("unit")


def _write_codes(con: duckdb.DuckDBPyConnection) -> None:
    """Programmes and activities as the lists have them, line breaks and trailing blanks included."""
    lists = {
        "permendagri13": ("permendagri13_program_kegiatan.tsv.gz", 10),
        "permendagri90": ("permendagri90_subkegiatan_kabkota.tsv.gz", 12),
    }
    lines = {}
    for regulation, (name, length) in lists.items():
        with gzip.open(REFERENCE / "planning_codes" / name, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                lines.setdefault((regulation, row["kode"][:length]), (row["program"], row["kegiatan"]))
    con.register(
        "line",
        pa.table(
            {
                "n": range(1, len(lines) + 1),
                "regulation": [regulation for regulation, _ in lines],
                "code": [code for _, code in lines],
                "program": [program for program, _ in lines.values()],
                "activity": [activity for _, activity in lines.values()],
            }
        ),
    )
    con.execute(
        """
        INSERT INTO sound.ref_program
        SELECT id, id, coalesce(TRY_CAST(replace(code[:4], '.', '') AS INT), 0), code, regulation, program
        FROM (SELECT row_number() OVER (ORDER BY min(n)) AS id, regulation, code[:7] AS code, arg_min(program, n) AS program
              FROM line GROUP BY regulation, code[:7]) ORDER BY id
        """
    )
    con.execute(
        """
        INSERT INTO sound.ref_kegiatan
        SELECT n, n, id_program, code, activity FROM line
        JOIN sound.ref_program ON peraturan = regulation AND kd_program = code[:7] ORDER BY n
        """
    )
    con.unregister("line")


def _write_plans(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, known: dict, today: date) -> None:
    """RPJMD programmes of the units with their indicators, and the yearly drafts (RKPD)."""
    elsewhere = " AND ".join(f"NOT contains(uraian_program, '{word}')" for word in known["elsewhere"])
    programmes = con.execute(
        f"""
        SELECT DISTINCT id_program::INT AS id_program, id_unit, uraian_program AS name FROM sound.ref_program
        JOIN unit_field ON kd_program[:4] = bidang OR kd_program = 'X.XX.01'
        WHERE peraturan = 'permendagri90' AND {elsewhere} ORDER BY id_unit, id_program
        """
    ).fetchnumpy()
    count, first = len(programmes["name"]), known["rpjmd_first_year"]
    ceiling = (rng.lognormal(20.5, 1.1, count) / 1e6).round() * 1e6
    yearly = (ceiling[:, None] * rng.uniform(0.85, 1.25, (count, 5)) / 1e5).round() * 1e5
    changed = rng.integers(0, 1200, count)
    money = lambda values: [f"{value:.2f}" for value in values]  # noqa: E731
    con.register(
        "programme",
        pa.table(
            {
                "n": range(1, count + 1),
                **{name: pa.array(values) for name, values in programmes.items()},
                **{f"y{i + 1}": money(yearly[:, i]) for i in range(5)},
                "total": money(yearly.sum(axis=1)),
                "state": rng.choice([1, 2, 0], count, p=[0.7, 0.25, 0.05]),
                "changed": changed,
            }
        ),
    )
    con.execute(
        f"""
        INSERT INTO sound.trx_rpjmd_program
        SELECT n, n, {first}, id_program, id_unit, name, y1, y2, y3, y4, y5, total, state,
            strftime(TIMESTAMP '{first}-02-15 09:00:00' + to_days((n % 20)::INT), {STAMP}),
            strftime(TIMESTAMP '{first}-03-20 09:00:00' + to_days(changed::INT), {STAMP})
        FROM programme ORDER BY n
        """
    )
    con.unregister("programme")
    _write_indicators(con, rng, programmes["name"], known["indicators"], first)
    _write_yearly(con, rng, known, yearly)


def _write_indicators(
    con: duckdb.DuckDBPyConnection, rng: np.random.Generator, programmes: np.ndarray, kinds: list[list], first: int
) -> None:
    of = np.repeat(np.arange(len(programmes)), rng.integers(2, 4, len(programmes)))
    count = len(of)
    kind = rng.integers(0, len(kinds), count)
    low, high = np.array([[k[3], k[4]] for k in kinds], dtype=float)[kind].T
    start = rng.uniform(low, (low + high) / 2)
    targets = np.round(start[:, None] + (high - start)[:, None] * np.linspace(0.1, 0.95, 5) * rng.uniform(0.6, 1, (count, 1)), 2)
    columns = {
        "name": [kinds[k][0].format(programmes[p].removeprefix("PROGRAM ").lower().strip()) for k, p in zip(kind, of, strict=True)],
        "benchmark": [kinds[k][1] for k in kind],
        "unit": [kinds[k][2] for k in kind],
        "start": [f"{value:.2f}" for value in start],
        **{f"y{i + 1}": [f"{value:.2f}" for value in targets[:, i]] for i in range(5)},
        "changed": rng.integers(0, 1200, count),
    }
    con.register("indicator", pa.table({"n": range(1, count + 1), "programme": of + 1, **columns}))
    con.execute(
        f"""
        INSERT INTO sound.trx_rpjmd_program_indikator
        SELECT n, n, programme, name, benchmark, unit, start, y1, y2, y3, y4, y5, y5,
            strftime(TIMESTAMP '{first}-03-21 10:00:00' + to_days(changed::INT), {STAMP}) FROM indicator ORDER BY n
        """
    )
    con.unregister("indicator")


def _write_yearly(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, known: dict, yearly: np.ndarray) -> None:
    """RKPD rows: from the RPJMD in its years, before it from the code list in force."""
    rkpd, first = known["rkpd"], known["rpjmd_first_year"]
    plans = []
    for year in range(rkpd["first_year"], rkpd["last_year"] + 1):
        if year >= first:
            chosen = np.sort(rng.choice(len(yearly), min(rkpd["rows_per_year"], len(yearly)), replace=False))
            plans += [(year, int(n) + 1, None, float(yearly[n, min(year - first, 4)])) for n in chosen]
        else:
            regulation = "permendagri90" if year >= known["new_codes_from"] else "permendagri13"
            programmes = con.execute(
                f"SELECT row_id FROM sound.ref_program WHERE peraturan = '{regulation}' AND kd_program NOT LIKE '%.00' ORDER BY ALL"
            ).fetchnumpy()["row_id"]
            chosen = rng.choice(programmes, min(rkpd["rows_per_year"], len(programmes)), replace=False)
            plans += [(year, None, int(n), round(float(rng.lognormal(20.3, 1.0)) / 1e5) * 1e5) for n in np.sort(chosen)]
    year, from_rpjmd, from_list, ceiling = map(list, zip(*plans, strict=True))
    count = len(plans)
    con.register(
        "yearly",
        pa.table(
            {
                "n": range(1, count + 1),
                "year": year,
                "rpjmd": pa.array(from_rpjmd, pa.int64()),
                "program": pa.array(from_list, pa.int64()),
                "ceiling": [f"{c:.2f}" for c in ceiling],
                "draft": [f"{round(c * f / 1e5) * 1e5:.2f}" for c, f in zip(ceiling, rng.uniform(0.8, 1.1, count), strict=True)],
                "state": rng.choice([0, 1, 2, 3], count, p=[0.8, 0.12, 0.04, 0.04]),
                "origin": rng.choice([0, 1], count, p=[0.85, 0.15]),
            }
        ),
    )
    con.execute(
        """
        INSERT INTO sound.trx_rkpd_rancangan
        SELECT n, n, year, rpjmd, coalesce(program::VARCHAR, p.id_program), coalesce(p.uraian_program_rpjmd, uraian_program),
            ceiling, draft, state, 1, origin
        FROM yearly LEFT JOIN sound.trx_rpjmd_program p ON p.row_id = rpjmd LEFT JOIN sound.ref_program r ON r.row_id = program
        ORDER BY n
        """
    )
    con.unregister("yearly")


def _write_proposals(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, known: dict, count: int, today: date) -> None:
    kinds, city = known["proposals"], city_map()
    kind = rng.choice(len(kinds), count, p=1 / np.arange(3, len(kinds) + 3) / (1 / np.arange(3, len(kinds) + 3)).sum())
    rw = np.sort(rng.choice(len(city.weight), count))
    low, high, cheap, dear = np.array([k[4:8] for k in kinds], dtype=float)[kind].T
    volume = np.round(rng.uniform(low, high + 0.99)).clip(low, high)
    price = np.round(rng.uniform(cheap, dear) / 500) * 500
    latitude, longitude = city.near(rng, rw)
    rt = 1 + (rng.random(count) * city.rt_count[rw]).astype(int)
    located = rng.choice(["yes", "null", "blank"], count, p=[0.6, 0.22, 0.18])
    point = lambda values: [None if w == "null" else "" if w == "blank" else f"{v:.6f}" for v, w in zip(values, located, strict=True)]  # noqa: E731
    con.register(
        "proposal",
        pa.table(
            {
                "n": range(1, count + 1),
                "year": rng.choice(known["proposal_years"], count),
                "rw_index": rw,
                "code": [kinds[k][0] for k in kind],
                "title": [kinds[k][1].format(f"RT {t:02d} RW {city.rw[r]:02d}") for k, t, r in zip(kind, rt, rw, strict=True)],
                "condition": [kinds[k][2] for k in kind],
                "unit": [kinds[k][3] for k in kind],
                "volume": volume,
                "price": price,
                "rt": rt,
                "lat": point(latitude),
                "lang": point(longitude),
                "forwarded": rng.random(count) < 0.6,
                "waiting": rng.random(count) < 0.75,
            }
        ),
    )
    con.execute(
        """
        INSERT INTO sound.trx_musrendes_rw
        SELECT n, n, year, bps_code, id_kegiatan, title, condition, unit, volume::DECIMAL(20, 2), price::DECIMAL(20, 2),
            (volume * price)::DECIMAL(20, 2), if(waiting AND NOT forwarded, 0, 1), printf('%03d', p.rt), printf('%03d', rw.rw), lat, lang
        FROM proposal p JOIN rw USING (rw_index)
        JOIN sound.ref_kegiatan ON kd_kegiatan = code
        ORDER BY n
        """
    )
    forwarded = con.execute("SELECT n FROM proposal WHERE forwarded ORDER BY n").fetchnumpy()["n"]
    con.unregister("proposal")
    for table, share in (("trx_musrendes", None), ("trx_musrencam", 0.5), ("trx_musrenkot", 0.4)):
        if share is not None:
            willing = con.execute(
                f"SELECT row_id FROM sound.{LEVELS[table].parent} WHERE status_pelaksanaan IN ('0', '1') ORDER BY row_id"
            ).fetchnumpy()["row_id"]
            everyone = con.execute(f"SELECT count(*) FROM sound.{LEVELS[table].parent}").fetchone()[0]
            forwarded = np.sort(rng.choice(willing, round(everyone * share), replace=False))
        forward(con, rng, table, forwarded, today)


@dataclass(frozen=True)
class Level:
    """Where a level of the chain takes its proposals from: the parent's table, its columns of volume and
    price, and (SQL) the place a row belongs to."""

    parent: str
    volume: str
    price: str
    place: str


# The place: the kelurahan's BPS code, the kecamatan's (its first seven digits), the unit of the activity.
LEVELS = {
    "trx_musrendes": Level("trx_musrendes_rw", "volume", "harga_satuan", "parent.id_desa"),
    "trx_musrencam": Level("trx_musrendes", "volume_desa", "harga_desa", "parent.id_desa[:7]"),
    "trx_musrenkot": Level("trx_musrencam", "volume_cam", "harga_cam", "unit.id_unit"),
}


def forward(
    con: duckdb.DuckDBPyConnection, rng: np.random.Generator, table: str, parents: np.ndarray, day: date, days: int = 150
) -> None:
    """Takes these rows of the level below up into `table`, decided in the `days` before `day` (of the
    proposal's year before last for past years): accepted, accepted with less, merged or refused."""
    level, count = LEVELS[table], len(parents)
    con.register(
        "taken",
        pa.table(
            {
                "parent_id": parents,
                "position": range(count),
                "state": rng.choice([0, 1, 2, 3], count, p=[0.62, 0.2, 0.06, 0.12]),
                "factor": rng.uniform(0.5, 0.95, count),
                "ago": rng.integers(0, days, count) * 86400 + rng.integers(0, 40000, count),
            }
        ),
    )
    con.execute(
        f"""
        INSERT INTO sound.{table}
        WITH received AS (
            SELECT (SELECT coalesce(max(row_id), 0) FROM sound.{table}) + 1 + position AS id, parent.row_id, parent.tahun_musren AS year,
                {level.place} AS place, parent.id_kegiatan, parent.uraian_aktivitas_kegiatan AS title, state,
                parent.{level.volume}::DECIMAL(20, 2) AS volume_before, parent.{level.price}::DECIMAL(20, 2) AS price_before,
                if(state = 1, greatest(1, round(volume_before * factor)), volume_before)::DECIMAL(20, 2) AS volume_after,
                TIMESTAMP '{day} 19:00:00' - to_seconds(ago) - to_years(greatest({day.year} + 1 - year::INT, 0)) AS decided_at
            FROM taken JOIN sound.{level.parent} parent ON parent.row_id = parent_id
            LEFT JOIN sound.ref_kegiatan k ON k.id_kegiatan = parent.id_kegiatan
            LEFT JOIN (SELECT bidang, min(id_unit) AS id_unit FROM unit_field GROUP BY ALL) unit ON bidang = kd_kegiatan[:4]
        )
        SELECT id, id, row_id, year, place, id_kegiatan, title, volume_before, price_before, volume_after, price_before,
            (volume_after * price_before)::DECIMAL(20, 2), state, strftime(decided_at, {STAMP}), strftime(decided_at, {STAMP})
        FROM received ORDER BY id
        """
    )
    con.unregister("taken")


def move_on(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, residents: int, day: date) -> None:
    """A day of musrenbang: RW withdraw and send proposals, kelurahan take some up or decide anew."""
    daily = max(1, round(residents * 6 / 356_629))
    waiting = con.execute(
        f"""SELECT row_id FROM sound.trx_musrendes_rw WHERE status_usulan = '0' AND row_id NOT IN (SELECT row_id FROM bad.trx_musrendes_rw)
        AND row_id NOT IN (SELECT id_usulan_rw::BIGINT FROM sound.trx_musrendes) ORDER BY row_id"""
    ).fetchnumpy()["row_id"]
    chosen = rng.permutation(waiting)[: 3 * daily]
    withdrawn, sent, taken = chosen[:daily], chosen[daily : 2 * daily], chosen[2 * daily :]
    for statement, rows in (
        ("DELETE FROM sound.trx_musrendes_rw WHERE row_id", withdrawn),
        ("UPDATE sound.trx_musrendes_rw SET status_usulan = '1' WHERE row_id", np.concatenate([sent, taken])),
    ):
        con.execute(f"{statement} IN (SELECT unnest(?::BIGINT[]))", [rows.tolist()])
    forward(con, rng, "trx_musrendes", taken, day, days=1)
    undecided = con.execute(
        """SELECT row_id FROM sound.trx_musrendes WHERE status_pelaksanaan = '0' AND row_id NOT IN (SELECT row_id FROM bad.trx_musrendes)
        AND row_id NOT IN (SELECT id_usulan_desa::BIGINT FROM sound.trx_musrencam) ORDER BY row_id"""
    ).fetchnumpy()["row_id"]
    con.execute(
        f"""UPDATE sound.trx_musrendes SET status_pelaksanaan = '3', updated_at = '{day} 14:30:00'
        WHERE row_id IN (SELECT unnest(?::BIGINT[]))""",
        [rng.permutation(undecided)[:daily].tolist()],
    )
