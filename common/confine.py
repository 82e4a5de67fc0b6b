"""What a process gives up for good, before it runs what somebody else wrote.

Linux only. Landlock leaves it reading below some folders; a filter of system calls (seccomp) leaves
it neither a file to write nor a socket, a program to start or another process to touch. Root gives
it up too, threads and children inherit it, and nothing brings it back.
"""

import ctypes
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

NO_NEW_PRIVILEGES = 38
SECCOMP = {"x86_64": 317, "aarch64": 277}
SET_FILTER, OF_ALL_THREADS = 1, 1
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
BENEATH = 1
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
ACCESS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
"""Landlock's version → the kinds of access to files that it learned: run, write, read, remove, make
of each kind; refer; truncate; device control."""

WRITING = 0o3 | 0o100 | 0o1000 | 0o2000 | 0o20000000
"""Flags of open(2) beside reading: write-only, both, create, truncate, append, unnamed."""
OPEN = {"x86_64": {2: 1, 257: 2}, "aarch64": {56: 2}}
"""System calls that open a file, and which of their arguments has the flags."""
REFUSED = {
    "x86_64": (
        *(85, 437, 304),  # creat openat2 open_by_handle_at
        *(82, 264, 316, 83, 258, 84, 87, 263, 86, 265, 88, 266, 133, 259),  # names of files
        *(76, 77, 285, 90, 91, 268, 452, 92, 93, 94, 260, 132, 235, 261, 280),  # what files are
        *(188, 189, 190, 197, 198, 199, 326, 40, 275, 278),  # attributes; copies between files
        *(41, 42, 43, 44, 46, 49, 50, 53, 288, 299, 307),  # sockets
        *(59, 322, 101, 310, 311, 62, 200, 234, 129, 297, 434, 438, 424),  # other processes
        *(155, 161, 165, 166, 272, 308, 428, 429, 430, 432, 442),  # mounts and namespaces
        *(425, 426, 427, 321, 298, 323, 246, 320, 175, 313, 176, 169, 250, 248, 249),  # the kernel
    ),
    "aarch64": (
        *(437, 265),
        *(38, 276, 35, 37, 36, 34, 33),
        *(45, 46, 47, 52, 53, 452, 54, 55, 88),
        *(5, 6, 7, 14, 15, 16, 285, 71, 76, 77),
        *(198, 199, 200, 201, 202, 203, 206, 211, 212, 242, 243, 269),
        *(221, 281, 117, 270, 271, 129, 130, 131, 138, 240, 434, 438, 424),
        *(41, 51, 40, 39, 97, 268, 428, 429, 430, 432, 442),
        *(425, 426, 427, 280, 241, 282, 104, 294, 105, 273, 106, 142, 219, 217, 218),
    ),
}
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
ALLOW, KILL, DENY = 0x7FFF0000, 0x80000000, 0x00050000 | 1  # with EPERM
X32 = 0x40000000
"""Numbers from here on are x86's second table of the same calls."""

_libc = ctypes.CDLL(None, use_errno=True)


class Unconfined(Exception):
    """This kernel does not let a process give up writing."""


def limit(memory: int, seconds: int) -> None:
    """Bound the addresses that the process may have and the seconds that it may compute; it writes
    no file and leaves no core."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def confine(readable: Iterable[Path]) -> None:
    """From here on no thread opens a file for other than reading; where the kernel has Landlock,
    this thread and those that it starts read only below these folders. Files that are open stay so.
    Raises Unconfined."""
    if sys.platform != "linux":
        raise Unconfined(sys.platform)
    _must(_libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0))
    _leave_only(readable)
    _filter_calls()


def _leave_only(readable: Iterable[Path]) -> None:
    version = _libc.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return
    handled = sum(kinds for since, kinds in ACCESS.items() if since <= version)
    network = 3 if version >= 4 else 0
    scope = 3 if version >= 6 else 0
    asked = struct.pack("QQQ", handled, network, scope)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _must(_libc.syscall(CREATE_RULESET, asked, size, 0))
    for folder in readable:
        place = os.open(folder, os.O_PATH)
        rule = struct.pack("=Qi", READ_FILE | READ_FOLDER, place)
        _must(_libc.syscall(ADD_RULE, ruleset, BENEATH, rule, 0))
        os.close(place)
    _must(_libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _filter_calls() -> None:
    machine = platform.machine()
    if machine not in REFUSED:
        raise Unconfined(machine)
    program = [_load(4), _jump(EQUAL, ARCHITECTURE[machine], 1, 0), _return(KILL)]
    program += [_load(0), _jump(AT_LEAST, X32, 0, 1), _return(DENY)]
    for number in REFUSED[machine]:
        program += [_jump(EQUAL, number, 0, 1), _return(DENY)]
    for number, place in OPEN[machine].items():
        flags = [_load(16 + 8 * place), _jump(ANY_BIT, WRITING, 0, 1), _return(DENY)]
        program += [_jump(EQUAL, number, 0, len(flags) + 1), *flags, _return(ALLOW)]
    program.append(_return(ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    whole = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    # Where a thread cannot follow, the answer is its number.
    _must(-abs(_libc.syscall(SECCOMP[machine], SET_FILTER, OF_ALL_THREADS, whole)))


def _load(place: int) -> bytes:
    return struct.pack("HBBI", LOAD, 0, 0, place)


def _jump(test: int, value: int, when: int, otherwise: int) -> bytes:
    return struct.pack("HBBI", test, when, otherwise, value)


def _return(verdict: int) -> bytes:
    return struct.pack("HBBI", RETURN, 0, 0, verdict)


def _must(outcome: int) -> int:
    if outcome < 0:
        raise Unconfined(os.strerror(ctypes.get_errno()))
    return outcome
