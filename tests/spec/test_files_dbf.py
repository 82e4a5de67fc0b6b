"""DBF files that another program wrote (the `dbf` package), and ones that lie."""

import datetime
import shutil

import dbf
import pytest

from common.errors import SourceMalformed
from tests.drops import Drops

FIELDS = "no N(5,0); nama C(30); lahir D; hidup L; berat N(6,2); catatan M"
COLUMNS = {
    name.upper(): {"name": ours}
    for name, ours in {"no": "number", "nama": "person_name", "lahir": "birth_date",
                       "hidup": "is_alive", "berat": "weight", "catatan": "remark"}.items()
}  # fmt: skip
LONG = ("Désirée è malade. " * 100).strip()
ROWS = [
    (1, "Désirée", datetime.date(2015, 4, 16), True, 3.25, LONG),
    (2, "Budi", datetime.date(1962, 1, 27), None, -1.5, "pendek"),
    (3, "Siti", None, False, None, "-"),
]
READ_BACK = [
    ("1", "Désirée", "2015-04-16", "true", "3.25", LONG),
    ("2", "Budi", "1962-01-27", None, "-1.50", "pendek"),
    ("3", "Siti", None, "false", None, "-"),
]


def write(path, kind="db3", codepage="cp1252", rows=ROWS, fields=FIELDS):
    table = dbf.Table(str(path), fields, dbf_type=kind, codepage=codepage)
    with table.open(dbf.READ_WRITE):
        for row in rows:
            table.append(row)
        if memo := table._meta.mfd:
            memo.flush()  # closing the table does not
    content = bytearray(path.read_bytes())
    content[4:8] = len(rows).to_bytes(4, "little")  # of FoxPro's tables it counts one too few
    path.write_bytes(content)
    return path


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "drops"
    place.mkdir()
    return place


@pytest.fixture
def drops(tmp_path, folder):
    def made(columns=None, **format):
        read = {"pattern": "*.[dD][bB][fF]", "format": {"kind": "dbf", **format}}
        return Drops(tmp_path, folder.as_uri(), read, columns or COLUMNS)

    return made


def rows(world, columns=COLUMNS):
    return world.rows(*(one["name"] for one in columns.values()))


@pytest.mark.parametrize("kind", ["db3", "fp", "vfp"])
@pytest.mark.parametrize("codepage", ["cp1252", "cp850"])
def test_memo_and_code_page(drops, folder, kind, codepage):
    write(folder / "lahir.dbf", kind, codepage)
    world = drops()
    world.sync()
    assert rows(world) == READ_BACK
    assert world.sync().extracted == 0


def test_a_memo_that_changed_alone_is_read_again(drops, folder):
    write(folder / "lahir.dbf")
    world = drops()
    world.sync()
    memo = folder / "lahir.dbt"
    memo.write_bytes(memo.read_bytes().replace(b"pendek", b"PENDEK"))
    assert world.sync().updated == 1
    kept = {path.name[64:] for path in world.settings.home.glob("originals/made/??/*")}
    assert kept == {"", ".dbt"}


def test_types_of_visual_foxpro(drops, folder):
    fields = "no I; uang Y; waktu T; besar B"
    when = datetime.datetime(2015, 4, 16, 13, 45, 59)
    given = [(1, 1234.5, when, 0.1), (-2, -0.0001, None, 1e300)]
    write(folder / "a.dbf", "vfp", rows=given, fields=fields)
    names = {"NO": "number", "UANG": "amount", "WAKTU": "moment", "BESAR": "size"}
    columns = {theirs: {"name": ours} for theirs, ours in names.items()}
    world = drops(columns)
    world.sync()
    assert rows(world, columns) == [
        ("-2", "-0.0001", None, "1e+300"),
        ("1", "1234.5000", "2015-04-16 13:45:59", "0.1"),
    ]


def test_deleted_records_are_left_out_and_counted(drops, folder):
    content = bytearray(write(folder / "lahir.dbf").read_bytes())
    header, width = (int.from_bytes(content[at : at + 2], "little") for at in (8, 10))
    content[header + width] = ord("*")  # of the second record; the package does not write it
    (folder / "lahir.dbf").write_bytes(content)
    world = drops()
    assert world.sync().extracted == 2
    text = (world.settings.home / "logs" / "muara.log").read_text()
    assert "deleted_records_left_out" in text


def test_a_code_page_that_is_not_named(drops, folder):
    content = bytearray(write(folder / "lahir.dbf").read_bytes())
    content[29] = 0
    (folder / "lahir.dbf").write_bytes(content)
    with pytest.raises(SourceMalformed, match="record 1: field NAMA is not ascii"):
        drops().sync()
    world = drops(encoding="cp1252")
    world.sync()
    assert rows(world)[0][1] == "Désirée"


def lie(at, *values):
    def change(content):
        content[at : at + len(values)] = bytes(values)

    return change


def cut(content):
    del content[-60:]


def more(content):
    content[-1:] = b" " * 400


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lie(4, 255, 255, 255, 255), "promises 4294967295 records and the file ends before"),
        (lie(4, 1, 0, 0, 0), "more than the 1 records"),
        (lie(4, 2, 0, 0, 0), "more than the 2 records"),
        (lie(8, 255, 255), "the file ends before"),
        (lie(8, 33, 0), "does not describe its fields"),
        (lie(10, 200, 0), "do not add up"),
        (lie(0, 9), "not a dBase or FoxPro table"),
        (lie(32 + 16, 0), "does not describe its fields"),
        (lie(32 + 11, ord("Q")), "field NO is of type Q"),
        (cut, "the file ends before"),
        (more, "more than the 3 records"),
    ],
    ids=range(11),
)
def test_a_header_that_lies(drops, folder, change, match):
    write(folder / "a.dbf")
    content = bytearray((folder / "a.dbf").read_bytes())
    change(content)
    (folder / "b.dbf").write_bytes(content)
    shutil.copy(folder / "a.dbt", folder / "b.dbt")
    world = drops()
    with pytest.raises(SourceMalformed, match=match) as caught:
        world.sync()
    assert "1 of 2" in str(caught.value)
    assert rows(world) == READ_BACK


@pytest.mark.parametrize("kind", ["db3", "fp"])
def test_a_memo_that_lies(drops, folder, kind):
    write(folder / "a.dbf", kind)
    (memo,) = (path for path in folder.iterdir() if path.suffix in (".dbt", ".fpt"))
    whole = memo.read_bytes()
    memo.write_bytes(whole[:700])
    with pytest.raises(SourceMalformed, match="record 1: its memo has no end"):
        drops().sync()
    memo.write_bytes(whole)
    with pytest.raises(SourceMalformed, match="record 1: its memo is longer than 100 bytes"):
        drops(max_memo_bytes=100).sync()
    memo.unlink()
    with pytest.raises(SourceMalformed, match="memo file does not lie beside it"):
        drops().sync()
