"""The civil registry (SIAK shape): numbers of people and families, their rows, and their lives.

NIK = 6 region of first registration + DDMMYY (women DD+40) + 4 serial; family card = 6 region +
day of issue + 4 serial (SIAK). The risks of dying and moving are assumed.
"""

from datetime import date

import numpy as np
import pyarrow as pa

from city.names import FEMALE, MALE
from city.people import CHILD, EPOCH, HEAD, LOCAL, YEAR, Draft
from city.places import city_map, settings
from city.sql import CHOSEN, STAMP, Con, Rng, column, feeding, untouched, value


def create_tables(con: Con) -> None:
    """Tables of the truth: `family`, and `person` (status resident, dead, moved_out or removed;
    entered_on is empty for a newborn whose row is still to be written)."""
    con.execute(
        """
        CREATE TABLE family (
            family_key BIGINT, rw_index INT, no_kk VARCHAR, moved_in BOOLEAN,
            origin INT, religion INT, surname DOUBLE)
        """
    )
    con.execute(
        """
        CREATE TABLE person (
            person_key BIGINT, family_key BIGINT, mother_key BIGINT, father_key BIGINT,
            name VARCHAR, nik VARCHAR, sex VARCHAR, birth_date DATE, birth_order INT,
            status VARCHAR, entered_on DATE, phone VARCHAR)
        """
    )


def settle(con: Con, drafted: Draft, today: date, newborn_days: int) -> None:
    """Gives a draft its numbers and enters it in the registry, but for children born in the last
    `newborn_days` to a mother of the city: what is reported of their birth leads to their rows."""
    family, people = drafted.families, drafted.persons
    family["family_key"] = next_key(con, "family") + np.arange(len(family["rt"]))
    family["no_kk"] = numbers(
        con, "family", "no_kk", _local(family["rw_index"]), calendar(family["issued"])
    )
    of, count = people["family"], len(people["family"])
    newborn = people["born"] > (today - EPOCH).days - newborn_days
    newborn &= (people["role"] == CHILD) & (people["mother"] >= 0) & ~family["moved_in"][of]
    prefix = np.where(newborn, _local(family["rw_index"][of]), people["prefix"])
    people["nik"] = numbers(
        con, "person", "nik", prefix, calendar(people["born"], people["sex"] == FEMALE)
    )
    people["person_key"] = next_key(con, "person") + np.arange(count)
    people["is_newborn"] = newborn
    for parent in ("mother", "father"):
        unknown = people[parent] < 0
        for name in ("person_key", "nik"):
            found = people[name][people[parent]]
            people[f"{parent}_{name}"] = pa.array(found, mask=unknown)
    for name in ("family_key", "no_kk", "rw_index"):
        people[name] = family[name][of]
    head = np.flatnonzero(people["role"] == HEAD)
    for name in ("name", "second", "changed"):
        family[f"head_{name}"] = people[name].take(head)
    street = np.array(settings("places")["streets"], dtype=object)[family["street"]]
    with feeding(con, "new_family", {**family, "street": street}):
        _write_families(con)
    with feeding(con, "new_person", people):
        _write_residents(con)


def numbers(con: Con, table: str, column: str, prefix: np.ndarray, dates: np.ndarray) -> np.ndarray:
    """The next free numbers of 6 digits of region, 6 of a date and a serial of 4."""
    beginning = prefix.astype(np.int64) * 10**6 + dates
    with feeding(con, "wanted", {"beginning": np.unique(beginning)}):
        used = con.execute(
            f"""
            SELECT beginning, max({column}[13:]::INT) AS serial
            FROM (SELECT *, {column}[:12]::BIGINT AS beginning FROM {table})
            SEMI JOIN wanted USING (beginning)
            GROUP BY ALL ORDER BY ALL
            """
        ).fetchnumpy()
    order = np.argsort(beginning, kind="stable")
    is_first = np.diff(beginning[order], prepend=0) != 0
    position = np.arange(len(order))
    place = np.empty_like(position)
    place[order] = position - np.maximum.accumulate(np.where(is_first, position, 0))
    last_serial = np.zeros_like(position)
    if len(used["serial"]):
        at = np.searchsorted(used["beginning"], beginning).clip(max=len(used["serial"]) - 1)
        last_serial = np.where(used["beginning"][at] == beginning, used["serial"][at], 0)
    return beginning * 10**4 + last_serial + place + 1


def calendar(days: np.ndarray, is_female: np.ndarray | bool = False) -> np.ndarray:
    """DDMMYY, as a number, of days since 1970; women have 40 added to the day."""
    dates = days.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    day = (dates - months).astype(int) + 1 + 40 * is_female
    month, year = months.astype(int) % 12 + 1, months.astype(int) // 12 + 1970
    return day * 10**4 + month * 100 + year % 100


def _local(rw_index: np.ndarray) -> np.ndarray:
    """The six digits of region of those registered where they live."""
    return LOCAL * 100 + city_map().district[rw_index]


def next_key(con: Con, table: str) -> int:
    """The key after the last one of `family` or `person`."""
    return value(con, f"SELECT coalesce(max({table}_key), 0) + 1 FROM {table}")


def day(number: str) -> str:
    """SQL: the date of a day number since 1970."""
    return f"(DATE '1970-01-01' + {number}::INT)"


def moment(number: str, second: str) -> str:
    """SQL: the time of a second of a day since 1970, as the registry writes it."""
    return f"(TIMESTAMP '1970-01-01 00:00:00' + to_seconds({number} * 86400 + {second}))::VARCHAR"


def phone(key: str) -> str:
    """SQL: a person's invented mobile number."""
    return f"""('08' || [12, 13, 21, 22, 52, 57, 77, 78, 81, 95][1 + ({key} * 7919) % 10]
        || printf('%08d', ({key} * 48271) % 99999989))"""


def _write_families(con: Con) -> None:
    con.execute(
        """
        INSERT INTO family
        SELECT family_key, rw_index, no_kk, moved_in, origin, religion, surname FROM new_family
        """
    )
    con.execute(
        f"""
        INSERT INTO sound.data_keluarga
        SELECT family_key, no_kk, head_name,
            street || [' NO. ', ' NO ', ' ', ' NO.'][1 + family_key % 4] || house,
            printf('%03d', rt), printf('%03d', rw), NULL, postcode, '32', '74',
            region_code[8:8], region_code[10:],
            {moment("issued", "head_second")},
            if(head_changed > issued, {moment("head_changed", "head_second")}, NULL)
        FROM new_family JOIN rw USING (rw_index)
        """
    )


def _write_residents(con: Con) -> None:
    """Certificate numbers take the forms met in registries: LU (on time) and LT (late), some with
    a line break, TAMB, TIS, and plain."""
    con.execute(
        f"""
        INSERT INTO person
        SELECT person_key, family_key, mother_person_key, father_person_key, name, nik,
            if(sex = {MALE}, 'male', 'female'), {day("born")}, birth_order, 'resident',
            if(is_newborn, NULL, {day("entered")}), {phone("person_key")}
        FROM new_person
        """
    )
    con.execute(
        f"""
        INSERT INTO sound.biodata_wni
        SELECT person_key, nik, name, sex, birthplace, {day("born")} AS birth_date,
            if(certificate < 0, '1', '2'),
            CASE WHEN certificate < 0 THEN NULL
                WHEN certificate = 0 OR birth_date > DATE '2010-01-01'
                THEN '3274-' || if(certificate_serial % 9 = 0, 'LT', 'LU')
                    || strftime({day("entered")}, '-%d%m%Y-')
                    || if(certificate_serial % 300 = 7, chr(10), '')
                    || printf('%04d', certificate_serial)
                WHEN certificate = 1
                THEN certificate_serial || '/TAMB/' || (year(birth_date) + certificate_serial % 9)
                WHEN certificate = 2
                THEN (certificate_serial + 3000) || '/TIS/'
                    || (year(birth_date) + certificate_serial % 5)
                ELSE certificate_serial || '/' || year(birth_date) END,
            blood, religion, marital, role, education, job,
            mother_nik, mother_name, father_nik, father_name, no_kk, '32', '74',
            region_code[8:8], region_code[10:], '1',
            {moment("entered", "second")},
            if(changed < 0, NULL, {moment("changed", "second + 1800")}),
            '1', title_religious, title_academic, has_card
        FROM new_person JOIN rw USING (rw_index)
        WHERE NOT is_newborn
        """
    )


def die(con: Con, rng: Rng, count: int, days: int, today: date) -> None:
    """`count` people, mostly old, have died in the last `days` days."""
    alive = con.execute(
        f"""
        SELECT person_key, date_diff('day', DATE '1970-01-01', birth_date) AS born FROM person
        WHERE status = 'resident' AND birth_date < DATE '{today}' - 400
            AND person_key IN ({untouched("biodata_wni")})
            AND person_key NOT IN (SELECT mother_key FROM birth)
        ORDER BY person_key
        """
    ).fetchnumpy()
    risk = np.exp(((today - EPOCH).days - alive["born"]) / YEAR / 11)
    dead = rng.choice(alive["person_key"], count, replace=False, p=risk / risk.sum())
    _leave(con, rng, "dead", dead, days, today)


def move_out(con: Con, rng: Rng, count: int, days: int, today: date) -> None:
    """`count` people have left in the last `days` days: whole families without a newborn, and a few
    grown children to make up the number."""
    families = con.execute(
        f"""
        SELECT family_key, count(*) AS size FROM person JOIN family USING (family_key)
        WHERE NOT moved_in
        GROUP BY ALL
        HAVING bool_and(status = 'resident' AND birth_date < DATE '{today}' - 400
            AND entered_on IS NOT NULL AND person_key IN ({untouched("biodata_wni")}))
        ORDER BY family_key
        """
    ).fetchnumpy()
    order = rng.permutation(len(families["size"]))
    leaving = families["family_key"][order[np.cumsum(families["size"][order]) <= count]]
    with feeding(con, "leaving", {"family_key": leaving}):
        gone = column(con, "SELECT person_key FROM person SEMI JOIN leaving USING (family_key)")
    _leave(con, rng, "moved_out", gone, days, today)
    grown = column(
        con,
        f"""
        SELECT row_id FROM sound.biodata_wni
        WHERE stat_hbkel = '4' AND flag_status = '1' AND tgl_lhr < '{today.year - 19}'
            AND row_id IN ({untouched("biodata_wni")})
        """,
    )
    alone = rng.choice(grown, count - len(gone), replace=False)
    _leave(con, rng, "moved_out", alone, days, today)


def correct(con: Con, rng: Rng, count: int, today: date) -> None:
    """A day at the counter: `count` residents each change their occupation or take a longer name,
    and `count` families correct their address."""
    adults = column(
        con,
        f"""
        SELECT row_id FROM sound.biodata_wni
        WHERE flag_status = '1' AND tgl_lhr < '{today.year - 20}'
            AND row_id IN ({untouched("biodata_wni")})
        """,
    )
    working, renamed = np.split(rng.choice(adults, 2 * count, replace=False), 2)
    moved = rng.choice(column(con, untouched("data_keluarga")), count, replace=False)
    for table, rows, change, stamp in (
        ("biodata_wni", working, "jenis_pkrjn = if(jenis_pkrjn = '15', '88', '15')", "tgl_ubah"),
        (
            "biodata_wni",
            renamed,
            "nama_lgkp = nama_lgkp || if(jenis_klmin = '1', ' WIBAWA', ' KINASIH')",
            "tgl_ubah",
        ),
        ("data_keluarga", moved, "alamat = alamat || ' A'", "tgl_updation"),
    ):
        seconds = rng.integers(27000, 61000, len(rows))
        with feeding(con, "corrected", {"id": rows, "second": seconds}):
            con.execute(
                f"""
                UPDATE sound.{table}
                SET {change}, {stamp} = strftime(DATE '{today}' + to_seconds(second), {STAMP})
                FROM corrected WHERE row_id = id
                """
            )
    con.execute(
        f"""
        UPDATE person SET name = nama_lgkp FROM sound.biodata_wni
        WHERE row_id = person_key AND person_key {CHOSEN}
        """,
        [renamed.tolist()],
    )


def strike_off(con: Con, rng: Rng, count: int) -> None:
    """The registry deletes `count` rows without a trace: of grown children and relatives."""
    rows = column(
        con,
        f"""
        SELECT row_id FROM sound.biodata_wni
        WHERE stat_hbkel IN ('4', '9') AND flag_status = '1'
            AND row_id IN ({untouched("biodata_wni")})
            AND row_id NOT IN (SELECT child_key FROM birth)
        """,
    )
    chosen = [rng.choice(rows, count, replace=False).tolist()]
    con.execute(f"DELETE FROM sound.biodata_wni WHERE row_id {CHOSEN}", chosen)
    con.execute(f"UPDATE person SET status = 'removed' WHERE person_key {CHOSEN}", chosen)


def _leave(
    con: Con,
    rng: Rng,
    status: str,
    people: np.ndarray,
    days: int,
    today: date,
) -> None:
    """Sets the status of these people, in the truth and in their registry rows."""
    leaver = {
        "person_key": people,
        "ago": rng.integers(0, days, len(people)),
        "second": rng.integers(27000, 61000, len(people)),
    }
    change = "flag_status = '2', stat_hidup = '2'" if status == "dead" else "flag_status = '3'"
    with feeding(con, "leaver", leaver):
        con.execute(
            f"UPDATE person SET status = '{status}' FROM leaver"
            " WHERE person.person_key = leaver.person_key"
        )
        con.execute(
            f"""
            UPDATE sound.biodata_wni SET {change}, tgl_ubah = greatest(
                strftime(DATE '{today}' - ago::INT + to_seconds(second), {STAMP}),
                tgl_entri, coalesce(tgl_ubah, ''))
            FROM leaver WHERE row_id = person_key
            """
        )
