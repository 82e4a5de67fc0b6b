"""Mailboxes on a real Dovecot: nothing is marked as seen, nothing is fetched twice, a maildir gives
the same, and whatever fails midway, the re-run gives what an undisturbed run gives."""

import imaplib
import json
import os
import random
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from common.errors import SourceDenied, SourceShapeChanged, SourceUnavailable
from pipeline.sync import sync
from tests import servers
from tests.inbox import Inbox, letter
from tests.integration.test_faults import cutting
from tests.mailserver import LOGIN, PASSWORD, dovecot
from tests.same import content_hashes

LETTERS = [letter(str(n), f"Lampu nomor {n} padam. " * 40, f"warga{n}@surel.example")
           for n in range(60)]  # fmt: skip


@pytest.fixture(scope="module")
def server():
    with dovecot() as server:
        server.deliver(*LETTERS)
        yield server


class Box(Inbox):
    """The mail stream of the inbox, read from a URL."""

    def __init__(self, folder: Path, url: str):
        super().__init__(folder)
        self.url = url

    @classmethod
    def of(cls, folder: Path, url: str) -> "Box":
        """One whose warehouse is there already."""
        box = cls(folder / "again", url)
        box.settings.home = folder / "var"
        return box

    def read(self, url: str | None = None):
        stream = self.source.stream("mail")
        return sync(self.settings, self.source, stream, lambda _: url or self.url)

    def landed(self) -> int:
        return self.rows("SELECT count(*) FROM lake.landing.report_inbox__mail")[0][0]

    def hashes(self) -> dict:
        tables = content_hashes(self.settings)
        kept = ("landing", "quarantine", "core")
        return {name: tables[name] for name in tables if name.startswith(kept)}

    def fields(self) -> list[tuple]:
        return self.rows("SELECT * EXCLUDE (_batch_id, _row, _origin, _record_id) "
                         "FROM lake.landing.report_inbox__mail ORDER BY message_key")  # fmt: skip


def session(server) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(server.folder / "certificate"))
    opened = imaplib.IMAP4_SSL(servers.HOST, server.port, ssl_context=context)
    opened.login(LOGIN, PASSWORD)
    return opened


def test_imap_and_maildir_agree_and_nothing_is_marked(server, tmp_path):
    box = Box(tmp_path / "a", server.url())
    assert box.read().inserted == len(LETTERS)
    other = Box(tmp_path / "b", f"maildir://{server.maildir}")
    assert other.read().inserted == len(LETTERS)
    assert box.fields() == other.fields()
    with session(server) as opened:
        opened.select("INBOX", readonly=True)
        assert opened.search(None, "SEEN") == ("OK", [b""])


def test_nothing_is_fetched_twice(server, tmp_path):
    box = Box(tmp_path, server.url())
    box.read()
    spent = bytes_of_mail(server)
    assert box.read().extracted == 0
    assert bytes_of_mail(server) == spent


def bytes_of_mail(server) -> int:
    """What Dovecot says it sent of bodies, over all sessions."""
    log = (server.folder / "log").read_text()
    return sum(int(word.split("=")[1]) for word in log.split() if word.startswith("body_bytes="))


def test_another_uidvalidity_doubles_nothing(server, tmp_path):
    box = Box(tmp_path, server.url())
    box.read()
    server.stop()
    listing = next(server.maildir.glob("dovecot-uidlist"))
    first, _, rest = listing.read_text().partition("\n")
    words = [f"V{int(word[1:]) + 7}" if word.startswith("V") else word for word in first.split(" ")]
    listing.write_text(" ".join(words) + "\n" + rest)
    for index in server.maildir.glob("dovecot.index*"):
        index.unlink()
    server.start()
    account = box.read()
    assert (account.extracted, account.unchanged) == (len(LETTERS), len(LETTERS))
    assert box.landed() == len(LETTERS)


def test_an_oversized_message_is_not_fetched(tmp_path):
    with dovecot() as server:
        server.deliver(letter("small", "Lampu"), letter("large", "isi " * 4_000_000))
        box = Box(tmp_path, server.url())
        account = box.read()
        assert (account.inserted, account.quarantined) == (1, 1)
        assert bytes_of_mail(server) < 5000
        ((sent,),) = box.rows("SELECT row_as_sent FROM lake.quarantine.row")
        row = json.loads(sent)
        assert (row["fault"], row["message_key"]) == ("too_large", "large@surel.example")


def test_mail_of_another_program(tmp_path):
    with dovecot() as server:
        done = subprocess.run(
            [servers._program("swaks", "swaks"), "--protocol", "LMTP", "--server",
             f"{servers.HOST}:{server.lmtp_port}", "--to", LOGIN, "--from", "warga@surel.example",
             "--header", "Subject: Lampu", "--body", "Lampu padam", "--attach-type", "text/csv",
             "--attach", "@-"],
            input=b"a,b\n", capture_output=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-500:]
        box = Box(tmp_path, server.url())
        assert box.read().inserted == 1
        assert box.groups() == {frozenset({"email: Lampu padam"})}


@pytest.mark.parametrize("cuts", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_a_connection_cut_anywhere(server, tmp_path, cuts):
    undisturbed, disturbed = Box(tmp_path / "a", server.url()), Box(tmp_path / "b", server.url())
    with cutting(server.port, 1 << 40) as port:
        undisturbed.read(server.url(port=port))  # the way itself is sound
    chance = random.Random(11)
    for after in [0, *(chance.randrange(1, 60_000) for _ in range(cuts - 1))]:
        with cutting(server.port, after) as port, pytest.raises(SourceUnavailable):
            disturbed.read(server.url(port=port))
        assert disturbed.landed() == 0
    disturbed.read()
    assert disturbed.hashes() == undisturbed.hashes()


def test_a_server_restarted_midway(server, tmp_path):
    undisturbed, disturbed = Box(tmp_path / "a", server.url()), Box(tmp_path / "b", server.url())
    undisturbed.read()
    from connectors.readers.files.places import imap

    fetched = imap.Mailbox.fetch
    seen = []

    def stopping(self, entry, target):
        seen.append(entry)
        if len(seen) == 20:
            server.restart()
        fetched(self, entry, target)

    imap.Mailbox.fetch = stopping
    try:
        with pytest.raises(SourceUnavailable):
            disturbed.read()
    finally:
        imap.Mailbox.fetch = fetched
    assert disturbed.landed() == 0
    disturbed.read()
    assert disturbed.hashes() == undisturbed.hashes()


DRIVER = """
import os, signal, sys
from pathlib import Path
from common.log import on_stage
from tests.integration.test_mailbox import Box
folder, url, stage = sys.argv[1:]
box = Box(Path(folder), url)
on_stage(lambda name, where: os.kill(os.getpid(), signal.SIGKILL) if name == stage else None)
box.read()
"""


@pytest.mark.parametrize("stage", ["pulled", "written"])
def test_a_killed_process(server, tmp_path, stage):
    undisturbed = Box(tmp_path / "b", server.url())
    undisturbed.read()
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "a"), server.url(), stage]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-500:]
    box = Box.of(tmp_path / "a", server.url())
    assert box.landed() == 0
    box.read()
    assert box.hashes() == undisturbed.hashes()


def test_wrong_logins_folders_and_certificates(server, tmp_path):
    box = Box(tmp_path, server.url())
    with pytest.raises(SourceDenied) as denied:
        box.read(server.url().replace(PASSWORD.replace("@", "%40"), "rahasia-sekali"))
    assert "rahasia" not in str(denied.value)
    with pytest.raises(SourceShapeChanged, match="no folder Arsip"):
        box.read(server.url("Arsip"))
    with pytest.raises(SourceUnavailable, match="not trusted"):
        box.read(server.url().partition("?")[0])
