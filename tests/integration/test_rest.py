"""Services over HTTP: every paging and way of being known, and what a hostile one cannot do."""

import gzip
import json
import random
import subprocess
import sys
import threading
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count as counting
from types import SimpleNamespace

import pytest

from common.definition import Source
from common.errors import (
    SourceDenied,
    SourceMalformed,
    SourceShapeChanged,
    SourceUnavailable,
)
from common.settings import ROOT, Settings
from connectors.readers import Interval, Progress, Pull, look
from pipeline.sync import sync
from tests.integration.test_bad_input import report
from tests.same import content_hashes
from tests.services import Reply, serving
from tests.tables import rows_of
from tests.world import Cameras

CANARY = "Siti Rahayu Canary"
RESIDENTS = [{"nik": f"32740160019{number:05}", "nama": f"Warga {number}"} for number in range(23)]
WANTED = sorted((row["nik"], row["nama"]) for row in RESIDENTS)


def source_of(columns=("nik", "nama"), strategy="snapshot", ignore=(), more=None, **access):
    stream = {
        "name": "resident", "title": "x", "connection": "made", "key": [columns[0]],
        "read": {"reader": "rest", "path": "/warga", **access}, "strategy": strategy,
        "columns": {name: {"name": name.lower().replace(".", "_")} for name in columns},
        "ignore": dict.fromkeys(ignore, "x"),
        **({"cursor": {"column": columns[0]}} if strategy == "cursor" else {}),
    }  # fmt: skip
    return Source.model_validate(
        {"name": "made", "title": "x", "agency": "dkis", "streams": [stream],
         "contact": {"unit": "-", "email": "x@y.example"}, **(more or {})}
    )  # fmt: skip


def pulling(tmp_path, url, source, progress=None, **settings):
    options = {"retry_delay_seconds": 0, **settings}
    return Pull(source, source.streams[0], url, Settings(home=tmp_path, **options),
                progress or Progress())  # fmt: skip


def part(low, size):
    return RESIDENTS[int(low) : int(low) + int(size)]


def by_page(asked):
    return Reply(part((int(asked.query["hal"]) - 1) * 5, asked.query["jml"]))


def by_page_from_zero(asked):
    return Reply({"isi": {"content": part(int(asked.query["page"]) * 5, 5), "total": 23}})


def by_offset(asked):
    """It gives three rows at most, whatever it is asked for."""
    return Reply(part(asked.query["offset"], min(3, int(asked.query["limit"]))))


def by_cursor(asked):
    at = int(asked.query.get("lanjut", 0))
    return Reply({"data": part(at, 4), "meta": {"next": at + 4 if at + 4 < 23 else None}})


def by_link(asked):
    at = int(asked.query.get("mulai", 0))
    link = {"Link": f'</warga?mulai={at + 7}&kunci=x>; rel="next", </>; rel="first"'}
    return Reply(part(at, 7), headers=link if at + 7 < 23 else {})


def by_post(asked):
    assert (asked.method, asked.json["provinsi"], asked.query) == ("POST", 32, {"v": "2"})
    return Reply({"rows": part(asked.json["offset"], asked.json["limit"])})


@pytest.mark.parametrize(
    ("answer", "access"),
    [
        (by_page, {"paging": {"kind": "page", "page": "hal", "size": "jml", "page_size": 5}}),
        (by_page_from_zero, {"paging": {"kind": "page", "size": None, "first": 0},
                             "rows": "isi.content", "total": "isi.total"}),
        (by_offset, {"paging": {"kind": "offset", "page_size": 9}}),
        (by_cursor, {"paging": {"kind": "cursor", "cursor": "lanjut", "next": "meta.next"},
                     "rows": "data"}),
        (by_link, {"paging": {"kind": "link"}}),
        (by_post, {"paging": {"kind": "offset", "page_size": 6}, "rows": "rows", "method": "POST",
                   "body": {"provinsi": 32}, "parameters": {"v": "2"}}),
        (lambda asked: Reply(RESIDENTS), {"paging": {"kind": "none"}}),
    ],
    ids=["page", "page from zero", "offset", "cursor", "link", "post", "none"],
)  # fmt: skip
def test_every_row_once(tmp_path, answer, access):
    with serving(answer) as url:
        pull = pulling(tmp_path, url, source_of(**access))
        assert rows_of(pull) == WANTED
        assert pull.extracted == 23
        assert pull.announced == (23 if "total" in access else None)
        other = pulling(tmp_path, url, source_of(**access))
        look(other)
        assert other.shape == {"nik": "", "nama": ""}


# Who we are


def only_with(name, value):
    def answer(asked):
        known = asked.headers.get(name) == value or asked.query.get(name) == value
        return Reply(RESIDENTS) if known else Reply(CANARY, 401)

    return answer


@pytest.mark.parametrize(
    ("answer", "login", "credentials"),
    [
        (only_with("authorization", "Basic bXVhcmE6c2k6QGU="), "muara:si%3A%40e", None),
        (only_with("x-api-key", "si:@e"), ":si%3A%40e", {"kind": "header", "header": "X-Api-Key"}),
        (only_with("authorization", "Bearer abc"), ":abc",
         {"kind": "header", "header": "Authorization", "prefix": "Bearer "}),
        (only_with("kunci", "a b&c"), ":a%20b%26c", {"kind": "parameter", "password": "kunci"}),
        (only_with("user", "muara"), "muara:x",
         {"kind": "parameter", "password": "kunci", "login": "user"}),
    ],
)  # fmt: skip
def test_the_service_knows_us_and_no_secret_is_told(tmp_path, answer, login, credentials, caplog):
    caplog.set_level("DEBUG")
    access = {"paging": {"kind": "none"}, "credentials": credentials}
    with serving(answer) as url:
        known = url.replace("//", f"//{login}@")
        assert rows_of(pulling(tmp_path, known, source_of(**access))) == WANTED
        with pytest.raises(SourceDenied, match="HTTP 401") as caught:
            rows_of(pulling(tmp_path, url.replace("//", "//x:hunter2@"), source_of(**access)))
    assert "hunter2" not in str(caught.value)
    assert CANARY not in str(caught.value)
    assert "kunci" not in caplog.text


def test_a_key_goes_in_the_body_of_a_post(tmp_path):
    def answer(asked):
        assert asked.query == {}
        return Reply(RESIDENTS if asked.json == {"a": 1, "id": "u", "sandi": "p"} else [])

    access = {"paging": {"kind": "none"}, "method": "POST", "body": {"a": 1},
              "credentials": {"kind": "parameter", "password": "sandi", "login": "id"}}  # fmt: skip
    with serving(answer) as url:
        known = url.replace("//", "//u:p@")
        assert rows_of(pulling(tmp_path, known, source_of(**access))) == WANTED


class Guarded:
    """Pages behind OAuth 2.0 tokens; `dies_after`: uses of each token before it is refused."""

    def __init__(self, dies_after=1000, life=3600, secret_in="header"):
        self.issued, self.uses, self.secret_in = 0, 0, secret_in
        self.dies_after, self.life = dies_after, life

    def __call__(self, asked):
        if asked.path == "/oauth/token":
            assert asked.form["grant_type"] == "client_credentials"
            assert asked.form["scope"] == "baca"
            in_body = (asked.form.get("client_id"), asked.form.get("client_secret"))
            in_header = asked.headers.get("authorization")
            if self.secret_in == "body":
                is_known = in_body == ("muara", "rahasia") and in_header is None
            else:
                is_known = in_header == "Basic bXVhcmE6cmFoYXNpYQ==" and in_body == (None, None)
            if not is_known:
                return Reply({"error": "invalid_client"}, 401)
            self.issued, self.uses = self.issued + 1, 0
            return Reply({"access_token": f"t{self.issued}", "expires_in": self.life})
        self.uses += 1
        if asked.headers["authorization"] != f"Bearer t{self.issued}":
            return Reply({}, 401)
        return Reply({}, 401) if self.uses > self.dies_after else by_offset(asked)


def guarded_access(secret_in="header"):
    return {"paging": {"kind": "offset"},
            "credentials": {"kind": "client_credentials", "token": "/oauth/token",
                            "scope": "baca", "secret_in": secret_in}}  # fmt: skip


@pytest.mark.parametrize(
    ("service", "tokens"),
    [
        (Guarded(), 1),
        (Guarded(secret_in="body"), 1),
        (Guarded(dies_after=4), 3),  # 9 requests: renewed once at each 401
        (Guarded(life=None), 1),  # of no stated life
    ],
)
def test_client_credentials(tmp_path, service, tokens):
    with serving(service) as url:
        known = url.replace("//", "//muara:rahasia@")
        access = guarded_access(service.secret_in)
        assert rows_of(pulling(tmp_path, known, source_of(**access))) == WANTED
        assert service.issued == tokens


def test_a_token_about_to_end_is_renewed_before_it_does(tmp_path, monkeypatch):
    service, now = Guarded(life=100), counting(0, 10)
    clock = SimpleNamespace(monotonic=lambda: float(next(now)), sleep=lambda _: None)
    monkeypatch.setattr("connectors.readers.rest.service.time", clock)
    with serving(service) as url:
        known = url.replace("//", "//muara:rahasia@")
        assert rows_of(pulling(tmp_path, known, source_of(**guarded_access()))) == WANTED
    assert service.issued > 1


def test_a_client_that_is_refused(tmp_path):
    service = Guarded()
    with serving(service) as url:
        known = url.replace("//", "//muara:hunter2@")
        with pytest.raises(SourceDenied, match="no token: HTTP 401") as caught:
            rows_of(pulling(tmp_path, known, source_of(**guarded_access())))
    assert "hunter2" not in str(caught.value)


def test_a_token_refused_at_once_again_is_not_renewed_for_ever(tmp_path):
    service = Guarded(dies_after=0)
    with serving(service) as url:
        known = url.replace("//", "//muara:rahasia@")
        with pytest.raises(SourceDenied, match="HTTP 401"):
            rows_of(pulling(tmp_path, known, source_of(**guarded_access())))
    assert service.issued == 2


# Courtesy


def after(refusals, answer=by_offset):
    """The refusals one after another, then the answer for ever."""
    left = list(refusals)

    def decide(asked):
        return left.pop(0) if left else answer(asked)

    return decide


OFFSET = {"paging": {"kind": "offset"}}


def test_it_waits_as_long_as_the_service_asks(tmp_path):
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    refusals = [Reply(b"", 429, {"Retry-After": "1"}), Reply(b"", 503, {"Retry-After": soon})]
    started = time.monotonic()
    with serving(after(refusals)) as url:
        assert rows_of(pulling(tmp_path, url, source_of(**OFFSET))) == WANTED
    assert time.monotonic() - started >= 1


@pytest.mark.parametrize("wait", ["86400", "Fri, 31 Dec 2027 23:59:59 GMT"])
def test_it_does_not_wait_for_ever(tmp_path, wait):
    answers = after([Reply(b"", 429, {"Retry-After": wait})])
    with serving(answers) as url:
        with pytest.raises(SourceUnavailable, match="HTTP 429"):
            rows_of(pulling(tmp_path, url, source_of(**OFFSET)))
        assert rows_of(pulling(tmp_path, url, source_of(**OFFSET))) == WANTED


@pytest.mark.parametrize("told", ["soon", "²", "-5", "Fri, 99 Foo 2026", "9" * 400])
def test_a_wait_that_cannot_be_read_is_none(tmp_path, told):
    answers = after([Reply(b"", 429, {"Retry-After": told})])
    with serving(answers) as url:
        if told.startswith("9"):
            with pytest.raises(SourceUnavailable, match="HTTP 429"):
                rows_of(pulling(tmp_path, url, source_of(**OFFSET)))
        else:
            assert rows_of(pulling(tmp_path, url, source_of(**OFFSET))) == WANTED


def test_a_storm_of_refusals_ends_the_batch_and_a_shower_does_not(tmp_path):
    asked = []

    def storm(one):
        asked.append(one)
        return Reply(b"", 429, {"Retry-After": "0"})

    with serving(storm) as url:
        with pytest.raises(SourceUnavailable, match="HTTP 429"):
            rows_of(pulling(tmp_path, url, source_of(**OFFSET), retries=4))
    assert len(asked) == 5

    turn = counting()

    def shower(one):
        return Reply(b"", 429, {"Retry-After": "0"}) if next(turn) % 2 else by_offset(one)

    with serving(shower) as url:
        assert rows_of(pulling(tmp_path, url, source_of(**OFFSET))) == WANTED


@pytest.mark.parametrize("more", [{"requests_per_minute": 600}, {"rows_per_second": 30}])
def test_no_faster_than_its_owner_allows(tmp_path, more):
    at = []

    def answer(asked):
        at.append(time.monotonic())
        return by_offset(asked)

    with serving(answer) as url:
        rows_of(pulling(tmp_path, url, source_of(more=more, **OFFSET)))
    assert len(at) == 9
    assert at[-1] - at[0] >= 0.5


def test_a_wrong_question_is_not_repeated(tmp_path):
    asked = []

    def answer(one):
        asked.append(one)
        return Reply({"error": CANARY}, 400)

    with serving(answer) as url:
        with pytest.raises(SourceShapeChanged, match="HTTP 400") as caught:
            rows_of(pulling(tmp_path, url, source_of(**OFFSET)))
    assert CANARY not in str(caught.value)
    assert len(asked) == 1


# Endless and hostile services


@pytest.mark.parametrize(
    ("answer", "access"),
    [
        (lambda asked: Reply(RESIDENTS), {}),
        (lambda asked: Reply(part(int(asked.query["page"]) % 3, 1)), {}),
        (lambda asked: Reply({"rows": [], "next": "x"}),
         {"rows": "rows", "paging": {"kind": "cursor", "cursor": "c", "next": "next"}}),
        (lambda asked: Reply([], headers={"Link": '</warga?b=1>; rel="next"'}),
         {"paging": {"kind": "link"}}),
    ],
    ids=["ignores the page", "goes round", "cursor stands still", "link stands still"],
)  # fmt: skip
def test_a_service_without_an_end_is_refused(tmp_path, answer, access):
    with serving(answer) as url:
        with pytest.raises(SourceMalformed, match="repeats an earlier page"):
            rows_of(pulling(tmp_path, url, source_of(**access)))


def test_a_service_that_always_has_more_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("connectors.readers.rest.PAGES_AT_MOST", 20)
    numbers = counting()
    with serving(lambda asked: Reply([{"nik": str(next(numbers)), "nama": ""}])) as url:
        with pytest.raises(SourceMalformed, match="more than 20 pages"):
            rows_of(pulling(tmp_path, url, source_of()))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_our_key_does_not_follow_to_another_host(tmp_path, status):
    elsewhere = []
    access = OFFSET | {"credentials": {"kind": "header", "header": "X-Api-Key"}}
    with serving(lambda asked: elsewhere.append(asked) or Reply([])) as other:
        away = Reply(b"", status, {"Location": f"{other}/warga"})
        with serving(lambda asked: away) as url:
            with pytest.raises(SourceDenied, match="another scheme, host or port"):
                rows_of(pulling(tmp_path, url.replace("//", "//:k@"), source_of(**access)))
        link = {"Link": f'<{other}/warga?a=1>; rel="next"'}
        access["paging"] = {"kind": "link"}
        with serving(lambda asked: Reply(RESIDENTS, headers=link)) as url:
            with pytest.raises(SourceDenied, match="another scheme, host or port"):
                rows_of(pulling(tmp_path, url.replace("//", "//:k@"), source_of(**access)))
    assert elsewhere == []


def test_a_redirect_within_the_service_is_followed_and_a_circle_is_not(tmp_path):
    def moved(asked):
        if asked.path == "/baru":
            return by_offset(asked)
        query = "&".join(f"{name}={value}" for name, value in asked.query.items())
        return Reply(b"", 307, {"Location": f"/baru?{query}"})

    with serving(moved) as url:
        assert rows_of(pulling(tmp_path, url, source_of(**OFFSET))) == WANTED
    with serving(lambda asked: Reply(b"", 302, {"Location": "/warga"})) as url:
        with pytest.raises(SourceUnavailable, match="more than 5 redirects"):
            rows_of(pulling(tmp_path, url, source_of(**OFFSET), retries=0))


def packed(content, coding="gzip", **more):
    return Reply(content, headers={"Content-Encoding": coding}, **more)


ONE = {"paging": {"kind": "none"}, "answer_mb": 1}


@pytest.mark.parametrize(
    ("reply", "error", "match"),
    [
        (Reply(b"[" + b"1," * 2**20), SourceMalformed, "larger than 1,048,576 bytes"),
        (packed(gzip.compress(b" " * 2**28)), SourceMalformed, "larger than 1,048,576 bytes"),
        (packed(gzip.compress(gzip.compress(b" " * 2**28)), "gzip, gzip"), SourceMalformed,
         "in a way we did not ask for"),
        (packed(b"x", "br"), SourceMalformed, "in a way we did not ask for"),
        (packed(b"nothing of the kind"), SourceMalformed, "cannot be unpacked"),
        (packed(gzip.compress(b"[]") * 2), SourceMalformed, "something follows"),
        (packed(gzip.compress(json.dumps(RESIDENTS).encode())[:-9]), SourceUnavailable,
         "ended half-way"),
        (Reply(b"[" * 200_000), SourceMalformed, "nested too deeply"),
        (Reply(b'[{"nik": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}]"), SourceMalformed,
         "nested too deeply"),
        (Reply(b'[{"nik": "1", "nama": "a", "nik": "2"}]'), SourceMalformed, "a key twice"),
        (Reply(b'[{"nik": {"a": {"b": 1, "b": 2}}}]'), SourceMalformed, "a key twice"),
        (Reply(b'[{"nik": NaN}]'), SourceMalformed, "no NaN"),
        (Reply(b'[{"nik": "\xff"}]'), SourceMalformed, "not valid UTF-8 at byte 10"),
        (Reply(b'[{"nik": "1\n"}]'), SourceMalformed, "not valid JSON at byte 11"),
        (Reply([1, {"nik": "1"}]), SourceMalformed, "row 1 is not an object"),
        (Reply({"nik": "1"}), SourceMalformed, "not a JSON array"),
        (Reply(b"<html>masuk</html>"), SourceMalformed, "not valid JSON at byte 0"),
        (Reply(b""), SourceMalformed, "not valid JSON at byte 0"),
    ],
)  # fmt: skip
def test_a_hostile_answer_is_refused(tmp_path, reply, error, match):
    with serving(lambda asked: reply) as url:
        with pytest.raises(error, match=match) as caught:
            rows_of(pulling(tmp_path, url, source_of(**ONE), retries=0))
    assert caught.value.where == "made.resident"
    assert caught.value.next_step


def test_a_bomb_takes_no_memory(tmp_path):
    bomb = packed(gzip.compress(b" " * 2**28))
    with serving(lambda asked: bomb) as url:
        tracemalloc.start()
        try:
            with pytest.raises(SourceMalformed, match="larger than"):
                rows_of(pulling(tmp_path, url, source_of(**ONE), retries=0))
            assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize(("pause", "match"), [(0.1, "longer than 1 s"), (3, "no answer")])
def test_a_service_that_drips_or_stalls_is_given_up(tmp_path, pause, match):
    with serving(lambda asked: Reply(RESIDENTS, pause=pause)) as url:
        source = source_of(more={"statement_timeout_seconds": 1}, **ONE)
        with pytest.raises(SourceUnavailable, match=match):
            rows_of(pulling(tmp_path, url, source, retries=0))


# Values


def values(tmp_path, body, columns=("nik", "nama"), **access):
    with serving(lambda asked: Reply(body)) as url:
        return rows_of(pulling(tmp_path, url, source_of(columns, **ONE | access)))


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("3274016001900001", "3274016001900001"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1.6E16", "1.6E16"),
        ("3.274016001900001e15", "3.274016001900001e15"),
        ("-0", "-0"),
        ("1.10", "1.10"),
        ('"0012"', "0012"),
        ("true", "true"),
        ("null", None),
        (r'"a\ud800b"', r"a\ud800b"),
        (r'"a\u0000b"', "a\0b"),
        (r'"\ud83d\ude00"', "😀"),
        ('{"b":1.50,"a":[3274016001900001,null,"x"]}',
         '{"a":[3274016001900001,null,"x"],"b":1.50}'),
        (r'{"a":"\ud800\u0000"}', r'{"a":"\ud800\u0000"}'),
        ("[]", "[]"),
    ],
)  # fmt: skip
def test_a_value_is_kept_as_sent(tmp_path, sent, kept):
    assert values(tmp_path, b'[{"nik":"1","nama":' + sent.encode() + b"}]") == [("1", kept)]


def test_nested_fields_are_columns_by_their_path(tmp_path):
    body = [{"nik": "1", "alamat": {"kota": "A", "rt": {"no": 5}}}, {"nik": "2", "alamat": None},
            {"nik": "3"}, {"nik": "4", "alamat": {"rt": {}, "kota": "B"}}]  # fmt: skip
    columns = ("nik", "alamat.kota", "alamat.rt.no")
    assert values(tmp_path, body, columns) == [
        ("1", "A", "5"), ("2", None, None), ("3", None, None), ("4", "B", None),
    ]  # fmt: skip


def test_an_unknown_nested_field_is_noticed_and_one_that_is_no_object_refused(tmp_path):
    body = [{"nik": "1", "alamat": {"kota": "A", "pos": "45121"}}]
    with serving(lambda asked: Reply(body)) as url:
        pull = pulling(tmp_path, url, source_of(("nik", "alamat.kota"), **ONE))
        rows_of(pull)
        assert [(one.kind, one.column) for one in pull.drifts] == [("new", "alamat.pos")]
    with pytest.raises(SourceMalformed, match="row 2: alamat is not an object"):
        values(tmp_path, [body[0], {"nik": "2", "alamat": CANARY}], ("nik", "alamat.kota"))
    twice = [{"nik": "1", "alamat": {"kota": "A"}, "alamat.kota": "B"}]
    with pytest.raises(SourceMalformed, match=r"row 1 names alamat\.kota twice"):
        values(tmp_path, twice, ("nik", "alamat.kota"))


def test_a_field_that_no_row_has_is_gone_unless_the_service_omits_what_is_empty(tmp_path):
    with pytest.raises(SourceShapeChanged, match="gone: nama"):
        values(tmp_path, [{"nik": "1"}])
    assert values(tmp_path, [{"nik": "1"}], omits_empty=True) == [("1", None)]


def test_rows_that_moved_while_they_were_read_are_noticed(tmp_path):
    def answer(asked):
        return Reply({"rows": part(asked.query["offset"], 5), "total": 24})

    with serving(answer) as url:
        with pytest.raises(SourceUnavailable, match="tells of 24 rows and gave 23"):
            rows_of(pulling(tmp_path, url, source_of(rows="rows", total="total", **OFFSET)))


# Cursor

SINCE = OFFSET | {"changed": {"since": "sejak", "until": "sampai"}}


def asked_for(tmp_path, progress, access=SINCE, date=None, **settings):
    asked = []

    def answer(one):
        asked.append({name: one.query.get(name) for name in ("sejak", "sampai")})
        return Reply(by_offset(one).body, headers={"Date": date} if date else {})

    with serving(answer) as url:
        pull = pulling(tmp_path, url, source_of(strategy="cursor", **access), progress, **settings)
        assert rows_of(pull) == WANTED
    assert pull.scope == "none"
    assert len(asked) == 9
    assert all(one == asked[0] for one in asked)
    return pull.interval, asked[0]


def test_a_cursor_asks_since_where_it_is_covered(tmp_path):
    start = datetime.now(UTC).replace(tzinfo=None)
    interval, asked = asked_for(tmp_path, Progress())
    assert asked == {"sejak": None, "sampai": None}
    assert interval.low is None
    assert start <= interval.high <= datetime.now(UTC).replace(tzinfo=None)

    covered = datetime(2026, 11, 1, 8)
    interval, asked = asked_for(tmp_path, Progress(covered_until=covered))
    assert asked == {"sejak": "2026-11-01T07:00:00+00:00", "sampai": None}
    assert interval.low == datetime(2026, 11, 1, 7)

    stretch = Interval(datetime(2026, 3, 1), datetime(2026, 3, 2))
    interval, asked = asked_for(tmp_path, Progress(asked=stretch))
    assert asked == {"sejak": "2026-03-01T00:00:00+00:00", "sampai": "2026-03-02T00:00:00+00:00"}
    assert interval == stretch


def test_times_are_written_as_the_service_wants_them(tmp_path):
    access = OFFSET | {
        "changed": {"since": "sejak", "format": "%d/%m/%Y %H:%M", "timezone": "Asia/Jakarta"}
    }
    covered = Progress(covered_until=datetime(2026, 11, 1, 8))
    assert asked_for(tmp_path, covered, access)[1] == {"sejak": "01/11/2026 07:00", "sampai": None}
    del access["changed"]["format"]
    assert asked_for(tmp_path, covered, access)[1]["sejak"] == "2026-11-01T07:00:00+07:00"


def test_a_service_whose_clock_is_behind_covers_less(tmp_path):
    interval, _ = asked_for(tmp_path, Progress(), date="Sun, 01 Nov 2026 01:00:00 GMT")
    assert interval.high == datetime(2026, 11, 1, 1)


# Faults, through to the warehouse


def inbox_of(rows, size, spoil):
    """An Open311 inbox; `spoil(page, reply)` may change an answer."""

    def answer(asked):
        page = int(asked.query["page"])
        return spoil(page, Reply(rows[(page - 1) * size : page * size]))

    return answer


def read_inbox(cameras, url):
    source = cameras.sources["report_inbox"]
    return sync(cameras.settings, source, source.stream("request"), lambda _: url)


REPORTS = [report(str(number)) for number in range(1, 13)]


@pytest.fixture
def undisturbed(tmp_path):
    (tmp_path / "undisturbed").mkdir()
    cameras = Cameras(tmp_path / "undisturbed")
    with serving(inbox_of(REPORTS, 5, lambda page, reply: reply)) as url:
        read_inbox(cameras, url)
    return cameras


def twin(cameras, folder, **settings):
    """Another warehouse with the same key for surrogates."""
    folder.mkdir()
    other = Cameras(folder, **settings)
    (other.settings.home / "secrets").mkdir(exist_ok=True)
    (other.settings.home / "secrets" / "pseudonym.key").write_text(cameras.settings.pseudonym_key)
    return other


@pytest.mark.parametrize("cuts", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_cut_at_any_place_and_the_rerun_gives_the_same_tables(undisturbed, tmp_path, cuts):
    cameras, chance = twin(undisturbed, tmp_path / "cut", retries=0), random.Random(20261124)
    whole = len(json.dumps(REPORTS[:5]))
    for _ in range(cuts):
        at, cut = chance.choice((1, 2)), chance.randrange(whole)

        def spoil(page, reply, at=at, cut=cut):
            return Reply(reply.body, cut=cut) if page == at else reply

        with serving(inbox_of(REPORTS, 5, spoil)) as url:
            with pytest.raises(SourceUnavailable):
                read_inbox(cameras, url)
        assert cameras.rows("SELECT count(*) FROM lake.core.report") == [(0,)]
    with serving(inbox_of(REPORTS, 5, lambda page, reply: reply)) as url:
        read_inbox(cameras, url)
    assert content_hashes(cameras.settings) == content_hashes(undisturbed.settings)


def test_a_cut_in_the_middle_is_asked_again(undisturbed, tmp_path):
    cameras, cuts = twin(undisturbed, tmp_path / "again"), iter([0, 30, 700])

    def spoil(page, reply):
        return Reply(reply.body, cut=next(cuts, None))

    with serving(inbox_of(REPORTS, 5, spoil)) as url:
        cameras.settings.retries = 3
        read_inbox(cameras, url)
    assert content_hashes(cameras.settings) == content_hashes(undisturbed.settings)


def test_a_service_restarted_between_pages(undisturbed, tmp_path, free_port):
    """It is gone after page 1 and back, on the same port, a second later."""
    cameras, gone = twin(undisturbed, tmp_path / "restart", retries=5), threading.Event()
    cameras.settings.retry_delay_seconds = 0.3

    def leaves(page, reply):
        gone.set()
        return reply if page == 1 else Reply(cut=0)

    def restart():
        with serving(inbox_of(REPORTS, 5, leaves), free_port):
            gone.wait(30)
        time.sleep(0.5)
        with serving(inbox_of(REPORTS, 5, lambda page, reply: reply), free_port):
            over.wait(60)

    over = threading.Event()
    running = threading.Thread(target=restart, daemon=True)
    running.start()
    try:
        read_inbox(cameras, f"http://127.0.0.1:{free_port}")
    finally:
        over.set()
        running.join()
    assert content_hashes(cameras.settings) == content_hashes(undisturbed.settings)


def test_killed_between_pages_and_the_rerun_gives_the_same_tables(undisturbed, tmp_path):
    cameras = twin(undisturbed, tmp_path / "killed")
    driver = (
        "import sys; from tests.integration.test_rest import *\n"
        "from common.definition import load_sources\n"
        "settings = Settings(home=sys.argv[1], today='2026-11-23')\n"
        "source = load_sources(settings)['report_inbox']\n"
        "sync(settings, source, source.stream('request'), lambda _: sys.argv[2])"
    )
    at_page_two, over = threading.Event(), threading.Event()

    def spoil(page, reply):
        if page == 2:
            at_page_two.set()
            over.wait(60)
        return reply

    with serving(inbox_of(REPORTS, 5, spoil)) as url:
        process = subprocess.Popen(
            [sys.executable, "-c", driver, str(cameras.settings.home), url], cwd=ROOT
        )
        assert at_page_two.wait(120)
        process.kill()
        assert process.wait() == -9
        over.set()
        assert cameras.rows("SELECT count(*) FROM lake.core.report") == [(0,)]
        read_inbox(cameras, url)
    assert content_hashes(cameras.settings) == content_hashes(undisturbed.settings)


def test_odd_text_lands(tmp_path):
    (tmp_path / "odd").mkdir()
    cameras = Cameras(tmp_path / "odd")
    odd = [report("1", description="a\0b"), report("2", description="a\ud800b")]
    with serving(inbox_of(odd, 5, lambda page, reply: reply)) as url:
        assert read_inbox(cameras, url).extracted == 2
        assert read_inbox(cameras, url).unchanged == 2
    assert cameras.rows(
        "SELECT description FROM lake.landing.report_inbox__request ORDER BY report_number"
    ) == [("a\0b",), (r"a\ud800b",)]
