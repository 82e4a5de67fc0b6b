"""Whatever is done to a small workbook, it is read or refused, and a refusal tells no value."""

import io
import multiprocessing
import os
import random
import resource
import zipfile
from collections import Counter
from collections.abc import Iterable
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from connectors.workbook import Finding, Refusal, Task
from connectors.workbook.__main__ import people_of
from connectors.workbook.layout import find_header, plain
from tests.books import FORMAT, STREAM, person, write
from tests.mutants import for_an_hour

CORPUS = Path(__file__).parent / "corpus"
CANARY = "ZYXKANARI"
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([__name__])
TASK = Task(
    format=FORMAT,
    columns=tuple(name for name in STREAM.columns if name not in ("kelurahan", "rw_buku")),
    dated=("tanggal_lahir",),
)


def mutated(rng: random.Random, book: bytes) -> bytes:
    """Bytes of one part, or of the whole file, changed, cut, doubled or moved."""

    def spoilt(content: bytes) -> bytes:
        changed = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 8))):
            at = rng.randrange(len(changed) + 1)
            end = min(len(changed), at + rng.choice((1, 4, 40)))
            match rng.randrange(4):
                case 0:
                    changed[at:end] = rng.randbytes(end - at)
                case 1:
                    del changed[at:end]
                case 2:
                    changed[at:at] = changed[at:end] * rng.choice((1, 30))
                case 3:
                    changed[at:end] = rng.choice((b"<", b'"', b"&#0;", b"</row>", b"99999999999"))
        return bytes(changed)

    if not book.startswith(b"PK") or rng.random() < 0.3:
        return spoilt(book)
    with zipfile.ZipFile(io.BytesIO(book)) as packed:
        parts = {name: packed.read(name) for name in packed.namelist()}
    chosen = rng.choice([name for name in parts if name.startswith("xl/")])
    if rng.random() < 0.1:
        del parts[chosen]
    else:
        parts[chosen] = spoilt(parts[chosen])
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        for name, content in parts.items():
            packed.writestr(name, content)
    return target.getvalue()


def test_a_spoilt_workbook_is_read_or_refused(tmp_path):
    ended = outcomes(tmp_path, (random.Random(f"workbook{number}") for number in range(150)))
    assert min(ended["read"], ended["refused"]) > ended.total() / 20


@pytest.mark.soak
def test_an_hour_of_mutants(tmp_path):
    outcomes(tmp_path, for_an_hour("workbook"))


def outcomes(folder: Path, chances: Iterable[random.Random]) -> Counter:
    """How many were read, refused, or ended by the limit of memory."""
    books = [
        write(folder / f"{layout}.xlsx", layout, [
            person(nama=f"{CANARY} {n}", nik=f"32740115088590{n:02}") for n in range(10)
        ]).read_bytes()
        for layout in FORMAT.layouts
    ] + [(CORPUS / "book.xls").read_bytes()]  # fmt: skip
    path = folder / "spoilt.xlsx"
    ended = Counter()
    for chance in chances:
        path.write_bytes(mutated(chance, chance.choice(books)))
        how = apart(path)
        assert CANARY not in how
        assert not how.startswith(("crashed", "miscounted"))
        assert not how.startswith("died") or how == "died: 6"
        ended[how if how == "read" or how.startswith("died") else "refused"] += 1
    return ended


def apart(path: Path) -> str:
    """How reading ends in a process with the limits of the real one: a refusal, `read` when every
    person was counted, or `died` by the signal (6: it asked for more memory than it may have)."""
    here, there = FORKS.Pipe(duplex=False)
    child = FORKS.Process(target=read_within_limits, args=(path, there))
    child.start()
    there.close()
    try:
        told = here.recv()
    except EOFError:
        told = "nothing"
    child.join()
    return f"died: {-child.exitcode}" if child.exitcode else told


def read_within_limits(path: Path, there: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    finding = Finding()
    try:
        people = sum(batch.num_rows for batch in people_of(path, TASK, finding))
        told = "read" if people == sum(one.people for one in finding.sheets) else "miscounted"
    except Refusal as refusal:
        told = str(refusal)
    except MemoryError:
        told = "needs more memory"
    except BaseException as error:
        told = f"crashed: {type(error).__name__}: {error}"
        if type(error).__name__ == "PanicException":  # of Rust: the process ends, and is asked
            told = "cannot be read as a workbook"
    there.send(told[:4000])


@pytest.mark.parametrize("seed", range(5))
def test_a_header_is_found_wherever_it_is_and_in_whatever_order(seed):
    rng = random.Random(seed)
    name, layout = rng.choice(
        [(name, one) for name, one in FORMAT.layouts.items() if one.header_rows == 1]
    )
    headings = list(layout.columns)
    rng.shuffle(headings)
    written = [
        rng.choice((str.upper, str.lower, str))(one).replace(" ", "\u00a0\n") for one in headings
    ]
    above = [["x"] * rng.randrange(5) for _ in range(rng.randrange(10))]
    found = find_header(FORMAT.layouts, [*above, written])
    assert (found.name, found.row) == (name, len(above))
    assert list(found.headings.values()) == list(map(plain, headings))
