"""Tables whose columns are named as no program expects: each cell exact, through every database."""

import random

import pytest
import sqlalchemy as sa

from tests.tables import pull_of, rows_of, source_of

ODD = [
    "Nama", 'Na"ma', "na me", "select", "_row", "_origin", "_row_hash", "muara_count", "c0", "C1",
    "é", "a'b", "a`b", "a.b", "a;b", "%s", ":x", "rowid", "bucket", "hash", "-- x", "table",
]  # fmt: skip
CASED = ["nama", "NAMA", "NaMa", "_ROW", "Select", "😀"]
"""Told apart, or allowed, by PostgreSQL only."""
ROWS = 7


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("strategy", ["snapshot", "checksum"])
def test_each_cell_is_that_of_its_column(empty_database, strategy, seed, tmp_path):
    chance = random.Random(seed)
    engine = sa.create_engine(empty_database)
    names = chance.sample(ODD + (CASED if engine.name == "postgresql" else []), 12)
    if engine.name == "postgresql":
        names = [*{*names, "Nama", "nama", "NAMA"}]
    mark = "`" if engine.name == "mysql" else '"'

    def quote(name):
        return f"{mark}{name.replace(mark, mark * 2)}{mark}"

    table = chance.choice(["T a", 'T"b', "order", "_t"])
    cells = [[f"{row} of {place}" for place in range(len(names))] for row in range(ROWS)]
    with engine.begin() as connection:
        columns = ", ".join(f"{quote(name)} varchar(90)" for name in names)
        declared = f"CREATE TABLE {quote(table)} (id integer PRIMARY KEY, {columns})"
        run = connection.execution_options(no_parameters=True).exec_driver_sql
        run(declared)
        for number, row in enumerate(cells):
            held = ", ".join(f"'{cell}'" for cell in row)
            run(f"INSERT INTO {quote(table)} VALUES ({number}, {held})")
    asked = chance.sample(names, len(names))
    ours = {"id": {}, **{name: {"name": f"ours_{place}"} for place, name in enumerate(asked)}}
    found = rows_of(pull_of(empty_database, source_of(table, ours, strategy=strategy), tmp_path))
    assert found == [
        (str(number), *(row[names.index(name)] for name in asked))
        for number, row in enumerate(cells)
    ]
