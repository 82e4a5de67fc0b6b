"""Whatever is wrong with a file or folder of the home, every entry point ends with an error of ours
that says where and what to do, and with no trace and no value."""

import errno
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys

import duckdb
import pytest

import muara
from common import clock
from common.errors import DefinitionError, HomeFault, WarehouseFault
from common.failures import ours
from common.kept import kept
from common.settings import ROOT, Settings
from dags import local
from muara import cli
from tests.world import empty_warehouse

CANARY = "3274010101010001"
GARBAGE = (b"", b"{", b"[]", b"null", b"\x00\xff\xfe", CANARY.encode())
TODAY = "2026-11-23"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("made") / "var"
    shutil.copytree(empty_warehouse(), home)
    return home


@pytest.fixture
def home(made, tmp_path, monkeypatch):
    home = tmp_path / "var"
    shutil.copytree(made, home)
    monkeypatch.setenv("MUARA_HOME", str(home))
    monkeypatch.setenv("MUARA_TODAY", TODAY)
    monkeypatch.chdir(tmp_path)
    return home


def end(capsys, monkeypatch, *command):
    """Exit code and what was said of a command in this process."""
    monkeypatch.setattr(sys, "argv", ["muara", *command])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    return ended.value.code, said.out + said.err


def damage(path, content):
    """A file with other content; a folder in its place for None."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


# Each is read by a command that cannot do without it.
READ = {
    "today": ("status", "alarms"),
    "connections.toml": ("sync", "cctv"),
    "secrets/pseudonym.key": ("status",),
    "city/city.json": ("city", "tomorrow"),
}


@pytest.mark.parametrize("content", [*GARBAGE, None], ids=repr)
@pytest.mark.parametrize("file", READ)
def test_a_damaged_file_is_named_and_is_no_trace(home, capsys, monkeypatch, file, content):
    damage(home / file, content)
    if file == "today":
        monkeypatch.delenv("MUARA_TODAY")
        with pytest.raises((HomeFault, OSError)) as raised:
            clock.today(Settings())
        assert ours(raised.value).exit_code == HomeFault.exit_code
        return
    code, said = end(capsys, monkeypatch, *READ[file])
    assert code in (HomeFault.exit_code, DefinitionError.exit_code), said
    if file != "connections.toml":
        assert code == HomeFault.exit_code
    assert "HomeFault" in said or "connection" in said
    assert "Next:" in said.replace("\n", " ")
    assert not [word for word in ("Traceback", CANARY, "defect") if word in said]


@pytest.mark.parametrize(
    "text",
    ["[connection]\ncctv = 'x'\n", "[connections]\ncctv = 1\n", "connections = 3\n",
     "[connections]\ncctv = 'a'\n[more]\nx = 1\n"],
)  # fmt: skip
def test_connections_that_say_more_or_other_than_they_may(home, capsys, monkeypatch, text):
    (home / "connections.toml").write_text(text)
    code, said = end(capsys, monkeypatch, "sync", "cctv", "monitor")
    assert (code, "HomeFault" in said) == (HomeFault.exit_code, True), said


@pytest.mark.parametrize("content", [*GARBAGE, b'{"admin": ""}', b'{"admin": 3}'], ids=repr)
def test_airflows_passwords_are_believed_only_whole(tmp_path, content, monkeypatch):
    path = tmp_path / "passwords.json"
    monkeypatch.setenv("AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE", str(path))
    path.write_bytes(content)
    if content == b"{}":
        return
    with pytest.raises(HomeFault, match=r"passwords\.json"):
        local._choose_password()
    path.unlink()
    local._choose_password()
    assert (path.stat().st_mode & 0o777, [*json.loads(path.read_text())]) == (0o600, ["admin"])


@pytest.mark.parametrize("content", [b"{", b"{}x", b"[[1]]", b'[["x", 2]]', b"3"], ids=repr)
def test_processes_that_were_noted_are_believed_only_whole(tmp_path, content):
    path = tmp_path / "up.pid"
    path.write_bytes(content)
    with pytest.raises(HomeFault, match=r"up\.pid"):
        local._alive(path)


KEYS = [b"", b"x", b"0" * 63, b"0" * 65, b"0" * 64 + b"\n", b"G" * 64, b"\xff" * 64]


@pytest.mark.parametrize("key", KEYS, ids=repr)
def test_what_is_no_key_keys_nothing(tmp_path, key):
    damage(tmp_path / "secrets" / "pseudonym.key", key)
    with pytest.raises(HomeFault, match="64 hexadecimal digits") as raised:
        Settings(home=tmp_path).pseudonym_key  # noqa: B018
    assert raised.value.where.endswith("pseudonym.key")
    assert (tmp_path / "secrets" / "pseudonym.key").read_bytes() == key


@pytest.mark.parametrize("what", ["catalog.sqlite", "data/x.parquet"])
def test_a_lost_key_is_never_replaced_while_there_is_a_lake(tmp_path, what):
    """Another would give every record and every person another surrogate."""
    damage(tmp_path / "lake" / what, b"")
    with pytest.raises(HomeFault, match="no other key will do"):
        Settings(home=tmp_path).pseudonym_key  # noqa: B018
    assert not (tmp_path / "secrets").exists()


@pytest.mark.parametrize("command", ["status", "publish", "extract", "night", "doctor", "sync"])
def test_a_lost_key_stops_every_command(home, capsys, monkeypatch, command):
    shutil.rmtree(home / "secrets")
    arguments = {"night": ("--direct",), "sync": ("cctv",)}.get(command, ())
    code, said = end(capsys, monkeypatch, command, *arguments)
    assert (code, "no other key will do" in said.replace("\n", " ")) == (15, True), said


@pytest.mark.parametrize("place", ["/sys/muara", "/dev/null", "/dev/null/var"])
@pytest.mark.parametrize(
    "command",
    [("status",), ("publish",), ("extract",), ("night", "--direct"), ("doctor",), ("link",),
     ("sync", "cctv"), ("portal",), ("account", "list"), ("city", "build"), ("alarms",),
     ("sql", "SELECT 1"), ("rejections",), ("send",), ("verify", "/dev/null/var/published")],
)  # fmt: skip
def test_a_home_that_cannot_be_one(tmp_path, capsys, monkeypatch, place, command):
    """The kernel refuses these folders to root as well."""
    monkeypatch.setenv("MUARA_HOME", place)
    monkeypatch.chdir(tmp_path)
    code, said = end(capsys, monkeypatch, *command)
    wanted = (12,) if command[0] == "verify" else (HomeFault.exit_code,)
    assert code in wanted, said
    assert not [word for word in ("Traceback", "defect") if word in said]


@pytest.mark.parametrize("command", ["night", "prepare", "up", "down"])
def test_airflow_on_one_machine_ends_so_too(tmp_path, command):
    done = subprocess.run(
        [sys.executable, "-m", "dags.local", command],
        cwd=ROOT,
        env={name: text for name, text in os.environ.items() if not name.startswith("AIRFLOW")}
        | {"MUARA_HOME": "/dev/null/var"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert "Traceback" not in done.stderr
    assert (done.returncode, "ENOTDIR" in done.stderr) == (15, True), done.stderr


@pytest.mark.parametrize(
    ("text", "said"),
    [("home = ", "not readable as TOML"), ("homme = 'x'", "homme"), ("home = 'a'\nhome = 'b'",
     "not readable as TOML"), ("timezone = 'Mars'", "no time zone"), ("threads = 'x'", "threads")],
)  # fmt: skip
def test_settings_that_are_none(tmp_path, capsys, monkeypatch, text, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MUARA_THREADS", raising=False)  # of the workers that run these tests
    (tmp_path / "muara.toml").write_text(text)
    code, told = end(capsys, monkeypatch, "status")
    assert (code, said in told.replace("\n", " ")) == (DefinitionError.exit_code, True), told
    with pytest.raises(DefinitionError):
        muara.connect()


def test_a_setting_that_is_nearly_one_is_refused(monkeypatch):
    monkeypatch.setenv("MUARA_IMPACT_ASSESMENT", "PDP/1")
    with pytest.raises(DefinitionError, match="is MUARA_IMPACT_ASSESSMENT meant"):
        Settings()


def test_a_published_file_that_is_no_database(home):
    current = home / "published" / "current"
    with pytest.raises(WarehouseFault, match="muara night"):
        muara.connect()
    damage(current / "warehouse.duckdb", CANARY.encode() * 1000)
    with pytest.raises(WarehouseFault, match="muara publish") as raised:
        muara.connect()
    assert CANARY not in str(raised.value)


def test_kept_sql_is_run_only_as_it_was_kept(tmp_path):
    path = tmp_path / "kept.json"
    assert kept(path, "key of this test", lambda: "SELECT 1") == "SELECT 1"
    path.write_text(path.read_text().replace("SELECT 1", "SELECT 2"))
    script = "from pathlib import Path; import sys; from common.kept import kept; " \
             "print(kept(Path(sys.argv[1]), 'key of this test', lambda: 'SELECT 3'))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", script, str(path)], cwd=ROOT, text=True,
                          capture_output=True, check=True)  # fmt: skip
    assert done.stdout == "SELECT 3\n"


def full_at(kilobytes):
    """A disk that takes no file larger than so much, for root as well."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, kilobytes << 10))


@pytest.mark.parametrize("kilobytes", [1, 12, 100])
@pytest.mark.parametrize("command", [("publish",), ("extract",), ("rejections",)])
def test_a_full_disk_is_an_error_of_ours_and_the_rerun_is_whole(home, command, kilobytes):
    def muara_says(**limits):
        return subprocess.run([sys.executable, "-m", "muara", *command], cwd=ROOT, text=True,
                              capture_output=True, timeout=200, check=False, **limits)  # fmt: skip

    failed = muara_says(preexec_fn=full_at(kilobytes))
    assert "Traceback" not in failed.stderr
    assert "defect" not in failed.stderr
    assert failed.returncode in (HomeFault.exit_code, WarehouseFault.exit_code) or (
        kilobytes == 100 and failed.returncode == 0
    ), failed.stderr
    assert muara_says().returncode == 0


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "x", "/v/file"), HomeFault),
        (OSError(errno.EROFS, "x"), HomeFault),
        (PermissionError(errno.EACCES, "x", CANARY), HomeFault),
        (duckdb.IOException("Could not write: No space left on device"), HomeFault),
        (sqlite3.OperationalError("attempt to write a readonly database"), HomeFault),
        (sqlite3.DatabaseError("file is not a database"), WarehouseFault),
        (duckdb.ConversionException(f"could not convert {CANARY}"), WarehouseFault),
    ],
)
def test_an_error_of_the_disk_or_a_database_becomes_ours(error, kind):
    own = ours(error)
    assert type(own) is kind
    assert own.next_step
    if not isinstance(error, OSError):
        assert CANARY not in str(own)


def test_an_error_that_nobody_foresaw_is_one_line_with_its_place():
    try:
        int(CANARY + "x")
    except ValueError as error:
        own = ours(error)
    assert str(own).startswith("unexpected ValueError at test_damaged_home.py:")
    assert CANARY not in str(own)
