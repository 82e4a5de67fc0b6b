"""A source that fails midway: cut, restarted, too slow, a full disk, a killed process. Nothing half
done is left, and the re-run gives what an undisturbed run gives."""

import multiprocessing
import os
import random
import select
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.penduduk import fill_mariadb, fill_postgres
from common.errors import HomeFault, SourceError, SourceUnavailable, WarehouseFault
from common.log import forget_stage, on_stage
from common.settings import Settings
from pipeline.sync import prepare, sync
from tests.same import content_hashes
from tests.tables import source_of
from warehouse.catalog import reading

ROWS = 20_000
LOCAL = "127.0.0.1"
COLUMNS = {name: {} for name in (
    "id", "nik", "no_kk", "nama", "tempat_lahir", "tanggal_lahir", "jenis_kelamin", "agama",
    "pendidikan", "pekerjaan", "status_kawin", "gol_darah", "alamat", "rt", "rw", "kelurahan",
    "nama_ayah", "nama_ibu", "penghasilan", "updated_at")}  # fmt: skip
FILL = {"postgresql": fill_postgres, "mysql": fill_mariadb}


class Home:
    """A warehouse of one stream over `penduduk`."""

    def __init__(self, folder: Path, url: str, strategy: str = "checksum", **settings) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "made.yml").write_text("streams: {}\n")
        extra = {"cursor": {"column": "updated_at"}} if strategy == "cursor" else {}
        self.source = source_of("penduduk", COLUMNS, strategy=strategy, **extra)
        self.settings = Settings(
            home=folder / "var", expectations=folder, today=date(2026, 11, 1), **settings
        )
        # The surrogates of two homes can only be compared under one key.
        key = self.settings.home / "secrets" / "pseudonym.key"
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text("0" * 64)
        self.url = url
        prepare(self.settings, {"made": self.source})

    def sync(self, url: str | None = None):
        return sync(self.settings, self.source, self.source.streams[0], lambda _: url or self.url)

    def landed(self) -> int:
        with reading(self.settings) as connection:
            rows = connection.execute("SELECT count(*) FROM lake.landing.made__rows").fetchall()
        return rows[0][0]

    def hashes(self) -> dict:
        tables = content_hashes(self.settings)
        return {name: tables[name] for name in tables if name.startswith(("landing", "quarantine"))}


@pytest.fixture(params=["postgresql", "mysql"])
def server(request):
    return request.getfixturevalue(
        {"postgresql": "postgres_server", "mysql": "mariadb_server"}[request.param]
    )


@pytest.fixture
def url(server):
    """`penduduk`, made once per server; tests that change it put it back."""
    name = "faults"
    if not getattr(server, "filled", False):
        FILL[server.backend](server.create_database(name), ROWS)
        server.filled = True
    return server.url(name)


@contextmanager
def cutting(port: int, after: int):
    """A way to `port` that breaks after so many bytes of answers; yields its own port.

    A process of its own: ConnectorX keeps Python's lock while it connects.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        process = multiprocessing.get_context("fork").Process(
            target=forward, args=(listener, port, after), daemon=True
        )
        process.start()
        try:
            yield listener.getsockname()[1]
        finally:
            process.kill()  # it has the signal handlers of who runs the tests
            process.join()


def forward(listener: socket.socket, port: int, budget: int) -> None:
    """Pass bytes both ways until the budget of answers is spent; then cut every connection."""
    pairs: dict[socket.socket, socket.socket] = {}
    answers: set[socket.socket] = set()
    while True:
        for ready in select.select([listener, *pairs], [], [])[0]:
            if ready is listener:
                client, upstream = listener.accept()[0], socket.create_connection((LOCAL, port))
                pairs |= {client: upstream, upstream: client}
                answers.add(upstream)
                continue
            piece = ready.recv(65536) if ready in pairs else b""
            if ready in answers:
                piece, budget = piece[: max(0, budget)], budget - len(piece)
            if piece:
                pairs[ready].sendall(piece)
            if (not piece or budget <= 0) and ready in pairs:
                gone = list(pairs) if budget <= 0 else [ready, pairs[ready]]
                for end in gone:
                    pairs.pop(end, None)
                    end.close()
                break


def through(url: str, port: int) -> str:
    return sa.make_url(url).set(port=port).render_as_string(hide_password=False)


def test_a_connection_cut_anywhere(server, url, tmp_path):
    undisturbed = Home(tmp_path / "a", url)
    undisturbed.sync()
    disturbed = Home(tmp_path / "b", url)
    chance = random.Random(7)
    with cutting(server.port, 1 << 40) as port:
        Home(tmp_path / "c", url).sync(through(url, port))  # the way itself is sound
    for after in [0, *(chance.randrange(1, 3_000_000) for _ in range(9))]:
        with cutting(server.port, after) as port, pytest.raises(SourceUnavailable):
            disturbed.sync(through(url, port))
        assert disturbed.landed() == 0
    disturbed.sync()
    assert disturbed.hashes() == undisturbed.hashes()
    assert disturbed.sync().extracted == 0


def test_a_server_restarted_midway(server, url, tmp_path):
    home = Home(tmp_path / "a", url, strategy="snapshot", batch_rows=500)
    undisturbed = Home(tmp_path / "b", url, strategy="snapshot")
    undisturbed.sync()

    def stop(stage, where):
        if stage == "pulling":
            forget_stage(stop)
            stopping.start()

    stopping = threading.Timer(0.3, server.stop)
    home.source = home.source.model_copy(update={"rows_per_second": 10_000})
    on_stage(stop)
    try:
        with pytest.raises(SourceUnavailable):
            home.sync()
    finally:
        stopping.join()
        server.start()
    assert home.landed() == 0
    home.sync()
    assert home.hashes() == undisturbed.hashes()


def test_a_statement_that_takes_too_long(server, url, tmp_path):
    slow = {"postgresql": "SELECT p.*, pg_sleep(0.01)::text AS wait FROM penduduk p",
            "mysql": "SELECT p.*, sleep(0.01) AS wait FROM penduduk p"}  # fmt: skip
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql(f"CREATE OR REPLACE VIEW slow AS {slow[server.backend]}")
    home = Home(tmp_path, url, strategy="snapshot")
    source = source_of("slow", {**COLUMNS, "wait": {}}, strategy="snapshot")
    home.source = source.model_copy(update={"statement_timeout_seconds": 1})
    with pytest.raises(SourceUnavailable, match="longer than 1 s"):
        home.sync()


def test_a_full_disk(url, tmp_path):
    """No file may grow beyond a limit: what the operating system does on a full disk."""
    home = Home(tmp_path / "a", url)
    undisturbed = Home(tmp_path / "b", url)
    undisturbed.sync()
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
    try:
        with pytest.raises((HomeFault, WarehouseFault, SourceError)):
            home.sync()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert home.landed() == 0
    home.sync()
    assert home.hashes() == undisturbed.hashes()


DRIVER = """
import os, signal, sys
from pathlib import Path
from common.log import on_stage
from tests.integration.test_faults import Home
folder, url, stage = sys.argv[1:]
home = Home(Path(folder), url)
on_stage(lambda name, where: os.kill(os.getpid(), signal.SIGKILL) if name == stage else None)
home.sync()
"""


@pytest.mark.parametrize("stage", ["pulling", "written"])
def test_a_killed_process(url, tmp_path, stage):
    undisturbed = Home(tmp_path / "b", url)
    undisturbed.sync()
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "a"), url, stage]
    killed = subprocess.run(command, env={**os.environ, "PYTHONPATH": "."}, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-500:]
    home = Home(tmp_path / "a", url)
    assert home.landed() == 0
    home.sync()
    assert home.hashes() == undisturbed.hashes()


def test_no_password_in_a_message(server, url, tmp_path):
    wrong = sa.make_url(url).set(password="rahasia-sekali").render_as_string(hide_password=False)
    with pytest.raises(SourceError) as raised:
        Home(tmp_path, url).sync(wrong)
    assert "rahasia" not in str(raised.value)
    log = tmp_path / "var" / "logs" / "muara.log"
    assert not log.exists() or "rahasia" not in log.read_text()
