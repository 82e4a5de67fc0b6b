"""Spoilt content for parsers: a short run is part of `make fast`, an hour each of `make soak`."""

import os
import random
import time
from collections.abc import Iterator

AWKWARD = (
    b"\0", b"\xff", b'"', b";", b"\n", b"\r", b"{", b"[", b"\x1a", b"\xff\xff\xff\xff", b"-1",
    b"\xef\xbb\xbf", b"\\ud800", b"PK\x05\x06", b"\x7f\xff\xff\xff", b"9" * 40,
)  # fmt: skip


def mutate(chance: random.Random, content: bytes, awkward: tuple[bytes, ...] = AWKWARD) -> bytes:
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
                made[at : at + len(piece)] = (piece := chance.choice(awkward))
            case _:
                made[at:at] = chance.choice(awkward)
    return bytes(made)


def for_an_hour(name: str) -> Iterator[random.Random]:
    """A chance for each mutant of `name`, the same ones in every run, until an hour is over
    (`MUARA_SOAK_SECONDS`: another time); how many there were is printed."""
    ends, number = time.monotonic() + float(os.environ.get("MUARA_SOAK_SECONDS", "3600")), 0
    while time.monotonic() < ends:
        yield random.Random(f"{name}{number}")
        number += 1
    print(f"{name}: {number} mutants")
