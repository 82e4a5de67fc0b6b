"""Builds the sample city and lets its days pass."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import sqlalchemy as sa

from city import births, books, cameras, dirt, messages, people, planning, registry, reports, truth
from city.loading import apply, load_sqlite_extension, write_all
from city.places import create_rw_table
from city.sql import Con, Rng, quoted, value
from city.systems import DATABASES, Systems, create_mirrors, tables

FIRST_DAY = date(2026, 11, 23)
DEATHS, MOVES = 0.007, 0.02  # a year, per resident (assumed); as many move in as out
CORRECTIONS, REMOVALS = 0.0001, 0.0001  # a day, per resident (assumed)
NOTICE_DAYS, LEAST_NOTICES = 60, 60
LIMITS: dict[str, Any] = {
    "memory_limit": "2GB",
    "force_compression": "uncompressed",  # the truth is rewritten every day
    "preserve_insertion_order": False,  # every rule that depends on order states it
}


def build(
    home: Path, residents: int, seed: int, today: date = FIRST_DAY, systems: Systems | None = None
) -> None:
    """Builds a city of exactly `residents` living residents as of `today`: the legacy systems
    under `home/systems` (or at `systems`' URLs), the truth under `home/truth`. What was there
    before goes."""
    home = Path(home)
    for folder in ("systems", "truth"):
        shutil.rmtree(home / folder, ignore_errors=True)
        (home / folder).mkdir(parents=True)
    stream = _streams(seed, today)
    with duckdb.connect(config=LIMITS) as con:
        create_mirrors(con)
        create_rw_table(con)
        for part in (registry, births, reports, messages):
            part.create_tables(con)
        dead, moved = round(residents * DEATHS), round(residents * MOVES)
        drafted = people.draft(next(stream), residents + dead + moved, today)
        registry.settle(con, drafted, today, _days_of_births(residents))
        births.plan(con, next(stream), least_uncertified=16)
        registry.die(con, next(stream), dead, 365, today)
        registry.move_out(con, next(stream), moved, 365, today)
        births.advance(con, _first_notice(con, today), today)
        planning.draw_up(con, next(stream), residents, today)
        reports.file(con, next(stream), reports.yearly(residents), 365, today)
        reports.advance(con, today)
        cameras.install(con, next(stream), today)
        own = [fault for fault in dirt.faults() if fault.table == "resident_book"]
        others = [one for one in dirt.faults() if one not in own and one.by != "message"]
        dirt.soil(con, next(stream), today, others)
        books.copy(con, today)  # as the registry shows its residents
        dirt.soil(con, next(stream), today, own)
        messages.send(con, next(stream), today - timedelta(days=365), today)
        # The systems are written on one core while the truth is written on another.
        with ThreadPoolExecutor(1) as other:
            written = other.submit(write_all, con.cursor(), home, systems or Systems())
            truth.look(con)
            truth.write(con, home / "truth")
            con.execute(f"ATTACH {quoted(home / 'truth' / 'city.duckdb')} AS city")
            con.execute("COPY FROM DATABASE memory TO city")
            con.execute("DETACH city")
            written.result()
    _write_state(home, seed, residents, today)


def tomorrow(home: Path, systems: Systems | None = None) -> None:
    """Advances the city by one day. The systems change by the rows that change, and
    `truth/change_<day>.parquet` names every one of them."""
    home = Path(home)
    state = _state(home)
    residents, day = state["residents"], today(home) + timedelta(days=1)
    stream = _streams(state["seed"], day)

    def daily(share: float) -> int:
        return max(1, round(residents * share))

    with _city(home) as con:
        con.execute("BEGIN")
        registry.die(con, next(stream), daily(DEATHS / 365), 1, day)
        registry.move_out(con, next(stream), daily(MOVES / 365), 1, day)
        arriving = people.draft(next(stream), daily(MOVES / 365), day, moving_in=True)
        registry.settle(con, arriving, day, newborn_days=0)
        registry.correct(con, next(stream), daily(CORRECTIONS), day)
        registry.strike_off(con, next(stream), daily(REMOVALS))
        births.happen(con, next(stream), residents, day)
        births.advance(con, day, day)
        planning.move_on(con, next(stream), residents, day)
        reports.file(con, next(stream), max(1, round(reports.yearly(residents) / 365)), 1, day)
        reports.advance(con, day)
        cameras.flicker(con, next(stream), day)
        dirt.worsen_and_mend(con, next(stream), day)
        books.send_again(con, day)
        messages.send(con, next(stream), day - timedelta(days=1), day)
        truth.look(con)
        apply(con, home, systems or Systems())
        truth.write_changes(con, home / "truth", day)
        truth.write(con, home / "truth")
        con.execute("COMMIT")
    _write_state(home, state["seed"], residents, day)


def today(home: Path) -> date:
    """The city's own date."""
    return date.fromisoformat(_state(Path(home))["today"])


def connections(
    home: Path, open311_url: str | None = None, systems: Systems | None = None
) -> dict[str, str]:
    """Connection id to URL of every system; `report_inbox` only while its service runs
    (`serve_open311`)."""
    home, systems = Path(home).absolute(), systems or Systems()
    urls = {system: systems.url(home, system) for system in DATABASES if system != "report_inbox"}
    urls["report_sms"] = systems.url(home, "report_inbox")
    urls["report_mail"] = f"maildir://{home / 'systems' / 'surat'}"
    urls["brojol_drops"] = f"file://{home / 'systems' / 'hospital_drops'}"
    urls["kelurahan_books"] = f"file://{home / 'systems' / 'kelurahan_books'}"
    return urls | ({"report_inbox": open311_url} if open311_url else {})


def content_hashes(home: Path) -> dict[str, str]:
    """A hash of the content of every table of the embedded systems, whatever the order of its rows,
    of every file that is dropped and of every mail. Keys are `<system>.<table>`,
    `hospital_drops/<file>`, `kelurahan_books/<file>` or `surat/<file>`."""
    home = Path(home)
    hashes: dict[str, str] = {}
    with duckdb.connect() as con:
        load_sqlite_extension(con)
        for system in DATABASES:
            con.execute(
                f"ATTACH {quoted(sa.make_url(Systems().url(home, system)).database)} "
                f"AS source (TYPE sqlite, READ_ONLY)"
            )
            for table in tables():
                if table.system == system and not table.is_files:
                    values = ", ".join(
                        f"""coalesce("{column}"::VARCHAR, '\\N')""" for column in table.columns
                    )
                    row = f"md5_number_lower(concat_ws('|', {values}))"
                    hashes[f"{system}.{table.name}"] = value(
                        con,
                        f"""
                        SELECT count(*) || '-' || coalesce(sum({row}::HUGEINT), 0)
                        FROM source.{table.name}
                        """,
                    )
            con.execute("DETACH source")
    drops = home / "systems" / "hospital_drops"
    for path in sorted(drops.rglob("*.csv")):
        lines = sorted(path.read_bytes().splitlines())
        hashes[f"hospital_drops/{path.relative_to(drops)}"] = sha256(b"\n".join(lines)).hexdigest()
    for path in sorted((home / "systems" / "kelurahan_books").rglob("*.xlsx")):
        name = path.relative_to(home / "systems").as_posix()
        hashes[name] = sha256(path.read_bytes()).hexdigest()
    for path in sorted((home / "systems" / "surat" / "new").iterdir()):
        hashes[f"surat/{path.name}"] = sha256(path.read_bytes()).hexdigest()
    return hashes


def _days_of_births(residents: int) -> int:
    """How far back births are reported online: a year, in a small city up to five years, for it
    must have enough of them."""
    return max(365, min(5 * 365, round(365 * 10_000 / residents)))


def _first_notice(con: Con, today: date) -> date:
    """From when hospitals' files are kept: 60 days, or as long as it takes to have enough."""
    enough = value(
        con,
        f"""
        SELECT min(born_at)::DATE FROM (
            SELECT born_at FROM birth WHERE noticed AND born_at::DATE <= DATE '{today}'
            ORDER BY born_at DESC LIMIT {LEAST_NOTICES})
        """,
    )
    return min(today - timedelta(days=NOTICE_DAYS), enough)


def _streams(seed: int, day: date) -> Iterator[Rng]:
    """Independent random streams for the steps of one day."""
    step = 0
    while True:
        yield np.random.default_rng([seed, day.toordinal(), step])
        step += 1


@contextmanager
def _city(home: Path) -> Iterator[Con]:
    con = duckdb.connect(str(home / "truth" / "city.duckdb"), config=LIMITS)
    try:
        yield con
    finally:
        con.close()


def _state(home: Path) -> dict[str, Any]:
    held = json.loads((home / "city.json").read_text())
    return {"seed": int(held["seed"]), "residents": int(held["residents"]), "today": held["today"]}


def _write_state(home: Path, seed: int, residents: int, today: date) -> None:
    (home / "city.json").write_text(
        json.dumps({"seed": seed, "residents": residents, "today": today.isoformat()}) + "\n"
    )
