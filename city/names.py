"""Names, drawn Zipf-like from the words of `names.yml` by origin, sex and year of birth."""

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from city.places import settings
from city.sql import Con, Rng

MALE, FEMALE = 1, 2
SEXES = {MALE: "male", FEMALE: "female"}


def origins(rng: Rng, count: int) -> np.ndarray:
    """The origin of each family: an index into `names.yml`'s origins."""
    shares = [origin["share"] for origin in settings("names")["origins"].values()]
    return rng.choice(len(shares), count, p=np.array(shares) / sum(shares))


def religions(rng: Rng, origin: np.ndarray) -> np.ndarray:
    """The religion code of each family, as likely as its origin makes it."""
    religion = np.ones(len(origin), dtype=np.int8)
    for index, known in enumerate(settings("names")["origins"].values()):
        at = np.flatnonzero(origin == index)
        religion[at] = rng.choice(
            list(known["religion"]), len(at), p=list(known["religion"].values())
        )
    return religion


def draw(
    rng: Rng,
    origin: np.ndarray,
    sex: np.ndarray,
    year: np.ndarray,
    religion: np.ndarray,
    surname: np.ndarray,
) -> pa.Array:
    """Full names without titles. `surname` (0 to 1) picks the family's surname where its origin has
    one; children of one family pass the same number."""
    known, count = settings("names"), len(origin)
    era = np.searchsorted([e["until"] for e in known["eras"]], year)
    pool = _falls_on(rng, [e["pools"] for e in known["eras"]], era)
    length = 1 + _falls_on(rng, [e["words"] for e in known["eras"]], era)
    middle_pool = np.where(rng.random(count) < 0.3, 2, 3)  # a modern word, or one that ends a name
    prefix, first, middle, last, family = (np.full(count, -1) for _ in range(5))
    for index, of in enumerate(known["origins"].values()):
        for code, sex_name in SEXES.items():
            here = (origin == index) & (sex == code)
            pools = [*of[sex_name], of["last"][sex_name]]
            for number, words in enumerate(pools):
                _fill(rng, first, here & (pool == number), words)
                _fill(rng, middle, here & (length > 2) & (middle_pool == number), words)
            _fill(rng, last, here & (length > 1), pools[3])
        if "surname" in of:
            at = (origin == index) & (rng.random(count) < 0.85)
            family[at] = _words(of["surname"], surname[at])
    likely = np.array([e["prefix"] for e in known["eras"]])[era]
    prefixes = np.concatenate([_vocabulary()[1][f"prefix_{name}"] for name in SEXES.values()])
    prefixed = (religion == 1) & (family < 0) & (rng.random(count) < likely)
    prefixed &= ~np.isin(first, prefixes)
    for code, sex_name in SEXES.items():
        _fill(rng, prefix, prefixed & (sex == code), f"prefix_{sex_name}")
    return _joined([prefix, first, middle, last, family])


def _joined(parts: list[np.ndarray]) -> pa.Array:
    """Names of these words (-1 is none); no name has the same word twice."""
    for later in range(1, len(parts)):
        for earlier in range(later):
            parts[later] = np.where(parts[later] == parts[earlier], -1, parts[later])
    vocabulary = pa.array(_vocabulary()[0])
    texts = [vocabulary.take(pa.array(part, mask=part < 0)) for part in parts]
    return pc.binary_join_element_wise(*texts, " ", null_handling="skip")


def _falls_on(rng: Rng, shares: list[list[float]], row: np.ndarray) -> np.ndarray:
    """A column drawn by the shares of each one's row."""
    limits = np.cumsum(shares, axis=1)[:, :-1][row]
    return (rng.random((len(row), 1)) > limits).sum(axis=1)


def create_variant_macro(con: Con) -> None:
    """SQL macro `variant(name, dice)`: the name as a clerk may write it, never the same."""

    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    rules = [
        f"regexp_replace(n, {quoted(pattern)}, {quoted(text)})"
        for pattern, texts in settings("names")["variants"]
        for text in texts
    ]
    marks = [
        f"{quoted(before)} || n || {quoted(after)}" for before, after in settings("names")["marks"]
    ]
    con.execute(
        f"""
        CREATE OR REPLACE TEMP MACRO spellings(n) AS
            list_filter([{", ".join(rules)}], lambda v: v <> n AND length(v) > 2)
        """
    )
    con.execute(
        f"""
        CREATE OR REPLACE TEMP MACRO variant(n, dice) AS list_transform([spellings(n)], lambda s:
            if(len(s) = 0 OR dice % 12 = 0,
                [{", ".join(marks)}][1 + dice % {len(marks)}],
                s[1 + dice % greatest(len(s), 1)]))[1]
        """
    )


@cache
def _vocabulary() -> tuple[list[str], dict[str, np.ndarray]]:
    """All words, and where each pool lies among them."""
    known = settings("names")
    pools = {name: text.split() for name, text in known["pools"].items()}
    pools |= {f"prefix_{sex}": words for sex, words in known["prefix"].items()}
    position: dict[str, int] = {}
    index: dict[str, np.ndarray] = {}
    for name, words in pools.items():
        unique = dict.fromkeys(word.replace("_", " ") for word in words)
        index[name] = np.array([position.setdefault(word, len(position)) for word in unique])
    return list(position), index


def _words(pool: str, chance: np.ndarray) -> np.ndarray:
    """Word numbers of a pool; `chance` (0 to 1) falls on the frequent ones more often (Zipf)."""
    index = _vocabulary()[1][pool]
    weight = 1 / (np.arange(len(index)) + 3) ** 0.9
    return index[np.searchsorted(np.cumsum(weight) / weight.sum(), chance).clip(max=len(index) - 1)]


def _fill(rng: Rng, words: np.ndarray, here: np.ndarray, pool: str) -> None:
    at = np.flatnonzero(here)
    words[at] = _words(pool, rng.random(len(at)))
