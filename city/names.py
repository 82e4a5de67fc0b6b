"""Names, drawn Zipf-like from the words of `names.yml` by origin, sex and year of birth."""

from functools import cache

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from city.places import settings

MALE, FEMALE = 1, 2
SEXES = {MALE: "male", FEMALE: "female"}


def origins(rng: np.random.Generator, count: int) -> np.ndarray:
    """The origin of each family: an index into `names.yml`'s origins."""
    shares = [origin["share"] for origin in settings("names")["origins"].values()]
    return rng.choice(len(shares), count, p=np.array(shares) / sum(shares))


def religions(rng: np.random.Generator, origin: np.ndarray) -> np.ndarray:
    """The religion code of each family, as likely as its origin makes it."""
    religion = np.ones(len(origin), dtype=np.int8)
    for index, known in enumerate(settings("names")["origins"].values()):
        at = np.flatnonzero(origin == index)
        religion[at] = rng.choice(list(known["religion"]), len(at), p=list(known["religion"].values()))
    return religion


def draw(
    rng: np.random.Generator,
    origin: np.ndarray,
    sex: np.ndarray,
    year: np.ndarray,
    religion: np.ndarray,
    surname: np.ndarray,
) -> pa.Array:
    """Full names without titles. `surname` (0 to 1) picks the family's surname where its origin has
    one; children of one family pass the same number."""
    known, count = settings("names"), len(origin)
    eras = known["eras"]
    era = np.searchsorted([e["until"] for e in eras], year)
    pool_share = np.cumsum([e["pools"] for e in eras], axis=1)[era]
    word_share = np.cumsum([e["words"] for e in eras], axis=1)[era]
    words = 1 + (rng.random((count, 1)) > word_share).sum(axis=1).clip(max=3)
    pool = (rng.random((count, 1)) > pool_share).sum(axis=1).clip(max=2)
    second_pool = np.where(rng.random(count) < 0.3, 2, 3)  # a modern word, or one that ends a name

    columns = [np.full(count, -1), np.full(count, -1), np.full(count, -1), np.full(count, -1)]
    for index, (sex_code, sex_name) in ((i, s) for i in range(len(known["origins"])) for s in SEXES.items()):
        of = list(known["origins"].values())[index]
        here = (origin == index) & (sex == sex_code)
        pools = [*of[sex_name], of["last"][sex_name]]
        for number, name in enumerate(pools):
            columns[0] = _fill(rng, columns[0], here & (pool == number), name)
            columns[1] = _fill(rng, columns[1], here & (second_pool == number) & (words > 2), name)
        columns[2] = _fill(rng, columns[2], here & (words > 1), pools[3])
        if surname_pool := of.get("surname"):
            at = here & (rng.random(count) < 0.85)
            columns[3][at] = _words(surname_pool, surname[at])
    muslim = religion == 1
    likely = np.array([e["prefix"] for e in eras])[era]
    prefixed = muslim & (rng.random(count) < likely) & (columns[3] < 0)
    prefix = np.full(count, -1)
    for sex_code, sex_name in SEXES.items():
        prefix = _fill(rng, prefix, prefixed & (sex == sex_code), f"prefix_{sex_name}")
    parts = [prefix, *columns]
    for later in range(1, len(parts)):
        for earlier in range(later):
            parts[later] = np.where(parts[later] == parts[earlier], -1, parts[later])
    vocabulary = pa.array(_vocabulary()[0])
    texts = [vocabulary.take(pa.array(part, mask=part < 0)) for part in parts]
    return pc.binary_join_element_wise(*texts, " ", null_handling="skip")


def create_variant_macro(con: duckdb.DuckDBPyConnection) -> None:
    """SQL macro `variant(name, dice)`: the name as a clerk may write it; some rule always applies."""
    rules = [
        f"regexp_replace(n, '{pattern.replace(chr(39), chr(39) * 2)}', '{text.replace(chr(39), chr(39) * 2)}')"
        for pattern, texts in settings("names")["variants"]
        for text in texts
    ]
    con.execute(
        f"CREATE OR REPLACE TEMP MACRO variants(n) AS list_filter([{', '.join(rules)}],"
        " lambda v: v <> n AND length(v) > 2)"
    )
    con.execute(
        "CREATE OR REPLACE TEMP MACRO variant(n, dice) AS variants(n)[1 + dice % len(variants(n))]"
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


def _fill(rng: np.random.Generator, column: np.ndarray, here: np.ndarray, pool: str) -> np.ndarray:
    at = np.flatnonzero(here)
    column[at] = _words(pool, rng.random(len(at)))
    return column
