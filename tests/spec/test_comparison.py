"""Two sources that speak of the same people: every difference is listed, none is resolved."""

import json
import shutil
import sqlite3

import pytest

from common import log
from common.definition import load_sources
from common.errors import DefinitionError
from common.settings import Settings
from pipeline.comparison import compare
from pipeline.sync import sync
from tests.books import PERSON, SOURCE, STREAM, person, write
from tests.world import NIGHT, empty_warehouse
from warehouse.catalog import reading

FAMILY = {"no_kk": PERSON["nomor_kk"], "alamat": PERSON["alamat"], "no_rt": "002", "no_rw": "004",
          "no_prop": "32", "no_kab": "74", "no_kec": "1", "no_kel": "1001"}  # fmt: skip
RESIDENT = {
    "nama_lgkp": "BUDI SANTOSA", "jenis_klmin": "1", "tmpt_lhr": "CIREBON", "tgl_lhr": "1985-08-15",
    "agama": "1", "stat_kwn": "2", "stat_hbkel": "1", "pddk_akh": "9", "jenis_pkrjn": "15",
    "nama_lgkp_ibu": "AMINAH", "nama_lgkp_ayah": "SANTOSA", "no_kk": PERSON["nomor_kk"],
    "no_prop": "32", "no_kab": "74", "no_kec": "1", "no_kel": "1001", "stat_hidup": "1",
    "flag_status": "1", "tgl_entri": "2010-03-04 09:00:00",
}  # fmt: skip


def nik(serial):
    return f"327401150885{serial:04}"


class Offices:
    """The registry and the kelurahan beside it."""

    def __init__(self, folder):
        self.settings = Settings(home=folder / "var", today=NIGHT, retry_delay_seconds=0)
        shutil.copytree(empty_warehouse(), self.settings.home)
        log.configure(self.settings)
        self.folder = folder
        self.registry = load_sources(self.settings)["civil_registry"]

    def register(self, *residents, families=(FAMILY,)):
        for name, rows in (("family", families), ("resident", residents)):
            stream = self.registry.stream(name)
            path = self.folder / f"{name}.db"
            path.unlink(missing_ok=True)
            columns = list(stream.columns)
            with sqlite3.connect(path) as connection:
                connection.execute(f"CREATE TABLE {stream.read.table} ({', '.join(columns)})")
                connection.executemany(
                    f"INSERT INTO {stream.read.table} VALUES ({', '.join('?' * len(columns))})",
                    [[row.get(column) for column in columns] for row in rows],
                )
            sync(self.settings, self.registry, stream, lambda _, path=path: f"sqlite:///{path}",
                 accept_deletions=True)  # fmt: skip

    def keep(self, *people, kelurahan="32.74.01.1001"):
        write(self.folder / "books" / kelurahan / "buku_rw_04.xlsx", "bip_2016", list(people))
        sync(self.settings, SOURCE, STREAM, lambda _: (self.folder / "books").as_uri())

    def numbers(self):
        """Record → last digits of its NIK, in both sources."""
        with reading(self.settings) as connection:
            return {
                str(record): int(number[-4:])
                for stream in ("civil_registry__resident", "kelurahan__resident_book")
                for record, number in connection.execute(
                    f"SELECT _record_id, nik FROM lake.landing.{stream}_now"
                ).fetchall()
            }

    def compared(self):
        return compare(self.settings, SOURCE, STREAM)

    def said(self):
        """(kind, NIK's last digits, columns) of every disagreement."""
        numbers = self.numbers()
        return [
            (one.kind, numbers[one.record_id or one.other_record_id], one.columns)
            for one in self.compared().disagreements
        ]


@pytest.fixture
def offices(tmp_path):
    return Offices(tmp_path)


def test_exactly_the_planted_differences_are_listed(offices):
    offices.register(
        *(RESIDENT | {"nik": nik(serial)} for serial in (1, 2, 3, 4, 5)),
        RESIDENT | {"nik": nik(6), "flag_status": "3"},  # moved out
        RESIDENT | {"nik": nik(7), "no_kel": "1002"},  # of another kelurahan
        RESIDENT | {"nik": nik(9), "no_kk": "3274010101209002"},  # of another RW
        families=(FAMILY, FAMILY | {"no_kk": "3274010101209002", "no_rw": "009"}),
    )
    offices.keep(
        person(nik=nik(1)),
        person(nik=nik(2), nama="BUDI SENTOSA"),
        person(nik=nik(3), tanggal_lahir=None, kelamin="P"),
        person(nik=float(f"{nik(4)[:-1]}0")),  # kept as a number, rounded
        person(nik=nik(6)),
        person(nik=nik(8)),  # a child the registry does not have yet
        person(nik=nik(2), nama="BUDI SENTOSA") | {"nik": nik(7)},
    )
    assert sorted(offices.said()) == [
        ("differing", 2, ["person_name"]),
        ("differing", 3, ["sex", "birth_date"]),
        ("elsewhere", 6, []),
        ("elsewhere", 7, []),
        ("only_here", 8, []),
        ("only_there", 4, []),
        ("only_there", 5, []),
    ]
    outcome = offices.compared().outcome
    assert (outcome.rows_here, outcome.rows_there) == (6, 5)
    assert outcome.same == 1
    assert outcome.quarantined_here == 1
    assert outcome.columns == {"birth_date": 1, "person_name": 1, "sex": 1}


def test_an_address_is_compared_with_that_of_the_family_card(offices):
    offices.register(RESIDENT | {"nik": nik(1)})
    offices.keep(person(nik=nik(1), alamat="JL. KARTINI NO. 7"))
    assert offices.said() == [("differing", 1, ["address"])]


def test_equal_sources_differ_in_nothing_and_every_row_is_accounted_for(offices):
    offices.register(*(RESIDENT | {"nik": nik(serial)} for serial in (1, 2)))
    offices.keep(*(person(nik=nik(serial)) for serial in (1, 2)))
    compared = offices.compared()
    assert compared.disagreements == []
    one = compared.outcome
    assert one.rows_here == one.same + one.differing + one.only_here + one.elsewhere == 2
    assert one.rows_there == one.same + one.differing + one.only_there == 2


def test_an_office_that_sent_nothing_lacks_nobody(offices):
    offices.register(RESIDENT | {"nik": nik(1)})
    offices.keep(person(nik=nik(1)), kelurahan="32.74.01.1003")
    assert offices.said() == [("elsewhere", 1, [])]


def test_it_is_recorded_and_the_record_holds_no_value(offices):
    offices.register(RESIDENT | {"nik": nik(1)})
    offices.keep(person(nik=nik(1), nama="BUDI SENTOSA"))
    offices.compared()
    with reading(offices.settings) as connection:
        (row,) = connection.execute("FROM lake.ops.comparison").fetchall()
    assert "SENTOSA" not in str(row)
    assert {"person_name": 1} in row


def test_the_command_lists_them(offices, monkeypatch):
    from typer.testing import CliRunner

    from muara.cli import app

    offices.register(RESIDENT | {"nik": nik(1)})
    offices.keep(person(nik=nik(1), nama="BUDI SENTOSA"), person(nik=nik(8)))
    monkeypatch.setenv("MUARA_HOME", str(offices.settings.home))
    monkeypatch.setenv("MUARA_TODAY", NIGHT.isoformat())
    monkeypatch.setenv("AIRFLOW_CONN_KELURAHAN_BOOKS", (offices.folder / "books").as_uri())
    answer = CliRunner().invoke(app, ["reconcile", "kelurahan", "--json"])
    assert answer.exit_code == 0, answer.output
    (stream,) = json.loads(answer.stdout)
    assert stream["unexplained"] == 0, "what two offices say differently is no alarm"
    listed = stream["compared"]["disagreements"]
    assert [(one["kind"], one["columns"]) for one in listed] == [
        ("differing", ["person_name"]),
        ("only_here", []),
    ]
    assert "SENTOSA" not in answer.output
    shown = CliRunner().invoke(app, ["reconcile", "kelurahan"])
    assert "1 differing, 1 only here" in " ".join(shown.output.split())


def test_an_expression_that_does_not_fit_is_named(offices):
    offices.register(RESIDENT | {"nik": nik(1)})
    offices.keep(person(nik=nik(1)))
    asked = STREAM.compare.model_copy(update={"columns": {"sex": "gender"}})
    wrong = STREAM.model_copy(update={"compare": asked})
    with pytest.raises(DefinitionError, match="gender"):
        compare(offices.settings, SOURCE, wrong)
