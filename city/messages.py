"""Reports by SMS and mail: some of the inbox's reports were also sent so, others only so.

Table `message` of the truth says of each which request it repeats, if any. The SMS stand in a table
of Gammu (its documented schema), the mails in a maildir. Shares are assumed; texts are ours.
"""

import os
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np

from city.sql import Con, Rng, feeding, value

ALSO_SMS, ALSO_MAIL = 0.02, 0.005  # of the reports in the app and elsewhere
ONLY_THERE = 0.02  # beside each report of the inbox, half of them by mail
UNICODE, PART, UNICODE_PART = 0.2, 153, 67  # characters, 3GPP TS 23.038
ZONE = ZoneInfo("Asia/Jakarta")


def create_tables(con: Con) -> None:
    con.execute(
        """
        CREATE TABLE message (
            number BIGINT, channel VARCHAR, report_number BIGINT, phone VARCHAR, email VARCHAR,
            name VARCHAR, place VARCHAR, text VARCHAR, sent_at TIMESTAMP, form VARCHAR,
            is_complete BOOLEAN)
        """
    )


def send(con: Con, rng: Rng, after: date, today: date) -> None:
    """Sends what belongs to the reports made after `after`, up to and with `today`."""
    reports = con.execute(
        """
        SELECT report_number, channel FROM report
        WHERE requested_at::DATE > ? AND requested_at::DATE <= ? ORDER BY report_number
        """,
        [after, today],
    ).fetchnumpy()
    count = len(reports["report_number"])
    dice = rng.random(count)
    of_sms, of_mail = reports["channel"] == "sms", reports["channel"] == "email"
    by_sms = of_sms | (~of_mail & (dice < ALSO_SMS))
    by_mail = of_mail | (~of_sms & (dice > 1 - ALSO_MAIL))
    only = rng.random(count) < ONLY_THERE
    likes = np.concatenate([reports["report_number"][one] for one in (by_sms, by_mail, only)])
    channels = ["sms"] * by_sms.sum() + ["email"] * by_mail.sum()
    channels += list(rng.choice(["sms", "email"], only.sum()))
    drawn = {
        "likes": likes,
        "by_channel": channels,
        "is_only": np.arange(len(likes)) >= len(likes) - only.sum(),
        "minutes": rng.integers(-600, 600, len(likes)),
        "other": rng.integers(0, 2**31, len(likes)),
        "draw": np.arange(len(likes)),
    }
    first = value(con, "SELECT coalesce(max(number), 0) FROM message")
    with feeding(con, "drawn", drawn):
        con.execute(
            f"""
            INSERT INTO message
            WITH adult AS (
                SELECT person_key, name, phone, row_number() OVER (ORDER BY person_key) - 1 AS seat,
                    count(*) OVER () AS adults
                FROM person WHERE status = 'resident' AND birth_date < DATE '{today}' - 6600),
            said AS (
                SELECT draw, by_channel, if(is_only, NULL, report_number) AS repeated,
                    if(is_only, adult.person_key, reporter_key) AS sender_key,
                    if(is_only, adult.name, reporter_name) AS sender_name,
                    if(is_only, adult.phone, reporter_phone) AS sender_phone, rw_index,
                    text || if(is_only, ' di dekat rumah nomor ' || (1 + other % 97), '') AS words,
                    least(requested_at + to_minutes(minutes),
                        DATE '{today}' + INTERVAL '23:59:59') AS sent,
                    row_number() OVER (PARTITION BY by_channel ORDER BY draw) AS rank
                FROM drawn JOIN report ON report_number = likes JOIN adult ON seat = other % adults
                WHERE NOT is_only OR person_key <> reporter_key)
            SELECT {first} + row_number() OVER (ORDER BY sent, draw), by_channel, repeated,
                regexp_replace(sender_phone, '^0', '+62'),
                'warga' || sender_key || '@surel.example',
                sender_name, kelurahan_name, words, sent,
                if(by_channel = 'sms',
                    CASE rank % 25 WHEN 1 THEN 'misspelt' WHEN 2 THEN 'part_missing'
                        ELSE if(rank % 4 = 3, 'spaced', 'hashed') END,
                    ['broken', 'plain', 'html', 'cp1252', 'reply', 'plain', 'plain', 'plain',
                     'html', 'plain', 'cp1252', 'plain'][1 + rank % 12]),
                true
            FROM said JOIN rw USING (rw_index)
            """
        )
    _receive(con, first, today)


def _receive(con: Con, first: int, today: date) -> None:
    """The rows of both systems, for the messages after number `first`."""
    new = con.execute("SELECT * FROM message WHERE number > ? ORDER BY number", [first]).fetchall()
    sms, mails = [], []
    number = int(value(con, "SELECT coalesce(max(row_id), 0) FROM sound.inbox"))
    for message in new:
        if message[1] == "email":
            mails.append(message)
            continue
        parts = _parts(message)
        if message[9] == "part_missing" and len(parts) > 1:
            parts.pop()
            con.execute("UPDATE message SET is_complete = false WHERE number = ?", [message[0]])
        for udh, text in parts:
            number += 1
            sms.append((number, message[0], udh, text))
    names = ("row_id", "number", "udh", "text")
    columns = dict(zip(names, zip(*sms, strict=True), strict=True)) if sms else {}
    if columns:
        with feeding(con, "received", columns):
            con.execute(
                """
                INSERT INTO sound.inbox BY NAME
                SELECT row_id, row_id AS ID, strftime(sent_at, '%Y-%m-%d %H:%M:%S')
                    AS ReceivingDateTime, phone AS SenderNumber, udh AS UDH,
                    received.text AS TextDecoded, 'false' AS Processed,
                    strftime(sent_at, '%Y-%m-%d %H:%M:%S') AS UpdatedInDB, '' AS Text,
                    'Default_No_Compression' AS Coding, '+62855000000' AS SMSCNumber, -1 AS Class,
                    '' AS RecipientID, 0 AS Status
                FROM received JOIN message USING (number)
                """
            )
    con.execute(
        f"""
        INSERT INTO sound.surat BY NAME
        SELECT number AS row_id, 'laporan-' || number || '@surel.example' AS message_id,
            email AS from_address, name AS from_name, text,
            strftime(sent_at, '%Y-%m-%d %H:%M:%S') AS sent, form
        FROM message WHERE number > {first} AND channel = 'email'
        """
    )
    for table, faulty, fault in (
        ("inbox", "TextDecoded LIKE 'LAPRO%'", "sms_keyword_misspelt"),
        ("surat", "form = 'broken'", "mail_broken"),
    ):
        con.execute(
            f"""
            INSERT INTO bad.{table} BY NAME
            SELECT *, '{fault}' AS fault, DATE '{today}' AS since FROM sound.{table}
            WHERE {faulty} AND row_id NOT IN (SELECT row_id FROM bad.{table})
            """
        )


def _parts(message: tuple) -> list[tuple[str, str]]:
    """(UDH, text) of each part; a message of one part has no UDH."""
    number, place, text, form = message[0], message[6], message[7], message[9]
    words = {
        "misspelt": f"LAPRO#{place}#{text}",
        "spaced": f"lapor {text}",
    }.get(form, f"LAPOR#{place}#{text}")
    size = UNICODE_PART if form == "part_missing" or number % round(1 / UNICODE) == 0 else PART
    if len(words) <= size:
        return [("", words)]
    pieces = [words[start : start + size] for start in range(0, len(words), size)]
    return [
        (f"050003{number % 256:02X}{len(pieces):02X}{turn:02X}", piece)
        for turn, piece in enumerate(pieces, 1)
    ]


def deliver(con: Con, home: Path, rows: str) -> None:
    """Writes the mails of these rows (SQL) into the maildir, each whole or not at all."""
    folder = home / "systems" / "surat"
    for name in ("tmp", "new", "cur"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, message_id, address, name, text, sent, form in con.execute(
        f"""
        SELECT row_id, message_id, from_address, from_name, text, sent, form FROM sent.surat
        WHERE row_id IN ({rows}) ORDER BY row_id
        """
    ).fetchall():
        at = datetime.fromisoformat(sent).replace(tzinfo=ZONE)
        unique = f"{int(at.timestamp())}.M{number}.kota"
        (folder / "tmp" / unique).write_bytes(_written(message_id, address, name, text, at, form))
        os.replace(folder / "tmp" / unique, folder / "new" / unique)


def _written(message_id: str, address: str, name: str, text: str, at: datetime, form: str) -> bytes:
    message = EmailMessage()
    message["Message-ID"] = f"<{message_id}>"
    message["From"] = f'"{name}" <{address}>'
    message["To"] = "lapor@kota.example"
    message["Subject"] = "Laporan warga"
    message["Date"] = format_datetime(at)
    match form:
        case "html":
            message.set_content(
                f"<html><style>p {{color: red}}</style><body><p>{text}</p></body></html>",
                subtype="html",
            )
        case "cp1252":
            message.set_content(f"{text}\n", charset="windows-1252")
        case "reply":
            day = (at - timedelta(days=9)).strftime("%d/%m/%Y")
            message.set_content(
                f"{text}\n\nPada {day}, lapor@kota.example menulis:\n> Terima kasih, laporan Anda\n"
                "> yang dahulu telah selesai.\n"
            )
        case _:
            message.set_content(f"{text}\n")
    if form == "broken":
        message.add_attachment(b"gambar" * 9, maintype="image", subtype="jpeg")
        message.set_boundary("batas")
        return bytes(message).replace(b"Z2Ft", b"Z!2Ft")
    return bytes(message)
