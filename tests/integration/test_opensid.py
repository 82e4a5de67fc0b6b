"""OpenSID on a real MariaDB: a system nobody has written code for, by its definition alone."""

from collections import Counter
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

import city
from common import log
from common.definition import load_source
from common.errors import SourceShapeChanged
from common.settings import ROOT, Settings
from pipeline.sync import prepare, sync
from tests.servers import Server
from tests.world import counts
from warehouse.catalog import changed_since, reading

EXAMPLE = ROOT / "docs" / "examples" / "opensid"
RESIDENTS = 1000


class Village:
    """An OpenSID database filled from a small city, and a warehouse that knows only it."""

    def __init__(self, home: Path, url: str, folder: Path):
        self.home, self.url = home, url
        self.settings = Settings(home=folder / "var", today=date(2026, 11, 23),
                                 connectors=EXAMPLE / "connectors",
                                 expectations=EXAMPLE / "expectations",
                                 retry_delay_seconds=0)  # fmt: skip
        self.source = load_source(self.settings, "opensid")
        log.configure(self.settings)
        prepare(self.settings, {"opensid": self.source})

    def fill(self, form: str) -> dict[str, int]:
        return city.fill_opensid(self.home, self.url, form)

    def sync(self, stream: str) -> dict[str, int]:
        return counts(
            sync(self.settings, self.source, self.source.stream(stream), lambda _: self.url)
        )

    def rows(self, query: str) -> list[tuple]:
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def sent(self, query: str) -> list[tuple]:
        engine = sa.create_engine(self.url, poolclass=sa.NullPool)
        with engine.connect() as connection:
            return [tuple(row) for row in connection.exec_driver_sql(query)]

    def quarantined(self, stream: str) -> Counter:
        rules = self.rows(f"SELECT rules FROM lake.quarantine.row WHERE stream = '{stream}'")
        return Counter(tuple(broken) for (broken,) in rules)

    def flagged(self, stream: str) -> Counter:
        flags = self.rows(f"SELECT unnest(_flags) FROM lake.landing.opensid__{stream}_now")
        return Counter(flag for (flag,) in flags)


@pytest.fixture(scope="module")
def small_town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("town")
    city.build(home, RESIDENTS, 1)
    return home


@pytest.fixture
def village(small_town, mariadb_server: Server, tmp_path, request) -> Village:
    database = mariadb_server.create_database(f"opensid_{request.node.name[5:30]}")
    return Village(small_town, f"{database}?charset=utf8mb4", tmp_path)


def test_every_row_of_the_form_of_2017_has_its_home(village):
    there = village.fill("2017")
    assert village.sent("SELECT engine FROM information_schema.tables WHERE table_schema = "
                        "database() ORDER BY table_name") == [("MyISAM",), ("InnoDB",)]  # fmt: skip
    families, residents = village.sync("family"), village.sync("resident")

    assert families["extracted"] == there["tweb_keluarga"]
    assert village.quarantined("family") == {
        ("household_number_malformed",): there["tweb_keluarga.number_short"],
        ("household_number_missing",): there["tweb_keluarga.number_missing"],
    }
    assert residents["extracted"] == there["tweb_penduduk"] > RESIDENTS
    assert village.quarantined("resident") == {
        ("nik_malformed",): there["tweb_penduduk.nik_temporary"]
        + there["tweb_penduduk.nik_unknown"],
    }
    flags = village.flagged("resident")
    assert flags["birth_date_missing"] == there["tweb_penduduk.birth_date_zero"]
    assert flags["name_mojibake"] == there["tweb_penduduk.name_mojibake"]
    assert flags["sex_missing"] == there["tweb_penduduk.sex_missing"]
    assert flags["family_unknown"] >= there["tweb_penduduk.family_missing"]
    assert set(flags) == {"birth_date_missing", "name_mojibake", "sex_missing", "family_unknown"}
    for stream, account in (("family", families), ("resident", residents)):
        assert account["inserted"] + account["quarantined"] == account["extracted"], stream
        ((landed,),) = village.rows(f"SELECT count(*) FROM lake.landing.opensid__{stream}_now")
        assert landed == account["inserted"]
    assert village.rows("FROM lake.ops.core_ledger") == []


def test_numbers_and_letters_arrive_as_they_are(village):
    village.fill("2017")
    village.sync("family")
    village.sync("resident")
    sent = village.sent(
        "SELECT id, CAST(nik AS CHAR), nama, alamat_sekarang, NULLIF(CAST(tanggallahir AS CHAR), "
        "'0000-00-00') FROM tweb_penduduk WHERE nik >= 1000000000000000 ORDER BY id"
    )
    landed = village.rows(
        "SELECT resident_number, nik, person_name, address, CAST(birth_date AS VARCHAR) "
        "FROM lake.landing.opensid__resident_now ORDER BY 1"
    )
    assert landed == sent
    held = village.rows(
        "SELECT DISTINCT length(row_as_sent ->> 'nik') FROM lake.quarantine.row "
        "WHERE stream = 'resident' ORDER BY 1"
    )
    assert held == [(1,), (15,)], "no number became a float, none was filled up"


def test_a_second_night_changes_nothing(village):
    village.fill("2017")
    first = {stream: village.sync(stream) for stream in ("family", "resident")}
    ((snapshot,),) = village.rows("SELECT max(snapshot_id) FROM ducklake_snapshots('lake')")
    village.settings.today += timedelta(days=1)
    prepare(village.settings, {"opensid": village.source})
    for stream, before in first.items():
        again = village.sync(stream)
        assert again["unchanged"] == before["inserted"]
        assert set(again) <= {"extracted", "unchanged", "quarantined", "flagged"}
    with reading(village.settings) as connection:
        assert changed_since(connection, snapshot) == {"ops.ledger"}


def test_the_later_form_stops_the_stream_and_names_what_differs(village):
    """What the drift of a release costs: nothing is guessed, nothing is half loaded."""
    village.fill("2017")
    village.sync("family")
    village.sync("resident")
    there = village.fill("2024")
    with pytest.raises(SourceShapeChanged) as stopped:
        village.sync("resident")
    text = str(stopped.value)
    assert "telepon" in text
    for new in ("no_hp", "bahasa_id", "suku", "email", "ket", "created_at", "updated_at"):
        assert new in text
    assert village.rows(
        "SELECT outcome, error_code FROM lake.ops.ledger WHERE stream = 'resident' "
        "ORDER BY batch_id DESC LIMIT 1"
    ) in ([("failed", "SourceShapeChanged")], [("stopped", "SourceShapeChanged")])
    ((kept,),) = village.rows("SELECT count(*) FROM lake.landing.opensid__resident_now")
    faults = ("nik_temporary", "nik_unknown")
    assert kept == there["tweb_penduduk"] - sum(there[f"tweb_penduduk.{one}"] for one in faults)
    shape = "FROM information_schema.columns WHERE table_schema = database()"
    assert village.sent(
        f"SELECT column_type {shape} AND table_name = 'tweb_penduduk' AND column_name = 'nik'"
    ) == [("varchar(16)",)]
