"""What an erasure empties, leaves and keeps out, in a village whose every row is known."""

import json
import sqlite3
from datetime import timedelta
from shutil import copytree

import pytest

from common import log
from common.definition import load_sources
from common.errors import DisclosureRefused, ErasureIncomplete, WarehouseBusy
from common.settings import Settings
from pipeline import sync as syncing
from pipeline.erasure import erase, requests, resume
from pipeline.steps import STEPS
from pipeline.sync import sync
from tests.left import left
from tests.world import NIGHT, empty_warehouse
from warehouse import staging
from warehouse.catalog import attach, open_duckdb, reading

ANI = {"nik": "3274015503900001", "nama_lgkp": "ANI LESTARI WULANDARI", "tgl_lhr": "1990-03-15"}
HOME = {"no_kk": "3274010101010001", "no_prop": "32", "no_kab": "74", "no_kec": "1",
        "no_kel": "1001"}  # fmt: skip
PHONE = "081234567890"


@pytest.fixture
def village(tmp_path, monkeypatch):
    """Of so few people the city's floor lets nothing be published."""
    monkeypatch.setattr("pipeline.leave.publish", lambda _: {})
    return Village(tmp_path)


class Village:
    """A home, and each source as a SQLite file of rows that the test gives."""

    def __init__(self, folder):
        self.folder = folder
        self.settings = Settings(home=folder / "var", today=NIGHT, retry_delay_seconds=0)
        copytree(empty_warehouse(), self.settings.home)
        log.configure(self.settings)
        self.sources = load_sources(self.settings)

    def hold(self, name, **rows):
        """Rows (dicts) per stream of a source, in place of what it had."""
        source = self.sources[name]
        with sqlite3.connect(self.folder / f"{name}.db") as store:
            for stream, held in rows.items():
                of = source.stream(stream)
                table = of.read.table
                names = [*of.columns, *of.ignore]
                store.execute(f"DROP TABLE IF EXISTS {table}")
                store.execute(f"CREATE TABLE {table} ({', '.join(names)})")
                store.executemany(
                    f"INSERT INTO {table} VALUES ({', '.join('?' * len(names))})",
                    [[one.get(column) for column in names] for one in held],
                )
            store.commit()
        for stream in rows:
            self.sync(name, stream)

    def sync(self, name, stream):
        source = self.sources[name]
        return sync(self.settings, source, source.stream(stream),
                    lambda _: f"sqlite:///{self.folder / name}.db")  # fmt: skip

    def ask(self, query):
        with reading(self.settings) as connection:
            return connection.execute(query).fetchall()

    def record_of(self, nik):
        return self.ask("SELECT CAST(source_record_id AS VARCHAR) FROM lake.core.person_identity "
                        f"WHERE nik = '{nik}' AND valid_to IS NULL")[0][0]  # fmt: skip

    def erase_ani(self):
        return erase(self.settings, self.sources, [self.record_of(ANI["nik"])], reference="470/1")


def resident(**said):
    return {"jenis_klmin": "2", "agama": "1", "stat_kwn": "2", "stat_hbkel": "3", "akta_lhr": "1",
            "gol_drh": "13", "pddk_akh": "5", "jenis_pkrjn": "2", "stat_hidup": "1",
            "flag_status": "1", "flag_ektp": "2", "tgl_entri": "2020-01-01 08:00:00",
            **HOME, **said}  # fmt: skip


CHILD = resident(nik="3274011001200002", nama_lgkp="BAGUS LESTARI", tgl_lhr="2020-01-10",
                 jenis_klmin="1", stat_hbkel="4", nik_ibu=ANI["nik"],
                 nama_lgkp_ibu=ANI["nama_lgkp"], nik_ayah="3274010505880003",
                 nama_lgkp_ayah="AGUS SANTOSO")  # fmt: skip
BROTHER = resident(
    nik="3274011501220004",
    nama_lgkp="CAHYO LESTARI",
    tgl_lhr="2022-01-15",
    jenis_klmin="1",
    stat_hbkel="4",
    nama_lgkp_ibu="Ani Lestari  Wulandari",
)
MISTYPED = resident(nik="32740155O390001", nama_lgkp=ANI["nama_lgkp"], tgl_lhr=ANI["tgl_lhr"])
REPORT = {"id_laporan": "1", "no_laporan": "BAK/1", "tgl_lapor": "2026-11-01 09:00:00",
          "pelapor_jenis": "ortu", "nama_pelapor": "Ani Lestari Wulandari",
          "nik_pelapor": ANI["nik"], "hp_pelapor": PHONE, "nik_ibu": "3274016001950009",
          "nama_ibu": "DEWI SARTIKA", "nama_anak": "BAYI NY DEWI SARTIKA", "jk_anak": "1",
          "tempat_dilahirkan": "1", "tgl_lahir": "2026-10-30", "jenis_kelahiran": "1",
          "penolong": "2", "saksi2_nama": "ANI LESTARI WULANDARI", "status": "diajukan",
          "updated_at": "2026-11-01 09:00:00"}  # fmt: skip
SMS = [
    {"ID": "1", "ReceivingDateTime": "2026-11-02 10:00:00", "SenderNumber": "+6281234567890",
     "TextDecoded": "LAPOR jalan rusak di depan rumah saya"},
    {"ID": "2", "ReceivingDateTime": "2026-11-02 11:00:00", "SenderNumber": "+6285700000001",
     "TextDecoded": "LAPOR lampu mati di depan rumah ibu Ani Lestari Wulandari"},
    {"ID": "3", "ReceivingDateTime": "2026-11-02 12:00:00", "SenderNumber": "+6285700000002",
     "TextDecoded": "LAPOR pohon tumbang, hubungi 0812-3456-7890"},
    {"ID": "4", "ReceivingDateTime": "2026-11-02 13:00:00", "SenderNumber": "+6285700000003",
     "TextDecoded": "LAPOR selokan mampet"},
]  # fmt: skip
PROPOSAL = {"id_musrendes_rw": "1", "tahun_musren": "2026", "id_desa": "3274050001",
            "uraian_aktivitas_kegiatan": "Perbaikan rumah Ibu ANI LESTARI WULANDARI",
            "volume": "1", "harga_satuan": "1", "jml_pagu": "1", "status_usulan": "0"}  # fmt: skip


TOLD = {"lapor_state": "diproses", "report_type": "aspirasi", "channel": "web",
        "is_anonymous": False, "is_secret": False, "reporter_name": "ANI LESTARI WULANDARI",
        "reporter_phone": PHONE, "reporter_email": "ani@warga.example", "history": []}  # fmt: skip


def settle(village, *others):
    village.hold("civil_registry",
                 family=[{**HOME, "nama_kep": ANI["nama_lgkp"], "alamat": "JL MAWAR 1"}],
                 resident=[resident(**ANI), CHILD, BROTHER, MISTYPED, *others])  # fmt: skip
    village.hold("brojol", birth_report=[REPORT])
    village.hold("report_inbox", sms=SMS)
    village.hold("simreda", proposal_rw=[PROPOSAL])
    connection = open_duckdb(village.settings)
    attach(connection, village.settings)
    connection.execute(
        "INSERT INTO lake.landing.report_inbox__request (_batch_id, _record_id, _op, report_number,"
        " description, extension) VALUES (1, gen_random_uuid(), 'insert', 'R-1', 'saran', ?)",
        [json.dumps(TOLD)],
    )
    connection.execute(
        "INSERT INTO lake.landing.report_inbox__mail (_batch_id, _record_id, _op, message_key, "
        "sender_address, subject, text) VALUES (1, gen_random_uuid(), 'insert', 'm1', "
        "'Ani@Warga.Example', 'taman', 'mohon dirawat')"
    )
    connection.close()


VALUES = {ANI["nik"], ANI["nama_lgkp"], "81234567890", "ANI@WARGA.EXAMPLE"}
STREAMS = [
    ("civil_registry", "family"),
    ("civil_registry", "resident"),
    ("brojol", "birth_report"),
    ("report_inbox", "sms"),
    ("simreda", "proposal_rw"),
]
LEFT_OF = """
    SELECT nik, person_name, mother_nik, mother_name, father_name
    FROM lake.landing.civil_registry__resident WHERE _op IN ('insert', 'update') ORDER BY nik"""


def test_what_the_definitions_declare_is_emptied_and_nothing_else(village):
    settle(village)
    (done,) = village.erase_ani()
    assert village.ask(LEFT_OF) == [
        ("3274011001200002", "BAGUS LESTARI", None, None, "AGUS SANTOSO"),
        ("3274011501220004", "CAHYO LESTARI", None, None, None),
    ]
    assert village.ask("SELECT household_number, head_name, address FROM "
                       "lake.landing.civil_registry__family") == [
        (HOME["no_kk"], None, "JL MAWAR 1")]  # fmt: skip
    assert village.ask(
        "SELECT reporter_name, reporter_nik, reporter_phone, witness2_name, mother_name, "
        "child_name FROM lake.landing.brojol__birth_report"
    ) == [(None, None, None, None, "DEWI SARTIKA", "BAYI NY DEWI SARTIKA")]
    assert village.ask("SELECT sender_number, text FROM lake.landing.report_inbox__sms "
                       "ORDER BY sms_number") == [
        (None, None), ("+6285700000001", None), ("+6285700000002", None),
        ("+6285700000003", "LAPOR selokan mampet")]  # fmt: skip
    assert village.ask("SELECT title FROM lake.landing.simreda__proposal_rw UNION ALL "
                       "SELECT title FROM lake.core.proposal") == [(None,), (None,)]  # fmt: skip
    assert village.ask(
        "SELECT report_number, description, extension ->> 'channel', "
        "extension ->> 'reporter_name', extension ->> 'reporter_phone', "
        "extension ->> 'reporter_email' FROM lake.landing.report_inbox__request"
    ) == [("R-1", None, "web", None, None, None)]
    assert village.ask("SELECT message_key, sender_address, subject, text "
                       "FROM lake.landing.report_inbox__mail") == [
        ("m1", None, None, None)]  # fmt: skip
    assert village.ask("SELECT count(*) FROM lake.quarantine.row") == [(0,)]
    assert village.ask("SELECT count(*) FROM lake.core.report WHERE valid_to IS NULL") == [(4,)]
    assert left(village.settings.home, VALUES) == {}
    assert done.touched["core.report_part"] == 3
    assert requests(village.settings)[0]["state"] == "done"
    what_the_sources_still_send_does_not_come_back(village)


def what_the_sources_still_send_does_not_come_back(village):
    before = village.ask(LEFT_OF)
    village.settings.today += timedelta(days=1)
    accounts = {name: village.sync(*name) for name in STREAMS}
    assert {
        one: (account.inserted, account.quarantined) for one, account in accounts.items()
    } == dict.fromkeys(STREAMS, (0, 0))
    # The family's warning that its head is missing is new; all else is as it was emptied.
    assert {one: account.updated for one, account in accounts.items()} == {
        one: int(one == ("civil_registry", "family")) for one in STREAMS
    }
    reasons = {one: account.excluded_reasons for one, account in accounts.items()}
    assert reasons["civil_registry", "resident"] == {"erased_on_request": 2}
    assert reasons["report_inbox", "sms"] == {"erased_on_request": 1}
    assert village.ask(LEFT_OF) == before

    changed = {**CHILD, "agama": "2"}
    moved = resident(**{**ANI, "no_kk": "3274010101010009"})
    village.hold("civil_registry", resident=[changed, BROTHER, MISTYPED, moved])
    assert left(village.settings.home, VALUES) == {}
    assert village.ask("SELECT count(*) FROM lake.landing.civil_registry__resident "
                       "WHERE nik = '3274011001200002'") == [(2,)]  # fmt: skip


def test_who_bears_the_same_name_keeps_it(village, monkeypatch):
    namesake = resident(nik="3274015503700077", nama_lgkp=ANI["nama_lgkp"], tgl_lhr="1970-03-15",
                        no_kk="3274010101010077")  # fmt: skip
    settle(village, namesake)
    monkeypatch.undo()
    with pytest.raises(DisclosureRefused):
        village.erase_ani()
    assert requests(village.settings)[0]["state"] == "done", "what is refused keeps nobody"
    assert list((village.settings.home / "published").glob("[!.]*")) == []
    assert ("3274015503700077", ANI["nama_lgkp"], None, None, None) in village.ask(LEFT_OF)
    assert len(village.ask(LEFT_OF)) == 3
    # A text that names her may mean the other one; what is told by more than the name is not kept.
    assert village.ask("SELECT text FROM lake.landing.report_inbox__sms WHERE sms_number = '2'") \
        != [(None,)]  # fmt: skip
    assert village.ask("SELECT head_name FROM lake.landing.civil_registry__family") == [(None,)]
    assert left(village.settings.home, {ANI["nik"], "81234567890"}) == {}


def test_a_value_that_is_found_again_fails_loudly_and_leaves_the_request_open(village):
    settle(village)
    record = village.record_of(ANI["nik"])
    planted = village.settings.home / "lineage" / "events.jsonl"
    planted.parent.mkdir()
    planted.write_text(f'{{"run": "{ANI["nik"]}"}}\n')
    with pytest.raises(ErasureIncomplete, match=r"lineage/events\.jsonl") as error:
        erase(village.settings, village.sources, [record], reference="470/1")
    assert error.value.exit_code == 20
    assert ANI["nik"] not in str(error.value)
    assert [one["state"] for one in requests(village.settings)] == ["open"]
    (request,) = (village.settings.home / "erasure").glob("*.json")
    assert request.stat().st_mode & 0o777 == 0o600
    with pytest.raises(ErasureIncomplete):
        STEPS["resume_erasures"](village.settings, lambda _: "")
    planted.write_text("")
    assert STEPS["resume_erasures"](village.settings, lambda _: "") == {"erased": 1}
    assert [one["state"] for one in requests(village.settings)] == ["done"]
    assert list((village.settings.home / "erasure").glob("*.json")) == []
    assert resume(village.settings, village.sources) == []


def test_a_batch_that_read_before_the_erasure_is_not_loaded_after_it(village, monkeypatch):
    settle(village)
    village.hold("civil_registry", resident=[resident(**ANI), {**CHILD, "agama": "2"}, BROTHER])
    record = village.record_of(ANI["nik"])
    village.settings.today += timedelta(days=1)

    def erased_meanwhile(*given, **named):
        monkeypatch.setattr(syncing.staging, "judge_duplicates", judged)
        with pytest.raises(ErasureIncomplete, match=r"staging/civil_registry\.resident"):
            erase(village.settings, village.sources, [record], reference="470/1")
        return judged(*given, **named)

    judged = staging.judge_duplicates
    monkeypatch.setattr(syncing.staging, "judge_duplicates", erased_meanwhile)
    with pytest.raises(WarehouseBusy, match="erased while the batch was read"):
        village.sync("civil_registry", "resident")
    assert len(resume(village.settings, village.sources)) == 1
    village.sync("civil_registry", "resident")
    assert left(village.settings.home, {ANI["nik"], ANI["nama_lgkp"]}) == {}
