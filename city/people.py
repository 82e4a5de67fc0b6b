"""Families and their people, drawn with NumPy one column at a time.

The shape of families, ages, moves and all shares are assumed.
"""

from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from city import names
from city.names import FEMALE, MALE
from city.places import city_map, settings
from city.sql import Rng

# Codes of the registry.
HEAD, WIFE, CHILD, GRANDCHILD, PARENT, RELATIVE, HELPER = 1, 3, 4, 6, 7, 9, 10
SINGLE, MARRIED, DIVORCED, WIDOWED = 1, 2, 3, 4
NO_JOB, PUPIL, PENSIONER, EMPLOYEE, SERVANT, TEACHER = 1, 3, 4, 15, 23, 65
LOCAL = 3274

YEAR = 365.25
EPOCH = date(1970, 1, 1)
REGISTRY_BEGAN = date(2006, 1, 1)  # assumed


@dataclass(frozen=True)
class Draft:
    """Families and persons before they have numbers.

    families: rw_index, rt, origin, religion, surname, street, house, moved_in, issued.
    persons: family (position), role, sex, born (day since 1970), mother and father (position or
    -1), birth_order, codes of the registry, names, prefix and birthplace of first registration,
    entered, changed.
    """

    families: dict[str, Any]
    persons: dict[str, Any]


def draft(rng: Rng, persons: int, today: date, moving_in: bool = False) -> Draft:
    """Families of exactly `persons` people in all; with `moving_in` all come from elsewhere."""
    now = (today - EPOCH).days
    count = persons // 2 + 200  # more than enough: the mean family is larger than three
    city = city_map()
    rw = rng.choice(len(city.weight), count, p=city.weight / city.weight.sum())
    origin = names.origins(rng, count)
    family = {
        "rw_index": rw,
        "rt": 1 + (rng.random(count) * city.rt_count[rw]).astype(int),
        "origin": origin,
        "religion": names.religions(rng, origin),
        "surname": rng.random(count),
        "street": rng.integers(0, len(settings("places")["streets"]), count),
        "house": rng.integers(1, 180, count),
        "moved_in": np.full(count, moving_in) | (rng.random(count) < 0.022),
    }
    people = _members(rng, count, now)
    kept = _exactly(persons, people["family"], count)
    people = {name: column[kept[people["family"]]] for name, column in people.items()}
    new_position = np.cumsum(kept) - 1
    family = {name: column[kept] for name, column in family.items()}
    people["family"] = new_position[people["family"]]
    newborn = np.zeros(kept.sum(), dtype=bool)
    newborn[people["family"][(people["role"] == CHILD) & (people["born"] > now - 400)]] = True
    family["moved_in"] &= ~newborn | moving_in
    _link_parents(people, len(family["rt"]))
    _describe(rng, people, family, now)
    _name(rng, people, family)
    return Draft(family, people)


def _members(rng: Rng, count: int, now: int) -> dict[str, np.ndarray]:
    """Who lives in each family: family, slot, role, sex, born, birth_order; family by family."""
    kind = rng.choice(3, count, p=[0.80, 0.09, 0.11])  # couple, one parent, alone
    couple, one_parent, alone = kind == 0, kind == 1, kind == 2
    age = np.where(
        alone & (rng.random(count) < 0.45),
        rng.uniform(19, 35, count),
        22 + 62 * rng.beta(2.0, 3.0, count),
    )
    head_born = now - (age * YEAR).astype(int)
    head_sex = np.where(
        couple, MALE, np.where(rng.random(count) < np.where(one_parent, 0.85, 0.5), FEMALE, MALE)
    )
    of_age = now - rng.uniform(18.5, 23, count) * YEAR
    wife_born = np.minimum(head_born + rng.normal(3, 4, count) * YEAR, of_age).astype(int)
    mother_born = np.where(couple | (head_sex == MALE), wife_born, head_born)
    every = np.arange(count)
    pieces = [
        (every, 0, HEAD, head_sex, head_born, 0),
        (every[couple], 1, WIFE, FEMALE, wife_born[couple], 0),
    ]

    wanted = np.where(alone, 0, np.where(rng.random(count) < 0.06, 0, 1 + rng.poisson(1.75, count)))
    born = mother_born + ((18.2 + rng.gamma(4, 1.7, count)) * YEAR).astype(int)
    for order in range(1, 8):
        if order > 1:
            gap = (300 + rng.gamma(3.0, 330, count)).astype(int)
            born = born + np.where(rng.random(count) < 0.011, 0, gap)  # no gap: twins
        years = (now - born) / YEAR
        at_home = (years < 19) | (rng.random(count) < np.exp(-(years - 19) / 6))
        fertile = born - mother_born < 44.5 * YEAR
        here = (order <= wanted) & (born < now) & at_home & fertile
        sex = np.where(rng.random(count) < 0.512, MALE, FEMALE)
        pieces.append((every[here], 1 + order, CHILD, sex[here], born[here], order))

    chance = rng.random(count)
    with_parent = couple & (chance < 0.07) & (age > 24) & (age < 58)
    parent_born = (head_born - rng.uniform(20, 33, count) * YEAR).astype(int)
    parent_sex = np.where(rng.random(count) < 0.7, FEMALE, MALE)
    with_grandchild = couple & (chance > 0.95) & (age > 46)
    with_relative = (chance > 0.45) & (chance < 0.485) & ~alone
    relative_born = (now - rng.uniform(6, 68, count) * YEAR).astype(int)
    with_helper = (chance > 0.7) & (chance < 0.703) & couple
    grandchild_born = (now - rng.uniform(2, 12, count) * YEAR).astype(int)
    helper_born = (now - rng.uniform(18, 50, count) * YEAR).astype(int)
    for slot, here, role, sex, day in [
        (20, with_parent, PARENT, parent_sex, parent_born),
        (21, with_grandchild, GRANDCHILD, parent_sex, grandchild_born),
        (22, with_relative, RELATIVE, parent_sex, relative_born),
        (23, with_helper, HELPER, np.full(count, FEMALE), helper_born),
    ]:
        pieces.append((every[here], slot, role, sex[here], day[here], 0))

    columns = ("family", "slot", "role", "sex", "born", "birth_order")
    stacked = {
        name: np.concatenate([np.broadcast_to(piece[i], len(piece[0])) for piece in pieces])
        for i, name in enumerate(columns)
    }
    order = np.lexsort((stacked["slot"], stacked["family"]))
    return {name: column[order] for name, column in stacked.items()}


def _exactly(persons: int, family: np.ndarray, count: int) -> np.ndarray:
    """Which families to keep so that their members number exactly `persons`: the first that fit,
    then people living alone."""
    sizes = np.bincount(family, minlength=count)
    kept = np.cumsum(sizes) <= persons
    alone = np.flatnonzero(~kept & (sizes == 1))
    kept[alone[: persons - sizes[kept].sum()]] = True
    if sizes[kept].sum() != persons:
        raise RuntimeError("the draft has too few families; draw more")
    return kept


def _link_parents(people: dict[str, np.ndarray], families: int) -> None:
    """mother and father: positions of the parents who live in the same family, else -1."""
    positions = np.arange(len(people["family"]))
    found = {}
    for name, here in {
        "head": people["slot"] == 0,
        "wife": people["role"] == WIFE,
        "parent": people["role"] == PARENT,
    }.items():
        found[name] = np.full(families, -1)
        found[name][people["family"][here]] = positions[here]
    head, wife, parent = (found[name][people["family"]] for name in ("head", "wife", "parent"))
    head_female = people["sex"][head] == FEMALE
    parent_female = people["sex"][parent] == FEMALE
    child, is_head = people["role"] == CHILD, people["role"] == HEAD
    people["mother"] = np.where(child, np.where(head_female, head, wife), -1)
    people["father"] = np.where(child & ~head_female, head, -1)
    people["mother"] = np.where(is_head & (parent >= 0) & parent_female, parent, people["mother"])
    people["father"] = np.where(is_head & (parent >= 0) & ~parent_female, parent, people["father"])


def _describe(
    rng: Rng, people: dict[str, np.ndarray], family: dict[str, np.ndarray], now: int
) -> None:
    """Adds the registry's codes and days, all consistent with age, sex and role."""
    known, count = settings("people"), len(people["family"])
    role, sex, age = people["role"], people["sex"], (now - people["born"]) / YEAR
    chance = rng.random(count)
    people["religion"] = family["religion"][people["family"]]
    people["marital"] = _marital(people, age, chance)

    adult_education = np.where(
        age < 65,
        _drawn(rng, known["education"]["younger"], count),
        _drawn(rng, known["education"]["older"], count),
    )
    people["education"] = np.select(
        [age < 6.5, age < 13, age < 16, age < 19, age < 23],
        [1, 2, 3, 4, np.minimum(adult_education, 5)],
        adult_education,
    )
    men, women = known["jobs"]["men"], known["jobs"]["women"]
    job = np.select(
        [
            age < 5.5,
            age < 18,
            (age < 23) & (chance < 0.45),
            role == HELPER,
            (age > 66) & (chance < 0.6),
            sex == MALE,
        ],
        [
            NO_JOB,
            PUPIL,
            PUPIL,
            SERVANT,
            np.where(chance < 0.2, PENSIONER, NO_JOB),
            rng.choice(men, count, p=_falling(len(men))),
        ],
        rng.choice(women, count, p=_falling(len(women), 1.6)),
    )
    people["job"] = np.where((job == TEACHER) & (people["education"] < 8), EMPLOYEE, job)
    people["blood"] = _drawn(rng, known["blood"], count)
    people["has_card"] = np.where((age > 17.2) & (rng.random(count) < 0.975), 2, 1)
    certified = rng.random(count) < np.select([age < 19, age < 40], [0.93, 0.6], 0.22)
    people["certificate"] = np.where(certified, _drawn(rng, known["certificate"], count), -1)
    people["certificate_serial"] = rng.integers(1, 9000, count)
    _register(rng, people, family, age, now)
    _entitle(rng, people, age)


def _marital(people: dict[str, np.ndarray], age: np.ndarray, chance: np.ndarray) -> np.ndarray:
    role = people["role"]
    married = np.zeros(people["family"].max() + 1, dtype=bool)
    married[people["family"][role == WIFE]] = True
    married_head = (role == HEAD) & married[people["family"]]
    return np.select(
        [
            (role == WIFE) | married_head,
            role == PARENT,
            (role == HEAD) & (age < 36),
            role == HEAD,
            (role == RELATIVE) & (age > 45),
        ],
        [
            MARRIED,
            WIDOWED,
            np.where(chance < 0.75, SINGLE, DIVORCED),
            np.where(chance < 0.35, DIVORCED, WIDOWED),
            MARRIED,
        ],
        SINGLE,
    )


def _register(
    rng: Rng,
    people: dict[str, np.ndarray],
    family: dict[str, np.ndarray],
    age: np.ndarray,
    now: int,
) -> None:
    """Where people were first registered (prefix, birthplace) and when their rows were entered and
    changed; when their family's card was issued."""
    regencies, count, of = settings("places")["regencies"], len(age), people["family"]
    moved_in = family["moved_in"][of]
    kecamatan = city_map().district[family["rw_index"]][of]
    district = np.where(rng.random(count) < 0.75, kecamatan, rng.integers(1, 6, count))
    weight = np.array([regency[2] for regency in regencies]) / sum(r[2] for r in regencies)
    together = rng.choice(len(regencies), len(family["rt"]), p=weight)[of]
    alone = rng.choice(len(regencies), count, p=weight)
    origin = np.where(rng.random(count) < 0.3, alone, together)
    local = ~moved_in & (rng.random(count) < np.where(age < 18, 0.97, 0.84))
    codes = np.array([int(regency[0]) for regency in regencies])
    districts = np.array([regency[3] for regency in regencies])
    elsewhere = codes[origin] * 100 + 1 + (rng.random(count) * districts[origin]).astype(int)
    towns = np.array([regency[1] for regency in regencies], dtype=object)
    people["prefix"] = np.where(local, LOCAL * 100 + district, elsewhere)
    people["birthplace"] = np.where(local, "CIREBON", towns[origin])

    begun = (REGISTRY_BEGAN - EPOCH).days + rng.integers(0, 2000, count)
    first = np.maximum(people["born"] + rng.integers(3, 300, count), begun)
    arrived = now - rng.integers(1, 365, len(family["rt"]))[of]
    entered = np.where(moved_in, np.maximum(arrived, people["born"] + 1), first).clip(max=now)
    changed = entered + (rng.random(count) * (now - entered)).astype(int)
    people["entered"] = entered
    people["changed"] = np.where((rng.random(count) < 0.4) & ~moved_in, changed, -1)
    people["second"] = rng.integers(27000, 61000, count)  # of the day: office hours
    head = people["role"] == HEAD
    issued = now - (rng.beta(1.2, 2.0, len(family["rt"])) * 18 * YEAR).astype(int)
    of_age = people["born"][head] + int(18 * YEAR)
    family["issued"] = np.where(family["moved_in"], entered[head], np.maximum(issued, of_age))


def _entitle(rng: Rng, people: dict[str, np.ndarray], age: np.ndarray) -> None:
    """Titles: haji by age among Muslims, degrees by education."""
    titles, count = settings("names")["titles"], len(age)
    haji = (people["religion"] == 1) & (age > 38) & (rng.random(count) < 0.07)
    of_sex = np.where(
        people["sex"] == MALE, titles["religious"]["male"], titles["religious"]["female"]
    )
    academic = np.full(count, None, dtype=object)
    for code, degrees in titles["academic"].items():
        at = np.flatnonzero((people["education"] == code) & (rng.random(count) < 0.5))
        academic[at] = rng.choice(degrees, len(at), p=_falling(len(degrees)))
    people["title_religious"] = np.where(haji, of_sex, None)
    people["title_academic"] = academic


def _drawn(rng: Rng, shares: dict[int, float], count: int) -> np.ndarray:
    return rng.choice(list(shares), count, p=list(shares.values()))


def _falling(count: int, power: float = 1.0) -> np.ndarray:
    weight = 1 / np.arange(2, count + 2) ** power
    return weight / weight.sum()


def _name(rng: Rng, people: dict[str, np.ndarray], family: dict[str, np.ndarray]) -> None:
    """name, mother_name, father_name: parents in the family lend theirs, others' are invented."""
    count, at = len(people["family"]), people["family"]
    year = 1970 + (people["born"] / YEAR).astype(int)
    # A wife, a helper, a relative come from families of their own.
    own = np.isin(people["role"], [WIFE, HELPER, RELATIVE])
    surname = np.where(own, rng.random(count), family["surname"][at])
    origin = np.where(
        own & (rng.random(count) < 0.2), names.origins(rng, count), family["origin"][at]
    )
    people["name"] = names.draw(rng, origin, people["sex"], year, people["religion"], surname)
    for parent, sex in {"mother": FEMALE, "father": MALE}.items():
        position = people[parent]
        invented = np.flatnonzero(position < 0)
        known = people["name"].take(pa.array(position, mask=position < 0))
        others = names.draw(
            rng,
            origin[invented],
            np.full(len(invented), sex),
            year[invented] - 27,
            people["religion"][invented],
            surname[invented] if parent == "father" else rng.random(len(invented)),
        )
        where = np.full(count, 0)
        where[invented] = np.arange(len(invented))
        taken = others.take(pa.array(where, mask=position >= 0))
        people[f"{parent}_name"] = pc.coalesce(known, taken)
