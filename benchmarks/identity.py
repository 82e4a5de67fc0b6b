"""Who is who in the sample city, against its truth: ours, parts of ours switched off, and peers.

    .venv/bin/python -m benchmarks.identity --residents 20000
    .venv/bin/python -m benchmarks.identity --home var
    .venv/bin/python -m benchmarks.identity --dirt 0.05 0.1 0.2 --only ours --only NIK

Precision and recall are of pairs of mentions, over every record of core that speaks of a person.
Reporters of the inbox say a name and a phone that no other agency keeps; the pairs without them
stand beside. Thresholds come from the model (`transforms.identity.partition.CERTAIN`); nothing is
fitted to the truth, which only this file reads.

`--dirt SHARE` spoils every value of that share of all mentions outside the registry once more: a
letter lost or exchanged, a digit, a day, a number that is missing. `spellings` writes the words of
names as `spellings.yml` has them, which no rule has seen.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path

import duckdb
import ibis
import splink.comparison_library as cl
import yaml
from rich.console import Console
from rich.table import Table
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

from common import clock
from common.definition import load_sources
from common.settings import Settings
from tests.who import SAID_MORE, Agreement, agreement, give_truth
from transforms.identity import affected, matching, training
from transforms.identity.mentions import REGISTRY, as_written, standardised
from transforms.identity.model import COMPARISONS, Comparison
from transforms.identity.partition import CERTAIN, candidates, partition
from warehouse.catalog import attach, by_name, open_duckdb

SOURCES = ("civil_registry", "brojol", "report_inbox", "kelurahan")
MEMBERS = """
    FROM member
    UNION ALL SELECT mention_id, mention_id
    FROM (SELECT role || ':' || source_record_id AS mention_id FROM written)
    ANTI JOIN member USING (mention_id)"""
"""A record that says neither a name nor a number is no mention of ours, and a pair missed."""
Run = Callable[[duckdb.DuckDBPyConnection], str]


def main() -> None:
    chosen = _arguments()
    console = Console(width=120)
    with tempfile.TemporaryDirectory(prefix="muara-identity-") as folder:
        home = chosen.home or Path(folder)
        if not chosen.home:
            night(home, chosen.residents)
        settings = Settings(home=home)
        table = Table("way", "wall s", "pairs", "precision", "recall", "precision*", "recall*")
        worse = [("", 0.0, False), ("spellings ", 0.0, True)]
        worse += [(f"dirt {share} ", share, True) for share in chosen.dirt]
        for (level, share, spelt), (name, run) in product(worse, WAYS.items()):
            if chosen.only and not any(part in name for part in chosen.only):
                continue
            if level and name not in AT_EVERY_LEVEL:
                continue
            connection = _gathered(settings, share, spelt)
            began = time.monotonic()
            groups = run(connection)
            wall = time.monotonic() - began
            everyone = agreement(connection, groups)
            said_more = agreement(connection, groups, SAID_MORE)
            table.add_row(level + name, f"{wall:.1f}", _pairs(connection), *_shown(everyone),
                          *_shown(said_more))  # fmt: skip
            connection.close()
            console.print(f"  {level}{name}: {wall:.1f} s, {everyone}, {said_more}", style="dim")
        console.print(table)
        console.print("* without reporters, of whom only a name and a phone are known")


def _shown(found: Agreement) -> tuple[str, str]:
    return f"{found.precision:.5f}", f"{found.recall:.5f}"


def _pairs(connection: duckdb.DuckDBPyConnection) -> str:
    tables = {name for (name,) in connection.execute("SHOW TABLES").fetchall()}
    if "edge" not in tables:
        return ""
    return f"{connection.execute('SELECT count(*) FROM edge').fetchall()[0][0]:,}"


def night(home: Path, residents: int) -> None:
    environment = {**os.environ, "MUARA_HOME": str(home)}
    muara = [sys.executable, "-m", "muara"]
    for words in (
        ["city", "build", "--residents", str(residents)],
        *(["sync", name] for name in SOURCES),
    ):
        subprocess.run([*muara, *words], env=environment, check=True, capture_output=True)


def _gathered(settings: Settings, share: float, spelt: bool) -> duckdb.DuckDBPyConnection:
    """A connection with tables `mention`, `written` (the same as written) and `truth`."""
    connection = open_duckdb(settings)
    connection.execute(f"SET memory_limit = '{settings.linkage_memory_limit}B'")
    attach(connection, settings, read_only=True)
    connection.execute("USE memory.main")
    written = ibis.to_sql(as_written(by_name(connection)), dialect="duckdb")
    connection.execute(f"CREATE TABLE written AS {written}")
    if spelt:
        _spell(connection)
    if share:
        _spoil(connection, share)
    backend = ibis.duckdb.from_connection(connection)
    mentions = standardised(
        backend.table("written", database=("memory", "main")),
        ibis.literal(clock.today(settings)),
    )
    connection.execute(f"CREATE TABLE mention AS {ibis.to_sql(mentions, dialect='duckdb')}")
    connection.execute("CREATE TABLE decision (a VARCHAR, b VARCHAR, is_same BOOLEAN)")
    give_truth(connection, settings, load_sources(settings))
    return connection


NAMES = ("name", "mother_name", "father_name")
NUMBERS = ("nik", "mother_nik", "father_nik", "partner_nik", "household_number")


def _spell(connection: duckdb.DuckDBPyConnection) -> None:
    """Every word of `spellings.yml`, outside the registry, in one of its other spellings."""
    spellings = yaml.safe_load(Path(__file__).with_name("spellings.yml").read_text())
    connection.execute(
        "CREATE TABLE spelling AS SELECT * FROM (SELECT unnest(?) AS word, unnest(?) AS others)",
        [list(spellings), list(spellings.values())],
    )
    connection.execute(
        "CREATE TABLE spelt AS SELECT map(list(word), list(others)) AS m FROM spelling"
    )
    said = ", ".join(
        f"""array_to_string(list_transform(string_split(upper({name}), ' '), lambda word:
            coalesce(m[word][
                (1 + hash(source_record_id, word) % greatest(len(m[word]), 1))::INT], word)), ' ')
            AS {name}"""
        for name in NAMES
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE written AS
        SELECT written.* REPLACE ({said}) FROM written, spelt WHERE role <> '{REGISTRY}'
        UNION ALL BY NAME FROM written WHERE role = '{REGISTRY}'
        """
    )


def _spoil(connection: duckdb.DuckDBPyConnection, share: float) -> None:
    """Each value of this share of the mentions outside the registry is spoilt, by chance."""

    def dice(name: str, what: str) -> str:
        return f"hash(source_record_id, role, '{name}', '{what}')"

    def by_chance(name: str, spoilt: str, missing: bool = True) -> str:
        lost = f"WHEN {dice(name, 'lost')} % 1000 < {share * 250} THEN NULL" if missing else ""
        return f"""CASE {lost} WHEN {dice(name, "spoilt")} % 1000 < {share * 1000}
            THEN {spoilt} ELSE {name} END AS {name}"""

    def letter(name: str) -> str:
        at = f"(1 + {dice(name, 'at')} % greatest(length({name}) - 1, 1))::INT"
        swapped = f"{name}[:{at} - 1] || {name}[{at} + 1:{at} + 1] || {name}[{at}:{at}]"
        return f"""if({dice(name, "kind")} % 2 = 0, {name}[:{at} - 1] || {name}[{at} + 1:],
            {swapped} || {name}[{at} + 2:])"""

    def digit(name: str) -> str:
        at = f"(1 + {dice(name, 'at')} % greatest(length({name}), 1))::INT"
        return f"""{name}[:{at} - 1] || ({dice(name, "digit")} % 10)::VARCHAR
            || {name}[{at} + 1:]"""

    day = f"""if(day(birth_date) <= 12 AND {dice("birth_date", "kind")} % 2 = 0,
        make_date(year(birth_date), day(birth_date), month(birth_date)),
        (birth_date + to_days((1 + {dice("birth_date", "days")} % 9)::INT))::DATE)"""
    said = ", ".join(
        [
            *(by_chance(name, letter(name), missing=False) for name in NAMES),
            *(by_chance(name, digit(name)) for name in NUMBERS),
            by_chance("birth_date", day),
        ]
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE written AS
        SELECT * REPLACE ({said}) FROM written WHERE role <> '{REGISTRY}'
        UNION ALL BY NAME FROM written WHERE role = '{REGISTRY}'
        """
    )


def _ours(
    comparisons: tuple[Comparison, ...] = COMPARISONS,
    before: str = "",
    rivals: bool = True,
) -> Run:
    """Ours, with SQL before the model is trained."""

    def run(connection: duckdb.DuckDBPyConnection) -> str:
        if before:
            connection.execute(before)
        affected.anew(connection)
        matching.compare(connection, training.train(connection, comparisons))
        candidates(connection)
        if not rivals:
            connection.execute(
                "UPDATE pair SET probability = pow(2, weight) / (1 + pow(2, weight))"
            )
        partition(connection)
        return MEMBERS

    return run


def _without(name: str) -> tuple[Comparison, ...]:
    return tuple(one for one in COMPARISONS if one.name != name)


AS_WRITTEN = """
    CREATE OR REPLACE TABLE mention AS
    SELECT mention.* REPLACE (
        upper(written.name) AS name, upper(written.name) AS sound,
        string_split(upper(written.name), ' ') AS words,
        if(length(written.nik) = 16, written.nik, NULL) AS nik,
        written.birth_date AS birth_date, written.birth_date::VARCHAR AS day,
        upper(written.town) AS town, written.mother_nik AS mother_nik,
        written.father_nik AS father_nik, written.partner_nik AS partner_nik,
        upper(written.mother_name) AS mother_sound, upper(written.father_name) AS father_sound,
        written.household_number AS household_number, written.phone AS phone)
    FROM mention JOIN written USING (source_record_id, role)"""
NO_TERMS = tuple(
    replace(one, levels=tuple(replace(level, terms=None) for level in one.levels))
    for one in COMPARISONS
)


def _same_number(connection: duckdb.DuckDBPyConnection) -> str:
    return """
        SELECT role || ':' || source_record_id AS mention_id,
            coalesce(nik, role || ':' || source_record_id) AS cluster FROM written"""


def _stock(connection: duckdb.DuckDBPyConnection) -> str:
    """Splink with its own comparisons and training, on what is written."""
    connection.execute(
        "CREATE OR REPLACE TABLE plain AS SELECT role || ':' || source_record_id AS mention_id, "
        "upper(name) AS name, birth_date::VARCHAR AS birth_date, nik, sex, upper(town) AS town, "
        "household_number FROM written"
    )
    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="mention_id",
        comparisons=[
            cl.NameComparison("name"),
            cl.DateOfBirthComparison("birth_date", input_is_string=True),
            cl.DamerauLevenshteinAtThresholds("nik", [1, 2]),
            cl.ExactMatch("sex"),
            cl.ExactMatch("town").configure(term_frequency_adjustments=True),
            cl.ExactMatch("household_number"),
        ],
        blocking_rules_to_generate_predictions=[
            block_on("nik"),
            block_on("name", "birth_date"),
            block_on("household_number", "birth_date"),
            block_on("household_number", "name"),
        ],
    )
    linker = Linker(DuckDBAPI(connection).register("plain"), settings, log_level="ERROR")
    training_of = linker.training
    training_of.estimate_probability_two_random_records_match(
        [block_on("nik"), block_on("name", "birth_date")], recall=0.8
    )
    training_of.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
    for rule in (block_on("nik"), block_on("name", "birth_date")):
        training_of.estimate_parameters_using_expectation_maximisation(rule)
    pairs = linker.inference.predict(threshold_match_probability=CERTAIN)
    connection.execute(f"CREATE TABLE edge AS FROM {pairs.physical_name}")
    found = linker.clustering.cluster_pairwise_predictions_at_threshold(
        pairs, threshold_match_probability=CERTAIN
    )
    return f"SELECT mention_id, cluster_id AS cluster FROM {found.physical_name}"


WAYS: dict[str, Run] = {
    "the same NIK": _same_number,
    "Splink's own comparisons": _stock,
    "ours": _ours(),
    "ours, names as written": _ours(before=AS_WRITTEN),
    "ours, frequent names like rare ones": _ours(NO_TERMS),
    "ours, rivals not counted": _ours(rivals=False),
    **{
        f"ours, without {name.replace('_', ' ')}": _ours(_without(name))
        for name in ("name", "nik", "birth_date", "family", "birth_time", "phone")
    },
}

AT_EVERY_LEVEL = ("the same NIK", "Splink's own comparisons", "ours")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--residents", type=int, default=20_000)
    parser.add_argument("--home", type=Path, help="a home whose night ran, instead of a new city")
    parser.add_argument("--only", action="append", help="ways whose name holds this")
    parser.add_argument("--dirt", type=float, nargs="*", default=[0.05, 0.1, 0.2])
    return parser.parse_args()


if __name__ == "__main__":
    main()
