"""The review desk on a linked city: two reviewers, a supervisor, an auditor."""

import re
import sqlite3
from contextlib import contextmanager
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from common.log import configure
from muara import cli
from pipeline import leave
from pipeline.link import link
from pipeline.night import audit_kept
from portal import accounts
from portal.app import make_app
from portal.desk import open_counts
from tests.integration.conftest import PASSWORD
from tests.left import canaries
from transforms.identity import explanation
from warehouse import audit, models
from warehouse.audit import seals
from warehouse.audit.store import open_store
from warehouse.catalog import attach, open_duckdb, reading, writer_lock, writing
from warehouse.decisions import Mention, decide


class Reviewer:
    """One who is signed in, and the form of the page that was opened last."""

    def __init__(self, client, name):
        self.client = client
        answer = client.post("/masuk", data={"name": name, "password": PASSWORD})
        assert answer.url.path in ("/antrean", "/mutu")
        self.page = answer

    def open(self, path):
        self.page = self.client.get(path)
        return self.page.text

    def send(self, answer, path="/jawab", **more):
        fields = dict(re.findall(r'hidden" name="(\w+)" value="([^"]*)"', self.page.text))
        self.page = self.client.post(path, data=fields | {"answer": answer} | more)
        return self.page.text


def client_of(app):
    """Beyond the loopback a session needs TLS."""
    return TestClient(app, base_url="http://127.0.0.1")


@contextmanager
def desk(town):
    """A function that signs somebody in, at one running portal."""
    app = make_app(town.settings)
    with client_of(app):
        yield lambda name: Reviewer(client_of(app), name)


def rows(town, query):
    with reading(town.settings) as connection:
        return connection.execute(query).fetchall()


def log(town, action=None):
    store = open_store(town.settings)
    with store.engine.connect() as connection:
        found = [one for one in audit.entries(connection) if action in (None, one.action)]
    assert audit.faults(town.settings) == []
    store.dispose()
    return found


def shown(town):
    """The pair that was shown last."""
    return log(town, "view_pair")[-1].what.split()


def test_the_explanation_of_every_pair_adds_up_to_its_weight(desk_town):
    connection = open_duckdb(desk_town.settings)
    attach(connection, desk_town.settings, read_only=True)
    connection.execute("USE memory.main")
    settings = models.load(connection, models.newest(connection))
    connection.execute(
        """
        CREATE TEMP TABLE mention AS
        SELECT role || ':' || source_record_id AS mention_id, * FROM lake.core.mention_identity;
        CREATE TEMP TABLE asked AS
        SELECT role || ':' || source_record_id AS mention_id_l,
            other_role || ':' || other_source_record_id AS mention_id_r, weight
        FROM lake.ops.person_pair
        """
    )
    explanation.explain(connection, settings)
    ((pairs, furthest),) = connection.execute(
        f"""
        SELECT count(*), max(abs(weight - told)) FROM asked JOIN (
            SELECT mention_id_l, mention_id_r, {explanation.prior(settings)} + sum(bits) AS told
            FROM evidence GROUP BY ALL) USING (mention_id_l, mention_id_r)
        """
    ).fetchall()
    connection.close()
    assert pairs == rows(desk_town, "SELECT count(*) FROM lake.ops.person_pair")[0][0] > 1000
    assert furthest < 1e-6


def test_one_answer_decides_and_the_next_linking_follows(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        text = siti.open("/periksa")
        assert "Menurut model" in text
        one, other = shown(desk_town)
        assert "menjadi keputusan" in siti.send("same")
        assert shown(desk_town) != [one, other]
    ((is_same, by),) = rows(desk_town, "SELECT is_same, decided_by FROM lake.core.person_decision")
    assert (is_same, by) == (True, "siti")
    link(desk_town.settings)
    assert rows(
        desk_town,
        "SELECT count(DISTINCT person_id) FROM lake.core.person_mention WHERE valid_to IS NULL "
        f"AND role || ':' || source_record_id IN ('{one}', '{other}')",
    ) == [(1,)]
    assert [entry.action for entry in log(desk_town)][-5:] == [
        "sign_in", "view_pair", "answer", "decide", "view_pair"
    ]  # fmt: skip


def test_a_second_opinion_is_blind_and_a_supervisor_settles(desk_town):
    with desk(desk_town) as sign_in:
        siti, budi, dewi = map(sign_in, ("siti", "budi", "dewi"))
        siti.open("/periksa")
        pair = shown(desk_town)
        siti.send("same", wants_second="true")
        text = budi.open("/periksa")
        assert shown(desk_town) == pair
        assert "pendapat kedua" in text
        assert not re.search(r"Menurut model|Bobot|Jawaban petugas|<meter", text)
        budi.send("different")
        assert rows(desk_town, "SELECT count(*) FROM lake.core.person_decision") == [(0,)]
        text = dewi.open("/selisih")
        assert shown(desk_town) == pair
        assert "1 sama, 1 berbeda, 0 ragu" in text
        dewi.send("different")
        assert rows(desk_town, "SELECT is_same, decided_by FROM lake.core.person_decision") == [
            (False, "dewi")
        ]
        assert "50,0 % dari 1 pasangan" not in dewi.open("/mutu")
        assert "0,0 % dari 1 pasangan" in dewi.page.text
    assert rows(
        desk_town,
        "SELECT reviewer, is_blind, settles FROM lake.core.person_answer ORDER BY answered_at",
    ) == [("siti", False, False), ("budi", True, False), ("dewi", False, True)]


def test_a_sample_is_answered_blind(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        text = siti.open("/sampel")
        assert not re.search(r"Menurut model|<meter|Meragukan", text)
        siti.send("unsure")
    assert rows(desk_town, "SELECT kind, is_blind FROM lake.core.person_answer") == [
        ("sample", True)
    ]


def link_to_answer(text):
    """Where the notice, else the newest row, leads to."""
    return re.findall(r'href="(/tarik[^"]*)"', text)[0]


def persons_of(town, pair):
    return rows(
        town,
        "SELECT count(DISTINCT person_id) FROM lake.core.person_mention WHERE valid_to IS NULL "
        f"AND role || ':' || source_record_id IN {tuple(pair)}",
    )[0][0]


def test_who_misclicked_takes_the_answer_back_and_the_decision_with_it(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        pair = shown(desk_town)
        link_of_notice = link_to_answer(siti.send("same"))
        link(desk_town.settings)
        assert persons_of(desk_town, pair) == 1
        text = siti.open(link_of_notice)
        assert shown(desk_town) == pair
        assert re.search(r"orang yang sama</b>; menjadi keputusan", text)
        assert "Menurut model" in text
        text = siti.send("", "/tarik")
        assert siti.page.url.path == "/jawaban"
        assert "Jawaban ditarik kembali dan keputusannya dibatalkan" in text
        assert "<td>ditarik kembali</td>" in text
        assert "/tarik?" not in text
        assert [entry.action for entry in log(desk_town)][-3:] == [
            "view_pair", "withdraw", "undecide"
        ]  # fmt: skip
        assert rows(desk_town, "SELECT undone_by FROM lake.core.person_decision") == [("siti",)]
        link(desk_town.settings)
        assert persons_of(desk_town, pair) == 2
        siti.open("/periksa")
        assert shown(desk_town) == pair
        siti.send("different")
        assert "keputusan dibatalkan" in sign_in("wati").open("/audit")
    assert rows(
        desk_town,
        "SELECT answer, withdrawn_by FROM lake.core.person_answer ORDER BY answered_at",
    ) == [("same", "siti"), ("different", None)]


def test_an_answer_that_decided_nothing_is_taken_back_and_asked_again_at_once(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        pair = shown(desk_town)
        siti.send("unsure")
        assert "menunggu pendapat kedua" in siti.open("/jawaban")
        siti.open(link_to_answer(siti.page.text))
        assert "Jawaban ditarik kembali." in siti.send("", "/tarik")
        siti.open("/periksa")
        assert shown(desk_town) == pair
    assert log(desk_town, "undecide") == []


def test_a_supervisor_sees_and_takes_back_everybodys_answers(desk_town):
    with desk(desk_town) as sign_in:
        siti, dewi = sign_in("siti"), sign_in("dewi")
        siti.open("/periksa")
        siti.send("same")
        assert "Belum ada jawaban" in sign_in("budi").open("/jawaban")
        assert "<td>siti</td>" in dewi.open("/jawaban")
        dewi.open(link_to_answer(dewi.page.text))
        dewi.send("", "/tarik")
        assert "ditarik kembali oleh dewi" in siti.open("/jawaban")


def test_only_what_counts_and_is_ones_own_is_taken_back(desk_town):
    with desk(desk_town) as sign_in:
        siti, budi, wati = map(sign_in, ("siti", "budi", "wati"))
        siti.open("/periksa")
        where = link_to_answer(siti.send("unsure"))
        siti.open(where)
        form = dict(re.findall(r'hidden" name="(\w+)" value="([^"]*)"', siti.page.text))
        seen = len(log(desk_town, "view_pair"))

        def post(visitor, **more):
            own = re.findall(r'name="form_token" value="([^"]*)"', visitor.page.text)[0]
            return visitor.client.post("/tarik", data=form | {"form_token": own} | more)

        def refusals():
            return [entry.what for entry in log(desk_town, "refused")]

        budi.open("/antrean")
        for answer in (budi.client.get(where), post(budi)):
            assert (answer.status_code, "Itu jawaban petugas lain" in answer.text) == (403, True)
        answer = post(siti, answer_id=str(uuid4()))
        assert (answer.status_code, "Jawaban itu tidak ada" in answer.text) == (404, True)
        wati.open("/mutu")
        assert post(wati).status_code == 403
        assert siti.client.post("/tarik", data=form | {"form_token": "guessed"}).status_code == 403
        assert refusals() == ["/tarik"] * 5
        assert post(siti, answer_id="1").status_code == 400
        assert rows(desk_town, "SELECT withdrawn_by FROM lake.core.person_answer") == [(None,)]
        assert post(siti).status_code == 200
        for answer in (post(siti), siti.client.get(where)):
            assert (answer.status_code, "sudah ditarik kembali" in answer.text) == (409, True)
        assert refusals() == ["/tarik"] * 7
        assert len(log(desk_town, "withdraw")) == 1
        assert len(log(desk_town, "view_pair")) == seen


def test_two_who_take_back_at_once_do_it_once(desk_town, monkeypatch):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        siti.open(link_to_answer(siti.send("unsure")))
        form = siti.page
        siti.send("", "/tarik")
        siti.page = form
        monkeypatch.setattr("portal.pages.review.Given.counts", True)
        assert "sudah ditarik kembali" in siti.send("", "/tarik")
        assert siti.page.status_code == 409


def test_a_sample_stays_blind_when_it_is_looked_at_again(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/sampel")
        text = siti.open(link_to_answer(siti.send("unsure")))
        assert '<table class="sides">' in text
        assert not re.search(r"Menurut model|<meter|Meragukan", text)


def test_an_answer_whose_record_is_gone_is_taken_back_unseen(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        one, _ = shown(desk_town)
        siti.send("same")
        with writing(desk_town.settings) as connection:
            connection.execute(
                "DELETE FROM lake.core.mention_identity "
                f"WHERE role || ':' || source_record_id = '{one}'"
            )
        seen = len(log(desk_town, "view_pair"))
        text = siti.open(link_to_answer(siti.open("/jawaban")))
        assert "tidak ada lagi" in text
        assert "<table" not in text
        assert len(log(desk_town, "view_pair")) == seen
        assert "ditarik kembali" in siti.send("", "/tarik")
    assert rows(desk_town, "SELECT withdrawn_by FROM lake.core.person_answer") == [("siti",)]


def test_an_answer_that_contradicts_is_refused_and_leads_to_the_old_ones(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        one, other = map(Mention.read, shown(desk_town))
        decide(desk_town.settings, one, other, is_same=True, by="A letter", why="1",
               night=desk_town.settings.today)  # fmt: skip
        assert "di halaman Jawaban" in siti.send("different")
    assert rows(desk_town, "SELECT count(*) FROM lake.core.person_answer") == [(0,)]


def test_airflow_is_told_counts_and_the_address_only(desk_town):
    told = open_counts(desk_town.settings)
    assert told["pairs"] == sum(told["kinds"].values()) > 0
    assert set(told["kinds"]) <= {"uncertain", "cut", "two_numbers", "sample"}
    assert told["desk"] == "http://127.0.0.1:8090"


def test_what_is_skipped_comes_again_later(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        first = shown(desk_town)
        siti.send("skip")
        assert shown(desk_town) != first
        assert rows(desk_town, "SELECT count(*) FROM lake.core.person_answer") == [(0,)]


@pytest.mark.parametrize(
    ("who", "path"),
    [("siti", "/selisih"), ("siti", "/mutu"), ("siti", "/audit"), ("dewi", "/audit"),
     ("wati", "/periksa"), ("wati", "/antrean"), ("wati", "/selisih"), ("wati", "/jawaban"),
     ("wati", f"/tarik?jawaban={UUID(int=1)}")],
)  # fmt: skip
def test_no_role_opens_what_is_not_its_own(desk_town, who, path):
    with desk(desk_town) as sign_in:
        visitor = sign_in(who)
        assert "Peran Anda" in visitor.open(path)
        assert visitor.page.status_code == 403
    assert (log(desk_town)[-1].action, log(desk_town)[-1].what) == ("refused", path.split("?")[0])


@pytest.mark.parametrize(
    "path",
    ["/antrean", "/periksa", "/sampel", "/selisih", "/jawaban", "/tarik", "/mutu", "/audit"],
)
def test_nobody_sees_anything_without_signing_in(desk_town, path):
    with client_of(make_app(desk_town.settings)) as client:
        answer = client.get(path)
        assert answer.url.path == "/masuk"
        assert "Kata sandi" in answer.text


def test_a_form_of_elsewhere_changes_nothing(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        assert "bukan dari sesi" in siti.send("same", form_token="guessed")
        assert siti.page.status_code == 403
        siti.open("/periksa")
        budi = sign_in("budi")
        budi.open("/antrean")
        (own,) = re.findall(r'name="form_token" value="([^"]*)"', budi.page.text)
        token = re.findall(r'name="token" value="([^"]*)"', siti.page.text)[0]
        answer = budi.client.post("/jawab", data={
            "form_token": own, "token": token, "path": "/periksa", "answer": "same"})  # fmt: skip
        assert "sudah tidak berlaku" in answer.text
        assert siti.client.post("/jawab", data={"answer": "same"}).status_code == 400
    assert rows(desk_town, "SELECT count(*) FROM lake.core.person_answer") == [(0,)]


def test_an_answer_twice_counts_once(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        first = siti.page
        siti.send("different")
        siti.page = first
        assert "sudah tidak berlaku" in siti.send("same")
    assert rows(desk_town, "SELECT answer FROM lake.core.person_answer") == [("different",)]


def test_a_pair_lies_before_one_reviewer_at_a_time(desk_town, monkeypatch):
    with desk(desk_town) as sign_in:
        siti, budi = sign_in("siti"), sign_in("budi")
        siti.open("/periksa")
        pair = shown(desk_town)
        budi.open("/periksa")
        assert shown(desk_town) != pair
        monkeypatch.setattr("portal.dealer.KEPT_SECONDS", 0)
        budi.open("/periksa")
        assert shown(desk_town) == pair
        siti.send("different")
        assert "sudah dijawab orang lain" in budi.send("same")
    assert rows(desk_town, "SELECT answer FROM lake.core.person_answer") == [("different",)]


def test_a_reason_that_names_somebody_is_refused_and_the_pair_stays(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        pair = shown(desk_town)
        assert "tidak boleh memuat nama atau nomor" in siti.send(
            "same", reason="NIK 3274010101900001"
        )
        assert shown(desk_town) == pair
        siti.send("same", reason="akta 470/12/2026")
    assert rows(desk_town, "SELECT reason FROM lake.core.person_decision") == [
        ("akta 470/12/2026",)
    ]


def test_a_reason_with_a_word_of_the_names_is_refused(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        one = shown(desk_town)[0]
        ((name,),) = rows(
            desk_town,
            "SELECT coalesce(person_name, mother_name) FROM lake.core.mention_identity "
            f"WHERE role || ':' || source_record_id = '{one}'",
        )
        text = siti.send("same", reason=f"sama dengan {name.split()[0].lower()}")
        assert "tidak boleh memuat nama atau nomor" in text


def test_a_load_that_writes_is_told_and_nothing_is_half_done(desk_town, monkeypatch):
    monkeypatch.setattr("portal.desk.WRITE_WITHIN_SECONDS", 0.1)
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        siti.open("/periksa")
        with writer_lock(desk_town.settings):
            assert "belum disimpan" in siti.send("same")
            assert siti.page.status_code == 503
        siti.open("/periksa")
        siti.send("same")
        siti.open("/jawaban")
        siti.open(link_to_answer(siti.page.text))
        with writer_lock(desk_town.settings):
            assert "belum disimpan" in siti.send("", "/tarik")
            assert siti.page.status_code == 503
    assert rows(desk_town, "SELECT answer, withdrawn_at FROM lake.core.person_answer") == [
        ("same", None)
    ]


def test_without_the_audit_log_nobody_is_shown(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        store = open_store(desk_town.settings)
        with store.engine.begin() as connection:
            connection.exec_driver_sql("ALTER TABLE audit RENAME TO elsewhere")
        store.dispose()
        text = siti.open("/periksa")
        assert siti.page.status_code == 503
        assert "Catatan audit tidak dapat ditulis" in text
        assert "<td>" not in text


def test_what_is_typed_for_a_name_is_not_kept_unless_it_is_one(desk_town):
    with client_of(make_app(desk_town.settings)) as client:
        client.post("/masuk", data={"name": PASSWORD, "password": "siti"})
        client.post("/masuk", data={"name": "siti", "password": "wrong"})
    kept = b"".join(one.read_bytes() for one in (desk_town.home / "portal").iterdir())
    assert PASSWORD.encode() not in kept
    assert [one.account for one in log(desk_town, "sign_in_failed")][-2:] == ["?", "siti"]


def test_an_error_of_ours_shows_and_logs_no_value(desk_town, monkeypatch):
    def fail(*_):
        raise ValueError("NIK 3274010101900001")

    configure(desk_town.settings)
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        monkeypatch.setattr("portal.desk.review.waiting", fail)
        assert "Terjadi kesalahan" in siti.open("/antrean")
    told = (desk_town.home / "logs" / "muara.log").read_text()
    assert "page failed" in told
    assert "3274010101900001" not in told + siti.page.text


def test_a_home_without_persons_says_so(first_night, tmp_path):
    desk_town = first_night.copy(tmp_path / "var")
    store = open_store(desk_town.settings)
    accounts.add(store, "siti", "reviewer", PASSWORD)
    store.dispose()
    with desk(desk_town) as sign_in:
        client = client_of(make_app(desk_town.settings))
        client.post("/masuk", data={"name": "siti", "password": PASSWORD})
        assert "Belum ada orang yang ditautkan" in client.get("/antrean").text
    assert sign_in


def test_nobody_is_named_in_log_audit_answers_titles_or_addresses(desk_town, capfd):
    with reading(desk_town.settings) as connection:
        niks, names = canaries(connection)
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        texts = []
        for path in ("/periksa", "/sampel") * 5:
            texts.append(siti.open(path))
            siti.send("unsure")
        listed = siti.open("/jawaban")
        texts += [listed, siti.open(link_to_answer(listed))]
        siti.send("", "/tarik")
        seen = "".join(texts)
        assert any(nik in seen for nik in niks), "the test must be able to find what it looks for"
        heads = "".join(re.findall(r"<title>.*?</title>", seen))
        places = "".join(re.findall(r'(?:href|action|src)="([^"]*)"', seen))
    kept = (desk_town.home / "portal" / "portal.sqlite").read_bytes().decode("latin-1")
    answers = str(rows(desk_town, "FROM lake.core.person_answer"))
    printed = "".join(capfd.readouterr())
    for where in (kept, answers, listed, heads, places, printed):
        assert not set(re.findall(r"(?<!\d)\d{16}(?!\d)", where)) & niks
        assert [name for name in names if name in where] == []


def test_pages_are_kept_by_nobody_and_run_nothing_of_elsewhere(desk_town):
    with desk(desk_town) as sign_in:
        siti = sign_in("siti")
        text = siti.open("/periksa")
        headers = siti.page.headers
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert not re.search(r"https?://|style=|onclick|<script>", text)


def test_the_commands_tell_what_waits_and_what_happened(desk_town, monkeypatch):
    monkeypatch.setenv("MUARA_HOME", str(desk_town.home))
    run = CliRunner().invoke
    assert "uncertain" in run(cli.app, ["review"]).output
    assert run(cli.app, ["account", "add", "joko", "--role", "auditor"],
               input=f"{PASSWORD}\n").exit_code == 0  # fmt: skip
    assert "joko" in run(cli.app, ["account", "list"]).output
    with desk(desk_town) as sign_in:
        sign_in("siti")
    assert "sign_in" in run(cli.app, ["audit"]).output
    assert "every seal fits" in run(cli.app, ["audit", "--verify"]).output


def test_what_leaves_carries_the_head_of_the_audit_log(desk_town):
    """So whoever cuts log and seals together contradicts what agencies hold."""
    with desk(desk_town) as sign_in:
        sign_in("siti")
    leave.publish(desk_town.settings)
    leave.deliver(desk_town.settings)
    newest = log(desk_town)[-1]
    told = [head for _, head in seals.witnesses(desk_town.settings)]
    assert told
    assert all(head == {"row": newest.id, "seal": newest.seal} for head in told)
    outside = desk_town.home / "seals" / "audit"
    outside.write_text("".join(outside.read_text().splitlines(keepends=True)[:-1]))
    with sqlite3.connect(desk_town.home / "portal" / "portal.sqlite") as file:
        file.execute("DROP TRIGGER audit_is_append_only_DELETE")
        file.execute(f"DELETE FROM audit WHERE id = {newest.id}")
    assert [fault.kind for fault in audit.faults(desk_town.settings)] == ["witness"]
    assert not audit_kept(desk_town.settings).holds
