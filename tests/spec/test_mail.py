"""What becomes of a message, however it is made: one row, with `fault` where it cannot be trusted,
in bounded time and memory; one bad message never stops the box."""

import hashlib
import json
import subprocess
import sys
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.access import Mail
from common.settings import ROOT
from connectors.readers.files.formats import mail
from tests.inbox import Inbox, letter
from tests.mutants import AWKWARD, for_an_hour, mutate
from tests.tables import source_of

STREAM = source_of("m", {name: {} for name in mail.COLUMNS}, key="message_key").streams[0]
HEAD = b"From: Warga <warga@surel.example>\r\nMessage-ID: <a@b>\r\nSubject: Lampu\r\n"


def row_of(content: bytes, folder: Path, max_bytes: int = 10 << 20) -> dict:
    path = folder / "message"
    path.write_bytes(content)
    (batch,) = mail.parse(Mail(kind="mail", max_bytes=max_bytes), STREAM, "here", path)
    (row,) = batch.to_pylist()
    return row


def part(content: bytes, kind: str = "text/plain; charset=utf-8", more: bytes = b"") -> bytes:
    return HEAD + f"Content-Type: {kind}\r\n".encode() + more + b"\r\n" + content


def test_a_plain_message(tmp_path):
    row = row_of(letter("x", "Lampu padam"), tmp_path)
    assert row["message_key"] == row["message_id"] == "x@surel.example"
    assert (row["from_address"], row["from_name"]) == ("warga@surel.example", "Warga")
    assert (row["subject"], row["text"], row["fault"]) == ("Laporan", "Lampu padam", None)
    assert row["sent_at"] == "2026-11-20T02:00:00+00:00"


def test_without_message_id_the_content_is_the_key_whatever_the_line_ends(tmp_path):
    content = b"From: a@b.example\r\n\r\nSatu\r\n"
    unix = row_of(content.replace(b"\r\n", b"\n"), tmp_path)
    assert unix["message_key"] == row_of(content, tmp_path)["message_key"]
    assert unix["message_key"].startswith("sha256:")


def test_html_becomes_text(tmp_path):
    html = b"<html><style>p{}</style><p>Lampu&nbsp;padam<br>di <b>Jl</b>. Kesambi</p></html>"
    assert row_of(part(html, "text/html"), tmp_path)["text"].split() == [
        "Lampu", "padam", "di", "Jl.", "Kesambi",
    ]  # fmt: skip


def test_plain_text_wins_over_html(tmp_path):
    message = EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("biasa")
    message.add_alternative("<p>hiasan</p>", subtype="html")
    assert row_of(bytes(message), tmp_path)["text"] == "biasa"


@pytest.mark.parametrize(
    ("text", "written", "quoted"),
    [
        ("Baru\n\nPada 1/2/2026, lapor menulis:\n> Lama\n> sekali", "Baru", "Pada"),
        ("On Monday, the office wrote:\n> Lama\n\nJawaban di bawah", "Jawaban di bawah", "On"),
        ("Baru\n-----Original Message-----\nLama tanpa tanda", "Baru", "-----"),
        ("Tidak ada kutipan", "Tidak ada kutipan", None),
    ],
)
def test_what_a_reply_repeats_is_apart(tmp_path, text, written, quoted):
    row = row_of(part(text.encode()), tmp_path)
    assert row["text"] == written
    assert (row["quoted"] or "").split(" ")[0].split("\n")[0].startswith(quoted or "")
    assert bool(row["quoted"]) == bool(quoted)


def test_attachments_are_kept_beside_the_originals(tmp_path):
    message = EmailMessage()
    message["From"] = "a@b.example"
    message.set_content("lihat foto")
    message.add_attachment(b"\xff\xd8foto", maintype="image", subtype="jpeg", filename="Budi.jpg")
    row = row_of(bytes(message), tmp_path)
    digest = hashlib.sha256(b"\xff\xd8foto").hexdigest()
    assert json.loads(row["attachments"]) == [
        {"type": "image/jpeg", "size": 6, "sha256": digest, "name": "Budi.jpg"}
    ]
    assert (tmp_path / digest[:2] / digest).read_bytes() == b"\xff\xd8foto"
    assert (row["text"], row["fault"]) == ("lihat foto", None)


@pytest.mark.parametrize(
    ("charset", "text"),
    [("iso-8859-1", "café"), ("windows-1252", "“lampu”"), ("utf-8", "–"), ("utf-16", "lampu"),
     ("gb2312", "中文")],
)  # fmt: skip
def test_charsets(tmp_path, charset, text):
    row = row_of(part(text.encode(charset), f"text/plain; charset={charset}"), tmp_path)
    assert (row["text"], row["fault"]) == (text, None)


def nested(depth: int) -> bytes:
    opening = b"".join(
        b'Content-Type: multipart/mixed; boundary="b%d"\r\n\r\n--b%d\r\n' % (n, n)
        for n in range(depth)
    )
    return HEAD + opening + b"\r\nisi"


HOSTILE = {
    "empty": (b"", "empty"),
    "no header": (b"\r\n\r\nisi", "malformed"),
    "no mail": (bytes(range(256)) * 50, "malformed"),
    "unknown charset": (part(b"isi", "text/plain; charset=x-klingon"), "charset_unknown"),
    "a codec that is no charset": (part(b"isi", "text/plain; charset=zip"), "charset_unknown"),
    "a wrong charset": (part(b"caf\xe9", "text/plain; charset=utf-8"), "charset_wrong"),
    "eight bits and no charset": (HEAD + b"\r\ncaf\xe9", "charset_wrong"),
    "NUL": (part(b"satu\x00dua"), "impossible_characters"),
    "a lone surrogate": (
        part("\ud800".encode("utf-16-le", "surrogatepass"), "text/plain; charset=utf-16-le"),
        "charset_wrong",
    ),
    "broken base64": (
        part(b"####!!!", more=b"Content-Transfer-Encoding: base64\r\n"), "malformed",
    ),
    "no boundary": (part(b"--x\r\n\r\nisi", "multipart/mixed"), "malformed"),
    "10,000 parts": (
        part(b"--x\r\n\r\nisi\r\n" * 10_000 + b"--x--", 'multipart/mixed; boundary="x"'),
        "too_many_parts",
    ),
    "nested 500 deep": (nested(500), "nested_too_deep"),
    "digests nested": (
        HEAD + b"".join(
            b'Content-Type: multipart/digest; boundary="b%d"\r\n\r\n--b%d\r\n\r\n' % (n, n)
            for n in range(500)
        ),
        "nested_too_deep",
    ),
    "a header of 5 MB": (
       b"Subject: " + b"=?utf-8?q?x?= " * 400_000 + b"\r\n\r\nisi",
        "header_too_long",
    ),
    "100,000 headers": (b"X-A: b\r\n" * 100_000 + b"\r\nisi", "header_too_long"),
    "10,000 senders": (
       b"From: " + b"a@b.example, " * 10_000 + b"\r\n\r\nisi", "header_too_long",
    ),
    "a bad sender": (b"From: <<<>>>\r\nMessage-ID: <a@b>\r\n\r\nisi", "sender_unreadable"),
    "eight bits in the subject": (b"Subject: caf\xe9\r\n\r\nisi", "header_unreadable"),
    "nothing but line ends": (part(b"\n" * 5_000_000), "too_many_lines"),
    "HTML nested deep": (part(b"<div>" * 100_000 + b"isi", "text/html"), None),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_is_a_row_with_a_fault(tmp_path, name):
    content, fault = HOSTILE[name]
    row = row_of(content, tmp_path)
    if fault:
        assert fault in row["fault"].split()
    assert row["message_key"]
    json.dumps(row).encode("utf-8")


def test_hostile_messages_cost_little(tmp_path):
    """All of them in a process of its own: within 60 s of processor and 600 MB, or it is killed."""
    folder = tmp_path / "box"
    folder.mkdir()
    for number, (content, _) in enumerate(HOSTILE.values()):
        (folder / str(number)).write_bytes(content)
    code = (
        "import re, resource, sys; from pathlib import Path\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (60, 60))\n"
        "from common.access import Mail\n"
        "from tests.spec.test_mail import STREAM\n"
        "from connectors.readers.files.formats import mail\n"
        "for path in sorted(Path(sys.argv[1]).iterdir()):\n"
        "    list(mail.parse(Mail(kind='mail'), STREAM, 'here', path))\n"
        "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert int(done.stdout) < 600_000


def test_an_oversized_message_is_known_by_its_headers(tmp_path):
    row = row_of(letter("x", "isi " * 5000), tmp_path, max_bytes=2000)
    assert (row["fault"], row["message_key"], row["text"]) == ("too_large", "x@surel.example", None)


def test_one_bad_message_never_stops_the_box(tmp_path):
    inbox = Inbox(tmp_path)
    for number, (content, _) in enumerate(HOSTILE.values()):
        inbox.mail(f"{number}.bad", content)
    inbox.mail("99.good", letter("good", "Lampu padam"))
    (account,) = inbox.sync("mail")
    assert account.extracted == len(HOSTILE) + 1
    assert inbox.groups() >= {frozenset({"email: Lampu padam"})}
    (again,) = inbox.sync("mail")
    assert again.extracted == 0


def test_a_message_deleted_from_the_box_stays_a_record(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.mail("1.a", letter("a", "Lampu padam"))
    inbox.sync("mail")
    (inbox.maildir / "new" / "1.a").unlink()
    inbox.mail("2.b", letter("b", "Jalan rusak"))
    (account,) = inbox.sync("mail")
    assert (account.extracted, account.deleted, len(inbox.reports())) == (1, 0, 2)


def test_a_message_read_meanwhile_is_the_same(tmp_path):
    inbox = Inbox(tmp_path)
    inbox.mail("1.a", letter("a", "Lampu padam"))
    inbox.sync("mail")
    (inbox.maildir / "new" / "1.a").rename(inbox.maildir / "cur" / "1.a:2,S")
    (account,) = inbox.sync("mail")
    assert account.extracted == 0


PIECES = (
    b"\r\n", b"\n", b"\r\n\r\n", b"--x\r\n", b"--x--\r\n", b"From: ", b"a@b.example", b"<", b">",
    b"Content-Type: ", b"multipart/mixed", b"message/rfc822", b"text/html", b'; boundary="x"',
    b"; charset=", b"utf-8", b"=?utf-8?b?", b"?=", b"Content-Transfer-Encoding: base64\r\n",
    b"Date: ", b"Subject: ", b"\x00", b"\xff", b"=", b'"', b"(", b"<p>", b"&#xd800;",
    b"filename*0*=",
    b"Content-Disposition: attachment; ",
)  # fmt: skip
MESSAGES = st.lists(st.sampled_from(PIECES) | st.binary(max_size=12), max_size=60).map(b"".join)


def survives(content: bytes, folder: Path) -> None:
    row = row_of(content, folder)
    assert row["message_key"]
    assert row["sha256"]
    json.dumps(row, ensure_ascii=False).encode("utf-8")
    assert row_of(content, folder) == row


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_any_bytes_become_a_row(tmp_path_factory, content):
    survives(content, tmp_path_factory.getbasetemp())


@pytest.mark.soak
def test_an_hour_of_mutants(tmp_path):
    """Of hostile messages, of letters, and of pieces put together by chance."""
    seeds = [content for content, _ in HOSTILE.values() if len(content) < 100_000]
    answer = EmailMessage()
    answer["From"], answer["Subject"] = "Désirée <a@b.example>", "Re: Lampu " * 20
    answer.set_content("Baru\n\nPada 1/2/2026, lapor menulis:\n> Lama", charset="iso-8859-1")
    answer.add_alternative("<p>Baru<br>&nbsp;<b>sekali</b></p>", subtype="html")
    answer.add_attachment(message_from_bytes(letter("x", "Lampu"), policy=default))
    answer.add_attachment(b"\xff\xd8", "image", "jpeg", filename="Désirée.jpg")
    seeds.append(bytes(answer))
    for chance in for_an_hour("mail"):
        made = b"".join(chance.choices(PIECES, k=chance.randrange(60)))
        survives(mutate(chance, chance.choice([*seeds, made]), (*AWKWARD, *PIECES)), tmp_path)
