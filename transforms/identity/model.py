"""How two mentions are compared: Splink's settings for this data, and where their numbers come from.

Fellegi and Sunter (1969): every comparison falls on one level, and the level's match weight is how
much more often people are found on it than strangers, in bits. What a family shares is one
comparison, not four, so that brothers and sisters do not become one person.

m, the share of one person's pairs on a level, is counted over pairs that something else proves to
be one person (`PROVEN`: for names, equal number and day); u over random pairs. No truth is used.
`expected` shares are worth EXPECTED_PAIRS pairs: a level that the data hardly shows keeps a weight
that a person set, and none is infinite.
"""

from dataclasses import dataclass
from typing import Any

import duckdb
from splink import DuckDBAPI, Linker, SettingsCreator, block_on

from transforms.identity.mentions import REGISTRY

EXPECTED_PAIRS = 50
OTHER_NUMBERS = 16 * 9
"""Numbers that differ from a NIK in one digit."""
RANDOM_PAIRS = 1_000_000
LEAST_WEIGHT = -4
"""Bits below which a pair is nobody's concern."""


@dataclass(frozen=True)
class Level:
    """One level: when a pair falls on it (SQL over `<column>_l` and `<column>_r`), the share of one
    person's pairs expected on it, the column whose frequent values say less than rare ones, and the
    share of strangers on it where random pairs cannot show it."""

    label: str
    when: str
    expected: float
    terms: str | None = None
    strangers: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Levels in falling order, the last for all other pairs. Without any of `columns` on either
    side a pair says nothing. `proven`: which pairs are one person whatever this comparison says."""

    name: str
    columns: tuple[str, ...]
    levels: tuple[Level, ...]
    proven: str

    @property
    def unknown(self) -> str:
        sides = (
            " AND ".join(f"{column}_{side} IS NULL" for column in self.columns)
            for side in ("l", "r")
        )
        return " OR ".join(f"({side})" for side in sides)


def _agree(column: str) -> str:
    return f"coalesce({column}_l = {column}_r, false)"


def _parent(side: str) -> tuple[str, str]:
    """SQL: this parent agrees; this parent is another one. Both false where nothing is known."""
    number, sound = f"{side}_nik", f"{side}_sound"
    agrees = (
        f"({_agree(number)} OR {_agree(sound)} "
        f"OR coalesce(jaro_winkler_similarity({sound}_l, {sound}_r) >= 0.92, false))"
    )
    known = " OR ".join(f"({one}_l IS NOT NULL AND {one}_r IS NOT NULL)" for one in (number, sound))
    return agrees, f"(({known}) AND NOT {agrees})"


MOTHER, OTHER_MOTHER = _parent("mother")
FATHER, OTHER_FATHER = _parent("father")
SAME_NUMBER, SAME_SOUND, SAME_DAY = _agree("nik"), _agree("sound"), _agree("birth_date")
SAME_HOME = f"({_agree('household_number')} OR {_agree('partner_nik')})"
SAME_FAMILY = f"({MOTHER} OR {FATHER} OR {SAME_HOME})"

COMPARISONS = (
    Comparison(
        "name",
        ("name",),
        (
            Level("same name", "name_l = name_r", 0.85, "name"),
            Level("sounds the same", "sound_l = sound_r", 0.05, "sound"),
            Level(
                "one is part of the other",
                "list_has_all(words_l, words_r) OR list_has_all(words_r, words_l)",
                0.02,
            ),
            Level("very similar", "jaro_winkler_similarity(sound_l, sound_r) >= 0.92", 0.04),
            Level("similar", "jaro_winkler_similarity(sound_l, sound_r) >= 0.84", 0.02),
            Level("another name", "ELSE", 0.02),
        ),
        f"{SAME_NUMBER} AND {SAME_DAY}",
    ),
    Comparison(
        "nik",
        ("nik",),
        (
            Level("same number", "nik_l = nik_r", 0.97),
            Level("one digit differs", "hamming(nik_l, nik_r) = 1", 0.015),
            Level("two digits differ", "hamming(nik_l, nik_r) = 2", 0.005),
            Level("only the serial differs", "nik_l[:12] = nik_r[:12]", 0.002),
            Level("another number", "ELSE", 0.008),
        ),
        f"{SAME_SOUND} AND {SAME_DAY} AND {SAME_FAMILY}",
    ),
    Comparison(
        "birth_date",
        ("birth_date",),
        (
            Level("same day", "birth_date_l = birth_date_r", 0.96),
            Level("day and month exchanged", "day_l = day_r", 0.01),
            Level(
                "one part differs",
                "(year(birth_date_l) = year(birth_date_r))::INT "
                "+ (month(birth_date_l) = month(birth_date_r))::INT "
                "+ (day(birth_date_l) = day(birth_date_r))::INT = 2",
                0.02,
            ),
            Level("another day", "ELSE", 0.01),
        ),
        f"{SAME_NUMBER} AND {SAME_SOUND}",
    ),
    Comparison(
        "sex",
        ("sex",),
        (Level("same sex", "sex_l = sex_r", 0.995), Level("another sex", "ELSE", 0.005)),
        f"{SAME_NUMBER} AND {SAME_SOUND}",
    ),
    Comparison(
        "town",
        ("town",),
        (Level("same town", "town_l = town_r", 0.95, "town"), Level("another", "ELSE", 0.05)),
        f"{SAME_NUMBER} AND {SAME_SOUND}",
    ),
    Comparison(
        "family",
        ("mother_nik", "mother_sound", "father_nik", "father_sound", "household_number",
         "partner_nik"),
        (
            Level("both parents", f"{MOTHER} AND {FATHER}", 0.3),
            Level(
                "same household or partner",
                f"{SAME_HOME} AND NOT {OTHER_MOTHER} AND NOT {OTHER_FATHER}",
                0.3,
            ),
            Level("one parent", f"{MOTHER} OR {FATHER}", 0.3),
            Level("another family", "ELSE", 0.1),
        ),
        f"{SAME_NUMBER} AND {SAME_SOUND}",
    ),
    Comparison(
        "birth_time",
        ("birth_time",),
        (Level("same time", "birth_time_l = birth_time_r", 0.95), Level("another", "ELSE", 0.05)),
        f"{SAME_DAY} AND {MOTHER}",
    ),
    Comparison(
        "phone",
        ("phone",),
        (
            Level("same phone", "phone_l = phone_r", 0.9, strangers=1e-5),
            Level("another", "ELSE", 0.1),
        ),
        f"{SAME_NUMBER} AND {SAME_SOUND}",
    ),
)  # fmt: skip

BLOCKING = (
    block_on("nik"),
    block_on("sound", "day"),
    block_on("birth_date", "mother_nik"),
    block_on("birth_date", "mother_sound", "sex"),
    block_on("household_number", "day"),
    block_on("household_number", "sound"),
    block_on("partner_nik", "sex"),
    block_on("phone", "sound"),
    block_on("substr(nik, 1, 12)", "substr(sound, 1, 3)"),
    block_on("substr(nik, 7, 10)"),
    block_on("substr(nik, 1, 6)", "substr(nik, 11, 6)", "sex"),
    block_on("name"),
)

TERMS = ("name", "sound", "town")
FEWEST_BEARERS = 5
"""A term that fewer residents bear is not kept: it would name them."""


def train(connection: duckdb.DuckDBPyConnection) -> dict[str, Any]:
    """The model as Splink's settings, every parameter counted in table `mention`; table `term`
    (column_name, term, share) holds how frequent its terms are among residents, NULL being the
    share of each term that is not kept."""
    size, residents = connection.execute(
        f"SELECT count(*), count(*) FILTER (role = '{REGISTRY}') FROM mention"
    ).fetchall()[0]
    _compare(
        connection,
        "proven_pair",
        " UNION ".join(
            f"""
            SELECT l.rowid AS a, r.rowid AS b FROM mention l JOIN mention r USING ({columns})
            WHERE l.rowid < r.rowid AND NOT (l.role = '{REGISTRY}' AND r.role = '{REGISTRY}')
            """
            for columns in ("nik", "sound, birth_date", "mother_nik, birth_date")
        ),
    )
    times = -(-RANDOM_PAIRS // max(size, 1))
    _compare(
        connection,
        "random_pair",
        f"""
        SELECT a, hash(a, time) % {size} AS b
        FROM range({size}) AS one(a), range({times}) AS many(time) WHERE a <> b
        """,
    )
    connection.execute("CREATE OR REPLACE TEMP TABLE term (column_name VARCHAR, term VARCHAR, share DOUBLE)")
    for column in TERMS:
        connection.execute(
            f"""
            INSERT INTO term
            WITH counted AS (
                SELECT "{column}" AS term, count(*) AS bearers FROM mention
                WHERE role = '{REGISTRY}' AND "{column}" IS NOT NULL GROUP BY ALL)
            SELECT '{column}', term, bearers / sum(bearers) OVER () FROM counted
            QUALIFY bearers >= {FEWEST_BEARERS}
            UNION ALL
            SELECT '{column}', NULL, avg(bearers) FILTER (bearers < {FEWEST_BEARERS}) / sum(bearers)
            FROM counted
            """
        )
    creator = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="mention_id",
        comparisons=[_counted(connection, one) for one in COMPARISONS],
        blocking_rules_to_generate_predictions=list(BLOCKING),
        probability_two_random_records_match=1 / max(residents, 2),
        retain_matching_columns=False,
    )
    return creator.create_settings_dict("duckdb")


def compare(connection: duckdb.DuckDBPyConnection, settings: dict[str, Any]) -> None:
    """Table `edge` (mention_id_l, mention_id_r, weight in bits, probability) of all pairs that may
    be one person, from tables `mention` and `term`; never of two residents of the registry."""
    connection.execute(
        f"""
        CREATE OR REPLACE TABLE resident AS FROM mention WHERE role = '{REGISTRY}';
        CREATE OR REPLACE TABLE other AS FROM mention WHERE role <> '{REGISTRY}'
        """
    )
    database = DuckDBAPI(connection)
    resident, other = database.register("resident"), database.register("other")
    linker = Linker(other, settings, log_level=None)
    for column in TERMS:
        connection.execute(
            f"""
            CREATE OR REPLACE TABLE share_of_{column} AS
            SELECT {column}, coalesce(share, (SELECT any_value(share) FROM term
                WHERE column_name = '{column}' AND term IS NULL)) AS tf_{column}
            FROM (SELECT DISTINCT {column} FROM mention WHERE {column} IS NOT NULL)
            LEFT JOIN (SELECT term AS {column}, share FROM term WHERE column_name = '{column}')
                USING ({column})
            """
        )
        linker.table_management.register_term_frequency_lookup(
            database.register(f"share_of_{column}"), column
        )
    found = (
        linker.inference.predict_between(
            resident, other, threshold_match_weight=LEAST_WEIGHT, warning_mode="never"
        ),
        linker.inference.predict_within(
            other, threshold_match_weight=LEAST_WEIGHT, warning_mode="never"
        ),
    )
    query = " UNION ALL ".join(
        f"""
        SELECT mention_id_l, mention_id_r, match_weight AS weight,
            match_probability AS probability FROM {one.physical_name}"""
        for one in found
    )
    connection.execute(f"CREATE OR REPLACE TABLE edge AS {query}")
    for one in found:
        one.drop_table_from_database_and_remove_from_cache()


def _compare(connection: duckdb.DuckDBPyConnection, name: str, pairs: str) -> None:
    """Table `name`: per pair of rows of `mention` (a, b) the level of every comparison (0 the
    first, NULL unknown) and whether its other evidence proves it."""
    columns = sorted({column for one in COMPARISONS for column in _columns(one)})
    said = ", ".join(f"l.{one} AS {one}_l, r.{one} AS {one}_r" for one in columns)
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE {name} AS
        SELECT {", ".join(map(_level_of, COMPARISONS))}
        FROM (SELECT {said} FROM ({pairs})
            JOIN mention l ON l.rowid = a JOIN mention r ON r.rowid = b)
        """
    )


def _level_of(one: Comparison) -> str:
    places = " ".join(
        f"WHEN {level.when} THEN {place}" for place, level in enumerate(one.levels[:-1])
    )
    return f"""
        CASE WHEN {one.unknown} THEN NULL {places} ELSE {len(one.levels) - 1} END AS {one.name},
        {one.proven} AS {one.name}_proven"""


def _columns(comparison: Comparison) -> tuple[str, ...]:
    more = {"name": ("sound", "words"), "birth_date": ("day",)}
    return comparison.columns + more.get(comparison.name, ())


def _counted(connection: duckdb.DuckDBPyConnection, one: Comparison) -> dict[str, Any]:
    """A comparison as Splink wants it, with m and u."""
    expected = [EXPECTED_PAIRS * level.expected for level in one.levels]
    proven = _shares(connection, one, "proven_pair", f"{one.name}_proven", expected)
    strangers = _shares(connection, one, "random_pair", "true", [0.5] * len(one.levels))
    if one.name == "nik":
        # Random pairs show no stranger with one's number: it takes a wrong digit (the rest of m)
        # that makes it another resident's, and so many of the other numbers are (u of one digit).
        strangers[0] = (1 - proven[0]) * strangers[1] / OTHER_NUMBERS
    levels = [
        {
            "sql_condition": level.when if level.when == "ELSE" else f"({level.when})",
            "label_for_charts": level.label,
            "m_probability": m,
            "u_probability": level.strangers or u,
            **({"tf_adjustment_column": level.terms} if level.terms else {}),
        }
        for level, m, u in zip(one.levels, proven, strangers, strict=True)
    ]
    unknown = {"sql_condition": one.unknown, "label_for_charts": "unknown", "is_null_level": True}
    return {"output_column_name": one.name, "comparison_levels": [unknown, *levels]}


def _shares(
    connection: duckdb.DuckDBPyConnection, one: Comparison, pairs: str, where: str, added: list[float]
) -> list[float]:
    """Share of the pairs on each level, `added` counted as pairs too."""
    counted = dict(
        connection.execute(
            f"SELECT {one.name}, count(*) FROM {pairs} "
            f"WHERE {one.name} IS NOT NULL AND {where} GROUP BY ALL"
        ).fetchall()
    )
    total = sum(counted.values()) + sum(added)
    return [(counted.get(place, 0) + more) / total for place, more in enumerate(added)]
