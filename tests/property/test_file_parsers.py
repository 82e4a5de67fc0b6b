"""Parsers of files under mutation: whatever the bytes, rows or one clear error, in bounded time.

Mutations start from the small files in `corpus`. A short run is part of `make fast`; `make soak`
mutates an hour per parser (or `MUARA_SOAK_SECONDS`).
"""

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from common.errors import SourceMalformed
from connectors.readers.files import original
from connectors.readers.files.formats import dbf
from tests.drops import source_of

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
AWKWARD = (
    b"\0", b"\xff", b'"', b";", b"\n", b"\r", b"{", b"[", b"\x1a", b"\xff\xff\xff\xff", b"-1",
    b"\xef\xbb\xbf", b"\\ud800", b"PK\x05\x06", b"\x7f\xff\xff\xff", b"9" * 40,
)  # fmt: skip
FAST_MUTANTS, SECONDS_AT_MOST = 150, 20


def mutate(chance: random.Random, content: bytes) -> bytes:
    """A few changes: bytes flipped, cut out, doubled, or replaced by what is awkward."""
    made = bytearray(content)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(made) + 1)
        length = min(len(made) - at, int(chance.expovariate(0.1)))
        match chance.randrange(5):
            case 0 if at < len(made):
                made[at] = chance.randrange(256)
            case 1:
                del made[at : at + length]
            case 2:
                made[at:at] = made[at : at + length] * chance.randint(1, 5)
            case 3:
                made[at : at + len(awkward)] = (awkward := chance.choice(AWKWARD))
            case _:
                made[at:at] = chance.choice(AWKWARD)
    return bytes(made)


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


def mutants(parser: str, folder: Path, goes_on) -> set[str]:
    chance, number, seen = random.Random(parser), 0, set()
    seeds = PARSERS[parser][0]
    while goes_on(number):
        seed = random.Random(f"{parser}{number}")
        seen.add(parsed(parser, chance.choice(seeds), seed, folder))
        number += 1
    return seen


@pytest.mark.parametrize("parser", PARSERS)
def test_the_corpus_is_read(parser, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "mutate", lambda chance, content: content)
    for seed in PARSERS[parser][0]:
        assert parsed(parser, seed, random.Random(0), tmp_path) == "read"


@pytest.mark.parametrize("parser", PARSERS)
def test_a_mutant_is_read_or_refused(parser, tmp_path):
    seen = mutants(parser, tmp_path, lambda number: number < FAST_MUTANTS)
    assert "refused" in seen


@pytest.mark.soak
@pytest.mark.parametrize("parser", PARSERS)
def test_an_hour_of_mutants(parser, tmp_path):
    end = time.monotonic() + float(os.environ.get("MUARA_SOAK_SECONDS", "3600"))
    mutants(parser, tmp_path, lambda _: time.monotonic() < end)
