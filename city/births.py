"""Births: the hospital's notice, the report online (Brojol), the certificate, the registry's row.

Table `birth` of the truth plans every birth ahead: what will be noticed, reported, certified and
entered, and when. `advance` writes down whatever is due. Shares and delays are assumed: 84 % are
born in a hospital, 95 % of those noticed, 85 % of all reported, 90 % of the reports certified after
1 to 14 days; a report after more than 60 days is late (LT instead of LU).
"""

from datetime import date

import numpy as np
import pyarrow as pa

from city import names
from city.people import EPOCH, LOCAL
from city.places import settings
from city.registry import calendar, next_key, numbers, phone
from city.sql import STAMP, Con, Rng, column, feeding, value

BIRTHS_PER_RESIDENT = 0.0145  # a year (assumed)
LEAST_BIRTHS = 2  # a day
MONTHS = "['I', 'II', 'III', 'IV', 'V', 'VI', 'VII', 'VIII', 'IX', 'X', 'XI', 'XII']"


def create_tables(con: Con) -> None:
    """Table `birth`: one planned birth per row; numbers stay empty until `advance` gives them."""
    con.execute(
        """
        CREATE TABLE birth (
            child_key BIGINT, mother_key BIGINT, father_key BIGINT, family_key BIGINT,
            child_name VARCHAR, child_nik VARCHAR, sex VARCHAR,
            mother_name VARCHAR, mother_nik VARCHAR, mother_birth DATE,
            father_name VARCHAR, father_nik VARCHAR, father_birth DATE, address VARCHAR,
            born_at TIMESTAMP, kind VARCHAR, birth_order INT, weight INT, length DECIMAL(5, 1),
            place VARCHAR, attendant VARCHAR, hospital VARCHAR,
            noticed BOOLEAN, notice_number VARCHAR,
            reporter_kind VARCHAR, reporter_name VARCHAR, reporter_nik VARCHAR,
            reporter_phone VARCHAR, witness1 VARCHAR, witness2 VARCHAR,
            reported_at TIMESTAMP, verified_at TIMESTAMP, refused BOOLEAN, report_id BIGINT,
            issued_at TIMESTAMP, certificate_id BIGINT, certificate_number VARCHAR,
            entered_on DATE)
        """
    )


def plan(con: Con, rng: Rng, least_uncertified: int = 0, least_noticed: int = 0) -> None:
    """Plans the birth of every person who waits for a registry row. At least `least_uncertified`
    reports never lead to a certificate, so that small cities have room for every fault, and a
    hospital notices at least `least_noticed` births."""
    children = column(
        con,
        """
        SELECT person_key FROM person
        WHERE entered_on IS NULL AND person_key NOT IN (SELECT child_key FROM birth)
        """,
    )
    count, last = len(children), value(con, "SELECT max(person_key) FROM person")
    surely = np.arange(count) < least_noticed
    in_hospital = (rng.random(count) < 0.84) | surely
    hospitals = settings("places")["hospitals"]
    share = np.array(list(hospitals.values())) / sum(hospitals.values())
    elsewhere = rng.choice(["2", "3", "4", "5"], count, p=[0.5, 0.1, 0.35, 0.05])
    by_doctor = rng.choice(["1", "2"], count, p=[0.7, 0.3])
    by_midwife = rng.choice(["2", "3", "4"], count, p=[0.9, 0.07, 0.03])
    reported = rng.random(count) < 0.85
    certified = reported & (rng.random(count) < 0.90)
    missing = least_uncertified - (reported & ~certified).sum()
    if missing > 0:
        at = np.flatnonzero(certified)
        certified[rng.choice(at, min(missing, len(at) * 2 // 3), replace=False)] = False
    in_time = 0.3 + rng.exponential(6, count).clip(max=59)
    report_days = np.where(rng.random(count) < 0.02, rng.uniform(61, 120, count), in_time)
    issue_days = rng.uniform(1, 14, count)
    columns = {
        "child_key": children,
        "born_second": rng.integers(0, 72000, count),
        "weight": rng.normal(3100, 420, count).clip(1900, 4600).astype(int),
        "length": (rng.normal(49, 1.6, count).clip(43, 55) * 2).round() / 2,
        "place": np.where(in_hospital, "1", elsewhere),
        "attendant": np.where(in_hospital, by_doctor, by_midwife),
        "in_hospital": in_hospital,
        "some_hospital": rng.choice(list(hospitals), count, p=share),
        "noticed": in_hospital & ((rng.random(count) < 0.95) | surely),
        "reporter": rng.choice(["ortu", "rs", "bidan"], count, p=[0.7, 0.2, 0.1]),
        "by_mother": rng.random(count) < 0.3,
        "report_second": np.where(reported, (report_days * 86400).astype(int), -1),
        "verify_second": (issue_days * rng.uniform(0.05, 0.8, count) * 86400).astype(int),
        "issue_second": np.where(certified, (issue_days * 86400).astype(int), -1),
        "refused": rng.random(count) < 0.5,
        "enter_days": rng.integers(20, 75, count),
        "witness1_key": rng.integers(1, last, count),
        "witness2_key": rng.integers(1, last, count),
    }
    with feeding(con, "drawn", columns):
        con.execute(
            """
            INSERT INTO birth BY NAME
            SELECT child_key, child.mother_key, child.father_key, child.family_key,
                child.name AS child_name, child.nik AS child_nik, child.sex,
                mother.name AS mother_name, mother.nik AS mother_nik,
                mother.birth_date AS mother_birth,
                father.name AS father_name, father.nik AS father_nik,
                father.birth_date AS father_birth,
                alamat || ' RT ' || no_rt || ' RW ' || no_rw AS address,
                child.birth_date + to_seconds(born_second) AS born_at,
                least(count(*) OVER (PARTITION BY child.mother_key, child.birth_date), 5) AS kind,
                child.birth_order, weight, length, place, attendant, noticed,
                if(in_hospital, some_hospital, NULL) AS hospital,
                if(reporter = 'rs' AND NOT in_hospital, 'bidan', reporter) AS reporter_kind,
                CASE reporter_kind
                    WHEN 'ortu' THEN if(by_mother OR father.name IS NULL, mother.name, father.name)
                    WHEN 'rs' THEN 'PETUGAS ' || some_hospital
                    ELSE 'BIDAN ' || split_part(witness1.name, ' ', 1) END AS reporter_name,
                CASE WHEN reporter_kind = 'ortu'
                    THEN if(by_mother OR father.name IS NULL, mother.nik, father.nik)
                    END AS reporter_nik,
                if(by_mother OR father.name IS NULL, mother.phone, father.phone) AS reporter_phone,
                witness1.name AS witness1, witness2.name AS witness2,
                born_at + to_seconds(nullif(report_second, -1)) AS reported_at,
                reported_at + to_seconds(verify_second) AS verified_at,
                reported_at + to_seconds(nullif(issue_second, -1)) AS issued_at,
                refused AND issued_at IS NULL AS refused,
                coalesce(issued_at::DATE, child.birth_date + enter_days::INT) AS entered_on
            FROM drawn
            JOIN person child ON child.person_key = child_key
            JOIN person mother ON mother.person_key = child.mother_key
            LEFT JOIN person father ON father.person_key = child.father_key
            JOIN person witness1 ON witness1.person_key = witness1_key
            JOIN person witness2 ON witness2.person_key = witness2_key
            JOIN sound.data_keluarga ON row_id = child.family_key
            """
        )


def happen(con: Con, rng: Rng, residents: int, day: date) -> None:
    """Children born on this day, to wives of 19 to 42 whose youngest is older than a year."""
    mothers = con.execute(
        f"""
        SELECT p.person_key AS mother_key, p.family_key, origin, f.religion, surname,
            {LOCAL} * 100 + region_code[7:8]::INT AS prefix,
            (SELECT min(person_key) FROM person
                WHERE family_key = p.family_key AND person_key IN (SELECT row_id
                    FROM sound.biodata_wni WHERE stat_hbkel = '1' AND flag_status = '1'))
                AS father_key,
            (SELECT coalesce(max(birth_order), 0) + 1 FROM person
                WHERE mother_key = p.person_key) AS birth_order
        FROM person p
        JOIN family f USING (family_key)
        JOIN rw USING (rw_index)
        JOIN sound.biodata_wni wife ON wife.row_id = p.person_key
        WHERE stat_hbkel = '3' AND flag_status = '1'
            AND p.birth_date BETWEEN DATE '{day}' - 15340 AND DATE '{day}' - 6940
            AND p.person_key NOT IN (SELECT mother_key FROM person
                WHERE mother_key IS NOT NULL AND birth_date > DATE '{day}' - 400)
        ORDER BY p.person_key
        """
    ).to_arrow_table()
    count = max(LEAST_BIRTHS, round(residents * BIRTHS_PER_RESIDENT / 365))
    mothers = mothers.take(rng.permutation(mothers.num_rows)[:count])
    of = {name: mothers[name].to_numpy() for name in mothers.column_names}
    sex = np.where(rng.random(count) < 0.512, names.MALE, names.FEMALE)
    name = names.draw(
        rng, of["origin"], sex, np.full(count, day.year), of["religion"], of["surname"]
    )
    born = np.full(count, (day - EPOCH).days)
    nik = numbers(con, "person", "nik", of["prefix"], calendar(born, sex == names.FEMALE))
    babies = (
        mothers.append_column("sex", pa.array(sex))
        .append_column("name", name)
        .append_column("nik", pa.array(nik))
        .append_column("person_key", pa.array(next_key(con, "person") + np.arange(count)))
    )
    with feeding(con, "baby", babies):
        con.execute(
            f"""
            INSERT INTO person
            SELECT person_key, family_key, mother_key, father_key, name, nik,
                if(sex = {names.MALE}, 'male', 'female'), DATE '{day}', birth_order, 'resident',
                NULL, {phone("person_key")}
            FROM baby
            """
        )
    plan(con, rng, least_noticed=1)
    _hurry(con, day)


def _hurry(con: Con, day: date) -> None:
    """On a day without a report or without a certificate the next one planned comes already today
    (else one that was never planned), so that no kind of event is missing in a small city."""
    ten = f"TIMESTAMP '{day} 10:00:00'"
    con.execute(
        f"""
        UPDATE birth
        SET reported_at = {ten}, verified_at = {ten} + INTERVAL 26 HOUR,
            issued_at = if(issued_at IS NULL, NULL, {ten} + INTERVAL 52 HOUR),
            entered_on = if(issued_at IS NULL, entered_on, DATE '{day}' + 2)
        WHERE NOT EXISTS (FROM birth WHERE reported_at::DATE = DATE '{day}') AND child_key = (
            SELECT child_key FROM birth
            WHERE born_at < DATE '{day}' AND coalesce(reported_at > DATE '{day}', true)
            ORDER BY reported_at NULLS LAST, born_at DESC, child_key LIMIT 1)
        """
    )
    con.execute(
        f"""
        UPDATE birth
        SET reported_at = least(reported_at, {ten}), issued_at = {ten} + INTERVAL 2 HOUR,
            verified_at = least(verified_at, {ten} + INTERVAL 1 HOUR),
            entered_on = least(entered_on, DATE '{day}')
        WHERE NOT EXISTS (FROM birth WHERE issued_at::DATE = DATE '{day}') AND child_key = (
            SELECT child_key FROM birth
            WHERE born_at < DATE '{day}' AND reported_at IS NOT NULL AND NOT refused
                AND coalesce(issued_at > DATE '{day}', true)
                AND coalesce(report_id NOT IN (SELECT row_id FROM bad.laporan_kelahiran), true)
            ORDER BY issued_at NULLS LAST, born_at DESC, child_key LIMIT 1)
        """
    )


def advance(con: Con, first: date, day: date) -> None:
    """Brings notices (of births from `first` on), reports, certificates and registry rows to
    this day."""
    due = f"::DATE <= DATE '{day}'"
    con.execute(
        f"""
        UPDATE birth SET notice_number = numbered.notice_number FROM (
            WITH given AS (
                SELECT hospital, year(born_at) AS year, count(*) AS count FROM birth
                WHERE notice_number IS NOT NULL GROUP BY ALL
            ), placed AS (
                SELECT child_key, born_at, hospital, year(born_at) AS year, row_number() OVER
                    (PARTITION BY hospital, year(born_at) ORDER BY born_at, child_key) AS place
                FROM birth WHERE noticed AND notice_number IS NULL AND born_at{due}
            )
            SELECT child_key, printf('%s/%04d/%s/%d', hospital, coalesce(count, 0) + place,
                {MONTHS}[month(born_at)], year) AS notice_number
            FROM placed LEFT JOIN given USING (hospital, year)
        ) numbered WHERE birth.child_key = numbered.child_key
        """
    )
    con.execute(
        f"""
        UPDATE birth SET report_id = id FROM (
            SELECT child_key, (SELECT coalesce(max(report_id), 0) FROM birth)
                + row_number() OVER (ORDER BY reported_at, child_key) AS id
            FROM birth WHERE report_id IS NULL AND reported_at{due}
        ) numbered WHERE birth.child_key = numbered.child_key
        """
    )
    con.execute(
        f"""
        UPDATE birth SET certificate_id = id, certificate_number = printf('%s-%s-%s-%04d',
            '{LOCAL}', if(date_diff('day', born_at, reported_at) > 60, 'LT', 'LU'),
            strftime(issued_at, '%d%m%Y'), place_of_day)
        FROM (
            SELECT child_key, (SELECT coalesce(max(certificate_id), 0) FROM birth)
                    + row_number() OVER (ORDER BY issued_at, child_key) AS id,
                row_number() OVER (PARTITION BY issued_at::DATE ORDER BY issued_at, child_key)
                    AS place_of_day
            FROM birth WHERE certificate_id IS NULL AND issued_at{due}
        ) numbered WHERE birth.child_key = numbered.child_key
        """
    )
    _write_notices(con, first, day)
    _write_reports(con, day)
    _write_certificates(con)
    _enter(con, day)


def _write_notices(con: Con, first: date, day: date) -> None:
    con.execute(
        f"""
        INSERT INTO sound.hospital_notice
        SELECT child_key, notice_number, strftime(born_at, '%d/%m/%Y'), mother_name, mother_nik,
            date_sub('year', mother_birth, born_at::DATE), coalesce(father_name, ''),
            if(sex = 'male', 'L', 'P'), strftime(born_at, '%d/%m/%Y'), strftime(born_at, '%H:%M'),
            replace(printf('%.2f', weight / 1000), '.', ','), replace(length::VARCHAR, '.', ','),
            if(kind = '1', 'TUNGGAL', 'KEMBAR ' || kind),
            CASE WHEN attendant = '1' THEN 'DOKTER' WHEN child_key % 11 = 0 THEN 'PERAWAT'
                WHEN child_key % 97 = 0 THEN 'LAINNYA' ELSE 'BIDAN' END,
            address
        FROM birth
        WHERE notice_number IS NOT NULL
            AND born_at::DATE BETWEEN DATE '{first}' AND DATE '{day}'
        """
    )


def _write_reports(con: Con, day: date) -> None:
    """The form database as of this day; its rows are a function of the plan."""
    con.execute("DELETE FROM sound.laporan_kelahiran")
    con.execute(
        f"""
        INSERT INTO sound.laporan_kelahiran
        SELECT report_id, report_id, printf('BAK-%d-%06d', year(reported_at), report_id),
            strftime(reported_at, {STAMP}), reporter_kind, reporter_name, reporter_nik,
            reporter_phone, father_nik, father_name, father_birth, mother_nik, mother_name,
            mother_birth, child_name, if(sex = 'male', '1', '2'), place, 'CIREBON',
            born_at::DATE, strftime(born_at, '%H:%M'), kind, birth_order, attendant, weight,
            length, hospital, witness1, witness2,
            CASE WHEN certificate_id IS NOT NULL THEN 'terbit'
                WHEN verified_at::DATE > DATE '{day}' THEN 'diajukan'
                WHEN refused THEN 'ditolak' ELSE 'diverifikasi' END AS state,
            strftime(CASE state WHEN 'diajukan' THEN reported_at WHEN 'terbit' THEN issued_at
                ELSE verified_at END, {STAMP})
        FROM birth WHERE report_id IS NOT NULL
        """
    )


def _write_certificates(con: Con) -> None:
    con.execute("DELETE FROM sound.akta_kelahiran")
    con.execute(
        f"""
        INSERT INTO sound.akta_kelahiran
        SELECT certificate_id, certificate_id, report_id, certificate_number, issued_at::DATE,
            child_nik, child_name, if(sex = 'male', '1', '2'), born_at::DATE, mother_nik,
            strftime(issued_at, {STAMP})
        FROM birth WHERE certificate_id IS NOT NULL
        """
    )


def _enter(con: Con, day: date) -> None:
    """The registry's rows of newborns, on the day of their certificate or, without one, weeks
    after birth."""
    con.execute(
        f"""
        INSERT INTO sound.biodata_wni
        SELECT child_key, child_nik, child_name, if(b.sex = 'male', '1', '2'), 'CIREBON',
            born_at::DATE, if(certificate_id IS NULL, '1', '2'), certificate_number,
            '13', agama, '1', '4', '1', '1',
            mother_nik, mother_name, father_nik, father_name, no_kk, '32', '74',
            region_code[8:8], region_code[10:], '1',
            strftime(coalesce(issued_at, b.entered_on + INTERVAL 10 HOUR), {STAMP}), NULL,
            '1', NULL, NULL, '1'
        FROM birth b
        JOIN person p ON p.person_key = child_key
        JOIN family f ON f.family_key = b.family_key
        JOIN rw USING (rw_index)
        JOIN (SELECT row_id, agama FROM sound.biodata_wni) m ON m.row_id = b.mother_key
        WHERE p.entered_on IS NULL AND b.entered_on <= DATE '{day}'
        """
    )
    con.execute(
        f"""
        UPDATE person SET entered_on = b.entered_on FROM birth b
        WHERE child_key = person_key AND person.entered_on IS NULL
            AND b.entered_on <= DATE '{day}'
        """
    )
