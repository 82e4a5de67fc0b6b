"""Parsers of files under mutation: whatever the bytes, rows or one clear error, in bounded time.

Mutations start from the small files in `corpus`.
"""

import random
import shutil
import time
from pathlib import Path

import pytest

from common.errors import SourceMalformed
from connectors.readers.files import original
from connectors.readers.files.formats import dbf
from tests.drops import source_of
from tests.mutants import for_an_hour, mutate

CORPUS = Path(__file__).parent / "corpus"
FIELDS = {"no": [1, 2], "nama": [3, 12], "nik": [13, 28]}
CSV = {"kind": "delimited", "separator": ";", "encoding": "cp1252"}
DBF = {"kind": "dbf", "encoding": "latin-1"}
PARSERS = {
    "delimited": (["quotes.csv"], {"format": CSV}),
    "utf-16": (["utf16.csv"], {"format": CSV | {"encoding": "utf-16"}}),
    "fixed_width": (
        ["lines.txt"],
        {"format": {"kind": "fixed_width", "encoding": "cp1252", "fields": FIELDS}},
    ),
    "dbf": (["db3.dbf", "fp.dbf", "vfp.dbf", "types.dbf"], {"format": DBF}),
    "json_lines": (["objects.jsonl"], {"format": {"kind": "json_lines"}}),
    "zip": (
        ["files.zip"],
        {"format": CSV, "archive": {"max_unpacked_bytes": 1 << 22, "max_members": 20}},
    ),
}
DBF_COLUMNS = ("NO", "NAMA", "LAHIR", "HIDUP", "BERAT", "CATATAN", "UANG", "WAKTU", "BESAR")
FAST_MUTANTS, SECONDS_AT_MOST = 150, 20


def parsed(parser: str, seed: str, chance: random.Random, folder: Path) -> str:
    """What became of one mutant."""
    read = PARSERS[parser][1]
    names = DBF_COLUMNS if parser == "dbf" else tuple(FIELDS)
    columns = {name: {"name": name.lower()} for name in names} | {names[0]: {"name": "number"}}
    stream = source_of({"pattern": "*", **read}, columns).streams[0]
    path = folder / "mutant"
    memo = [one for one in dbf.MEMOS if (CORPUS / seed).with_suffix(one).exists()]
    both = chance.random() < 0.3
    for suffix in ("", *memo):
        content = (CORPUS / seed).with_suffix(suffix or Path(seed).suffix).read_bytes()
        changed = mutate(chance, content) if both or not suffix else content
        path.with_name(path.name + suffix).write_bytes(changed)
    started = time.monotonic()
    try:
        batches = list(original(stream, "made.rows file a", path, "a/x.csv"))
        refused = None
    except SourceMalformed as error:
        batches, refused = [], error
    finally:
        assert time.monotonic() - started < SECONDS_AT_MOST
        for one in folder.iterdir():
            one.unlink() if one.is_file() else shutil.rmtree(one)
    for batch in batches:
        batch.validate(full=True)
    if refused:
        assert refused.what
        assert refused.next_step
        assert "Siti" not in str(refused)
    return "refused" if refused else "read"


@pytest.mark.parametrize("parser", PARSERS)
def test_the_corpus_is_read(parser, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "mutate", lambda chance, content: content)
    for seed in PARSERS[parser][0]:
        assert parsed(parser, seed, random.Random(0), tmp_path) == "read"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_mutant_is_read_or_refused(parser, tmp_path):
    seen = {mutant(parser, random.Random(f"{parser}{n}"), tmp_path) for n in range(FAST_MUTANTS)}
    assert "refused" in seen


@pytest.mark.soak
@pytest.mark.parametrize("parser", PARSERS)
def test_an_hour_of_mutants(parser, tmp_path):
    for chance in for_an_hour(parser):
        mutant(parser, chance, tmp_path)


def mutant(parser: str, chance: random.Random, folder: Path) -> str:
    return parsed(parser, chance.choice(PARSERS[parser][0]), chance, folder)
