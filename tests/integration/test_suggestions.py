"""Suggestions over a whole night: they hold for the rows they come from and name no person."""

import re

from expectations.runner import validate
from pipeline.suggestion import _past, suggest
from tests.left import canaries
from warehouse.catalog import reading


def test_every_stream_gets_suggestions_that_hold_and_name_nobody(first_night):
    with reading(first_night.settings) as connection:
        niks, names = canaries(connection)
    for source in first_night.sources.values():
        for stream in source.streams:
            found = suggest(first_night.settings, source, stream)
            text = found.as_yaml(stream.name)
            assert found.rules, stream.name
            assert not set(re.findall(r"\d{16}", text)) & niks
            assert [name for name in names if name in text] == []
            about_rows = [rule for rule in found.rules if rule.is_about_rows]
            with reading(first_night.settings) as connection:
                _past(connection, source, stream)
                connection.execute(
                    "CREATE TABLE typed AS SELECT row_number() OVER () AS _row, * FROM past; "
                    "CREATE VIEW staged AS FROM typed"
                )
                findings = validate(connection, about_rows, where=stream.name)
            assert [one.rule for one in findings if one.rows_broken] == [], stream.name
