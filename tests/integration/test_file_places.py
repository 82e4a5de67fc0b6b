"""Files on a real OpenSSH server and a real S3 server: the same rows as from a folder, cheap
nights, and faults after which the re-run gives what an undisturbed run gives."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from common.errors import (
    DefinitionError,
    HomeFault,
    SourceDenied,
    SourceMalformed,
    SourceUnavailable,
)
from tests.drops import Drops
from tests.integration.test_faults import cutting

LONG_AGO = time.time() - 86_400
READ = {"pattern": "rs_*/*.csv", "format": {"kind": "delimited"}}
GOOD = "no,nama,nik\n1,Siti,3274010101010001\n2,,3274010101010002\n"


def many(first: int, rows: int = 4000) -> str:
    noise = random.Random(first)
    lines = [f"{n},Warga {noise.random()},32740101{n:08}\n" for n in range(first, first + rows)]
    return "no,nama,nik\n" + "".join(lines)


FILES = {f"rs_{n}/kelahiran_{n}.csv": many(n * 10_000).encode() for n in range(3)}


class OnSsh:
    def __init__(self, server):
        self.server, self.url = server, server.url
        shutil.rmtree(server.drops)
        server.drops.mkdir()

    def put(self, files: dict[str, bytes], at: float = LONG_AGO) -> None:
        for name, content in files.items():
            path = self.server.drops / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
            os.utime(path, (at, at))

    def remove(self, name: str) -> None:
        (self.server.drops / name).unlink()


class OnS3:
    def __init__(self, server):
        self.server, self.url = server, server.url
        server.store.create_dir("drops")
        server.store.delete_dir_contents("drops")

    def put(self, files: dict[str, bytes]) -> None:
        self.server.put(files)

    def remove(self, name: str) -> None:
        self.server.store.delete_file(f"drops/{name}")


PLACES = {"sftp": ("ssh_server", OnSsh), "s3": ("s3_server", OnS3)}


@pytest.fixture(params=PLACES)
def place(request):
    fixture, kind = PLACES[request.param]
    return kind(request.getfixturevalue(fixture))


def worlds(tmp_path, url, *names, **settings):
    """Worlds with one key, so that their tables can be compared."""
    return [Drops(tmp_path / name, url, READ, **settings) for name in names]


def test_the_rows_are_those_of_a_folder(place, tmp_path):
    local = tmp_path / "local"
    for name, content in FILES.items():
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)
    place.put(FILES | {"rs_0/catatan.txt": b"x", "lain/a.csv": GOOD.encode()})
    there, here = worlds(tmp_path, place.url(), "there", "here")
    here.url = local.as_uri()
    assert there.sync().inserted == here.sync().inserted == 12_000
    assert there.hashes() == here.hashes()


def test_a_file_sent_again_is_a_new_version(place, tmp_path):
    place.put(FILES)
    (world,) = worlds(tmp_path, place.url(), "a")
    world.sync()
    place.put({"rs_1/kelahiran_1.csv": many(10_000, 100).replace("Warga", "Budi").encode()})
    account = world.sync()
    assert (account.extracted, account.updated, account.deleted) == (100, 100, 3900)


def test_what_the_listing_calls_unchanged_is_not_fetched(ssh_server, tmp_path):
    place = OnSsh(ssh_server)
    place.put(FILES)
    (world,) = worlds(tmp_path, place.url(), "a")
    world.sync()
    for path in ssh_server.drops.glob("*/*"):
        path.chmod(0)  # whoever fetches it now is refused
    account = world.sync()
    assert (account.extracted, account.files_failed) == (0, 0)
    for path in ssh_server.drops.glob("*/*"):
        os.utime(path, (LONG_AGO + 5, LONG_AGO + 5))
    if os.geteuid() == 0:
        with pytest.raises(SourceMalformed, match="3 of 3"):
            world.sync()


def test_what_changed_a_moment_ago_is_not_trusted(ssh_server, tmp_path):
    place = OnSsh(ssh_server)
    now = time.time()
    place.put({"rs_1/a.csv": GOOD.encode()}, at=now)
    (world,) = worlds(tmp_path, place.url(), "a")
    world.sync()
    place.put({"rs_1/a.csv": GOOD.replace("Siti", "Sita").encode()}, at=now)
    assert world.sync().updated == 1


@pytest.mark.parametrize("cuts", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_cut_at_any_place(place, tmp_path, cuts):
    place.put(FILES)
    undisturbed, disturbed, way = worlds(tmp_path, place.url(), "a", "b", "c")
    undisturbed.sync()
    chance, told = random.Random(7), 0
    with cutting(place.server.port, 1 << 40) as port:
        assert way.sync(place.url(port=port)).extracted == 12_000  # the way itself is sound
    for after in sorted(chance.randrange(1, 600_000) for _ in range(cuts)):
        with cutting(place.server.port, after) as port, pytest.raises(SourceUnavailable):
            disturbed.sync(place.url(port=port))
        told += 1
        assert disturbed.rows("number") == []
    assert told == cuts
    disturbed.sync()
    assert disturbed.hashes() == undisturbed.hashes()
    assert list(disturbed.settings.home.glob("originals/*/.incoming-*")) == []


def test_a_server_that_stops_midway(place, tmp_path, monkeypatch):
    import connectors.readers.files as reader

    place.put(FILES)
    undisturbed, disturbed = worlds(tmp_path, place.url(), "a", "b")
    undisturbed.sync()
    fetch, calls = reader._fetch, []

    def fetch_and_stop(*arguments):
        if calls:
            place.server.stop()
        calls.append(1)
        return fetch(*arguments)

    monkeypatch.setattr(reader, "_fetch", fetch_and_stop)
    try:
        with pytest.raises(SourceUnavailable):
            disturbed.sync()
    finally:
        monkeypatch.undo()
        place.server.start()
        place.put(FILES)  # the S3 server forgot them
    assert disturbed.rows("number") == []
    disturbed.sync()
    assert disturbed.hashes() == undisturbed.hashes()


def test_a_full_disk(place, tmp_path):
    """No file may grow beyond a limit: what the operating system does on a full disk."""
    import resource

    place.put(FILES)
    undisturbed, disturbed = worlds(tmp_path, place.url(), "a", "b")
    undisturbed.sync()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(HomeFault, match="larger than may be"):
            disturbed.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    disturbed.sync()
    assert disturbed.hashes() == undisturbed.hashes()


DRIVER = """
import os, signal, sys
from pathlib import Path
import connectors.readers.files as reader
from tests.integration.test_file_places import READ
from tests.drops import Drops
folder, url = sys.argv[1:]
fetch, calls = reader._fetch, []
def fetch_and_die(*arguments):
    done = fetch(*arguments)
    calls.append(1)
    if len(calls) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return done
reader._fetch = fetch_and_die
Drops(Path(folder), url, READ).sync()
"""


def test_a_killed_process(place, tmp_path):
    place.put(FILES)
    undisturbed, disturbed = worlds(tmp_path, place.url(), "a", "b")
    undisturbed.sync()
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "b"), place.url()]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-500:]
    home = disturbed.settings.home
    assert list(home.glob("originals/*/.incoming-*"))
    (disturbed,) = worlds(tmp_path, place.url(), "b")  # which prepares it, as every night does
    assert list(home.glob("originals/*/.incoming-*")) == []
    assert disturbed.rows("number") == []
    disturbed.sync()
    assert disturbed.hashes() == undisturbed.hashes()


def test_files_replaced_and_taken_away_while_they_are_read(place, tmp_path, monkeypatch):
    import connectors.readers.files as reader

    place.put(FILES)
    disturbed, undisturbed = worlds(tmp_path, place.url(), "b", "a")
    fetch = reader._fetch
    other = many(10_000, 50).encode()

    def fetch_while_it_changes(pull, there, drop, path):
        digest = fetch(pull, there, drop, path)
        if "rs_1" in drop.origin:
            place.put({drop.origin: other})
        if "rs_2" in drop.origin:
            place.remove(drop.origin)
        return digest

    monkeypatch.setattr(reader, "_fetch", fetch_while_it_changes)
    assert disturbed.sync().extracted == 4000
    assert sorted(disturbed.outcomes().values()) == ["gone", "loaded", "waiting"]
    monkeypatch.undo()
    disturbed.sync()
    undisturbed.sync()
    assert disturbed.rows() == undisturbed.rows()


def test_the_host_key_is_checked(ssh_server, tmp_path):
    place = OnSsh(ssh_server)
    place.put({"rs_1/a.csv": GOOD.encode()})
    (world,) = worlds(tmp_path, place.url(), "a")
    login = (ssh_server.folder / "login.pub").read_text().split()[:2]
    with pytest.raises(SourceDenied, match="host key is not the one we know"):
        world.sync(place.url(host_key=" ".join(login)))
    with pytest.raises(DefinitionError, match="names no host key"):
        world.sync(place.url(host_key=" ").replace("host_key=+", "x=1"))
    known = tmp_path / "known"
    known.write_text(f"[127.0.0.1]:{ssh_server.port} {ssh_server.host_key}\n")
    url = place.url(host_key="-", known_hosts=str(known)).replace("host_key=-&", "")
    assert world.sync(url).inserted == 2


def test_a_login_and_a_key_that_are_refused(ssh_server, s3_server, tmp_path):
    place = OnSsh(ssh_server)
    (world,) = worlds(tmp_path, place.url(), "a")
    with pytest.raises(SourceDenied, match="refuses the user, password or key"):
        world.sync(place.url(key_file=str(ssh_server.folder / "host")))
    assert world.sync(
        place.url(private_key=(ssh_server.folder / "login").read_text(), key_file="")
    ).extracted == 0  # fmt: skip
    with pytest.raises(SourceUnavailable, match="bucket is not there"):
        world.sync(s3_server.url().replace("@drops", "@lain"))
    with pytest.raises(DefinitionError, match="asks for typo"):
        world.sync(s3_server.url() + "&typo=1")


def test_a_link_on_the_server_that_leads_out(ssh_server, tmp_path):
    place = OnSsh(ssh_server)
    place.put({"rs_1/a.csv": GOOD.encode()})
    secret = ssh_server.folder / "secret.csv"
    secret.write_text(GOOD)
    (ssh_server.drops / "rs_1" / "b.csv").symlink_to(secret)
    (world,) = worlds(tmp_path, place.url(), "a")
    with pytest.raises(SourceMalformed, match=r"1 of 2 .*b.csv: it is a link to another place"):
        world.sync()
    assert len(world.rows()) == 2


def test_hostile_names_in_a_bucket(s3_server, tmp_path):
    place = OnS3(s3_server)
    place.put({"rs_1/a.csv": GOOD.encode(), "rs_1/\u202eb.csv": GOOD.encode()})
    (world,) = worlds(tmp_path, place.url(), "a")
    with pytest.raises(SourceMalformed, match=r"1 of 2 .*its path is not one"):
        world.sync()
    assert len(world.rows()) == 2
