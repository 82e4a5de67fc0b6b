"""A folder on an SSH server: `sftp://user:password@host:port/path`.

The query takes what Airflow's SSH connection takes as extras: `host_key` or `known_hosts` (one of
them, or an explicit `no_host_key_check=true`), `private_key` or `key_file`, and
`private_key_passphrase`. Only the SFTP subsystem is asked for, never a shell.
"""

import io
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, unquote, urlsplit

import paramiko

from common.access import FilesAccess
from common.connection import query_of
from common.errors import DefinitionError, SourceDenied, SourceUnavailable
from connectors.readers.files.places.entry import BLOCK, Child, Entry, Target, walk
from connectors.readers.pull import Pull

IN_FLIGHT = 64
"""Requests for 32 kB each that may be under way: what is held of a file while it is fetched."""


@dataclass(frozen=True)
class Sftp:
    client: paramiko.SFTPClient
    root: str
    at_most: int
    where: str
    tells = True

    def entries(self, pattern: str) -> Iterator[Entry]:
        return walk(self._children, pattern, at_most=self.at_most, where=self.where)

    def _children(self, folder: str) -> Iterator[Child]:
        # Asked about once the listing ended: the client mixes up answers otherwise.
        links: list[tuple[str, str]] = []
        with _answering(self.where):
            for one in self.client.listdir_iter(f"{self.root}/{folder}"):
                path = f"{folder}/{one.filename}" if folder else one.filename
                mode = one.st_mode or 0
                if stat.S_ISLNK(mode):
                    if len(links) <= self.at_most:
                        links.append((path, one.filename))
                elif stat.S_ISDIR(mode):
                    yield Child(one.filename, None)
                elif stat.S_ISREG(mode):
                    yield Child(one.filename, _entry(path, one))
            for path, name in links:
                with suppress(FileNotFoundError):
                    yield from self._link(path, name)

    def _link(self, path: str, name: str) -> Iterator[Child]:
        target = self.client.normalize(f"{self.root}/{path}")
        if not target.startswith(f"{self.root}/"):
            yield Child(name, Entry(path, 0, "", leads_out=True))
        elif stat.S_ISREG((found := self.client.stat(target)).st_mode or 0):
            yield Child(name, _entry(path, found))

    def now(self, entry: Entry) -> Entry | None:
        with _answering(self.where), suppress(FileNotFoundError):
            return _entry(entry.origin, self.client.stat(f"{self.root}/{entry.origin}"))
        return None

    def fetch(self, entry: Entry, target: Target) -> None:
        with _answering(self.where):
            file = self.client.open(f"{self.root}/{entry.origin}")
        with file:
            file.prefetch(entry.size, IN_FLIGHT)
            while True:
                with _answering(self.where):
                    piece = file.read(BLOCK)
                if not piece:
                    return
                target.write(piece)


def _entry(path: str, found: paramiko.SFTPAttributes) -> Entry:
    changed = datetime.fromtimestamp(found.st_mtime or 0, UTC)
    return Entry(path, found.st_size or 0, str(found.st_mtime), changed)


@contextmanager
def _answering(where: str) -> Iterator[None]:
    """The server's errors in our language; that a file is not there stays FileNotFoundError."""
    try:
        yield
    except FileNotFoundError:
        raise
    except PermissionError:
        raise SourceDenied(
            "the server lets us not read it",
            where=where,
            next_step="ask the owner for the right to read.",
        ) from None
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise SourceUnavailable(
            f"the SSH server does not answer ({type(error).__name__})",
            where=where,
            next_step="check that it is up; the next run tries again.",
        ) from None


@contextmanager
def opened(pull: Pull) -> Iterator[Sftp]:
    """Raises SourceUnavailable, SourceDenied (login or host key), or DefinitionError for a URL that
    names neither a host key nor that none is to be checked."""
    url, asked = urlsplit(pull.url), query_of(pull.url)
    with paramiko.SSHClient() as ssh:
        _expect_host(pull, ssh, url, asked)
        with _logging_in(pull), _answering(pull.where):
            ssh.connect(
                url.hostname or "",
                url.port or paramiko.config.SSH_PORT,
                unquote(url.username or ""),
                unquote(url.password) if url.password else None,
                _private_key(pull, asked),
                asked.get("key_file"),
                passphrase=asked.get("private_key_passphrase"),
                timeout=pull.settings.connect_timeout_seconds,
                banner_timeout=pull.settings.connect_timeout_seconds,
                auth_timeout=pull.settings.connect_timeout_seconds,
                channel_timeout=pull.settings.connect_timeout_seconds,
                allow_agent=False,
                look_for_keys=False,
            )
            client = ssh.open_sftp()
            if channel := client.get_channel():
                channel.settimeout(pull.settings.statement_timeout_seconds)
        yield Sftp(client, _root(pull, client, url), pull.access(FilesAccess).max_files, pull.where)


def _root(pull: Pull, client: paramiko.SFTPClient, url: SplitResult) -> str:
    try:
        with _answering(pull.where):
            root = client.normalize(unquote(url.path) or ".")
            client.stat(root)
            return root.rstrip("/")
    except FileNotFoundError:
        raise SourceUnavailable(
            "the drop folder is not there",
            where=pull.where,
            next_step=f"check the path of connection {pull.stream.connection} with the owner.",
        ) from None


def _expect_host(
    pull: Pull, ssh: paramiko.SSHClient, url: SplitResult, asked: dict[str, str]
) -> None:
    """Tell the client which host key it must meet."""
    ssh.set_missing_host_key_policy(paramiko.RejectPolicy())
    if asked.get("no_host_key_check", "").lower() == "true":
        ssh.set_missing_host_key_policy(paramiko.AutoAddPolicy())
    elif host_key := asked.get("host_key"):
        port = url.port or paramiko.config.SSH_PORT
        name = url.hostname or ""
        name = name if port == paramiko.config.SSH_PORT else f"[{name}]:{port}"
        kind, _, body = host_key.rpartition(" ")
        line = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {kind or 'ssh-rsa'} {body}")
        if line is None or line.key is None:
            raise _undefined(pull, "its `host_key` is no key")
        ssh.get_host_keys().add(name, line.key.get_name(), line.key)
    elif known_hosts := asked.get("known_hosts"):
        try:
            ssh.load_system_host_keys(known_hosts)
        except OSError:
            raise _undefined(pull, "its file `known_hosts` cannot be read") from None
    else:
        raise _undefined(pull, "it names no host key, so any server could pose as the agency's")


def _private_key(pull: Pull, asked: dict[str, str]) -> paramiko.PKey | None:
    if text := asked.get("private_key"):
        for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
            with suppress(paramiko.SSHException, ValueError):
                return kind.from_private_key(io.StringIO(text), asked.get("private_key_passphrase"))
        raise _undefined(pull, "its `private_key` cannot be read")
    return None


def _undefined(pull: Pull, what: str) -> DefinitionError:
    return DefinitionError(
        what,
        where=f"{pull.where} connection {pull.stream.connection}",
        next_step="give `host_key=ssh-ed25519 AAAA…` (from ssh-keyscan, checked with the owner) or "
        "`known_hosts=/path` and, to log in, a password, `private_key` or `key_file`.",
    )


@contextmanager
def _logging_in(pull: Pull) -> Iterator[None]:
    try:
        yield
    except SourceUnavailable as error:
        cause = error.__context__
        if isinstance(cause, paramiko.BadHostKeyException) or (
            isinstance(cause, paramiko.SSHException) and "not found in known_hosts" in str(cause)
        ):
            what, step = "its host key is not the one we know", "compare it with the owner's"
        elif isinstance(cause, paramiko.AuthenticationException):
            what, step = "the SSH server refuses the user, password or key", "check them"
        else:
            raise
        raise SourceDenied(
            what,
            where=pull.where,
            next_step=f"{step}, then correct connection {pull.stream.connection}.",
        ) from None
