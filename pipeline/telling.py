"""Telling people of alarms: one message a morning, in Indonesian, to every channel of the list.

A channel is a connection id; its URL is one of the library apprise (e-mail, Telegram, webhook, …)
and a secret. A message names streams, submitters and contacts of the definitions and counts, never
a value of a row.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from itertools import groupby

from common.connection import Resolver
from common.definition import Contact, Source
from common.errors import MuaraError
from common.log import log
from warehouse.alarms import Alarm

TOLD = "told"


def tell(resolve: Resolver, channels: Sequence[str], title: str, body: str) -> dict[str, str]:
    """Send to every channel. Returns channel → `told`, `refused`, `not_a_channel`, or the class of
    the error; raises nothing, and writes no address to any log."""
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    outcomes = {name: _send(resolve, name, title, body) for name in channels}
    for name, outcome in outcomes.items():
        (log.info if outcome == TOLD else log.error)("alarms_told", channel=name, outcome=outcome)
    return outcomes


def _send(resolve: Resolver, name: str, title: str, body: str) -> str:
    import apprise

    try:
        channel = apprise.Apprise()
        if not channel.add(resolve(name)):
            return "not_a_channel"
        is_told = channel.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT)
        return TOLD if is_told else "refused"
    except MuaraError as error:
        return error.code
    except Exception as error:  # whatever a channel's library raises, the night goes on
        return type(error).__name__


def message(
    sources: dict[str, Source], new: Sequence[Alarm], over: Sequence[Alarm]
) -> tuple[str, str]:
    """Title and text of the morning's one message."""
    counts = [f"{len(new)} alarm baru" * bool(new), f"{len(over)} selesai" * bool(over)]
    title = "Muara: " + ", ".join(filter(None, counts))
    lines = [line for group in _alike(new) for line in _told(sources, group)]
    if over:
        lines += ["Selesai:", *(f"- {_name(sources, one)}" for one in over), ""]
    return title, "\n".join([*lines, "Rincian: muara alarms"])


def _alike(new: Sequence[Alarm]) -> Iterator[list[Alarm]]:
    """Streams of one source that could not be read for the same reason are told together."""

    def kind(alarm: Alarm) -> tuple[str, str, str, int]:
        alone = alarm.alarm_id if alarm.cause in ("habit", "promise") else 0
        return alarm.source, alarm.kind, alarm.cause, alone

    for _, group in groupby(sorted(new, key=kind), key=kind):
        yield list(group)


def _told(sources: dict[str, Source], group: Sequence[Alarm]) -> Iterator[str]:
    first = group[0]
    if len(group) == 1:
        yield f"{_name(sources, first)}: {_what(first)}"
    else:
        yield f"{first.source}, {len(group)} aliran ({_listed(group)}): {_what(first)}"
    if first.cause == "not_run":
        yield "  Periksa penjadwal (Airflow)."
    else:
        contact = contact_of(sources, first)
        yield f"  Hubungi: {contact.unit} <{contact.email}>"
    yield ""


def _listed(group: Iterable[Alarm]) -> str:
    return ", ".join(one.stream for one in group)


def contact_of(sources: dict[str, Source], alarm: Alarm) -> Contact:
    """Whom the definition names for the submitter, or else for the source; one whose definition is
    gone has nobody."""
    source = sources.get(alarm.source)
    if source is None:
        return Contact(unit="tidak ada dalam definisi", email="-")
    for stream in source.streams:
        if stream.name == alarm.stream and stream.submitter:
            return stream.submitter.contacts.get(alarm.submitter_code, source.contact)
    return source.contact


def _name(sources: dict[str, Source], alarm: Alarm) -> str:
    if not alarm.submitter_code:
        return alarm.where
    return f"{contact_of(sources, alarm).unit} ({alarm.where})"


def _what(alarm: Alarm) -> str:
    """In plain Indonesian what is unlike, with counts."""
    if alarm.kind == "clock":
        return (
            f"jam bergeser: cap waktu biasanya {_number(alarm.expected)} jam sebelum akhir hari, "
            f"sekarang {_number(alarm.seen)} jam"
        )
    if alarm.cause == "not_run":
        return f"belum dibaca untuk {_day(alarm.since)}: jadwalnya tidak berjalan"
    if alarm.cause == "promise":
        return f"kiriman yang dijanjikan untuk {_day(alarm.since)} tidak datang"
    if alarm.cause != "habit":
        return f"gagal dibaca untuk {_day(alarm.since)} ({alarm.cause})"
    told = {
        "missing": "tidak ada kiriman",
        "frozen": "terbaca, tetapi isinya tidak berubah",
        "thin": "kiriman terlalu sedikit",
    }[alarm.kind]
    when = f"sejak {_day(alarm.since)}" if alarm.nights > 1 else f"pada {_day(alarm.since)}"
    usual, seen = _number(alarm.expected), _number(alarm.seen)
    return f"{told} {when}: biasanya sekitar {usual} baris, datang {seen}"


def _number(value: float | None) -> str:
    """As it is written here: 12.345."""
    return f"{value or 0:,.0f}".replace(",", ".")


def _day(day: date) -> str:
    return f"{day:%d-%m-%Y}"
