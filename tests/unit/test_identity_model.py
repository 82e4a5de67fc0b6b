"""Which model links: the one that was learnt last."""

from datetime import date

import duckdb

from warehouse import models
from warehouse.tables import tables


def test_a_model_learnt_again_is_the_newest_again():
    connection = duckdb.connect()
    connection.execute("ATTACH ':memory:' AS lake; CREATE SCHEMA lake.ops")
    for name in ("ops.identity_model", "ops.identity_term"):
        connection.execute(tables()[name].ddl("lake"))
    connection.execute("CREATE TABLE mention AS SELECT 'resident' AS role")
    versions = []
    for learnt in ({"m": 1}, {"m": 2}, {"m": 1}, {"m": 1}):
        connection.execute(
            "CREATE OR REPLACE TABLE term AS SELECT 'name' AS column_name, 'SITI' AS term, "
            "0.1::DOUBLE AS share"
        )
        versions.append(models.keep(connection, learnt, date(2026, 11, 23), "PDP/1/2026"))
        connection.execute("DROP TABLE term")
        assert models.newest(connection) == versions[-1]
        assert models.load(connection, versions[-1]) == learnt
        connection.execute("DROP TABLE term")
    assert versions[0] == versions[2] == versions[3] != versions[1]
    for table in ("identity_model", "identity_term"):
        held = connection.execute(f"SELECT model_version FROM lake.ops.{table}").fetchall()
        assert sorted(held) == sorted([(versions[0],), (versions[1],)])
