"""The table that the reading benchmarks use: `penduduk`, 20 columns as agencies keep them.

`fill_postgres(url, rows)` and `fill_mariadb(url, rows)` make the same rows on both servers from one
file. With `timestamps=False` the table has no `updated_at` that tells of a change.
"""

import tempfile
from pathlib import Path

import duckdb
import sqlalchemy as sa

COLUMNS = {
    "id": "bigint", "nik": "varchar(16)", "no_kk": "varchar(16)", "nama": "varchar(100)",
    "tempat_lahir": "varchar(60)", "tanggal_lahir": "date", "jenis_kelamin": "smallint",
    "agama": "smallint", "pendidikan": "smallint", "pekerjaan": "smallint",
    "status_kawin": "smallint", "gol_darah": "varchar(3)", "alamat": "varchar(120)",
    "rt": "varchar(3)", "rw": "varchar(3)", "kelurahan": "varchar(13)", "nama_ayah": "varchar(100)",
    "nama_ibu": "varchar(100)", "penghasilan": "decimal(14,2)", "updated_at": "timestamp",
}  # fmt: skip
ROWS = """
    WITH base AS (SELECT range + {first} AS id, hash(range + {first}) AS h FROM range({rows}))
    SELECT id, '327401' || printf('%010d', id) AS nik,
        '327402' || printf('%010d', id // 4) AS no_kk,
        'WARGA ' || upper(left(md5(h::VARCHAR), 14)) AS nama,
        ['CIREBON', 'KUNINGAN', 'INDRAMAYU', 'MAJALENGKA'][1 + (h % 4)::INT] AS tempat_lahir,
        DATE '1940-01-01' + (h % 30000)::INT AS tanggal_lahir, 1 + (h % 2) AS jenis_kelamin,
        1 + (h % 7) AS agama, 1 + (h % 10) AS pendidikan, 1 + (h % 89) AS pekerjaan,
        1 + (h % 4) AS status_kawin, ['A', 'B', 'AB', 'O', '-'][1 + (h % 5)::INT] AS gol_darah,
        'JL. PERINTIS NO ' || (h % 400) AS alamat, printf('%03d', 1 + h % 9) AS rt,
        printf('%03d', 1 + h % 12) AS rw, '32.74.01.' || (1001 + h % 5) AS kelurahan,
        'AYAH ' || upper(left(md5((h + 1)::VARCHAR), 12)) AS nama_ayah,
        'IBU ' || upper(left(md5((h + 2)::VARCHAR), 12)) AS nama_ibu,
        ((h % 20000000) / 1.0)::DECIMAL(14, 2) AS penghasilan,
        TIMESTAMP '2026-01-01' + to_seconds((id % 20000000)) AS updated_at
    FROM base ORDER BY id"""


def _csv(folder: Path, rows: int, first: int) -> Path:
    path = folder / "penduduk.csv"
    duckdb.execute(f"COPY ({ROWS.format(rows=rows, first=first)}) TO '{path}' (HEADER false)")
    path.chmod(0o644)
    folder.chmod(0o755)
    return path


def _ddl() -> str:
    body = ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())
    return f"CREATE TABLE IF NOT EXISTS penduduk ({body}, PRIMARY KEY (id))"


def fill_postgres(url: str, rows: int, first: int = 1) -> None:
    """Make the table, add `rows` rows from id `first`."""
    engine = sa.create_engine(url)
    with tempfile.TemporaryDirectory() as folder, engine.begin() as connection:
        connection.exec_driver_sql(_ddl())
        cursor = connection.connection.cursor()
        with cursor.copy("COPY penduduk FROM STDIN (FORMAT csv)") as copy:
            with _csv(Path(folder), rows, first).open("rb") as file:
                while piece := file.read(1 << 20):
                    copy.write(piece)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE penduduk")
    engine.dispose()


def fill_mariadb(url: str, rows: int, first: int = 1) -> None:
    """Make the table, add `rows` rows from id `first`. The account must be allowed LOCAL INFILE."""
    engine = sa.create_engine(url, connect_args={"local_infile": True})
    with tempfile.TemporaryDirectory() as folder, engine.begin() as connection:
        connection.exec_driver_sql(_ddl())
        path = _csv(Path(folder), rows, first)
        connection.exec_driver_sql(
            f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE penduduk CHARACTER SET utf8mb4 "
            "FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '\"'"
        )
        connection.exec_driver_sql("ANALYZE TABLE penduduk")
    engine.dispose()
