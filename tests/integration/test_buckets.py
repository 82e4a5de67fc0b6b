"""What each database says of its buckets, against an oracle; and a change planted anywhere."""

import hashlib
from collections import defaultdict
from datetime import date

import duckdb
import pytest
import sqlalchemy as sa

from common.settings import Settings
from connectors.readers import Progress, read, sql
from connectors.readers.sql.buckets import bits_for
from pipeline.sync import prepare, sync
from tests.tables import pull_of, source_of
from warehouse.catalog import writing
from warehouse.load import key_bucket

KEYS = ["3274010101900001", "0", "-5", "é😀", " blank ", "O'neil", "a|b", "\\", "A", "a", "%s", ""]
COLUMNS = {"id": {}, "part": {}, "nama": {}, "jumlah": {}, "lahir": {}}


@pytest.fixture
def url(empty_database):
    """A database with table `t`: a key of two parts, one of them text of every kind."""
    url = empty_database
    kind = sa.make_url(url).get_backend_name()
    collation = " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" if kind == "mysql" else ""
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(
            f"CREATE TABLE t (id decimal(16,0), part varchar(40){collation}, nama text{collation}, "
            "jumlah decimal(20,2), lahir date, PRIMARY KEY (id, part))"
        )
        connection.execute(
            sa.text("INSERT INTO t VALUES (:id, :part, :nama, :jumlah, :lahir)"),
            [
                {"id": number, "part": key, "nama": f"{key} {number}" if number % 7 else None,
                 "jumlah": number * 3, "lahir": f"19{number % 90 + 10}-01-02"}
                for number in range(1, 60) for key in KEYS
            ],
        )  # fmt: skip
    return url


def of(tmp_path, url, progress=None):
    source = source_of("t", COLUMNS, strategy="checksum")
    stream = source.streams[0].model_copy(update={"key": ("id", "part")})
    source = source.model_copy(update={"streams": (stream,)})
    return pull_of(url, source, tmp_path, progress)


def test_a_bucket_is_the_same_number_everywhere(url, tmp_path):
    with sql.session(of(tmp_path, url)) as table:
        bucket = table.dialect.bucket(table.dialect.key_text(table.key))
        batches = table.route.fetch({**table.texts, "bucket": text_of(table, bucket)}, table.name)
        rows = [row for batch in batches for row in batch.to_pylist()]
    ours = key_bucket(["id", "part"], 32)
    with duckdb.connect() as database:
        for row in rows:
            key = f"{row['id']}|{row['part']}"
            oracle = int(hashlib.md5(key.encode()).hexdigest()[:8], 16)
            found = database.execute(
                f"SELECT {ours} FROM (SELECT ? AS id, ? AS part)", [row["id"], row["part"]]
            ).fetchone()
            assert int(row["bucket"]) == oracle == found[0]


def text_of(table, number):
    return f"CAST({number} AS {sql.CHARACTERS[table.dialect.name]})"


def test_sums_are_the_sums_of_the_rows_hashes(url, tmp_path):
    pull = of(tmp_path, url)
    assert len(list(read(pull))) > 0
    assert pull.sums.bits == bits_for(59 * len(KEYS))
    with sql.session(pull) as table:
        bucket = table.dialect.bucket(table.dialect.key_text(table.key))
        row_hash = table.dialect.row_hash(table.dialect.joined(table.columns))
        batches = table.route.fetch(
            {"bucket": text_of(table, bucket), "hash": text_of(table, row_hash)}, table.name
        )
        oracle = defaultdict(lambda: [0, 0])
        for batch in batches:
            for row in batch.to_pylist():
                entry = oracle[int(row["bucket"]) >> (32 - pull.sums.bits)]
                entry[0] += 1
                entry[1] += int(row["hash"])
    assert {row["bucket"]: [row["rows"], int(row["sum"])] for row in pull.sums.table.to_pylist()} \
        == oracle  # fmt: skip


CHANGES = {
    "update": "UPDATE t SET nama = 'lain' WHERE id = 7 AND part = 'A'",
    "one blank": "UPDATE t SET nama = concat(nama, ' ') WHERE id = 8 AND part = 'a'",
    "NULL to empty": "UPDATE t SET nama = '' WHERE id = 14 AND part = 'a'",
    "a cent": "UPDATE t SET jumlah = jumlah + 0.01 WHERE id = 9 AND part = '0'",
    "delete": "DELETE FROM t WHERE id = 10 AND part = '%s'",
    "insert": "INSERT INTO t VALUES (99, 'baru', 'x', 1, '2000-01-01')",
    "key": "UPDATE t SET part = 'AA' WHERE id = 11 AND part = 'A'",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_planted_change_is_found_and_little_else_is_read(url, tmp_path, change):
    if url.startswith("sqlite"):
        change_sql = CHANGES[change].replace("concat(nama, ' ')", "nama || ' '")
    else:
        change_sql = CHANGES[change]
    first = of(tmp_path, url)
    list(read(first))
    with sa.create_engine(url).connect().execution_options(no_parameters=True) as connection:
        assert connection.exec_driver_sql(change_sql).rowcount == 1
        connection.commit()
    again = of(tmp_path, url, Progress(sums=first.sums))
    list(read(again))
    assert len(again.buckets) == (2 if change == "key" else 1)
    assert again.extracted < 30


def test_a_change_planted_on_our_side_is_read_again(url, tmp_path):
    (tmp_path / "made.yml").write_text("streams: {}\n")
    source = of(tmp_path, url).source
    settings = Settings(home=tmp_path / "var", expectations=tmp_path, today=date(2026, 11, 1))
    prepare(settings, {"made": source})
    sync(settings, source, source.streams[0], lambda _: url)
    assert sync(settings, source, source.streams[0], lambda _: url).extracted == 0
    with writing(settings) as connection:
        connection.execute(
            "UPDATE lake.ops.checksum SET sum = '0' "
            "WHERE bucket = (SELECT min(bucket) FROM lake.ops.checksum)"
        )
    account = sync(settings, source, source.streams[0], lambda _: url)
    assert account.extracted == account.unchanged > 0
    assert sync(settings, source, source.streams[0], lambda _: url).extracted == 0
