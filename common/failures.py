"""Errors of the disk and of libraries as ours, at the outermost line of every entry point.

What a library says may quote a row, so of its errors only class and place are reported.
"""

import errno
import os
import sys
import threading
import traceback
from pathlib import Path

from common.errors import HomeFault, MuaraError, WarehouseFault
from common.settings import ROOT

DISK = {
    errno.ENOSPC: ("the disk is full", "make room on it, then run this again."),
    errno.EDQUOT: ("the quota of the disk is used up", "raise it, then run this again."),
    errno.EFBIG: ("the file would be larger than may be", "raise the limit, then run this again."),
    errno.EROFS: ("its disk may only be read", "mount it writable, then run this again."),
    errno.EACCES: ("we may not use it", "give the user that runs muara the right to."),
    errno.EPERM: ("we may not use it", "give the user that runs muara the right to."),
    errno.ENOENT: ("it is not there", "`muara doctor` says what is missing."),
    errno.EISDIR: ("it is a folder where a file belongs", "move it away, then run this again."),
    errno.ENOTDIR: ("a file stands where a folder belongs", "move it away, then run this again."),
    errno.EEXIST: ("it is there already", "move it away, then run this again."),
    errno.ENOTEMPTY: ("it is a folder with something in it", "move it away, then run this again."),
    errno.ELOOP: ("its links lead in a circle", "remove the link, then run this again."),
    errno.ENAMETOOLONG: ("its name is too long", "set a shorter MUARA_HOME."),
    errno.EIO: ("the disk itself failed", "look at the machine's disk before anything else."),
    errno.EMFILE: ("too many files are open", "raise `ulimit -n`, then run this again."),
    errno.EADDRINUSE: ("something else listens there", "stop it, or choose another port."),
}
NEVER_BY_CHANCE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
SAID_BY_LIBRARIES = {
    "file too large": errno.EFBIG,
    "no space left on device": errno.ENOSPC,
    "database or disk is full": errno.ENOSPC,
    "read-only file system": errno.EROFS,
    "readonly database": errno.EROFS,
    "permission denied": errno.EACCES,
}
DATABASES = ("duckdb", "_duckdb", "sqlite3")


def print_no_traces() -> None:
    """What fails beside the main line, in threads and while clearing away, is one line too. A file
    that is cleared away while the disk refuses is none: the main line says what the disk did."""
    sys.unraisablehook = _say_unless_of_disk
    threading.excepthook = lambda found: _say(found.exc_type)


def _say_unless_of_disk(found: "sys.UnraisableHookArgs") -> None:
    if not _is_of_disk(found.exc_value):
        _say(found.exc_type)


def _is_of_disk(error: BaseException | None) -> bool:
    return isinstance(error, OSError) and error.errno in NEVER_BY_CHANCE


def _say(kind: type[BaseException]) -> None:
    print(f"beside the main work: {kind.__name__}", file=sys.stderr)


def ours(error: Exception, where: str = "") -> MuaraError:
    """The error of ours that an error stands for; one that nobody foresaw is named with its
    place."""
    if isinstance(error, MuaraError):
        return error
    kind = type(error).__name__
    if not isinstance(error, OSError) and (below := _disk_below(error)):
        return ours(below, where)
    library = type(error).__module__.partition(".")[0]
    if isinstance(error, OSError) and error.errno:
        file = error.filename if isinstance(error.filename, str) else "MUARA_HOME"
        return _of_disk(error.errno, where or file, f"{Path(file).name}: " if where else "")
    if library in (*DATABASES, "sqlalchemy"):
        said = str(error).lower()
        for words, number in SAID_BY_LIBRARIES.items():
            if words in said:
                return _of_disk(number, where or "MUARA_HOME")
    if library in DATABASES:
        return WarehouseFault(
            f"the database refused ({kind}) at {place_of(error)}",
            where=where,
            next_step="run `muara doctor`; nothing that was not finished is visible.",
        )
    if isinstance(error, MemoryError):
        return MuaraError("out of memory", where=where, next_step="give the machine more.")
    return MuaraError(
        f"unexpected {kind} at {place_of(error)}",
        where=where,
        next_step="report it as a defect.",
    )


def _disk_below(error: BaseException) -> OSError | None:
    """The refusal of the disk that a library made another error of."""
    while below := error.__cause__ or error.__context__:
        if isinstance(below, OSError) and _is_of_disk(below):
            return below
        error = below
    return None


def _of_disk(number: int, where: str, file: str = "") -> MuaraError:
    code = errno.errorcode.get(number, str(number))
    otherwise = os.strerror(number), "`muara doctor` looks at the home."
    what, next_step = DISK.get(number, otherwise)
    return HomeFault(f"{file}{what} ({code})", where=where, next_step=next_step)


def place_of(error: BaseException) -> str:
    """The innermost line of ours, as `file:line`."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_ours(Path(frame.filename))] or frames
    return f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "an unknown place"


def _is_ours(path: Path) -> bool:
    return path.is_relative_to(ROOT) and "site-packages" not in path.parts
