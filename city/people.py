"""Families and their people, and the rows the civil registry (SIAK shape) keeps of them.

Families are drawn with NumPy, one column at a time; DuckDB gives them NIK and family-card numbers and
writes the rows. The shape of families, ages and moves is assumed; NIK = 6 region of first registration
+ DDMMYY (women DD+40) + 4 serial, family card = 6 region + day of issue + 4 serial (SIAK).
"""

from dataclasses import dataclass
from datetime import date

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from city import names
from city.names import FEMALE, MALE
from city.places import city_map, settings

HEAD, WIFE, CHILD, GRANDCHILD, PARENT, RELATIVE, HELPER = 1, 3, 4, 6, 7, 9, 10  # SHDK codes
YEAR = 365.25
LOCAL = "3274"
EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Draft:
    """Families and persons before they have numbers.

    families: family (position), rw_index, rt, origin, religion, surname, street, house, moved_in.
    persons: family, role, sex, born (day since 1970), mother and father (position or -1), birth_order,
    codes of the registry, names, prefix and birthplace of first registration, entered, changed.
    """

    families: pa.Table
    persons: pa.Table


def draft(rng: np.random.Generator, persons: int, today: date, moving_in: bool = False) -> Draft:
    """Draws families of exactly `persons` people in all; with `moving_in` they come from elsewhere."""
    now = (today - EPOCH).days
    count = persons // 2 + 40  # more than enough: the mean family is larger than three
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
    family["family"] = np.arange(len(family["rt"]))
    people["position"] = np.arange(len(people["family"]))
    return Draft(pa.table(family), pa.table(people))


def _members(rng: np.random.Generator, count: int, now: int) -> dict[str, np.ndarray]:
    """Who lives in each family: family, slot, role, sex, born, birth_order; sorted by family and slot."""
    kind = rng.choice(3, count, p=[0.80, 0.09, 0.11])  # couple, one parent, alone
    couple, one_parent, alone = kind == 0, kind == 1, kind == 2
    age = np.where(
        alone & (rng.random(count) < 0.45), rng.uniform(19, 35, count), 22 + 62 * rng.beta(2.0, 3.0, count)
    )
    head_born = now - (age * YEAR).astype(int)
    head_sex = np.where(
        couple, MALE, np.where(rng.random(count) < np.where(one_parent, 0.85, 0.5), FEMALE, MALE)
    )
    wife_born = np.minimum(head_born + rng.normal(3 * YEAR, 4 * YEAR, count), now - 18.5 * YEAR).astype(int)
    mother_born = np.where(couple | (head_sex == MALE), wife_born, head_born)
    every = np.arange(count)
    pieces = [(every, 0, HEAD, head_sex, head_born, 0), (every[couple], 1, WIFE, FEMALE, wife_born[couple], 0)]

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
    for slot, here, role, sex, day in [
        (20, with_parent, PARENT, parent_sex, parent_born),
        (21, with_grandchild, GRANDCHILD, parent_sex, (now - rng.uniform(2, 12, count) * YEAR).astype(int)),
        (22, with_relative, RELATIVE, parent_sex, relative_born),
        (23, with_helper, HELPER, FEMALE, (now - rng.uniform(18, 50, count) * YEAR).astype(int)),
    ]:
        sex_here = np.broadcast_to(sex, count)[here]
        pieces.append((every[here], slot, role, sex_here, day[here], 0))

    columns = ("family", "slot", "role", "sex", "born", "birth_order")
    stacked = {
        name: np.concatenate([np.broadcast_to(piece[i], len(piece[0])) for piece in pieces])
        for i, name in enumerate(columns)
    }
    order = np.lexsort((stacked["slot"], stacked["family"]))
    return {name: column[order] for name, column in stacked.items()}


def _exactly(persons: int, family: np.ndarray, count: int) -> np.ndarray:
    """Which families to keep so that their members number exactly `persons`: the first that fit, then
    people living alone."""
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
    rng: np.random.Generator, people: dict[str, np.ndarray], family: dict[str, np.ndarray], now: int
) -> None:
    """Adds the registry's codes and days, all consistent with age, sex and role (shares assumed)."""
    count, role, sex = len(people["family"]), people["role"], people["sex"]
    age = (now - people["born"]) / YEAR
    chance = rng.random(count)
    moved_in = family["moved_in"][people["family"]]
    people["religion"] = family["religion"][people["family"]].astype(np.int8)
    has_wife = np.bincount(people["family"][role == WIFE], minlength=len(family["rt"])) > 0
    parent_alone = (role == HEAD) & ~has_wife[people["family"]]
    adult = age >= 19
    people["marital"] = np.select(
        [role == WIFE, (role == HEAD) & ~parent_alone, role == PARENT, parent_alone & (age < 36) & (people["slot"] == 0),
         parent_alone, (role == RELATIVE) & (age > 45)],
        [2, 2, 4, np.where(chance < 0.75, 1, 3), np.where(chance < 0.35, 3, 4), 2],
        1,
    ).astype(np.int8)
    schooling = np.select([age < 65, age < 85], [0, 1], 1)
    adult_education = np.where(
        schooling == 0,
        rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], count, p=[0.02, 0.04, 0.17, 0.18, 0.40, 0.02, 0.05, 0.105, 0.014, 0.001]),
        rng.choice([1, 2, 3, 4, 5, 7, 8], count, p=[0.16, 0.16, 0.38, 0.13, 0.12, 0.02, 0.03]),
    )
    people["education"] = np.select(
        [age < 6.5, age < 13, age < 16, age < 19, age < 23], [1, 2, 3, 4, np.minimum(adult_education, 5)], adult_education
    ).astype(np.int8)
    men = rng.choice([15, 88, 19, 84, 5, 81, 11, 65, 6, 7, 18, 9, 26, 25, 16, 85, 13, 29, 45, 39, 89, 72, 67, 17, 10],
                     count, p=_falling(25))
    women = rng.choice([2, 15, 88, 84, 65, 5, 19, 73, 74, 23, 30, 18, 64, 34, 75], count, p=_falling(15, 1.6))
    people["job"] = np.select(
        [age < 5.5, age < 18, (age < 23) & (chance < 0.45), role == HELPER, (age > 66) & (chance < 0.6), sex == MALE],
        [1, 3, 3, 23, np.where(chance < 0.2, 4, 1), men], women,
    ).astype(np.int8)
    people["job"] = np.where((people["job"] == 65) & (people["education"] < 8), 15, people["job"]).astype(np.int8)
    people["blood"] = np.where(
        rng.random(count) < 0.7, 13, rng.choice([1, 2, 3, 4, 5, 7, 9, 11], count, p=[0.25, 0.26, 0.07, 0.36, 0.02, 0.02, 0.005, 0.015])
    ).astype(np.int8)
    people["has_card"] = np.where((age > 17.2) & (rng.random(count) < 0.975), 2, 1).astype(np.int8)
    certified = rng.random(count) < np.where(age < 19, 0.93, np.where(age < 40, 0.6, 0.22))
    people["certificate"] = np.where(certified, rng.choice(4, count, p=[0.55, 0.2, 0.15, 0.1]), -1).astype(np.int8)
    people["certificate_serial"] = rng.integers(1, 9000, count)

    # Where and when people were first registered.
    known = settings("places")["regencies"]
    kecamatan = city_map().district[family["rw_index"]][people["family"]]
    stayed = rng.random(count) < 0.75
    district = np.where(stayed, kecamatan, rng.integers(1, 6, count))
    weights = np.array([regency[2] for regency in known], dtype=float)
    came_from = rng.choice(len(known), len(family["rt"]), p=weights / weights.sum())[people["family"]]
    own_way = rng.random(count) < 0.3
    came_from = np.where(own_way, rng.choice(len(known), count, p=weights / weights.sum()), came_from)
    local = ~moved_in & (rng.random(count) < np.where(age < 18, 0.97, 0.84))
    codes = np.array([int(regency[0]) for regency in known])
    most = np.array([regency[3] for regency in known])
    elsewhere = codes[came_from] * 100 + 1 + (rng.random(count) * most[came_from]).astype(int)
    people["prefix"] = np.where(local, int(LOCAL) * 100 + district, elsewhere)
    people["birthplace"] = np.where(
        local, "CIREBON", np.array([regency[1] for regency in known], dtype=object)[came_from]
    )
    siak = 13149  # 2006-01-01: the registry's own beginning (assumed)
    first = np.maximum(people["born"] + rng.integers(3, 300, count), siak + rng.integers(0, 2000, count))
    arrived = now - rng.integers(1, 365, len(family["rt"]))[people["family"]]
    entered = np.where(moved_in, np.maximum(arrived, people["born"] + 1), first).clip(max=now)
    people["entered"] = np.where(adult & ~moved_in, entered, np.minimum(entered, now))
    changed = entered + (rng.random(count) * (now - entered)).astype(int)
    people["changed"] = np.where((rng.random(count) < 0.4) & ~moved_in, changed, -1)
    people["second"] = rng.integers(27000, 61000, count)  # of the day: office hours
    head = people["role"] == HEAD
    issued = now - (rng.beta(1.2, 2.0, len(family["rt"])) * 18 * YEAR).astype(int)
    of_age = people["born"][head] + int(18 * YEAR)
    family["issued"] = np.where(family["moved_in"], people["entered"][head], np.maximum(issued, of_age))

    # Titles: haji by age among Muslims, degrees by education.
    haji = (people["religion"] == 1) & (age > 38) & (rng.random(count) < 0.07)
    academic = np.full(count, None, dtype=object)
    for code, titles in settings("names")["titles"]["academic"].items():
        at = np.flatnonzero((people["education"] == code) & (rng.random(count) < 0.5))
        academic[at] = rng.choice(np.array(titles, dtype=object), len(at), p=_falling(len(titles)))
    religious = settings("names")["titles"]["religious"]
    people["title_religious"] = np.where(haji, np.where(sex == MALE, religious["male"], religious["female"]), None)
    people["title_academic"] = academic


def _falling(count: int, power: float = 1.0) -> np.ndarray:
    weight = 1 / np.arange(2, count + 2) ** power
    return weight / weight.sum()


def _name(rng: np.random.Generator, people: dict[str, np.ndarray], family: dict[str, np.ndarray]) -> None:
    """name, mother_name, father_name: parents in the family lend theirs, the others' are invented."""
    count, at = len(people["family"]), people["family"]
    year = 1970 + (people["born"] / YEAR).astype(int)
    # A wife, a helper, a relative come from families of their own.
    own = np.isin(people["role"], [WIFE, HELPER, RELATIVE])
    surname = np.where(own, rng.random(count), family["surname"][at])
    origin = np.where(own & (rng.random(count) < 0.2), names.origins(rng, count), family["origin"][at])
    people["name"] = names.draw(rng, origin, people["sex"], year, people["religion"], surname)
    for parent, sex in {"mother": FEMALE, "father": MALE}.items():
        position = people[parent]
        invented = np.flatnonzero(position < 0)
        known = people["name"].take(pa.array(position, mask=position < 0))
        others = names.draw(
            rng, origin[invented], np.full(len(invented), sex), year[invented] - 27,
            people["religion"][invented], surname[invented] if parent == "father" else rng.random(len(invented)),
        )
        where = np.full(count, 0)
        where[invented] = np.arange(len(invented))
        taken = others.take(pa.array(where, mask=position >= 0))
        people[f"{parent}_name"] = pc.coalesce(known, taken)


def create_tables(con: duckdb.DuckDBPyConnection) -> None:
    """Tables of the truth: `family`, and `person` (status resident, dead, moved_out or removed;
    entered_on is empty for a newborn whose row is still to be written)."""
    con.execute(
        "CREATE TABLE family (family_key BIGINT, rw_index INT, no_kk VARCHAR, moved_in BOOLEAN,"
        " origin INT, religion INT, surname DOUBLE)"
    )
    con.execute(
        "CREATE TABLE person (person_key BIGINT, family_key BIGINT, mother_key BIGINT, father_key BIGINT,"
        " name VARCHAR, nik VARCHAR, sex VARCHAR, birth_date DATE, birth_order INT, status VARCHAR,"
        " entered_on DATE, phone VARCHAR)"
    )


def settle(con: duckdb.DuckDBPyConnection, drafted: Draft, today: date, newborn_days: int) -> None:
    """Gives a draft its numbers and enters it in the registry, but for children born in the last
    `newborn_days` to a mother of the city: their rows follow from what is reported of their birth."""
    con.register("draft_family", drafted.families)
    con.register("draft_person", drafted.persons)
    con.register("street", pa.table({"street": range(len(settings("places")["streets"])), "street_name": settings("places")["streets"]}))
    first_family, first_person = con.execute(
        "SELECT (SELECT coalesce(max(family_key), 0) + 1 FROM family), (SELECT coalesce(max(person_key), 0) + 1 FROM person)"
    ).fetchone()
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE new_family AS
        WITH numbered AS (
            SELECT {first_family} + family AS family_key, d.*, rw.* EXCLUDE (rw_index),
                DATE '1970-01-01' + issued::INT AS issued_on,
                '{LOCAL}' || region_code[7:8] || strftime(DATE '1970-01-01' + issued::INT, '%d%m%y') AS kk12
            FROM draft_family d JOIN rw USING (rw_index)
        ), used AS (
            SELECT no_kk[:12] AS kk12, max(no_kk[13:]::INT) AS serial FROM family GROUP BY ALL
        )
        SELECT numbered.*, kk12 || printf('%04d', coalesce(serial, 0) + row_number() OVER (PARTITION BY kk12 ORDER BY family_key)) AS no_kk
        FROM numbered LEFT JOIN used USING (kk12)
        """
    )
    con.execute("INSERT INTO family SELECT family_key, rw_index, no_kk, moved_in, origin, religion, surname FROM new_family")
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE new_person AS
        SELECT {first_person} + position AS person_key, position, family_key, no_kk, region_code, role, sex, birth_order,
            DATE '1970-01-01' + born::INT AS birth_date,
            role = {CHILD} AND mother >= 0 AND born > {(today - EPOCH).days - newborn_days} AND NOT moved_in AS is_newborn,
            CASE WHEN is_newborn THEN '{LOCAL}' || region_code[7:8] ELSE prefix::VARCHAR END AS prefix,
            CASE WHEN mother >= 0 THEN {first_person} + mother END AS mother_key,
            CASE WHEN father >= 0 THEN {first_person} + father END AS father_key
        FROM draft_person JOIN (SELECT family, family_key, no_kk, region_code, moved_in FROM new_family) USING (family)
        """
    )
    give_nik(con)
    con.execute(
        f"""
        INSERT INTO person
        SELECT person_key, family_key, mother_key, father_key, name, nik, if(p.sex = {MALE}, 'male', 'female'),
            birth_date, p.birth_order, 'resident', if(is_newborn, NULL, DATE '1970-01-01' + entered::INT), {phone("person_key")}
        FROM new_person p JOIN new_nik USING (person_key) JOIN draft_person USING (position)
        """
    )
    _write_families(con)
    _write_residents(con)
    for view in ("draft_family", "draft_person", "street"):
        con.unregister(view)


def give_nik(con: duckdb.DuckDBPyConnection) -> None:
    """Table new_nik (person_key, nik) for table new_person (person_key, prefix, birth_date, sex): the next free serials."""
    con.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE new_nik AS
        WITH beginning AS (
            SELECT person_key, prefix || {nik_date("birth_date", f"sex = {FEMALE}")} AS nik12 FROM new_person
        ), used AS (
            SELECT nik[:12] AS nik12, max(nik[13:]::INT) AS serial FROM person GROUP BY ALL
        )
        SELECT person_key, nik12 || printf('%04d', coalesce(serial, 0) + row_number() OVER (PARTITION BY nik12 ORDER BY person_key)) AS nik
        FROM beginning LEFT JOIN used USING (nik12)
        """
    )


def nik_date(day: str, is_female: str) -> str:
    """SQL: the six digits of a NIK that carry the birth date; women have 40 added to the day."""
    return f"(printf('%02d', day({day}) + if({is_female}, 40, 0)) || strftime({day}, '%m%y'))"


def phone(key: str) -> str:
    """SQL: a person's invented mobile number."""
    return (
        f"('08' || ['12', '13', '21', '22', '52', '57', '77', '78', '81', '95'][1 + ({key} * 7919) % 10]"
        f" || printf('%08d', ({key} * 48271) % 99999989))"
    )


def _write_families(con: duckdb.DuckDBPyConnection) -> None:
    con.execute(
        """
        INSERT INTO sound.data_keluarga
        SELECT family_key, no_kk, head.name,
            street_name || CASE family_key % 4 WHEN 0 THEN ' NO. ' WHEN 1 THEN ' NO ' WHEN 2 THEN ' ' ELSE ' NO.' END || house,
            printf('%03d', rt), printf('%03d', rw), NULL, postcode, '32', '74',
            region_code[8:8], region_code[10:],
            strftime(issued_on + to_seconds(head.second), '%Y-%m-%d %H:%M:%S'),
            if(head.changed > issued, strftime(DATE '1970-01-01' + head.changed::INT + to_seconds(head.second), '%Y-%m-%d %H:%M:%S'), NULL)
        FROM new_family JOIN street USING (street)
        JOIN (SELECT family, name, second, changed FROM draft_person WHERE role = 1) head USING (family)
        """
    )


def _write_residents(con: duckdb.DuckDBPyConnection) -> None:
    """Certificate numbers take the forms met in registries: LU on time, LT late, TAMB, TIS, plain."""
    con.execute(
        """
        INSERT INTO sound.biodata_wni
        SELECT p.person_key, n.nik, name, p.sex, birthplace, birth_date, if(certificate < 0, '1', '2'),
            CASE WHEN certificate < 0 THEN NULL
                WHEN certificate = 0 OR birth_date > '2010-01-01'
                THEN '3274-' || if(certificate_serial % 9 = 0, 'LT', 'LU') || strftime(DATE '1970-01-01' + entered::INT, '-%d%m%Y-')
                    || if(certificate_serial % 300 = 7, chr(10), '') || printf('%04d', certificate_serial)
                WHEN certificate = 1 THEN certificate_serial || '/TAMB/' || (year(birth_date) + certificate_serial % 9)
                WHEN certificate = 2 THEN (certificate_serial + 3000) || '/TIS/' || (year(birth_date) + certificate_serial % 5)
                ELSE certificate_serial || '/' || year(birth_date) END,
            blood, religion, marital, p.role, education, job,
            mother_nik.nik, mother_name, father_nik.nik, father_name, no_kk, '32', '74',
            region_code[8:8], region_code[10:], '1',
            strftime(DATE '1970-01-01' + entered::INT + to_seconds(second), '%Y-%m-%d %H:%M:%S'),
            if(changed < 0, NULL, strftime(DATE '1970-01-01' + changed::INT + to_seconds(second + 1800), '%Y-%m-%d %H:%M:%S')),
            '1', title_religious, title_academic, has_card
        FROM new_person p JOIN draft_person USING (position) JOIN new_nik n USING (person_key)
        LEFT JOIN new_nik mother_nik ON mother_nik.person_key = mother_key
        LEFT JOIN new_nik father_nik ON father_nik.person_key = father_key
        WHERE NOT is_newborn
        """
    )


def die(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, count: int, days: int, today: date) -> None:
    """`count` people, mostly old, have died in the last `days` days (the risk by age is assumed)."""
    keys, born = con.execute(
        f"""SELECT person_key, date_diff('day', DATE '1970-01-01', birth_date) FROM person
        WHERE status = 'resident' AND person_key IN ({_untouched()})
        AND person_key NOT IN (SELECT mother_key FROM birth) AND birth_date < DATE '{today}' - 400 ORDER BY person_key"""
    ).fetchnumpy().values()
    risk = np.exp(((today - EPOCH).days - born) / YEAR / 11)
    _leave(con, "dead", rng.choice(keys, count, replace=False, p=risk / risk.sum()), rng, days, today)


def move_out(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, count: int, days: int, today: date) -> None:
    """`count` people have left: whole families without a newborn, and a few grown children to make up the number."""
    families = con.execute(
        f"""SELECT family_key, count(*) AS size FROM person JOIN family USING (family_key)
        WHERE NOT moved_in GROUP BY ALL
        HAVING bool_and(status = 'resident' AND birth_date < DATE '{today}' - 400 AND entered_on IS NOT NULL)
        AND bool_and(person_key IN ({_untouched()})) ORDER BY family_key"""
    ).fetchnumpy()
    order = rng.permutation(len(families["size"]))
    leaving = order[np.cumsum(families["size"][order]) <= count]
    con.register("leaving", pa.table({"family_key": families["family_key"][leaving]}))
    gone = con.execute("SELECT person_key FROM person SEMI JOIN leaving USING (family_key) ORDER BY ALL").fetchnumpy()["person_key"]
    grown = con.execute(
        f"""SELECT row_id FROM sound.biodata_wni WHERE stat_hbkel = '4' AND flag_status = '1'
        AND tgl_lhr < '{today.year - 19}' AND row_id IN ({_untouched()})
        AND row_id NOT IN (SELECT person_key FROM person SEMI JOIN leaving USING (family_key)) ORDER BY ALL"""
    ).fetchnumpy()["row_id"]
    con.unregister("leaving")
    alone = rng.choice(grown, count - len(gone), replace=False)
    _leave(con, "moved_out", np.concatenate([gone, alone]), rng, days, today)


def _leave(
    con: duckdb.DuckDBPyConnection, status: str, keys: np.ndarray, rng: np.random.Generator, days: int, today: date
) -> None:
    """Sets the status of these people, in the truth and in their registry rows."""
    con.register(
        "leaver",
        pa.table({"person_key": keys, "ago": rng.integers(0, days, len(keys)), "second": rng.integers(27000, 61000, len(keys))}),
    )
    con.execute(f"UPDATE person SET status = '{status}' FROM leaver WHERE person.person_key = leaver.person_key")
    changes = "flag_status = '2', stat_hidup = '2'" if status == "dead" else "flag_status = '3'"
    con.execute(
        f"""UPDATE sound.biodata_wni SET {changes}, tgl_ubah = greatest(
            strftime(DATE '{today}' - ago::INT + to_seconds(second), '%Y-%m-%d %H:%M:%S'), tgl_entri, coalesce(tgl_ubah, ''))
        FROM leaver WHERE row_id = person_key"""
    )
    con.unregister("leaver")


def _untouched() -> str:
    """SQL: residents whose row carries no fault and has no copy; only these change."""
    return (
        "SELECT row_id FROM sound.biodata_wni WHERE row_id NOT IN (SELECT row_id FROM bad.biodata_wni)"
        " AND row_id NOT IN (SELECT copy_of FROM bad.biodata_wni WHERE copy_of IS NOT NULL)"
    )


def correct(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, count: int, day: date) -> None:
    """A day at the counter: `count` residents each change their occupation, take a longer name, or have
    their family's address corrected."""
    rows = con.execute(
        f"""SELECT row_id FROM sound.biodata_wni WHERE flag_status = '1' AND tgl_lhr < '{day.year - 20}'
        AND row_id IN ({_untouched()}) ORDER BY row_id"""
    ).fetchnumpy()["row_id"]
    chosen = rng.choice(rows, 2 * count, replace=False)
    stamp = f"strftime(DATE '{day}' + to_seconds(second), '%Y-%m-%d %H:%M:%S')"
    families = con.execute(
        "SELECT row_id FROM sound.data_keluarga WHERE row_id NOT IN (SELECT row_id FROM bad.data_keluarga)"
        " AND row_id NOT IN (SELECT copy_of FROM bad.data_keluarga WHERE copy_of IS NOT NULL) ORDER BY row_id"
    ).fetchnumpy()["row_id"]
    moved = rng.choice(families, count, replace=False)
    for rows, statement in (
        (
            chosen[:count],
            f"UPDATE sound.biodata_wni SET jenis_pkrjn = if(jenis_pkrjn = '15', '88', '15'), tgl_ubah = {stamp}",
        ),
        (
            chosen[count:],
            f"UPDATE sound.biodata_wni SET nama_lgkp = nama_lgkp || if(jenis_klmin = '1', ' WIBAWA', ' KINASIH'), tgl_ubah = {stamp}",
        ),
        (moved, f"UPDATE sound.data_keluarga SET alamat = alamat || ' A', tgl_updation = {stamp}"),
    ):
        con.register("corrected", pa.table({"id": rows, "second": rng.integers(27000, 61000, len(rows))}))
        con.execute(f"{statement} FROM corrected WHERE row_id = id")
        con.unregister("corrected")
    con.execute(
        "UPDATE person SET name = nama_lgkp FROM sound.biodata_wni WHERE row_id = person_key AND person_key IN (SELECT unnest(?::BIGINT[]))",
        [chosen[count:].tolist()],
    )


def strike_off(con: duckdb.DuckDBPyConnection, rng: np.random.Generator, count: int) -> None:
    """The registry deletes `count` rows without a trace: grown children and relatives of a family."""
    rows = con.execute(
        f"""SELECT row_id FROM sound.biodata_wni WHERE stat_hbkel IN ('4', '9') AND flag_status = '1'
        AND row_id NOT IN (SELECT child_key FROM birth) AND row_id IN ({_untouched()}) ORDER BY row_id"""
    ).fetchnumpy()["row_id"]
    chosen = rng.choice(rows, count, replace=False).tolist()
    con.execute("DELETE FROM sound.biodata_wni WHERE row_id IN (SELECT unnest(?::BIGINT[]))", [chosen])
    con.execute("UPDATE person SET status = 'removed' WHERE person_key IN (SELECT unnest(?::BIGINT[]))", [chosen])
