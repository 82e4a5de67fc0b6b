"""The audit log against hands in its file: what is emptied, cut, replaced, forged or put back."""

import json
import shutil
import sqlite3

import pytest
from sqlalchemy.exc import SQLAlchemyError
from typer.testing import CliRunner

from common.errors import DefinitionError, HomeFault, WarehouseFault
from common.settings import Settings
from muara import cli
from portal import accounts
from warehouse import audit
from warehouse.audit import seals
from warehouse.audit.store import APPEND_ONLY, open_store, path_of

PASSWORD = "sungai mengalir ke muara"
TRIGGERS = "; ".join(f"DROP TRIGGER IF EXISTS {name}" for name in APPEND_ONLY)
ROWS = 12
"""Of the log: three of accounts, the rest of pages."""


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A home with a log. Do not change it: copy it."""
    settings = Settings(home=tmp_path_factory.mktemp("written"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accounts, "_scrypt", quick)
        store = open_store(settings)
        accounts.add(store, "siti", "reviewer", PASSWORD)
        accounts.add(store, "budi", "reviewer", PASSWORD)
        accounts.change(store, "budi", is_active=False)
        store.dispose()
    write(settings, ROWS - 3)
    return settings.home


@pytest.fixture
def settings(written, tmp_path, monkeypatch):
    monkeypatch.setattr(accounts, "_scrypt", quick)
    home = shutil.copytree(written, tmp_path / "var")
    monkeypatch.setenv("MUARA_HOME", str(home))
    return Settings(home=home)


def quick(password, salt):
    return (salt + password.encode())[:32]


def write(settings, rows=1):
    store = open_store(settings)
    for _ in range(rows):
        audit.write(store, account="siti", address="::1", action="view_pair", what="a:1 b:2")
    store.dispose()


def in_file(settings, statements):
    """As a hand does that has the file and not the key."""
    with sqlite3.connect(path_of(settings)) as file:
        file.executescript(f"{TRIGGERS}; {statements}")
    file.close()


def kinds(settings):
    return {fault.kind for fault in audit.faults(settings)}


def deliver(settings, night):
    """The manifest that an agency gets."""
    folder = settings.home / "extracts" / "dinkes" / night
    folder.mkdir(parents=True)
    facts = {"night": night, "files": [], **seals.head(settings)}
    (folder / "manifest.json").write_text(json.dumps(facts))


def test_an_untouched_log_has_no_fault(settings):
    assert audit.faults(settings) == []
    assert seals.head(settings)["audit_log"]["row"] == ROWS
    deliver(settings, "2026-11-23")
    write(settings, 3)
    assert audit.faults(settings) == []


def test_no_portal_is_no_fault(tmp_path):
    assert audit.faults(Settings(home=tmp_path)) == []
    assert seals.head(Settings(home=tmp_path)) == {}


ENTRY = "INTO audit VALUES (3, '2026-11-23 08:00:00.000000', 'siti', '', 'sign_in', '', 'x')"


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit SET account = 'budi'", "DELETE FROM audit", f"INSERT OR REPLACE {ENTRY}",
     f"REPLACE {ENTRY}", f"INSERT OR REPLACE {ENTRY.replace('(3,', '(99,')}",
     "UPDATE OR REPLACE audit SET id = 1 WHERE id = 2", "DELETE FROM audit WHERE id = 12"],
)  # fmt: skip
def test_the_database_refuses_what_is_no_next_row(settings, statement):
    store = open_store(settings)
    before = path_of(settings).stat().st_size
    with pytest.raises(SQLAlchemyError, match="append-only"):
        with store.engine.begin() as connection:
            connection.exec_driver_sql(statement)
    store.dispose()
    assert audit.faults(settings) == []
    assert path_of(settings).stat().st_size == before


def test_a_trigger_that_was_made_harmless_is_made_again(settings):
    in_file(settings, f"CREATE TRIGGER {next(iter(APPEND_ONLY))} BEFORE UPDATE ON audit "
                      "BEGIN SELECT 1; END")  # fmt: skip
    store = open_store(settings)
    with pytest.raises(SQLAlchemyError, match="append-only"), store.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE audit SET account = 'budi'")
    store.dispose()


ATTACKS = {
    "emptied": ("DELETE FROM audit", {"cut", "account"}),
    "tail cut": ("DELETE FROM audit WHERE id > 10", {"cut"}),
    "last row cut": ("DELETE FROM audit WHERE id = 12", {"cut"}),
    "head cut": ("DELETE FROM audit WHERE id < 3", {"row", "cut", "account"}),
    "row cut": ("DELETE FROM audit WHERE id = 5", {"row", "cut"}),
    "row changed": ("UPDATE audit SET account = 'wati' WHERE id = 5", {"row"}),
    "last row changed": ("UPDATE audit SET what = '' WHERE id = 12", {"row"}),
    "rows exchanged": ("UPDATE audit SET id = CASE id WHEN 5 THEN -6 ELSE -5 END "
                       "WHERE id IN (5, 6); UPDATE audit SET id = -id WHERE id < 0",
                       {"row", "cut"}),
    "row replaced": (f"REPLACE {ENTRY}", {"row", "cut", "account"}),
    "row forged": ("INSERT INTO audit SELECT 13, at, account, address, action, what, seal "
                   "FROM audit WHERE id = 12", {"row"}),
    "seal of acceptance forged": ("INSERT INTO audit SELECT 13, at, 'root', '', 'log_accepted', '',"
                                  " seal FROM audit WHERE id = 12", {"row", "account"}),
    "written anew": ("CREATE TABLE other AS SELECT * FROM audit WHERE id > 3; DELETE FROM audit; "
                     "INSERT INTO audit SELECT id - 3, at, account, address, action, what, seal "
                     "FROM other", {"row", "cut", "account"}),
    "role": ("UPDATE account SET role = 'supervisor' WHERE name = 'siti'", {"account"}),
    "password": ("UPDATE account SET password = x'00' WHERE name = 'siti'", {"account"}),
    "password of another": ("UPDATE account SET (salt, password) = (SELECT salt, password FROM "
                            "account WHERE name = 'budi') WHERE name = 'siti'", {"account"}),
    "let in again": ("UPDATE account SET is_active = 1 WHERE name = 'budi'", {"account"}),
    "account added": ("INSERT INTO account SELECT 'joko', 'auditor', salt, password, 1, seal "
                      "FROM account WHERE name = 'siti'", {"account"}),
    "account gone": ("DELETE FROM account WHERE name = 'siti'", {"account"}),
    "account renamed": ("UPDATE account SET name = 'dewi' WHERE name = 'siti'", {"account"}),
    "no table": ("DROP TABLE audit", {"cut", "account"}),
    "nonsense": ("UPDATE audit SET at = 'yesterday' WHERE id = 5", {"unreadable"}),
}  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hand_in_the_file_shows(settings, attack):
    statements, found = ATTACKS[attack]
    in_file(settings, statements)
    assert kinds(settings) == found
    write(settings)
    assert kinds(settings) >= found - {"cut"}, "a row that follows must not cover it"
    assert audit.faults(settings)


def test_an_old_row_of_an_account_that_was_put_back_shows(settings):
    """Its seal is genuine; the log knows a newer one."""
    with sqlite3.connect(path_of(settings)) as file:
        old = file.execute("SELECT * FROM account WHERE name = 'siti'").fetchone()
    store = open_store(settings)
    accounts.change(store, "siti", is_active=False)
    store.dispose()
    with sqlite3.connect(path_of(settings)) as file:
        file.execute("DELETE FROM account WHERE name = 'siti'")
        file.execute("INSERT INTO account VALUES (?, ?, ?, ?, ?, ?)", old)
    file.close()
    assert kinds(settings) == {"account"}


def test_an_account_that_was_changed_in_the_file_is_none(settings):
    store = open_store(settings)
    token = accounts.sign_in(store, "siti", PASSWORD, "::1")
    assert accounts.visitor(store, token).role == "reviewer"
    in_file(settings, "UPDATE account SET role = 'supervisor' WHERE name = 'siti'")
    assert accounts.visitor(store, token) is None
    assert accounts.sign_in(store, "siti", PASSWORD, "::1") is None
    with pytest.raises(DefinitionError, match="changed in the file"):
        accounts.change(store, "siti", is_active=True)
    store.dispose()


def test_a_session_that_was_written_into_the_file_is_none(settings):
    store = open_store(settings)
    token = accounts.sign_in(store, "siti", PASSWORD, "::1")
    accounts.add(store, "wati", "supervisor", PASSWORD)
    in_file(settings, "UPDATE session SET name = 'wati'")
    assert accounts.visitor(store, token) is None
    in_file(settings, "UPDATE session SET name = 'siti'")
    assert accounts.visitor(store, token)
    in_file(settings, "UPDATE session SET began_at = datetime(began_at, '+1 day')")
    assert accounts.visitor(store, token) is None
    store.dispose()


def test_another_file_in_its_place_shows(settings, tmp_path):
    other = Settings(home=tmp_path / "other")
    shutil.copytree(settings.home / "secrets", other.home / "secrets")
    write(other, 3)
    path_of(settings).unlink()
    shutil.copy(path_of(other), path_of(settings))
    assert "cut" in kinds(settings)


def test_an_older_state_of_the_file_shows(settings, tmp_path):
    shutil.copytree(path_of(settings).parent, tmp_path / "older")
    write(settings, 3)
    shutil.rmtree(path_of(settings).parent)
    shutil.copytree(tmp_path / "older", path_of(settings).parent)
    assert kinds(settings) == {"cut"}


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 100])
def test_a_file_that_is_gone_or_none_shows(settings, content):
    shutil.rmtree(path_of(settings).parent)
    assert kinds(settings) == {"unreadable"}
    path_of(settings).parent.mkdir()
    path_of(settings).write_bytes(content)
    assert audit.faults(settings)


def test_without_its_seals_outside_the_log_does_not_hold(settings):
    outside = settings.home / "seals" / "audit"
    outside.unlink()
    assert kinds(settings) == {"unsealed"}
    write(settings, 3)
    assert kinds(settings) == {"unsealed"}, "what follows must not cover it"


def test_a_file_of_seals_that_was_cut_shows(settings):
    outside = settings.home / "seals" / "audit"
    lines = outside.read_text().splitlines(keepends=True)
    outside.write_text("".join(lines[:2]))
    assert kinds(settings) == {"unsealed"}
    outside.write_text("".join(lines[:4] + lines[5:]))
    assert kinds(settings) == {"unsealed"}


def test_log_and_seals_cut_together_contradict_what_an_agency_holds(settings):
    deliver(settings, "2026-11-23")
    in_file(settings, "DELETE FROM audit WHERE id > 10")
    outside = settings.home / "seals" / "audit"
    outside.write_text("".join(outside.read_text().splitlines(keepends=True)[:10]))
    assert kinds(settings) == {"witness"}
    write(settings, 5)
    assert kinds(settings) == {"witness"}


def test_an_owner_who_writes_all_of_it_anew_contradicts_what_an_agency_holds(settings):
    """With the key, nothing on the machine shows it."""
    deliver(settings, "2026-11-23")
    shutil.rmtree(settings.home / "portal")
    shutil.rmtree(settings.home / "seals")
    write(settings, ROWS + 5)
    assert kinds(settings) == {"witness"}


def test_a_manifest_that_cannot_be_read_is_no_witness(settings):
    deliver(settings, "2026-11-23")
    (settings.home / "extracts" / "dinkes" / "2026-11-23" / "manifest.json").write_text("{")
    assert audit.faults(settings) == []


class Killed(BaseException):
    pass


def test_who_is_killed_between_log_and_seal_leaves_no_fault(settings, monkeypatch):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(seals.Seals, "append", die)
        for _ in range(2):
            with pytest.raises(Killed):
                write(settings)
    assert len(seals.sealed(settings)) == ROWS
    assert audit.faults(settings) == []
    write(settings)
    assert sorted(seals.sealed(settings)) == list(range(1, ROWS + 4))
    assert audit.faults(settings) == []


@pytest.mark.parametrize("left", [1, 3, 40, 66])
def test_a_line_of_which_a_part_was_written_is_written_again(settings, left):
    outside = settings.home / "seals" / "audit"
    text = outside.read_bytes()
    last = text.rindex(b"\n", 0, -1) + 1
    outside.write_bytes(text[: last + left])
    assert audit.faults(settings) == []
    write(settings)
    assert audit.faults(settings) == []
    assert sorted(seals.sealed(settings)) == list(range(1, ROWS + 2))


def test_where_the_seal_cannot_be_written_nothing_is_done(settings, monkeypatch):
    (settings.home / "seals" / "audit").unlink()
    (settings.home / "seals").rmdir()
    (settings.home / "seals").write_text("")
    with pytest.raises(OSError):
        write(settings)
    with sqlite3.connect(path_of(settings)) as file:
        assert file.execute("SELECT count(*) FROM audit").fetchone() == (ROWS,)


def test_an_account_and_its_row_of_the_log_are_written_together_or_not(settings, monkeypatch):
    def fail(*_, **__):
        raise OSError

    monkeypatch.setattr(audit, "_add", fail)
    store = open_store(settings)
    with pytest.raises(OSError):
        accounts.change(store, "siti", is_active=False)
    store.dispose()
    monkeypatch.undo()
    assert audit.faults(settings) == []


def run(*words, **more):
    return CliRunner().invoke(cli.app, list(words), **more)


def test_the_command_names_what_is_wrong_and_a_person_may_answer_for_it(settings):
    assert f"{ROWS} rows, every seal fits" in run("audit", "--verify").output
    deliver(settings, "2026-11-23")
    in_file(settings, "DELETE FROM audit; UPDATE account SET role = 'auditor' WHERE name = 'siti'")
    for words in (["audit", "--verify"], ["audit"]):
        error = run(*words).exception
        assert isinstance(error, WarehouseFault)
        for named in ("from row 1", "dinkes/2026-11-23/manifest.json", "budi", "siti"):
            assert named in str(error)
    accepted = run("audit", "--accept", "restored\nby hand")
    assert f"row {ROWS + 1} begins" in accepted.output
    assert audit.faults(settings) == []
    assert "restored by hand" in run("audit").output
    deliver(settings, "2026-11-24")
    write(settings, 20)
    assert audit.faults(settings) == []
    in_file(settings, "UPDATE account SET role = 'reviewer' WHERE name = 'siti'")
    assert kinds(settings) == {"account"}
    run("audit", "--accept", "again")
    in_file(settings, f"DELETE FROM audit WHERE id = {ROWS + 5}")
    assert audit.faults(settings) == [], "what is above the newest acceptance is not verified"
    in_file(settings, "DELETE FROM audit WHERE id = (SELECT max(id) FROM audit)")
    assert "cut" in kinds(settings)


def test_a_store_from_before_seals_waits_until_a_person_accepts_it(settings):
    in_file(settings, """
        ALTER TABLE account DROP COLUMN seal; ALTER TABLE session DROP COLUMN seal;
        CREATE TABLE failure (id INTEGER PRIMARY KEY, whose VARCHAR, at DATETIME);
        INSERT INTO failure VALUES (1, 'account siti', '2026-11-23')""")  # fmt: skip
    shutil.rmtree(settings.home / "seals")
    store = open_store(settings)
    assert accounts.sign_in(store, "siti", PASSWORD, "::1") is None
    assert kinds(settings) == {"unsealed", "account"}
    audit.accept(store, by="root", why="before seals")
    assert audit.faults(settings) == []
    assert accounts.sign_in(store, "siti", PASSWORD, "::1")
    assert accounts.sign_in(store, "budi", PASSWORD, "::1") is None
    store.dispose()
    assert b"account siti" not in path_of(settings).read_bytes()


def test_an_account_whose_role_was_changed_in_the_file_is_listed_as_none(settings):
    in_file(settings, "UPDATE account SET role = 'supervisor' WHERE name = 'siti'")
    store = open_store(settings)
    listed = {one["name"]: one["is_as_sealed"] for one in accounts.all_of(store)}
    assert listed == {"siti": False, "budi": True}


@pytest.mark.parametrize("content", [None, b""])
def test_a_lost_store_is_not_made_anew_without_being_asked(settings, content):
    path_of(settings).unlink()
    if content is not None:
        path_of(settings).write_bytes(content)
    with pytest.raises(HomeFault, match="gone or empty"):
        open_store(settings)
    store = open_store(settings, anew=True)
    assert accounts.all_of(store) == []
