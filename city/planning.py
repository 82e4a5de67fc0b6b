"""Simreda's tables: units, the code lists of two regulations, the plans, the chain of proposals.

An RW's proposal is forwarded to the kelurahan (about 60 %), the kecamatan (50 % of those) and the
city (40 % of those). Simreda's schema, its fourth level and all amounts are assumed; the codes are
law.
"""

import csv
import gzip
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from city.places import REFERENCE, city_map, settings
from city.sql import CHOSEN, STAMP, Con, Rng, column, feeding, money, picked, untouched, value

PROPOSALS_PER_RESIDENT = 9000 / 356_629  # of all proposal years together
LEAST_PROPOSALS = 900


def draw_up(con: Con, rng: Rng, residents: int, today: date) -> None:
    """Fills every Simreda table as of today."""
    known = settings("planning")
    proposals = max(LEAST_PROPOSALS, round(residents * PROPOSALS_PER_RESIDENT))
    _write_units(con, known["units"])
    _write_codes(con)
    _write_programmes(con, rng, known)
    _write_indicators(con, rng, known)
    _write_yearly(con, rng, known)
    _write_proposals(con, rng, known, proposals)
    _forward_all(con, rng, today)


def _write_units(con: Con, units: list[list[Any]]) -> None:
    """`ref_unit`, and table unit_field: the fields of government each unit plans for."""
    columns = {
        "n": range(1, len(units) + 1),
        "bidang": [unit[0] for unit in units],
        "name": [unit[1] for unit in units],
        "agency": [unit[2] for unit in units],
        "fields": [[unit[0], *(unit[3] if len(unit) > 3 else [])] for unit in units],
    }
    with feeding(con, "unit", columns):
        con.execute(
            """
            INSERT INTO sound.ref_unit
            SELECT n, n, replace(bidang, '.', '')::INT, bidang || '.' || printf('%02d', place),
                name, agency
            FROM (SELECT *, row_number() OVER (PARTITION BY bidang ORDER BY n) AS place FROM unit)
            """
        )
        con.execute(
            "CREATE TABLE unit_field AS SELECT n AS id_unit, unnest(fields) AS bidang FROM unit"
        )


def _write_codes(con: Con) -> None:
    """Programmes and activities as the lists have them, line breaks and blanks included."""
    lists = {
        "permendagri13": ("permendagri13_program_kegiatan.tsv.gz", 10),
        "permendagri90": ("permendagri90_subkegiatan_kabkota.tsv.gz", 12),
    }
    lines: dict[tuple[str, str], tuple[str, str]] = {}
    for regulation, (name, length) in lists.items():
        path = REFERENCE / "planning_codes" / name
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, delimiter="\t"):
                of_activity = (row["program"], row["kegiatan"])
                lines.setdefault((regulation, row["kode"][:length]), of_activity)
    columns = {
        "n": range(1, len(lines) + 1),
        "regulation": [regulation for regulation, _ in lines],
        "code": [code for _, code in lines],
        "program": [program for program, _ in lines.values()],
        "activity": [activity for _, activity in lines.values()],
    }
    with feeding(con, "line", columns):
        con.execute(
            """
            INSERT INTO sound.ref_program
            WITH programme AS (
                SELECT regulation, code[:7] AS code, arg_min(program, n) AS name,
                    row_number() OVER (ORDER BY min(n)) AS id
                FROM line GROUP BY regulation, code[:7]
            )
            SELECT id, id, coalesce(TRY_CAST(replace(code[:4], '.', '') AS INT), 0), code,
                regulation, name
            FROM programme
            """
        )
        con.execute(
            """
            INSERT INTO sound.ref_kegiatan
            SELECT n, n, id_program, code, activity FROM line
            JOIN sound.ref_program ON peraturan = regulation AND kd_program = code[:7]
            """
        )


def _write_programmes(con: Con, rng: Rng, known: dict[str, Any]) -> None:
    """RPJMD: every unit's programmes in the codes of Permendagri 90, with five yearly ceilings."""
    ours = " AND ".join(f"NOT contains(uraian_program, '{word}')" for word in known["elsewhere"])
    programmes = con.execute(
        f"""
        SELECT DISTINCT id_program::INT AS id_program, id_unit, uraian_program AS name
        FROM sound.ref_program
        JOIN unit_field ON kd_program[:4] = bidang OR kd_program = 'X.XX.01'
        WHERE peraturan = 'permendagri90' AND {ours}
        ORDER BY id_unit, id_program
        """
    ).fetchnumpy()
    count, first = len(programmes["name"]), known["rpjmd_first_year"]
    ceiling = rng.lognormal(20.5, 1.1, (count, 1)) * rng.uniform(0.85, 1.25, (count, 5))
    yearly = (ceiling / 1e5).round() * 1e5
    columns = {
        "n": range(1, count + 1),
        **programmes,
        **{f"year{i + 1}": money(yearly[:, i]) for i in range(5)},
        "total": money(yearly.sum(axis=1)),
        "state": rng.choice([1, 2, 0], count, p=[0.7, 0.25, 0.05]),
        "changed": rng.integers(0, 1200, count),
    }
    with feeding(con, "programme", columns):
        con.execute(
            f"""
            INSERT INTO sound.trx_rpjmd_program
            SELECT n, n, {first}, id_program, id_unit, name, year1, year2, year3, year4, year5,
                total, state,
                strftime(TIMESTAMP '{first}-02-15 09:00:00' + to_days((n % 20)::INT), {STAMP}),
                strftime(TIMESTAMP '{first}-03-20 09:00:00' + to_days(changed::INT), {STAMP})
            FROM programme
            """
        )


def _write_indicators(con: Con, rng: Rng, known: dict[str, Any]) -> None:
    """Two or three indicators of each programme, with targets that rise from the baseline."""
    kinds, first = known["indicators"], known["rpjmd_first_year"]
    programmes = con.execute(
        "SELECT row_id, uraian_program_rpjmd AS name FROM sound.trx_rpjmd_program ORDER BY row_id"
    ).fetchnumpy()
    of = np.repeat(np.arange(len(programmes["name"])), rng.integers(2, 4, len(programmes["name"])))
    count = len(of)
    kind = rng.integers(0, len(kinds), count)
    low, high = np.array([k[3:5] for k in kinds], dtype=float)[kind].T
    start = rng.uniform(low, (low + high) / 2)
    rise = np.linspace(0.1, 0.95, 5) * rng.uniform(0.6, 1, (count, 1))
    targets = start[:, None] + (high - start)[:, None] * rise
    subjects = [name.removeprefix("PROGRAM ").lower().strip() for name in programmes["name"]]
    columns = {
        "n": range(1, count + 1),
        "programme": programmes["row_id"][of],
        "name": [kinds[k][0].format(subjects[p]) for k, p in zip(kind, of, strict=True)],
        "benchmark": picked([k[1] for k in kinds], kind),
        "unit": picked([k[2] for k in kinds], kind),
        "start": money(start),
        **{f"year{i + 1}": money(targets[:, i]) for i in range(5)},
        "changed": rng.integers(0, 1200, count),
    }
    with feeding(con, "indicator", columns):
        con.execute(
            f"""
            INSERT INTO sound.trx_rpjmd_program_indikator
            SELECT n, n, programme, name, benchmark, unit, start,
                year1, year2, year3, year4, year5, year5,
                strftime(TIMESTAMP '{first}-03-21 10:00:00' + to_days(changed::INT), {STAMP})
            FROM indicator
            """
        )


def _write_yearly(con: Con, rng: Rng, known: dict[str, Any]) -> None:
    """RKPD drafts: in the RPJMD's years from its programmes, before them from the list in force."""
    rkpd, first = known["rkpd"], known["rpjmd_first_year"]
    for year in range(rkpd["first_year"], rkpd["last_year"] + 1):
        planned, regulation = year >= first, "permendagri13"
        if year >= known["new_codes_from"]:
            regulation = "permendagri90"
        source = (
            f"""SELECT row_id, id_program, uraian_program_rpjmd AS name, row_id AS id_rpjmd,
                pagu_tahun{year - first + 1}::DOUBLE AS ceiling FROM sound.trx_rpjmd_program"""
            if planned
            else f"""SELECT row_id, id_program, uraian_program AS name, NULL AS id_rpjmd,
                NULL AS ceiling FROM sound.ref_program
                WHERE peraturan = '{regulation}' AND kd_program NOT LIKE '%.00'"""
        )
        rows = column(con, f"SELECT row_id FROM ({source})")
        count = min(rkpd["rows_per_year"], len(rows))
        columns = {
            "row_id": np.sort(rng.choice(rows, count, replace=False)),
            "position": range(1, count + 1),
            "own_ceiling": rng.lognormal(20.3, 1.0, count),
            "factor": rng.uniform(0.8, 1.1, count),
            "state": rng.choice([0, 1, 2, 3], count, p=[0.8, 0.12, 0.04, 0.04]),
            "origin": rng.choice([0, 1], count, p=[0.85, 0.15]),
        }
        with feeding(con, "draft", columns):
            con.execute(
                f"""
                INSERT INTO sound.trx_rkpd_rancangan
                WITH numbered AS (
                    SELECT *, round(coalesce(ceiling, own_ceiling), -5) AS amount, position
                        + (SELECT count(*) FROM sound.trx_rkpd_rancangan) AS id
                    FROM draft JOIN ({source}) USING (row_id)
                )
                SELECT id, id, {year}, id_rpjmd, id_program, name, amount::DECIMAL(20, 2),
                    round(amount * factor, -5)::DECIMAL(20, 2), state, 1, origin
                FROM numbered
                """
            )


def _write_proposals(con: Con, rng: Rng, known: dict[str, Any], count: int) -> None:
    """Proposals of the RW; those not forwarded later are still in process, but for a quarter."""
    kinds, city = known["proposals"], city_map()
    likely = 1 / np.arange(3, len(kinds) + 3)
    kind = rng.choice(len(kinds), count, p=likely / likely.sum())
    rw = np.sort(rng.choice(len(city.weight), count))
    low, high, cheap, dear = np.array([k[4:8] for k in kinds], dtype=float)[kind].T
    latitude, longitude = city.near(rng, rw)
    rt = 1 + (rng.random(count) * city.rt_count[rw]).astype(int)
    where = [f"RT {t:02d} RW {city.rw[r]:02d}" for t, r in zip(rt, rw, strict=True)]
    columns = {
        "n": range(1, count + 1),
        "year": rng.choice(known["proposal_years"], count),
        "rw_index": rw,
        "code": picked([k[0] for k in kinds], kind),
        "title": [kinds[k][1].format(w) for k, w in zip(kind, where, strict=True)],
        "condition": picked([k[2] for k in kinds], kind),
        "unit": picked([k[3] for k in kinds], kind),
        "volume": np.round(rng.uniform(low, high + 0.99)).clip(low, high),
        "price": np.round(rng.uniform(cheap, dear) / 500) * 500,
        "rt": rt,
        "latitude": latitude,
        "longitude": longitude,
        "located": rng.random(count),
        "sent": rng.random(count) < 0.25,
    }
    with feeding(con, "proposal", columns):
        con.execute(
            """
            INSERT INTO sound.trx_musrendes_rw
            SELECT n, n, year, bps_code, id_kegiatan, title, condition, unit,
                volume::DECIMAL(20, 2), price::DECIMAL(20, 2), (volume * price)::DECIMAL(20, 2),
                if(sent, 1, 0), printf('%03d', p.rt), printf('%03d', rw.rw),
                CASE WHEN located < 0.6 THEN printf('%.6f', latitude)
                    WHEN located < 0.8 THEN '' END,
                CASE WHEN located < 0.6 THEN printf('%.6f', longitude)
                    WHEN located < 0.8 THEN '' END
            FROM proposal p JOIN rw USING (rw_index)
            JOIN sound.ref_kegiatan ON kd_kegiatan = code
            """
        )


@dataclass(frozen=True)
class Level:
    """A level of the chain: the table it takes proposals from, that table's columns of volume and
    price, (SQL) the place a row belongs to, and the share it takes."""

    parent: str
    volume: str
    price: str
    place: str
    share: float


# The place: the kelurahan's BPS code; the kecamatan's, its first seven digits; the activity's unit.
LEVELS = {
    "trx_musrendes": Level("trx_musrendes_rw", "volume", "harga_satuan", "parent.id_desa", 0.6),
    "trx_musrencam": Level("trx_musrendes", "volume_desa", "harga_desa", "parent.id_desa[:7]", 0.5),
    "trx_musrenkot": Level("trx_musrencam", "volume_cam", "harga_cam", "unit.id_unit", 0.4),
}


def _forward_all(con: Con, rng: Rng, today: date) -> None:
    """Level by level, each decided in the weeks after the one below."""
    for number, (table, level) in enumerate(LEVELS.items()):
        willing = "" if number == 0 else "WHERE status_pelaksanaan IN ('0', '1')"
        rows = column(con, f"SELECT row_id FROM sound.{level.parent} {willing}")
        count = round(level.share * value(con, f"SELECT count(*) FROM sound.{level.parent}"))
        taken = np.sort(rng.choice(rows, count, replace=False))
        weeks_ago = rng.integers(110 - 40 * number, 140 - 40 * number, count)
        forward(con, rng, table, taken, today, weeks_ago)


def forward(
    con: Con, rng: Rng, table: str, parents: np.ndarray, day: date, days_ago: np.ndarray
) -> None:
    """Takes these rows of the level below up into `table`: accepted, accepted with less, merged or
    refused, `days_ago` before `day` (for a proposal of an earlier year, in that year)."""
    level, count = LEVELS[table], len(parents)
    columns = {
        "parent_id": parents,
        "position": range(1, count + 1),
        "state": rng.choice([0, 1, 2, 3], count, p=[0.62, 0.2, 0.06, 0.12]),
        "factor": rng.uniform(0.5, 0.95, count),
        "ago": days_ago * 86400 + rng.integers(0, 40000, count),
    }
    with feeding(con, "taken", columns):
        con.execute(
            f"""
            INSERT INTO sound.{table}
            WITH received AS (
                SELECT position + (SELECT coalesce(max(row_id), 0) FROM sound.{table}) AS id,
                    parent.row_id, parent.tahun_musren AS year, {level.place} AS place,
                    parent.id_kegiatan, parent.uraian_aktivitas_kegiatan AS title, state,
                    parent.{level.volume}::DECIMAL(20, 2) AS volume_before,
                    parent.{level.price}::DECIMAL(20, 2) AS price,
                    if(state = 1, greatest(1, round(volume_before * factor)), volume_before)
                        ::DECIMAL(20, 2) AS volume,
                    strftime(TIMESTAMP '{day} 19:00:00' - to_seconds(ago)
                        - to_years(greatest({day.year} + 1 - year::INT, 0)), {STAMP}) AS decided_at
                FROM taken
                JOIN sound.{level.parent} parent ON parent.row_id = parent_id
                LEFT JOIN sound.ref_kegiatan k ON k.id_kegiatan = parent.id_kegiatan
                LEFT JOIN (SELECT bidang, min(id_unit) AS id_unit FROM unit_field GROUP BY ALL) unit
                    ON bidang = kd_kegiatan[:4]
            )
            SELECT id, id, row_id, year, place, id_kegiatan, title, volume_before, price, volume,
                price, (volume * price)::DECIMAL(20, 2), state, decided_at, decided_at
            FROM received
            """
        )
    if table == "trx_musrendes":
        sent = "UPDATE sound.trx_musrendes_rw SET status_usulan = '1' WHERE row_id"
        con.execute(f"{sent} {CHOSEN}", [parents.tolist()])


def move_on(con: Con, rng: Rng, residents: int, day: date) -> None:
    """A day of musrenbang: RW withdraw or send proposals, kelurahan take some up, refuse some."""
    daily = max(1, round(residents * 6 / 356_629))
    waiting = column(
        con,
        f"""
        SELECT row_id FROM sound.trx_musrendes_rw
        WHERE status_usulan = '0' AND row_id IN ({untouched("trx_musrendes_rw")})
        """,
    )
    chosen = rng.permutation(waiting)[: 3 * daily]
    withdrawn, sent, taken = chosen[:daily], chosen[daily : 2 * daily], chosen[2 * daily :]
    undecided = column(
        con,
        f"""
        SELECT row_id FROM sound.trx_musrendes
        WHERE status_pelaksanaan = '0' AND row_id IN ({untouched("trx_musrendes")})
            AND row_id NOT IN (SELECT id_usulan_desa::BIGINT FROM sound.trx_musrencam)
        """,
    )
    refused = rng.permutation(undecided)[:daily]
    for statement, rows in (
        ("DELETE FROM sound.trx_musrendes_rw", withdrawn),
        ("UPDATE sound.trx_musrendes_rw SET status_usulan = '1'", sent),
        (
            "UPDATE sound.trx_musrendes SET status_pelaksanaan = '3',"
            f" updated_at = '{day} 14:30:00'",
            refused,
        ),
    ):
        con.execute(f"{statement} WHERE row_id {CHOSEN}", [rows.tolist()])
    forward(con, rng, "trx_musrendes", taken, day, np.zeros(len(taken), dtype=int))
