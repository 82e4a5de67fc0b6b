"""The sample city's residents as OpenSID keeps them: the village system met most often.

It is no part of the city's five systems: `fill_opensid` writes it into a MariaDB of its own, from
a city that is already there, in one of two forms.

`2017`  the tables of the public releases of that time (GPL-3 software; only names and types of its
        columns are used here). Assumed: that `tweb_keluarga` is still MyISAM.
`2024`  a later form. As in the public releases: InnoDB and utf8mb4 everywhere, `nik` from
        decimal(16,0) to varchar(16), `dokumen_kitas` from int to varchar(45), columns for
        language, ethnic group, e-mail, remarks and times of change, and status 6 (away) beside
        1 to 4 and 9. Assumed: that they came together, and that `telepon` was renamed `no_hp`.

Assumed too: how many rows are dirty, and how (`DIRT`). Residents, their ids and their dirt depend
on the city only, so that both forms hold the same people.
"""

from functools import cache
from pathlib import Path

import duckdb
import sqlalchemy as sa

from city.loading import BATCH, connect
from city.places import settings
from city.sql import Con, value

DIRT = {
    "tweb_penduduk": {
        "birth_date_zero": {"tanggallahir": "'0000-00-00'"},
        "name_mojibake": {"nama": "'Ã€' || nama[2:]"},  # À in UTF-8, read as cp1252
        # A temporary number; as a decimal it has lost its zero and has fewer than 16 digits.
        "nik_temporary": {"nik": "'0' || nik[2:]"},
        "nik_unknown": {"nik": "'0'"},
        "sex_missing": {"sex": "NULL"},
        "family_missing": {"id_kk": "NULL"},
    },
    "tweb_keluarga": {
        "number_short": {"no_kk": "no_kk[:14]"},
        "printed_zero": {"tgl_cetak_kk": "'0000-00-00 00:00:00'"},
        "number_missing": {"no_kk": "NULL"},
    },
}
RATE, LEAST = 0.005, 2  # share of a table's rows per kind of dirt, and rows at least
AWAY = 41  # in form 2024 one in so many residents has the new status 6


def fill_opensid(home: Path, url: str, form: str = "2017") -> dict[str, int]:
    """Drops and fills the two tables at `url` (MariaDB) from the city under `home`, in this form.

    Returns the rows per table, and the rows per kind of dirt under `<table>.<kind>`.
    """
    with duckdb.connect(str(Path(home) / "truth" / "city.duckdb"), read_only=True) as con:
        con.execute("SET preserve_insertion_order = false")
        counts = {}
        for table, query in (("tweb_keluarga", FAMILIES), ("tweb_penduduk", RESIDENTS)):
            con.execute(f"CREATE TEMP TABLE {table} AS {query}")
            counts[table] = value(con, f"SELECT count(*) FROM {table}")
            soiled = max(LEAST, round(counts[table] * RATE))
            for place, (kind, change) in enumerate(DIRT[table].items()):
                _soil(con, table, change, place * soiled, soiled)
                counts[f"{table}.{kind}"] = soiled
        _drift(con, form)
        _write(con, url, form)
    return counts


@cache
def _shape(form: str, table: str) -> dict[str, str]:
    """Column → type."""
    old, new = settings("opensid")["2017"][table], settings("opensid")[form][table]
    columns = old["columns"] | new.get("retyped", {}) | new.get("added", {})
    renamed = new.get("renamed", {})
    return {renamed.get(name, name): kind for name, kind in columns.items()}


FAMILIES = """
    WITH head AS (
        SELECT no_kk, min(row_id) AS id FROM sound.biodata_wni
        WHERE stat_hbkel = '1' GROUP BY no_kk)
    SELECT family.row_id::VARCHAR AS id, no_kk, coalesce(head.id, 0)::VARCHAR AS nik_kepala,
        tgl_insertion AS tgl_daftar, NULL::VARCHAR AS kelas_sosial,
        if(family.row_id % 3 = 0, tgl_insertion, NULL) AS tgl_cetak_kk, alamat,
        (rw_index * 20 + no_rt::INT)::VARCHAR AS id_cluster
    FROM sound.data_keluarga AS family LEFT JOIN head USING (no_kk)
    JOIN family AS known ON known.family_key = family.row_id
"""

RESIDENTS = """
    SELECT person_key::VARCHAR AS id, nama_lgkp AS nama, person.nik, family_key::VARCHAR AS id_kk,
        stat_hbkel AS kk_level, '0' AS id_rtm, '0' AS rtm_level, jenis_klmin AS sex,
        tmpt_lhr AS tempatlahir, tgl_lhr AS tanggallahir, agama AS agama_id,
        pddk_akh AS pendidikan_kk_id, '18' AS pendidikan_sedang_id, jenis_pkrjn AS pekerjaan_id,
        stat_kwn AS status_kawin, '1' AS warganegara_id, NULL::VARCHAR AS dokumen_pasport,
        NULL::VARCHAR AS dokumen_kitas, coalesce(nik_ayah, '') AS ayah_nik,
        coalesce(nik_ibu, '') AS ibu_nik, coalesce(nama_lgkp_ayah, '') AS nama_ayah,
        coalesce(nama_lgkp_ibu, '') AS nama_ibu, '' AS foto, gol_drh AS golongan_darah_id,
        (rw_index * 20 + no_rt::INT)::VARCHAR AS id_cluster, '1' AS status,
        '' AS alamat_sebelumnya, alamat AS alamat_sekarang, flag_status AS status_dasar,
        NULL::VARCHAR AS hamil, NULL::VARCHAR AS cacat_id, '14' AS sakit_menahun_id,
        coalesce(no_akta_lhr, '')[:40] AS akta_lahir, '' AS akta_perkawinan,
        NULL::VARCHAR AS tanggalperkawinan, '' AS akta_perceraian,
        NULL::VARCHAR AS tanggalperceraian, NULL::VARCHAR AS cara_kb_id, phone AS telepon,
        NULL::VARCHAR AS tanggal_akhir_paspor, NULL::VARCHAR AS no_kk_sebelumnya,
        flag_ektp AS ktp_el, if(flag_ektp = '2', '3', '2') AS status_rekam
    FROM sound.biodata_wni AS resident JOIN person ON person.person_key = resident.row_id
    JOIN family USING (family_key) JOIN sound.data_keluarga AS card ON card.row_id = family_key
"""


def _soil(con: Con, table: str, change: dict[str, str], after: int, count: int) -> None:
    """Changes `count` rows, those after the first `after` in an order that is nobody's."""
    changes = ", ".join(f"{column} = {made}" for column, made in change.items())
    con.execute(
        f"""
        UPDATE {table} SET {changes} WHERE id IN (
            SELECT id FROM {table} ORDER BY md5(id), id LIMIT {count} OFFSET {after})
        """
    )


def _drift(con: Con, form: str) -> None:
    """Brings the tables from 2017 to this form."""
    if form == "2017":
        return
    con.execute(
        f"""
        UPDATE tweb_penduduk SET status_dasar = '6'
        WHERE status_dasar = '1' AND id::INT % {AWAY} = 0
        """
    )
    for table, shape in settings("opensid")[form].items():
        for old, new in shape.get("renamed", {}).items():
            con.execute(f"ALTER TABLE {table} RENAME {old} TO {new}")
        for column in shape.get("added", {}):
            con.execute(f"ALTER TABLE {table} ADD {column} VARCHAR")
    con.execute("UPDATE tweb_penduduk SET bahasa_id = 1 + id::INT % 4, suku = 'CIREBON'")


def _write(con: Con, url: str, form: str) -> None:
    with connect(url) as connection:
        for table, shape in settings("opensid")[form].items():
            columns = _shape(form, table)
            lines = [f"`{column}` {kind}" for column, kind in columns.items()]
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
            connection.exec_driver_sql(
                f"CREATE TABLE {table} ({', '.join(lines)}, PRIMARY KEY (id)) "
                f"ENGINE={shape['engine']} DEFAULT CHARACTER SET {shape['charset']}"
            )
            target = sa.table(table, *map(sa.column, columns))
            con.execute(f"SELECT {', '.join(columns)} FROM {table}")
            while rows := con.fetchmany(BATCH):
                named = [dict(zip(columns, row, strict=True)) for row in rows]
                connection.execute(sa.insert(target), named)
