"""OpenSID on a real MariaDB: a system nobody has written code for, by its definition alone."""

import shutil
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
from pipeline import proposal
from pipeline.sync import prepare, sync
from tests.servers import Server
from tests.world import NOTED_EVERY_NIGHT, counts
from warehouse.catalog import changed_since, reading

EXAMPLE = ROOT / "docs" / "examples" / "opensid"
RESIDENTS = 1000


class Village:
    """An OpenSID database filled from a small city, and a warehouse that knows only it."""

    def __init__(self, home: Path, url: str, folder: Path):
        self.home, self.url = home, url
        connectors = shutil.copytree(EXAMPLE / "connectors", folder / "connectors")
        self.settings = Settings(home=folder / "var", today=date(2026, 11, 23),
                                 connectors=connectors,
                                 expectations=EXAMPLE / "expectations",
                                 retry_delay_seconds=0)  # fmt: skip
        log.configure(self.settings)
        self.adopt(EXAMPLE / "connectors" / "opensid" / "source.yml")

    def adopt(self, definition: Path) -> None:
        shutil.copy(definition, self.settings.connectors / "opensid" / "source.yml")
        self.source = load_source(self.settings, "opensid")
        prepare(self.settings, {"opensid": self.source})

    def drifts(self, stream: str) -> list[tuple]:
        return self.rows(
            "SELECT kind, column_name, likely_column, default_applied FROM lake.ops.drift "
            f"WHERE stream = '{stream}' AND state = 'open' ORDER BY ALL"
        )

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
        assert changed_since(connection, snapshot) == NOTED_EVERY_NIGHT


def test_the_later_form_is_reported_proposed_and_loads_when_the_proposal_is_adopted(village):
    """What the drift of a release costs: a night without residents and a review, no line of code;
    nothing is guessed, nothing is half loaded."""
    village.fill("2017")
    village.sync("family")
    village.sync("resident")
    ((before,),) = village.rows("SELECT count(*) FROM lake.landing.opensid__resident_now")
    there = village.fill("2024")
    village.settings.today += timedelta(days=1)
    assert set(village.sync("family")) == {"extracted", "unchanged", "quarantined"}
    with pytest.raises(SourceShapeChanged, match=r"gone: telepon \(likely now no_hp\)"):
        village.sync("resident")
    assert village.rows("SELECT count(*) FROM lake.landing.opensid__resident_now") == [(before,)]
    added = ("bahasa_id", "created_at", "email", "ket", "suku", "updated_at")
    assert village.drifts("family") == [
        ("new", "updated_at", None, "not_read"),
        ("new", "updated_by", None, "not_read"),
    ]
    assert village.drifts("resident") == [
        *(("new", name, None, "stopped") for name in added),
        ("renamed", "telepon", "no_hp", "stopped"),
        ("retyped", "nik", None, "stopped"),
    ]
    assert village.rows("SELECT was_type, now_type FROM lake.ops.drift WHERE kind = 'retyped'") == [
        ("decimal(16,0)", "varchar(16)")
    ]

    proposed = proposal.propose(village.settings, village.source, lambda _: village.url)
    village.adopt(proposed.path)
    account = village.sync("resident")
    away = village.sent("SELECT count(*) FROM tweb_penduduk WHERE status_dasar = 6")[0][0]
    assert away > 0
    assert account["quarantined"] >= away
    assert account["extracted"] == there["tweb_penduduk"]
    assert account["extracted"] == sum(
        account.get(name, 0) for name in ("inserted", "updated", "unchanged", "quarantined")
    )
    assert village.drifts("resident") == [("unseen_code", "status_dasar", None, "quarantined")]
    sent = village.sent(
        "SELECT id, nik, no_hp, suku, CAST(bahasa_id AS CHAR) FROM tweb_penduduk "
        "WHERE nik RLIKE '^[1-9][0-9]{15}$' AND status_dasar <> 6 ORDER BY id"
    )
    assert len(sent) > RESIDENTS / 2
    landed = "SELECT resident_number, nik, phone, suku, bahasa_id"
    assert sent == village.rows(
        f"{landed} FROM lake.landing.opensid__resident_now WHERE NOT regexp_matches(nik, '^0') "
        "AND resident_number NOT IN (SELECT CAST(row_as_sent ->> 'resident_number' AS BIGINT) "
        "FROM lake.quarantine.row WHERE stream = 'resident' AND state = 'open') ORDER BY 1"
    )
