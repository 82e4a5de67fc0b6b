"""A real, private Dovecot for tests: IMAP over TLS and LMTP on free loopback ports, one mailbox.

As the servers of tests/servers.py: a short temporary folder, an unprivileged user, none of the
machine's own configuration.
"""

import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests import servers

LOGIN, PASSWORD = "lapor", "rahasia@kota"
CONFIGURATION = """
protocols = imap lmtp
base_dir = {folder}/run
state_dir = {folder}/state
log_path = {folder}/log
listen = {host}
ssl = required
ssl_cert = <{folder}/certificate
ssl_key = <{folder}/key
default_internal_user = {user}
default_internal_group = {user}
default_login_user = {user}
mail_location = maildir:{folder}/mail
mail_fsync = never
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid={user} gid={user} home={folder} allow_all_users=yes
}}
service imap-login {{
  chroot =
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {port}
    ssl = yes
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = {host}
    port = {lmtp_port}
  }}
}}
service anvil {{
  chroot =
}}
service stats {{
  chroot =
}}
"""


@dataclass
class MailServer:
    folder: Path
    port: int
    lmtp_port: int
    command: list[str] = field(repr=False)
    process: subprocess.Popen | None = field(default=None, repr=False)

    @property
    def maildir(self) -> Path:
        """Where the messages of INBOX lie."""
        return self.folder / "mail"

    def url(self, folder: str = "INBOX", port: int | None = None) -> str:
        password = PASSWORD.replace("@", "%40")
        certificate = self.folder / "certificate"
        return (
            f"imaps://{LOGIN}:{password}@{servers.HOST}:{port or self.port}/{folder}"
            f"?ssl_ca={certificate}"
        )

    def start(self) -> None:
        """Starts the server and returns when it greets."""
        self.process = servers._spawn(self.command, self.folder)
        context = ssl.create_default_context(cafile=str(self.folder / "certificate"))
        deadline = time.monotonic() + servers.SECONDS_TO_START
        while True:
            try:
                with socket.create_connection((servers.HOST, self.port), 5) as plain:
                    with context.wrap_socket(plain, server_hostname=servers.HOST) as greeting:
                        assert greeting.recv(100).startswith(b"* OK")
                        return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    self.stop()
                    raise servers.ServerFailed(servers._end_of_log(self.folder)) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server and every session: its children would else see theirs to the end."""
        if self.process:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(servers.SECONDS_TO_STOP)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def restart(self) -> None:
        self.stop()
        self.start()

    def deliver(self, *messages: bytes) -> None:
        """Put messages into INBOX as a mail server does: written to `tmp`, moved to `new`."""
        for number, message in enumerate(messages):
            name = f"{time.time_ns()}.M{number}.test"
            path = self.maildir / "tmp" / name
            path.write_bytes(message)
            servers._give(path)
            path.rename(self.maildir / "new" / name)


@contextmanager
def dovecot() -> Iterator[MailServer]:
    """A Dovecot with an empty INBOX, stopped and deleted when the context exits."""
    program = servers._program("dovecot", "dovecot-imapd")
    with servers._folder() as folder:
        servers._certificate(folder)
        ports = [servers._free_port() for _ in range(2)]
        for name in ("run", "state", "mail", "mail/new", "mail/cur", "mail/tmp"):
            (folder / name).mkdir()
            servers._give(folder / name)
        servers._write(folder / "log", "")
        configuration = servers._write(
            folder / "dovecot.conf",
            CONFIGURATION.format(
                folder=folder, host=servers.HOST, port=ports[0], lmtp_port=ports[1],
                user=servers._user(), password=PASSWORD,
            ),
        )  # fmt: skip
        server = MailServer(folder, *ports, [program, "-F", "-c", str(configuration)])
        try:
            server.start()
            yield server
        finally:
            server.stop()
