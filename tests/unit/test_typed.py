"""From text as sent to typed values: literal pairs."""

from datetime import date, datetime
from decimal import Decimal

import ibis
import pytest

from common.definition import Column
from common.settings import Settings
from transforms.standardise.typed import value
from warehouse.catalog import open_duckdb

NBSP = "\u00a0"


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with open_duckdb(settings) as connection:
        yield lambda sent, **declared: _read(connection, sent, declared)


def _read(connection, sent, declared):
    connection.execute("CREATE OR REPLACE TABLE sent AS SELECT CAST(? AS VARCHAR) AS text", [sent])
    rows = ibis.duckdb.from_connection(connection).table("sent")
    expression = rows.select(value=value(rows.text, Column(name="x", **declared)))
    return connection.execute(str(ibis.to_sql(expression, dialect="duckdb"))).fetchall()[0][0]


@pytest.mark.parametrize(
    ("sent", "declared", "expected"),
    [
        ("SITI", {}, "SITI"),
        (f"{NBSP} SITI{NBSP}RAHAYU \r\n", {}, "SITI RAHAYU"),
        ("  ", {}, None),
        ("", {}, None),
        (None, {}, None),
        ("1605-LU-05112012\n-0014", {}, "1605-LU-05112012\n-0014"),
        ("1", {"values": {"1": "male"}}, "male"),
        (" 1 ", {"values": {"1": "male"}}, "male"),
        ("9", {"values": {"1": "male"}}, None),
        ("2012-11-05", {"type": "date"}, date(2012, 11, 5)),
        ("05/11/2012", {"type": "date", "formats": ["%d/%m/%Y"]}, date(2012, 11, 5)),
        ("31/02/2012", {"type": "date", "formats": ["%d/%m/%Y"]}, None),
        ("1987-02-30", {"type": "date"}, None),
        ("0000-00-00", {"type": "date", "empty": ["0000-00-00"]}, None),
        ("9999-12-31", {"type": "date"}, date(9999, 12, 31)),
        ("2026-11-01 08:00:00", {"type": "timestamp"}, datetime(2026, 11, 1, 8)),
        ("2026-11-01T08:00:00+07:00", {"type": "timestamp"}, datetime(2026, 11, 1, 1)),
        ("2026-11-01 08:00:00+07", {"type": "timestamp"}, datetime(2026, 11, 1, 1)),
        ("2026-11-01 8:00:00Z", {"type": "timestamp"}, None),
        ("2026-11-01", {"type": "timestamp"}, datetime(2026, 11, 1)),
        (
            "2026-11-01 08:00:00.123456",
            {"type": "timestamp"},
            datetime(2026, 11, 1, 8, microsecond=123456),
        ),
        ("infinity", {"type": "date"}, None),
        ("-infinity", {"type": "timestamp"}, None),
        ("epoch", {"type": "date"}, None),
        ("0044-03-15 BC", {"type": "date"}, None),
        ("3,20", {"type": "decimal", "decimal_comma": True}, Decimal("3.2000")),
        ("1.234,56", {"type": "decimal", "decimal_comma": True}, Decimal("1234.5600")),
        ("1.23.4,5", {"type": "decimal", "decimal_comma": True}, None),
        ("3200", {"type": "decimal", "decimal_comma": True}, Decimal("3200.0000")),
        ("1000.0", {"type": "decimal"}, Decimal("1000.0000")),
        ("tiga", {"type": "decimal"}, None),
        ("NaN", {"type": "decimal"}, None),
        ("9999999999999999.9999", {"type": "decimal"}, Decimal("9999999999999999.9999")),
        ("12345678901234567.8", {"type": "decimal"}, Decimal("12345678901234567.8")),
        ("1" + "0" * 20, {"type": "decimal"}, None),
        ("0.1234567890123456789", {"type": "decimal"}, None),
        ("1.005", {"type": "decimal", "places": 2}, None),
        ("1.500", {"type": "decimal", "places": 1}, Decimal("1.5")),
        ("-6.71000000000000003", {"type": "decimal"}, Decimal("-6.71000000000000003")),
        ("-12345678901234.5678", {"type": "decimal"}, Decimal("-12345678901234.5678")),
        ("42", {"type": "integer"}, 42),
        ("42.0", {"type": "integer"}, 42),
        ("1.5", {"type": "integer"}, None),
        ("9223372036854775807", {"type": "integer"}, 9223372036854775807),
        ("18446744073709551615", {"type": "integer"}, None),
        ("\u00a0x", {}, "x"),
        ("x\t", {}, "x"),
        ("x\u00a0y", {}, "x y"),
        ("0", {"type": "boolean"}, False),
        ("true", {"type": "boolean"}, True),
        ("ya", {"type": "boolean"}, None),
    ],
)
def test_a_value_reads_as_declared(read, sent, declared, expected):
    assert read(sent, **declared) == expected
