"""The members of a zip archive, unpacked one after the other within declared limits."""

import errno
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.access import Archive
from common.errors import SourceMalformed
from connectors.readers.files.places.entry import BLOCK, Child, Entry, walk

ARCHIVES = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")
END, END_64 = b"PK\x05\x06", b"PK\x06\x07"
LISTED_AT_MOST = 1 << 10
"""Bytes that a member may take in the archive's directory, on average."""


def members(
    access: Archive, where: str, path: Path, folder: Path, companions: tuple[str, ...]
) -> Iterator[tuple[str, Path]]:
    """Each member's name and its bytes in `folder`, until the next is asked for; a companion lies
    at its path with the suffix added. Raises SourceMalformed."""
    with _readable(where), path.open("rb") as file:
        _check_directory(access, where, file.read, file.seek, path.stat().st_size)
        with zipfile.ZipFile(file) as archive:
            known = {one.filename: one for one in _checked(access, where, archive)}
            meant = [name for name in sorted(known) if _matches(name, access.members)]
            files = [name for name in meant if not name.lower().endswith(companions or ("\0",))]
            if not files:
                raise _refused(where, f"no member matches {access.members}", "correct `members`")
            left = access.max_unpacked_bytes
            for name in files:
                target = folder / "member"
                left = _unpack(access, where, archive, known[name], target, left)
                for suffix in companions:
                    beside = target.with_name(target.name + suffix)
                    beside.unlink(missing_ok=True)
                    for other in known:
                        if other.lower() == name.lower()[: name.rfind(".")] + suffix:
                            left = _unpack(access, where, archive, known[other], beside, left)
                yield name, target


def _matches(name: str, pattern: str) -> bool:
    """Whether the glob means this path, as it would below a place."""
    *folders, last = name.split("/")

    def children(folder: str) -> Iterator[Child]:
        depth = folder.count("/") + 1 if folder else 0
        if depth < len(folders):
            yield Child(folders[depth], None)
        else:
            yield Child(last, Entry(name, 0, ""))

    return any(walk(children, pattern, at_most=len(folders) + 1, where=""))


def _check_directory(access: Archive, where: str, read, seek, size: int) -> None:
    """The directory is read whole, so its own size is bounded first."""
    seek(max(0, size - (1 << 16) - 22))
    tail = read()
    at = tail.rfind(END)
    if at < 0:
        raise _refused(where, "not a zip archive, or only half of one", "ask the sender for it")
    listed = int.from_bytes(tail[at + 12 : at + 16], "little")
    if tail[max(0, at - 20) : max(0, at - 20) + 4] == END_64:
        seek(int.from_bytes(tail[at - 12 : at - 4], "little"))
        listed = max(listed % 0xFFFFFFFF, int.from_bytes(read(48)[40:48], "little"))
    if listed > access.max_members * LISTED_AT_MOST:
        raise _too_many(access, where)
    seek(0)


def _checked(access: Archive, where: str, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that are files, if all of them may be unpacked."""
    found = [one for one in archive.infolist() if not one.filename.endswith("/")]
    if len(found) > access.max_members:
        raise _too_many(access, where)
    if len({one.filename for one in found}) < len(found):
        raise _refused(where, "two of its members have one name", "ask the sender to pack it anew")
    for number, one in enumerate(found, 1):
        if not one.filename:
            raise _refused(where, f"member {number} has no name", "ask the sender to pack it anew")
        if not Entry(one.filename, 0, "").is_plain:
            raise _refused(
                where, f"the path of member {number} leads out of it", "ask the sender who made it"
            )
        if one.flag_bits & 1:
            raise _refused(where, "it is encrypted", "ask the sender for one without a password")
        if one.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _refused(where, "it is packed in an unusual way", "ask for a plain zip archive")
        if one.filename.lower().endswith(ARCHIVES):
            raise _refused(
                where, f"member {number} is itself an archive", "ask the sender for the files"
            )
    return found


def _unpack(
    access: Archive, where: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path,
    left: int,
) -> int:  # fmt: skip
    """Returns how many bytes may still be unpacked."""
    ratio = max(BLOCK, access.max_ratio * member.compress_size)
    taken = 0
    with archive.open(member) as packed, target.open("wb") as file:
        while piece := packed.read(BLOCK):
            taken += len(piece)
            if taken > left:
                raise _refused(
                    where,
                    f"it unpacks to more than {access.max_unpacked_bytes} bytes",
                    "ask the sender what it is, or raise `max_unpacked_bytes`",
                )
            if taken > ratio:
                raise _refused(
                    where,
                    f"a member unpacks to more than {access.max_ratio} times its size",
                    "ask the sender what it is, or raise `max_ratio`",
                )
            file.write(piece)
    return left - taken


@contextmanager
def _readable(where: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise _refused(
            where, f"cannot be unpacked ({type(error).__name__})", "ask the sender for it again"
        ) from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        # It says that a member begins before the file does.
        raise _refused(where, "its directory lies", "ask the sender for it again") from None


def _too_many(access: Archive, where: str) -> SourceMalformed:
    return _refused(
        where, f"it has more than {access.max_members} members", "raise `max_members` if it may"
    )


def _refused(where: str, what: str, step: str) -> SourceMalformed:
    return SourceMalformed(what, where=where, next_step=f"{step}; nothing of it was loaded.")
