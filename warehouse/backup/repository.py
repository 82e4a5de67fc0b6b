"""Where backups are kept: a restic repository in a folder, on an SSH server or in an object store.

restic encrypts, stores only what is new, and verifies (docs/decisions/0035-backup.md). No secret is
on its command line: the password and the keys of an object store are in its environment.

    /mnt/backup or file:///mnt/backup
    sftp://user@host:22/path?host_key=ssh-ed25519%20AAAA…&key_file=/path
    s3://access_key:secret_key@bucket/folder?region=…&endpoint_override=host:port&scheme=https
"""

import json
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from common.connection import Resolver, query_of
from common.errors import BackupFault, BackupPlaceUnavailable, DefinitionError, NoBackups
from common.settings import Settings

PROGRAM = "restic"
HOST = "muara"
"""restic keeps whose backup it is; ours are told apart by their lake, not by the machine."""
TOLD_CHARACTERS = 200


@dataclass(frozen=True)
class Kept:
    """One backup at the place, by what restic knows of it."""

    id: str
    lake: str
    night: date
    made_at: str


@dataclass(frozen=True)
class Place:
    """restic's words for where a repository is, and what its process needs to reach it."""

    location: str
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    server: tuple[str, int] | None = None


@dataclass(frozen=True)
class Repository:
    """`lock`: a file descriptor that restic's processes keep open, so that what it locks stays
    locked while one of them outlives us."""

    place: Place
    password: str = field(repr=False)
    cache: Path | None = None
    lock: int | None = None

    @property
    def id(self) -> str | None:
        """What tells this repository from any other; None when there is none at the place."""
        try:
            return json.loads(self._run("cat", "config"))["id"]
        except NoBackups:
            return None

    def create(self) -> None:
        self._run("init")

    def backups(self) -> list[Kept]:
        """The oldest first. Those that somebody else's restic made have no lake."""
        found = json.loads(self._run("snapshots", "--json")) or []
        kept = [_kept(one) for one in found]
        return sorted(kept, key=lambda one: (one.night, one.made_at))

    def store(
        self, folder: Path, *, lake: str, night: date, made_at: str, before: str | None
    ) -> tuple[str, int]:
        """Store what is in the folder as one backup. Returns its id and the bytes it added. A file
        of the same size and time as in the backup `before` is not read again."""
        known = ["--parent", before] if before else ["--force"]
        tags = [f"lake={lake}", f"night={night}", f"made={made_at}"]
        try:
            told = self._run(
                "backup", ".", "--json", "--quiet", "--host", HOST, *known,
                "--ignore-ctime", "--ignore-inode",
                "--time", f"{night} {made_at[11:19]}", *(f"--tag={tag}" for tag in tags),
                folder=folder,
            )  # fmt: skip
        except BackupFault:  # a file that restic could not read is only left out by it
            for one in self.backups():
                if (one.lake, one.made_at) == (lake, made_at):
                    self._run("forget", one.id)
            raise
        summary = json.loads(told.splitlines()[-1])
        return summary["snapshot_id"][:8], summary["data_added"]

    def read(self, backup: str, path: str) -> str:
        return self._run("dump", backup, f"/{path}")

    def listed(self, backup: str) -> dict[str, int]:
        """Path → bytes of every file of a backup, without reading them."""
        lines = map(json.loads, self._run("ls", "--json", backup).splitlines())
        return {
            one["path"].lstrip("/"): one.get("size", 0)
            for one in lines
            if one.get("struct_type") == "node" and one["type"] == "file"
        }

    def restore(self, backup: str, folder: Path) -> None:
        self._run("restore", backup, "--target", str(folder))

    def forget_old(self, *, nights: int, weeks: int, months: int) -> None:
        """Keep the last backup of each of so many nights, weeks and months, and free the room of
        the others."""
        self._run(
            "forget", "--group-by", "", "--prune", "--keep-daily", str(nights),
            "--keep-weekly", str(weeks), "--keep-monthly", str(months),
        )  # fmt: skip

    def check(self, part: str) -> None:
        """Check that everything is there, and read `part` of it: `1/7`, or `1/1` for all.

        Raises BackupFault when something is missing, cut or altered.
        """
        self._run("check", f"--read-data-subset={part}")

    def release(self) -> None:
        """Remove restic's own locks whose processes are gone."""
        self._run("unlock")

    def _run(self, *words: str, folder: Path | None = None) -> str:
        program = shutil.which(PROGRAM)
        if program is None:
            raise BackupFault(
                f"{PROGRAM} is not installed",
                next_step=f"install it (Debian: apt-get install {PROGRAM}).",
            )
        cached = ["--cache-dir", str(self.cache)] if self.cache else ["--no-cache"]
        options = [f"--option={option}" for option in self.place.options]
        done = subprocess.run(
            [program, *cached, *options, *words],
            cwd=folder, env=self._environment(), pass_fds=[self.lock] if self.lock else (),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise _fault(words[0], done.stderr, self.place)
        return done.stdout

    def _environment(self) -> dict[str, str]:
        own = {name: text for name, text in os.environ.items() if not name.startswith("RESTIC_")}
        return own | self.place.environment | {
            "RESTIC_REPOSITORY": self.place.location,
            "RESTIC_PASSWORD": self.password,
            "TZ": "UTC",
        }  # fmt: skip


@contextmanager
def repository(
    settings: Settings,
    resolve: Resolver,
    password: str,
    *,
    place: str = "",
    cache: Path | None = None,
    lock: int | None = None,
) -> Iterator[Repository]:
    """The repository at `place`, or where the setting `backup_place` says.

    Raises DefinitionError when the place cannot be understood and BackupPlaceUnavailable when its
    server does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="mu-") as scratch:
        found = _place(settings, resolve, place or settings.backup_place, Path(scratch))
        _require_answer(found, settings.connect_timeout_seconds)
        one = Repository(found, password, cache, lock)
        if found.server is None and not Path(found.location).parent.is_dir():
            raise BackupPlaceUnavailable(
                "the folder for backups is not there",
                where="backup_place",
                next_step="mount its disk, or correct the setting.",
            )
        yield one


def _place(settings: Settings, resolve: Resolver, said: str, scratch: Path) -> Place:
    if not said:
        raise DefinitionError(
            "no place for backups is configured",
            where="backup_place",
            next_step="set MUARA_BACKUP_PLACE to a folder or a connection id: docs/backup.md.",
        )
    url = said if "/" in said else resolve(said)
    parts = urlsplit(url)
    match parts.scheme:
        case "" | "file" | "fs":
            return _folder(settings, Path(unquote(parts.path)))
        case "sftp" | "ssh":
            return _sftp(settings, parts, query_of(url), scratch)
        case "s3" | "aws":
            return _s3(parts, query_of(url))
    raise _undefined(f"backups cannot be kept at {parts.scheme}://")


def _folder(settings: Settings, path: Path) -> Place:
    path = path.resolve()
    if path.is_relative_to(settings.home) or settings.home.is_relative_to(path):
        raise _undefined("the folder for backups lies in the home, or the home in it")
    return Place(str(path))


def _sftp(settings: Settings, url: SplitResult, asked: dict[str, str], scratch: Path) -> Place:
    """By the system's own ssh, which takes a key and never a password."""
    if url.password or not ("key_file" in asked or "private_key" in asked):
        raise _undefined("for backups an SSH server is reached by a key, not by a password")
    if "private_key_passphrase" in asked:
        raise _undefined("the SSH key for backups has a passphrase, and nobody is there to type it")
    host, port = url.hostname or "", url.port or 22
    words = ["ssh", "-F", "none", "-p", str(port)]
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "ConnectTimeout": str(settings.connect_timeout_seconds),
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "4",
        "GlobalKnownHostsFile": "/dev/null",
    } | _known_host(host, port, asked, scratch)
    for name, value in options.items():
        words += ["-o", f"{name}={value}"]
    words += ["-i", asked.get("key_file") or _written(scratch / "login", asked["private_key"])]
    login = [f"{unquote(url.username)}@{host}"] if url.username else [host]
    command = shlex.join([*words, *login, "-s", "sftp"])
    path = unquote(url.path) or "."
    return Place(f"sftp:{host}:{path}", (f"sftp.command={command}",), {}, (host, port))


def _known_host(host: str, port: int, asked: dict[str, str], scratch: Path) -> dict[str, str]:
    if asked.get("no_host_key_check", "").lower() == "true":
        return {"StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null"}
    if known := asked.get("known_hosts"):
        return {"StrictHostKeyChecking": "yes", "UserKnownHostsFile": known}
    if key := asked.get("host_key"):
        kind, _, body = key.rpartition(" ")
        name = host if port == 22 else f"[{host}]:{port}"
        known = _written(scratch / "known_hosts", f"{name} {kind or 'ssh-rsa'} {body}\n")
        return {"StrictHostKeyChecking": "yes", "UserKnownHostsFile": known}
    raise _undefined("it names no host key, so any server could pose as the place of backups")


def _s3(url: SplitResult, asked: dict[str, str]) -> Place:
    region = asked.get("region", "us-east-1")
    endpoint = asked.get("endpoint_override") or f"s3.{region}.amazonaws.com"
    scheme = asked.get("scheme", "https")
    environment = {"AWS_DEFAULT_REGION": region}
    if url.username:
        environment |= {
            "AWS_ACCESS_KEY_ID": unquote(url.username),
            "AWS_SECRET_ACCESS_KEY": unquote(url.password or ""),
        }
    own = ("s3.bucket-lookup=path",) if "endpoint_override" in asked else ()
    host, _, port = endpoint.partition(":")
    bucket = f"{scheme}://{endpoint}/{url.hostname or ''}/{unquote(url.path).strip('/')}"
    server = (host, int(port or (443 if scheme == "https" else 80)))
    return Place(f"s3:{bucket.rstrip('/')}", own, environment, server)


def _written(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text if text.endswith("\n") else f"{text}\n")
    return str(path)


def _undefined(what: str) -> DefinitionError:
    return DefinitionError(
        what,
        where="backup_place",
        next_step="correct the setting or its connection: docs/backup.md.",
    )


def _require_answer(place: Place, seconds: float) -> None:
    if place.server is None:
        return
    try:
        socket.create_connection(place.server, seconds).close()
    except OSError as error:
        raise BackupPlaceUnavailable(
            f"the place of backups does not answer ({type(error).__name__})",
            where=place.server[0],
            next_step="check that it is up; the next run tries again.",
        ) from None


DAMAGED = (
    "StreamPack", "repository contains errors", "ciphertext verification failed",
    "hash does not match", "invalid data returned", "ReadFull", "unexpected EOF",
)  # fmt: skip
"""In what restic says of a pack, an index or a tree that is missing, cut or altered."""


def _fault(word: str, said: str, place: Place) -> BackupFault:
    """restic's own words name files of the repository and paths, never what is in them."""
    if any(text in said for text in ("config file does not exist", "Is there a repository at")):
        return NoBackups("there are no backups at this place", next_step="check `backup_place`.")
    if "wrong password or no key found" in said:
        return BackupFault(
            "these backups were made with another key",
            next_step="check `backup_place`, and give the keys of this warehouse.",
        )
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    fatal = [line for line in lines if "Fatal" in line or "error" in line.lower()] or lines
    told = "; ".join(fatal[-2:])[:TOLD_CHARACTERS]
    if any(text in said for text in DAMAGED):
        return BackupFault(
            f"part of the backups is missing or damaged ({PROGRAM} {word}: {told})",
            where="backup_place",
            next_step="an older night may be whole: `muara restore --night`. Keep this place as it "
            "is, and begin another: docs/backup.md, 'When it fails'.",
        )
    return BackupFault(
        f"{PROGRAM} {word} failed: {told}",
        where="backup_place",
        next_step="see docs/backup.md, 'When it fails'.",
    )


def _kept(told: dict[str, Any]) -> Kept:
    tags = dict(tag.split("=", 1) for tag in told.get("tags") or [] if "=" in tag)
    return Kept(
        told["short_id"],
        tags.get("lake", ""),
        date.fromisoformat(tags.get("night") or told["time"][:10]),
        tags.get("made") or told["time"][:19],
    )
