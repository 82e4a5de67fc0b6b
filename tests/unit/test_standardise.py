"""Names, numbers, dates and places brought to one spelling: literal pairs, rule by rule."""

from datetime import date

import ibis
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stdnum.id import nik as oracle

from common.settings import Settings
from transforms.standardise import addresses, birth_dates, names, nik, places, senders
from warehouse.catalog import open_duckdb

TODAY = ibis.date(2026, 11, 1)


@pytest.fixture(scope="module")
def connection(tmp_path_factory):
    with open_duckdb(Settings(home=tmp_path_factory.mktemp("home"))) as connection:
        yield connection


@pytest.fixture(scope="module")
def read(connection):
    return lambda rule, value: _read(connection, rule, value)


def _read(connection, rule, value):
    kind = "DATE" if isinstance(value, date) else "VARCHAR"
    connection.execute(f"CREATE OR REPLACE TABLE given AS SELECT CAST(? AS {kind}) AS x", [value])
    rows = ibis.duckdb.from_connection(connection).table("given")
    query = str(ibis.to_sql(rows.select(found=rule(rows.x)), dialect="duckdb"))
    return connection.execute(query).fetchall()[0][0]


PAIRS = [
    (names.folded, "  siti\u00a0 nur’aini ", "SITI NUR'AINI"),
    (names.folded, "FAâ€™IZ", "FA'IZ"),
    (names.folded, "RINÃ‰", "RINE"),
    (names.folded, "José", "JOSE"),
    (names.without_mother, "BAYI NY. SITI", None),
    (names.without_mother, "BY. AMINAH", None),
    (names.without_mother, "BAYINAH", "BAYINAH"),
    (names.without_remark, "SUTRISNO (ALM)", "SUTRISNO"),
    (names.without_remark, "SUTRISNO (ALMN0", "SUTRISNO"),
    (names.without_remark, "ALM. SUTRISNO", "SUTRISNO"),
    (names.without_remark, "SUTRISNO ALM", "SUTRISNO"),
    (names.without_remark, "ALMIRA", "ALMIRA"),
    (names.without_alias, "KARTINI ALIAS TINI", "KARTINI"),
    (names.without_alias, "KARTINI @ TINI", "KARTINI"),
    (names.without_alias, "ALIAS SUTEJA", "ALIAS SUTEJA"),
    (names.without_father, "UMAR BIN KHATAB", "UMAR"),
    (names.without_father, "AMINAH BINTI HASAN", "AMINAH"),
    (names.without_father, "BINTI ROHMAH", "BINTI ROHMAH"),
    (names.without_titles, "H. SLAMET", "SLAMET"),
    (names.without_titles, "DR. IR. H. SLAMET, M.M.", "SLAMET"),
    (names.without_titles, "DRA SITI AISYAH S.PD", "SITI AISYAH"),
    (names.without_titles, "HJ.SITI AISYAH", "SITI AISYAH"),
    (names.without_titles, "SRI SE", "SRI SE"),
    (names.without_titles, "HARTONO", "HARTONO"),
    (names.without_titles, "RATNA S.E., M.M.", "RATNA"),
    (names.without_titles, "H", "H"),
    (names.letters, "FA'IZ", "FAIZ"),
    (names.letters, "ADINDA-DARI", "ADINDA DARI"),
    (names.letters, "M.YUSUF", "M YUSUF"),
    *(
        (names.with_known_words, f"{word} YUSUF", "MUHAMMAD YUSUF")
        for word in (
            "M", "MOH", "MUH", "MOCH", "MHD", "MD", "MUHAMAD", "MOHAMAD", "MOHAMMAD", "MOCHAMAD",
            "MOCHAMMAD", "MUCHAMAD", "MUHAMMED", "MOHAMMED",
        )
    ),
    (names.with_known_words, "M", "M"),
    (names.with_known_words, "NUR MUHAMAD", "NUR MUHAMMAD"),
    (names.with_known_words, "MUHAIMIN", "MUHAIMIN"),
    (names.with_known_words, "MOHANI", "MOHANI"),
    (names.with_known_words, "ACHMAD FAUZI", "AHMAD FAUZI"),
    (names.with_known_words, "NUR AKHMAD", "NUR AHMAD"),
    (names.with_known_words, "ST AMINAH", "SITI AMINAH"),
    (names.with_known_words, "SITTI AMINAH", "SITI AMINAH"),
    (names.with_known_words, "ABD RAHMAN", "ABDUL RAHMAN"),
    (names.with_known_words, "ABDOEL RAHMAN", "ABDUL RAHMAN"),
    (names.with_known_words, "ABDULRAHMAN", "ABDUL RAHMAN"),
    (names.with_known_words, "ABDURRAHMAN", "ABDUL RAHMAN"),
    (names.with_known_words, "ABDURAHMAN", "ABDUL RAHMAN"),
    (names.with_known_words, "ABDUSSALAM", "ABDUL SALAM"),
    (names.with_known_words, "ABDULAZIZ", "ABDUL AZIZ"),
    (names.with_known_words, "ABDULLAH", "ABDULLAH"),
    (names.with_known_words, "ABDULAH", "ABDULAH"),
    (names.with_known_words, "ABDUL", "ABDUL"),
    (names.with_known_words, "ABDI NEGARA", "ABDI NEGARA"),
    (names.new_spelling, "SOEKARNO", "SUKARNO"),
    (names.new_spelling, "TJAHJONO", "CAHJONO"),
    (names.new_spelling, "DJOKO", "JOKO"),
    (names.new_spelling, "NJOMAN", "NYOMAN"),
    (names.new_spelling, "SJAFEI", "SYAFEI"),
    (names.new_spelling, "CHOLID", "KHOLID"),
    (names.new_spelling, "MASCHUR", "MASKHUR"),
    (names.new_spelling, "CHANDRA", "CANDRA"),
    (names.new_spelling, "CHRISTINA", "KRISTINA"),
    (names.new_spelling, "JOKO", "JOKO"),
    (names.standard, "Drs. H. Moch. Djoenaedi (Alm)", "MUHAMMAD JUNAEDI"),
    (names.standard, "...", None),
    (names.standard, "", None),
    (names.standard, None, None),
    (nik.digits, "3274 0101 0190 0001", "3274010101900001"),
    (nik.digits, "327401010190OOO1", "3274010101900001"),
    (nik.digits, "3.27401E+15", None),
    (nik.digits, "327401010190001", None),
    (nik.whole, "3274015201900001", "3274015201900001"),
    (nik.whole, "9874010101900001", "9874010101900001"),
    (nik.whole, "1111111111111111", None),
    (nik.whole, "1234567890123456", None),
    (nik.whole, "0274010101900001", None),
    (nik.whole, "3274013201900001", None),
    (nik.whole, "3274010113900001", None),
    (nik.whole, "3274010101900000", None),
    (addresses.rt, "Jl. Kartini No. 5 RT 05 RW 08", "005"),
    (addresses.rt, "RT 002 RW 004", "002"),
    (addresses.rt, "GG. MAWAR RT.005/RW.008", "005"),
    (addresses.rt, "RW 06 RT 5", "005"),
    (addresses.rt, "Blok Siwodi RT/RW 03/10 Kel. Kalijaga", "003"),
    (addresses.rt, "Jl. Smart 12", None),
    (addresses.rt, "JL. KARTINI RT 1234", None),
    (addresses.rt, None, None),
    (addresses.rw, "RW 06 RT 05", "006"),
    (addresses.rw, "RT.005/RW.008", "008"),
    (addresses.rw, "RT/RW: 003-010", "010"),
    (addresses.rw, "JL. KARTINI RT 05", None),
    (addresses.street, "Jalan  Kartini No. 5 RT 05 RW 08", "KARTINI 5"),
    (addresses.street, "JLN. KARTINI NO.05", "KARTINI 5"),
    (addresses.street, "Kartini Nomor 5, Kel. Kebonbaru Kec. Kejaksan 45121", "KARTINI 5"),
    (addresses.street, "Gang Mawar 3/A RT.005/RW.008", "GG MAWAR 3 A"),
    (addresses.street, "Kp. Kanoman Utara DSN III RW 06 RT 05", "KP KANOMAN UTARA DUSUN III"),
    (addresses.street, "PERUMNAS BURUNG BLOK B-12 RT/RW 03/10", "PERUM BURUNG BLOK B 12"),
    (addresses.street, "JL. PANGERAN DRAJAT", "PANGERAN DRAJAT"),
    (addresses.street, "JL. KOTABARU 1", "KOTABARU 1"),
    (addresses.street, "RT 05 RW 08", None),
    (addresses.street, "", None),
    (addresses.standard, "Jln Kartini no 5 rt 5 rw 8", "KARTINI 5 RT 005 RW 008"),
    (addresses.standard, "Jalan Kartini Nomor 5 RW.08/RT.05", "KARTINI 5 RT 005 RW 008"),
    (addresses.standard, "Jl. Kartini No. 5", None),
    (addresses.standard, "RT 05 RW 08", None),
    (birth_dates.day, date(1990, 3, 12), "1990.3.12"),
    (birth_dates.day, date(1990, 12, 3), "1990.3.12"),
    (places.town, "KAB. CIREBON", "CIREBON"),
    (places.town, "Cirebon, Kota", "CIREBON"),
    (places.town, "Lemah Wungkuk", "LEMAHWUNGKUK"),
    (places.town, "KOTA", "KOTA"),
    (places.town, " ", None),
    (senders.phone, "0812-3456-7890", "6281234567890"),
    (senders.phone, "+62 812 3456 7890", "6281234567890"),
    (senders.phone, "112", None),
    (senders.email, " Siti@Contoh.ID ", "siti@contoh.id"),
    (senders.email, "siti", None),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "given", "expected"), PAIRS)
def test_rule(read, rule, given, expected):
    assert read(rule, given) == expected


@pytest.mark.parametrize(
    "spellings",
    [
        ("SYAIFUL", "SAEFUL", "SAIFUL"),
        ("ZAENAL ABIDIN", "JAENAL ABIDIN", "ZAINAL ABIDIN"),
        ("FITRI", "PITRI", "VITRI", "FITRY"),
        ("KHAERUL", "CHAERUL", "HAERUL", "KHAIRUL"),
        ("AISYAH", "AISAH", "AISYA"),
        ("SOEHARTO", "SUHARTO", "SUHARTTO"),
        ("NUR HAYATI", "NURHAYATI", "NURHAYATTI", "NOER HAYATI"),
    ],
)
def test_names_that_sound_the_same(read, spellings):
    heard = {read(lambda text: names.sound(names.standard(text)), one) for one in spellings}
    assert len(heard) == 1


@pytest.mark.parametrize(("one", "other"), [("SITI", "SINTA"), ("BUDI", "RUDI"), ("ANI", "ANA")])
def test_names_that_do_not(read, one, other):
    assert read(names.sound, one) != read(names.sound, other)


TWO_DIGITS = st.integers(0, 99).map("{:02}".format)
NUMBERS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["327401", "110101", "32740"]),
    TWO_DIGITS,
    st.integers(0, 15).map("{:02}".format),
    TWO_DIGITS,
    st.integers(0, 12).map("{:04}".format),
)


@settings(deadline=None, max_examples=20)
@given(st.lists(NUMBERS, min_size=50, max_size=50))
def test_numbers_are_judged_as_stdnum_judges_them(connection, numbers):
    """It also asks the calendar, takes day 81 for 41, which is 1, and does not know that no serial
    is 0000."""
    rows = ibis.memtable({"number": numbers})
    query = ibis.to_sql(rows.select("number", whole=nik.whole(rows.number)), dialect="duckdb")
    connection.register(rows.get_name(), pa.table({"number": numbers}))
    found = dict(connection.execute(str(query)).fetchall())
    for number in numbers:
        day = int(number[6:8])
        if day <= 71 and day % 40 <= 28:
            expected = oracle.is_valid(number) and not number.endswith("0000")
            assert (found[number] == number) == expected, number


@pytest.mark.parametrize(
    ("born", "expected"),
    [
        (date(1990, 1, 1), date(1990, 1, 1)),
        (date(2026, 11, 2), None),
        (date(1880, 1, 1), None),
    ],
)
def test_dates_on_which_nobody_was_born(read, born, expected):
    assert read(lambda value: birth_dates.believable(value, TODAY), born) == expected
