"""Files in a folder: what each way of writing brings, what refuses a file, what waits."""

import os
import time
import zipfile

import pytest

from common import scratch
from common.errors import SourceMalformed, SourceUnavailable
from connectors.readers.files import originals
from tests.drops import Drops

CSV = {"kind": "delimited"}
GOOD = "no,nama,nik\n1,Siti,3274010101010001\n2,,3274010101010002\n"


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "drops"
    place.mkdir()
    return place


@pytest.fixture
def drops(tmp_path, folder):
    """Makes a world that reads `*` of the folder in the format given."""

    def made(format=CSV, pattern="*.csv", columns=None, settings=None, **read):
        read = {"pattern": pattern, "format": format, **read}
        return Drops(tmp_path, folder.as_uri(), read, columns, **(settings or {}))

    return made


def refused(world, match, good=2):
    """The sync names the file at fault, and whatever else lies there is loaded."""
    with pytest.raises(SourceMalformed, match=match) as caught:
        world.sync()
    assert "1 of " in str(caught.value)
    assert len(world.rows("number")) == good
    assert "Siti" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("separator", [";", "\t", "|"])
def test_any_encoding_and_separator(drops, folder, encoding, separator):
    text = "no,nama,nik\n1,Désirée “Ana”,0001\n2,Siti,0002\n".replace(",", separator)
    (folder / "a.csv").write_text(text, encoding=encoding)
    world = drops({"kind": "delimited", "encoding": encoding, "separator": separator})
    world.sync()
    assert world.rows() == [("1", "Désirée “Ana”", "0001"), ("2", "Siti", "0002")]


def test_quotes(drops, folder):
    (folder / "a.csv").write_text('no,nama,nik\n1,"a, ""b""\nc",\n2,"",x\n')
    world = drops()
    world.sync()
    found = world.query("SELECT number, person_name, nik FROM lake.landing.made__rows ORDER BY 1")
    assert found == [("1", 'a, "b"\nc', None), ("2", "", "x")]


def test_quotes_may_be_ordinary(drops, folder):
    (folder / "a.csv").write_text('no,nama,nik\n1,"a,x\n')
    world = drops({"kind": "delimited", "quote": None})
    world.sync()
    assert world.rows() == [("1", '"a', "x")]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (GOOD + "3,x\n", "row 4 has the wrong number of fields"),
        (GOOD + '3,x,"y\n4,z,z\n', "quotation mark is opened in row 4 or before"),
        (GOOD + "3,\0,z\n", "NUL"),
        (GOOD + "3,x,y", "half-written"),
        ("", "it is empty"),
        ("x" * 70_000 + "\n", "first line is longer than 65536 bytes"),
        (GOOD + "3," + "x" * 3_000_000 + ",y\n", "longer than 1048576 bytes"),
        ("1,Siti,3274\n2,Siti,3275\n", "no declared column is named"),
        ("no,nama,nama,nik\n1,Siti,Siti,2\n", "two columns are named nama"),
    ],
    ids=lambda one: None if "\n" in one else one[:20],
)  # fmt: skip
def test_a_hostile_delimited_file(drops, folder, content, match):
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(content)
    refused(drops(), match)


def test_bytes_that_are_not_of_the_encoding(drops, folder):
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_bytes(b"no,nama,nik\n1,\xed\xa0\x80,2\n")  # half a surrogate pair
    assert "byte 14 is not utf-8" in refused(drops(), "is not utf-8")


def test_fixed_width(drops, folder):
    lines = ["DAFTAR", "01Désirée   3274010101010001", "02          3274010101010002", "03Ana"]
    (folder / "a.txt").write_text("\n".join([*lines, ""]), encoding="cp1252", newline="\r\n")
    fields = {"no": [1, 2], "nama": [3, 12], "nik": [13, 28]}
    world = drops(
        {"kind": "fixed_width", "encoding": "cp1252", "fields": fields, "skip_lines": 1}, "*.txt"
    )
    world.sync()
    assert world.rows() == [
        ("01", "Désirée", "3274010101010001"),
        ("02", None, "3274010101010002"),
        ("03", "Ana", None),
    ]


def test_json_lines_keep_digits(drops, folder):
    (folder / "a.jsonl").write_text(
        '{"no": 1, "nama": {"b": 2.50, "a": true}, "nik": 3274010101010001234}\n'
        '\n{"no": 2, "nik": 1.10, "baru": "x"}\n{"no": 3, "nama": false, "nik": null}\n'
    )
    world = drops({"kind": "json_lines"}, "*.jsonl")
    world.sync()
    assert world.rows() == [
        ("1", '{"a":true,"b":2.50}', "3274010101010001234"),
        ("2", None, "1.10"),
        ("3", "false", None),
    ]


@pytest.mark.parametrize(
    ("line", "match"),
    [
        ("{", "line 2: not valid JSON"),
        ("[1]", "line 2 is no JSON object"),
        ('{"no": NaN}', "line 2: not valid JSON"),
        ('{"no": 1, "no": 2}', "line 2: an object names a key twice"),
        ("[" * 100_000, "line 2: nested too deeply"),
        ('{"no": "' + "9" * 2_000_000 + '"}', "line 2 is longer than"),
    ],
    ids=range(6),
)
def test_a_hostile_line_of_json(drops, folder, line, match):
    good = '{"no": "1", "nama": "Siti", "nik": "2"}\n'
    (folder / "a.jsonl").write_text(good)
    (folder / "b.jsonl").write_text(f"{good}{line}\n")
    refused(drops({"kind": "json_lines"}, "*.jsonl"), match, good=1)


def test_half_a_character_is_written_as_its_escape(drops, folder):
    (folder / "a.jsonl").write_text('{"no": "1", "nama": "\\ud800", "nik": "2"}\n')
    world = drops({"kind": "json_lines"}, "*.jsonl")
    world.sync()
    assert world.rows() == [("1", "\\ud800", "2")]


def test_json_lines_that_lost_a_field(drops, folder):
    (folder / "a.jsonl").write_text('{"no": 1, "nama": "Siti"}\n')
    refused(drops({"kind": "json_lines"}, "*.jsonl"), "gone: nik", good=0)


def zipped(path, members, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def test_an_archive_of_files(drops, folder):
    zipped(folder / "a.zip", {"rs/x.csv": GOOD, "rs/y.csv": GOOD.replace("\n1", "\n3"),
                              "baca.txt": "x"})  # fmt: skip
    world = drops(pattern="*.zip", archive={"members": "**/*.csv"})
    account = world.sync()
    assert (account.extracted, account.excluded) == (4, 1)
    found = world.query("SELECT DISTINCT _origin FROM lake.landing.made__rows ORDER BY 1")
    assert found == [("a.zip/rs/x.csv",), ("a.zip/rs/y.csv",)]
    assert world.outcomes() == dict.fromkeys(
        ["a.zip", "a.zip/rs/x.csv", "a.zip/rs/y.csv"], "loaded"
    )
    assert world.sync().extracted == 0


@pytest.mark.parametrize(
    ("members", "limits", "match"),
    [
        ({"x.csv": GOOD, "y.csv": GOOD + "3,4\n"}, {}, "y.csv: row 4 has the wrong number"),
        ({"x.csv": GOOD, "../y.csv": GOOD}, {}, "path of member 2 leads out"),
        ({"x.csv": GOOD, "/etc/y.csv": GOOD}, {}, "path of member 2 leads out"),
        ({"x.csv": GOOD, "y.zip": "PK"}, {}, "member 2 is itself an archive"),
        ({"x.csv": GOOD + "\n" * 5_000_000}, {}, "more than 200 times its size"),
        ({"x.csv": GOOD, "y.csv": GOOD}, {"max_unpacked_bytes": 100}, "more than 100 bytes"),
        ({f"{n}.csv": GOOD for n in range(20)}, {"max_members": 10}, "more than 10 members"),
        ({f"{n}.csv": "" for n in range(3000)}, {"max_members": 10}, "more than 10 members"),
        ({"x.txt": GOOD}, {"members": "*.csv"}, "no member matches"),
    ],
    ids=range(9),
)
def test_a_hostile_archive(drops, folder, members, limits, match):
    zipped(folder / "a.zip", {"a.csv": GOOD})
    zipped(folder / "b.zip", members)
    refused(drops(pattern="*.zip", archive=limits), match)


def test_a_member_without_a_name(drops, folder):
    zipped(folder / "a.zip", {"a.csv": GOOD})
    zipped(folder / "b.zip", {"Z.csv": GOOD})
    content = (folder / "b.zip").read_bytes()
    (folder / "b.zip").write_bytes(content.replace(b"Z.csv", b"\0.csv"))
    refused(drops(pattern="*.zip", archive={}), "member 1 has no name")


def test_an_encrypted_and_a_half_archive(drops, folder):
    zipped(folder / "a.zip", {"a.csv": GOOD})
    content = bytearray((folder / "a.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    (folder / "b.zip").write_bytes(content)
    world = drops(pattern="*.zip", archive={})
    refused(world, "it is encrypted")
    (folder / "b.zip").write_bytes((folder / "a.zip").read_bytes()[:-30])
    refused(world, "only half of one")


def test_a_link_that_leads_out_and_a_name_that_cannot_be_written(drops, folder, tmp_path):
    (tmp_path / "secret.csv").write_text(GOOD)
    (folder / "good.csv").write_text(GOOD)
    (folder / "link.csv").symlink_to(tmp_path / "secret.csv")
    world = drops()
    refused(world, "link.csv: it is a link to another place")
    (folder / "link.csv").unlink()
    (folder / "line\nfeed.csv").write_text(GOOD)
    refused(world, r"line\\nfeed.csv: its path is not one")
    (folder / "line\nfeed.csv").unlink()
    os.mkfifo(folder / "pipe.csv")
    world.sync()


def test_a_folder_of_links_is_not_followed(drops, folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.csv").write_text(GOOD)
    (folder / "rs").symlink_to(tmp_path / "other")
    (folder / "here").mkdir()
    (folder / "here" / "loop").symlink_to(folder)
    world = drops(pattern="**/*.csv")
    refused(world, "rs: it is a link to another place", good=0)


def test_too_large_and_too_many(drops, folder):
    (folder / "a.csv").write_text(GOOD)
    (folder / "b.csv").write_text(GOOD * 10)
    refused(drops(max_bytes=100), "larger than `max_bytes`")
    with pytest.raises(SourceMalformed, match="more than 1 files and folders"):
        drops(max_files=1).sync()


def test_a_file_that_is_still_being_written_waits(drops, folder):
    (folder / "a.csv").write_text(GOOD)
    old = time.time() - 3600
    (folder / "b.csv").write_text(GOOD.replace("\n1", "\n3"))
    os.utime(folder / "b.csv", (old, old))
    world = drops(settle_seconds=600)
    assert world.sync().files_failed == 0
    assert world.outcomes() == {"a.csv": "waiting", "b.csv": "loaded"}
    os.utime(folder / "a.csv", (old, old))
    world.sync()
    assert world.outcomes() == {"a.csv": "loaded", "b.csv": "loaded"}


@pytest.mark.parametrize(
    ("happens", "outcome"),
    [(lambda path: path.write_text(GOOD + "3,x,y\n"), "waiting"), (os.unlink, "gone")],
)
def test_a_file_replaced_or_taken_away_while_it_is_read(
    drops, folder, monkeypatch, happens, outcome
):
    from connectors.readers.files.places import folder as place

    (folder / "a.csv").write_text(GOOD)
    copied = place.shutil.copyfileobj

    def copy(file, target, size):
        copied(file, target, size)
        happens(folder / "a.csv")

    monkeypatch.setattr(place.shutil, "copyfileobj", copy)
    world = drops()
    assert world.sync().extracted == 0
    assert world.outcomes() == {"a.csv": outcome}
    monkeypatch.undo()
    if outcome == "waiting":
        assert world.sync().extracted == 3


def test_the_same_size_and_time_with_other_bytes_is_found(drops, folder):
    path = folder / "a.csv"
    path.write_text(GOOD)
    before = path.stat()
    world = drops()
    world.sync()
    with path.open("r+") as file:
        file.write(GOOD.replace("Siti", "Sita"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    world.sync()
    assert world.rows("person_name")[0] == ("Sita",)


def test_originals_are_kept_as_long_as_declared(drops, folder):
    (folder / "a.csv").write_text(GOOD)
    world = drops(keep_originals_days=30)
    world.sync()
    (kept,) = world.settings.home.glob("originals/made/??/*")
    assert kept.read_text() == GOOD
    old = time.time() - 29 * 86_400
    os.utime(kept, (old, old))
    originals.forget_old(world.settings, {"made": world.source})
    assert kept.exists()
    old -= 2 * 86_400
    os.utime(kept, (old, old))
    originals.forget_old(world.settings, {"made": world.source})
    assert not kept.exists()
    assert world.sync().extracted == 0


def test_what_a_killed_run_left_is_cleared_and_what_is_in_use_is_not(drops):
    world = drops()
    with originals.incoming(world.settings, "made") as used:
        left = used.with_name(f"{originals.INCOMING}left")
        left.mkdir()
        (left / scratch.HELD).touch()
        originals.clear_abandoned(world.settings)
        assert used.exists()
        assert not left.exists()


def test_a_place_of_no_kind(drops, tmp_path):
    world = drops()
    with pytest.raises(SourceUnavailable, match="drop folder is not there"):
        world.sync((tmp_path / "nowhere").as_uri())


def test_the_golden_zip_is_traced_to_its_member(drops, folder):
    from pipeline.trace import _original
    from warehouse.catalog import attach, open_duckdb

    zipped(folder / "a.zip", {"x.csv": GOOD, "y.csv": GOOD.replace("\n1", "\n3")})
    world = drops(pattern="*.zip", archive={})
    world.sync()
    ((record, origin, sha),) = world.query(
        "SELECT _record_id, _origin, sha256 FROM lake.landing.made__rows JOIN lake.ops.file "
        "ON origin = _origin WHERE number = '3'"
    )
    connection = open_duckdb(world.settings)
    attach(connection, world.settings)
    stream = world.source.streams[0]
    found = _original(connection, world.settings, world.source, stream, str(record), origin, sha)
    connection.close()
    assert origin == "a.zip/y.csv"
    assert found.rows == (1,)
