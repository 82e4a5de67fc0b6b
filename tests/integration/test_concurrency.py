"""A writer per source at once on the SQLite catalog, and twenty readers who never wait for one."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

from common import log
from common.settings import ROOT
from pipeline.sync import prepare
from tests.world import Cameras, monitor
from warehouse.catalog import reading

ROWS = 2_000


def test_a_writer_per_source_at_once_and_all_get_through(small_city, tmp_path):
    town = small_city.copy(tmp_path / "var")
    prepare(town.settings, town.sources)
    streams = [stream for source in town.sources.values() for stream in source.streams]
    with town.resolver() as resolve:
        url = resolve("report_inbox")
        others = {stream.connection for stream in streams} - {"report_inbox"}
        (town.home / "connections.toml").write_text(
            "[connections]\n" + "\n".join(f'{name} = "{resolve(name)}"' for name in others)
        )
        writers = [
            subprocess.Popen(
                [sys.executable, "-m", "muara", "sync", name],
                cwd=ROOT,
                env={**environment(town), "AIRFLOW_CONN_REPORT_INBOX": url},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
            for name in town.sources
        ]
        errors = [writer.communicate()[1].decode() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(town.sources), errors
    with reading(town.settings) as connection:
        batches = connection.execute(
            "SELECT count(*), count(DISTINCT batch_id), count(*) FILTER (outcome = 'loaded') "
            "FROM lake.ops.ledger"
        ).fetchall()
    assert batches == [(len(streams),) * 3]


def environment(town):
    return {**os.environ, "MUARA_HOME": str(town.home), "MUARA_TODAY": str(town.settings.today)}


def test_twenty_readers_beside_an_open_transaction_see_the_state_before(tmp_path):
    cameras = Cameras(tmp_path)
    cameras.hold(*(monitor(number) for number in range(ROWS)))
    written, go_on = threading.Event(), threading.Event()

    def pause(stage, where):
        if stage == "written":
            written.set()
            assert go_on.wait(120)

    log.on_stage(pause)
    writer = threading.Thread(target=cameras.sync)
    writer.start()
    try:
        assert written.wait(60)
        # The transaction is open, its Parquet written. Readers finish while it waits.
        with ThreadPoolExecutor(20) as readers:
            seen = list(readers.map(lambda _: count(cameras), range(20)))
        assert seen == [0] * 20
        assert writer.is_alive()
    finally:
        go_on.set()
        writer.join()
        log.forget_stage(pause)
    with ThreadPoolExecutor(20) as readers:
        assert list(readers.map(lambda _: count(cameras), range(20))) == [ROWS] * 20


def count(cameras):
    ((landed, core),) = cameras.rows(
        "SELECT (SELECT count(*) FROM lake.landing.cctv__monitor), "
        "(SELECT count(*) FROM lake.core.camera)"
    )
    assert landed == core
    return core
