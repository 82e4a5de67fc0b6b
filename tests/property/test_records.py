"""JSON of any kind becomes rows of text: kept exactly, or refused with a reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.readers.records import Unreadable, canonical, flattened, parse, to_arrow
from tests.mutants import for_an_hour, mutate

CORPUS = Path(__file__).parent / "corpus"
calmly = settings(deadline=None)

ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text() | st.just("a\ud800b"),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)  # fmt: skip
FIELDS = ("a", "b", "a.b", "a.c", "nik")
ROWS = st.lists(st.dictionaries(st.sampled_from(("a", "b", "nik", "x")), ANY))


def columns_of(rows):
    return to_arrow(FIELDS, flattened(rows, FIELDS)).to_pydict()


@calmly
@given(ROWS)
def test_every_value_comes_back_from_its_text(rows):
    names = ("a", "b", "nik")
    found = to_arrow(names, flattened(parse(json.dumps(rows).encode()), names)).to_pydict()
    for place, row in enumerate(rows):
        for name in names:
            text, value = found[name][place], row.get(name)
            if value is None:
                assert text is None
            elif isinstance(value, str):
                assert text == value.encode("utf-8", "backslashreplace").decode()
            else:
                assert json.loads(text) == value


def test_a_name_with_a_lone_surrogate_is_its_escape():
    (row,) = parse(b'[{"a\\ud800": 1}]')
    assert list(row) == ["a\\ud800"]
    with pytest.raises(Unreadable, match="twice"):
        parse(b'{"a\\ud800": 1, "a\\\\ud800": 2}')


@calmly
@given(ANY)
def test_a_reordering_is_no_change(value):
    def turned(one):
        if isinstance(one, dict):
            return {key: turned(inner) for key, inner in reversed(one.items())}
        return list(map(turned, one)) if isinstance(one, list) else one

    assert canonical(value) == canonical(turned(value))


@calmly
@given(st.binary() | st.text('[]{}":,0123456789eE+-.aun\\\\ ').map(str.encode))
def test_whatever_arrives_is_rows_or_refused(content):
    refused_or_rows(content)


@calmly
@given(ROWS, st.data())
def test_a_spoilt_answer_is_rows_or_refused(rows, data):
    refused_or_rows(spoilt(rows, data))


@pytest.mark.soak
def test_an_hour_of_mutants():
    seeds = [path.read_bytes() for path in sorted(CORPUS.glob("*.json*"))]
    for chance in for_an_hour("records"):
        refused_or_rows(mutate(chance, chance.choice(seeds)))


def spoilt(rows, data):
    """A JSON document with a few of its bytes replaced, doubled or gone."""
    content = bytearray(json.dumps(rows).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    return bytes(content)


def refused_or_rows(content):
    try:
        rows = parse(content)
        if isinstance(rows, list):
            columns_of(rows)
    except Unreadable:
        return
