"""What two mentions are compared by, and which pairs are compared at all.

Fellegi and Sunter (1969): every comparison falls on one level, and the level's match weight is how
much more often people are found on it than strangers, in bits. What a family shares is one
comparison, not four, so that brothers and sisters do not become one person.
"""

from dataclasses import dataclass


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
    """Levels in falling order, the last for all other pairs. A pair of which no column
    is known on both sides says nothing. `proven`: which pairs are one person, whatever it says."""

    name: str
    columns: tuple[str, ...]
    levels: tuple[Level, ...]
    proven: str

    @property
    def unknown(self) -> str:
        return " AND ".join(f"({one}_l IS NULL OR {one}_r IS NULL)" for one in self.columns)


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
SAME_HOME = f"({_agree('household_number')} OR {_agree('partner_nik')} OR {_agree('address')})"
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
         "partner_nik", "address"),
        (
            Level("both parents", f"{MOTHER} AND {FATHER}", 0.3),
            Level(
                "same household, partner or address",
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
    ("nik",),
    ("sound", "day"),
    ("birth_date", "mother_nik"),
    ("birth_date", "mother_sound", "sex"),
    ("household_number", "day"),
    ("household_number", "sound"),
    ("address", "sound"),
    ("partner_nik", "sex"),
    ("phone", "sound"),
    ("substr(nik, 1, 12)", "substr(sound, 1, 3)"),
    ("substr(nik, 7, 10)",),
    ("substr(nik, 1, 6)", "substr(nik, 11, 6)", "sex", "substr(sound, 1, 2)"),
    ("name",),
)
"""Pairs are compared that agree on all of one of these."""

TWO_NUMBERS = (
    ("sound", "day"),
    ("sound", "mother_nik"),
    ("sound", "household_number"),
    ("birth_date", "mother_nik", "substr(sound, 1, 2)"),
)
"""The same of two residents of the registry, who may be one under two numbers: nobody but people
decides that."""

TERMS = ("name", "sound", "town")
"""Columns whose frequent values say less than rare ones."""
