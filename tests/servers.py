"""Real, private servers for tests, on free loopback ports: PostgreSQL, MariaDB, OpenSSH, S3.

Each server keeps its data, socket and log in a short temporary folder (socket paths are limited to
107 bytes) and runs as an unprivileged user: `muara-test`, created here, when the tests run as root
(PostgreSQL refuses root), else whoever runs the tests. Nothing of the machine's own servers or
their configuration is used. Durability is off: the data lives as long as the context.

No server outlives its test process, even one killed with SIGKILL: `setpriv --pdeathsig` has the
kernel stop it when the thread that started it ends, so start servers from the main thread. A killed
test process does leave the temporary folder behind.
"""

import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import sqlalchemy as sa
from pyarrow import fs

from common.settings import ROOT

HOST = "127.0.0.1"
LOGIN = "muara"
UNPRIVILEGED = "muara-test"
SECONDS_TO_START = 60
SECONDS_TO_STOP = 30


class ServerMissing(Exception):
    """A program the tests need is not installed."""


class ServerFailed(Exception):
    """A server did not come up, or preparing its data folder failed; carries the end of its log."""


@dataclass
class Server:
    """A running server; `url()` and `create_database()` are all that a test needs to know."""

    backend: str
    driver: str
    maintenance_database: str
    folder: Path
    port: int
    password: str = field(repr=False)
    command: Sequence[str] = field(repr=False)
    stop_signal: signal.Signals
    host: str = HOST
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def url(self, database: str, driver: str | None = None) -> str:
        """The SQLAlchemy URL of a database, password included."""
        return sa.URL.create(
            f"{self.backend}+{driver or self.driver}",
            username=LOGIN,
            password=self.password,
            host=self.host,
            port=self.port,
            database=database,
        ).render_as_string(hide_password=False)

    def create_database(self, name: str) -> str:
        """Creates an empty database and returns its URL."""
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self) -> None:
        """Starts the server on its port and returns when it answers."""
        self.process = _spawn(self.command, self.folder)
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                return self._execute("SELECT 1")
            except sa.exc.OperationalError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise ServerFailed(_end_of_log(self.folder)) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server, open sessions or not. Stopping a stopped server does nothing."""
        if self.process is None:
            return
        self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def restart(self) -> None:
        """Stops and starts the server: the same data on the same port, every session lost."""
        self.stop()
        self.start()

    def _execute(self, statement: str) -> None:
        engine = sa.create_engine(
            self.url(self.maintenance_database),
            isolation_level="AUTOCOMMIT",
            poolclass=sa.NullPool,
        )
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)


@contextmanager
def postgres(*, encrypted: bool = False) -> Iterator[Server]:
    """A private PostgreSQL, stopped and deleted when the context exits; `encrypted`: with TLS and
    a certificate of its own in `folder / "certificate"`."""
    initdb, program = _program("initdb", "postgresql"), _program("postgres", "postgresql")
    with _folder() as folder:
        password, port = secrets.token_hex(8), _free_port()
        data = folder / "data"
        base = [initdb, f"--pgdata={data}", f"--username={LOGIN}", "--no-sync", "--encoding=UTF8"]
        base += ["--locale=C.UTF-8", "--auth=scram-sha-256"]
        _run([*base, f"--pwfile={_write(folder / 'password', password)}"], folder)
        options = {
            "port": port,
            "listen_addresses": HOST,
            "unix_socket_directories": folder,
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "shared_buffers": "32MB",
        }
        if encrypted:
            certificate, key = _certificate(folder)
            options |= {"ssl": "on", "ssl_cert_file": certificate, "ssl_key_file": key}
        with _running(
            Server(
                backend="postgresql",
                driver="psycopg",
                maintenance_database="postgres",
                folder=folder,
                port=port,
                password=password,
                command=[program, "-D", str(data), *_as_arguments(options)],
                stop_signal=signal.SIGINT,  # SIGTERM would wait for open sessions to end
            )
        ) as server:
            yield server


@contextmanager
def mariadb(*, encrypted: bool = False) -> Iterator[Server]:
    """A private MariaDB, stopped and deleted when the context exits; `encrypted` as `postgres`."""
    install = _program("mariadb-install-db", "mariadb-server")
    program = _program("mariadbd", "mariadb-server")
    with _folder() as folder:
        password, port = secrets.token_hex(8), _free_port()
        base = ["--no-defaults", f"--datadir={folder / 'data'}", "--innodb-log-file-size=16M"]
        base += ["--innodb-buffer-pool-size=32M", "--skip-name-resolve"]
        _run([install, *base, "--skip-test-db", "--auth-root-authentication-method=socket"], folder)
        login = f"'{LOGIN}'@'{HOST}'"
        grant = _write(
            folder / "grant.sql",
            f"CREATE USER IF NOT EXISTS {login} IDENTIFIED BY '{password}';\n"
            f"GRANT ALL ON *.* TO {login} WITH GRANT OPTION;\n",
        )
        options = {
            "port": port,
            "bind-address": HOST,
            "skip-networking": 0,
            "socket": folder / "socket",
            "pid-file": folder / "pid",
            "tmpdir": folder,
            "init-file": grant,
            "character-set-server": "utf8mb4",
            "innodb-flush-log-at-trx-commit": 0,
            "key-buffer-size": "1M",
        }
        if encrypted:
            certificate, key = _certificate(folder)
            options |= {"ssl-cert": certificate, "ssl-key": key}
            options["require-secure-transport"] = "OFF"
        with _running(
            Server(
                backend="mysql",
                driver="pymysql",
                maintenance_database="mysql",
                folder=folder,
                port=port,
                password=password,
                command=[program, *base, *_as_arguments(options)],
                stop_signal=signal.SIGTERM,
            )
        ) as server:
            yield server


@dataclass
class Daemon:
    """A running server of files."""

    folder: Path
    port: int
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    as_ourselves = False

    def start(self) -> None:
        """Starts the server on its port and returns when it listens."""
        self.process = _spawn(self.command, self.folder, as_ourselves=self.as_ourselves)
        deadline = time.monotonic() + SECONDS_TO_START
        while True:
            try:
                return socket.create_connection((HOST, self.port), 1).close()
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise ServerFailed(_end_of_log(self.folder)) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server and whatever it started; a stopped one stays stopped."""
        if self.process is not None:
            for pid in _with_children(self.process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


@dataclass
class Ssh(Daemon):
    """OpenSSH that offers SFTP and nothing else; `drops` is what it serves."""

    @property
    def drops(self) -> Path:
        return self.folder / "drops"

    def writable(self, name: str) -> Path:
        """A folder in it that whoever signs in may write."""
        folder = self.drops / name
        folder.mkdir()
        _give(folder)
        return folder

    @property
    def host_key(self) -> str:
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    def url(self, host_key: str | None = None, port: int | None = None, **query: str) -> str:
        user = UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        asked = {"host_key": host_key or self.host_key, "key_file": str(self.folder / "login")}
        return f"sftp://{user}@{HOST}:{port or self.port}{self.drops}?{urlencode(asked | query)}"


@contextmanager
def ssh() -> Iterator[Ssh]:
    """A private OpenSSH server, stopped and deleted when the context exits."""
    program, keygen = _program("sshd", "openssh-server"), _program("ssh-keygen", "openssh-client")
    with _folder() as folder:
        port = _free_port()
        for name in ("host", "login"):
            _run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], folder)
        options = {
            "Port": port,
            "ListenAddress": HOST,
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "login.pub",
            "StrictModes": "no",
            "UsePAM": "no",
            "PidFile": "none",
            "ForceCommand": "internal-sftp",
            "Subsystem": "sftp internal-sftp",
        }
        lines = "".join(f"{name} {value}\n" for name, value in options.items())
        configuration = _write(folder / "config", lines)
        (folder / "drops").mkdir()
        server = Ssh(folder, port, [program, "-D", "-e", "-f", str(configuration)])
        try:
            server.start()
            yield server
        finally:
            server.stop()


@dataclass
class S3(Daemon):
    """An S3 server with the bucket `drops`. It is a part of our environment, which another user
    need not be able to read."""

    as_ourselves = True

    def url(self, port: int | None = None, folder: str = "") -> str:
        asked = {"endpoint_override": f"{HOST}:{port or self.port}", "scheme": "http",
                 "region": "us-east-1"}  # fmt: skip
        return f"s3://kunci:rahasia@drops/{folder}?{urlencode(asked)}"

    @property
    def store(self) -> fs.S3FileSystem:
        return fs.S3FileSystem(
            access_key="kunci", secret_key="rahasia", scheme="http", region="us-east-1",
            endpoint_override=f"{HOST}:{self.port}", allow_bucket_creation=True,
        )  # fmt: skip

    def put(self, files: dict[str, bytes]) -> None:
        """Let the bucket hold these files beside what it has."""
        self.store.create_dir("drops")
        for name, content in files.items():
            with self.store.open_output_stream(f"drops/{name}") as target:
                target.write(content)


@contextmanager
def s3() -> Iterator[S3]:
    """A private S3 server (moto's), which forgets everything when it stops."""
    program = ROOT / ".venv" / "s3" / "bin" / "moto_server"
    if not program.exists():
        raise ServerMissing("the S3 server is not installed. Next: make servers.")
    with _folder() as folder:
        port = _free_port()
        server = S3(folder, port, [str(program), "-H", HOST, "-p", str(port)])
        try:
            server.start()
            yield server
        finally:
            server.stop()


@contextmanager
def _running(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mu-", dir="/tmp"))
    try:
        _give(folder)
        yield folder
    finally:
        shutil.rmtree(folder)


def _certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for the loopback, and its key."""
    certificate, key = folder / "certificate", _write(folder / "key", "")
    subprocess.run(
        [_program("openssl", "openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days",
         "2", "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=IP:{HOST}", "-out", certificate,
         "-keyout", key],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in (certificate, key):
        _give(path)
    return certificate, key


def _as_arguments(options: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in options.items()]


def _write(path: Path, text: str) -> Path:
    """A file that only the servers' user can read."""
    path.touch(mode=0o600)
    path.write_text(text)
    _give(path)
    return path


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, *_unprivileged())


def _user() -> str:
    """The name of the user that servers run as."""
    return UNPRIVILEGED if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name


def _unprivileged() -> tuple[int, int]:
    """User and group id of `muara-test`, created on first use."""
    try:
        user = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        create = ["useradd", "--system", "--user-group", "--no-create-home"]
        # Not checked: a test session beside this one may have been faster.
        subprocess.run([*create, "--shell", "/usr/sbin/nologin", UNPRIVILEGED], check=False)
        user = pwd.getpwnam(UNPRIVILEGED)
    return user.pw_uid, user.pw_gid


def _spawn(
    command: Sequence[str], folder: Path, *, as_ourselves: bool = False
) -> subprocess.Popen[bytes]:
    """Starts a program of a server as the unprivileged user, its output in the server's log.

    In a session of its own, so that Ctrl-C reaches the tests, which then stop the server.
    """
    who: dict[str, Any] = {}
    if os.geteuid() == 0 and not as_ourselves:
        uid, gid = _unprivileged()
        who = {"user": uid, "group": gid, "extra_groups": []}
    with open(folder / "log", "ab") as log:
        return subprocess.Popen(
            [_program("setpriv", "util-linux"), "--pdeathsig=QUIT", *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            **who,
        )


def _with_children(pid: int) -> list[int]:
    """A process and those it started, who may have left its group (sshd's connections do)."""
    found = [pid]
    for one in found:
        with suppress(FileNotFoundError):
            children = Path(f"/proc/{one}/task/{one}/children").read_text()
            found += map(int, children.split())
    return found


def _run(command: Sequence[str], folder: Path) -> None:
    if _spawn(command, folder).wait() != 0:
        raise ServerFailed(_end_of_log(folder))


def _end_of_log(folder: Path) -> str:
    return "\n".join((folder / "log").read_text(errors="replace").splitlines()[-20:])


def _program(name: str, package: str) -> str:
    """Where a program is. Debian keeps PostgreSQL's, one folder per version, out of PATH."""
    versions = sorted(Path("/usr/lib/postgresql").glob("[0-9]*"), key=lambda path: float(path.name))
    places = [f"{version}/bin" for version in reversed(versions)]
    places += ["/usr/sbin", "/usr/bin", os.environ.get("PATH", "")]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise ServerMissing(
            f"{name} is not installed. Next: sh tests/install-servers.sh, as root "
            f"(or apt-get install {package})."
        )
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
