"""Reports that an agency's contract gives to its own Open311 server, and their states after that.

Created by GeoReport v2 (`POST requests.json`), followed by the extension for updates
(`POST servicerequestupdates.json`). What is sent is read from the agency's share and from nowhere
else, so nothing leaves that its contract does not grant; names and telephone numbers of reporters
never do.

A report is noted in `ops.outbox` before it is sent. When we die, or the server does not answer,
whether it arrived is unknown: the next run looks for our reference, which stands in the
description, among the server's requests of that hour, and sends again only what is not there. The
standard has no key against doubles, so a server that does not show what it was given (moderation)
can get a report twice; an update carries the same `update_id` each time.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import duckdb

from common import clock
from common.access import ParameterKey
from common.connection import Resolver
from common.definition import load_sources
from common.errors import (
    DefinitionError,
    MuaraError,
    SourceMalformed,
    SourceUnavailable,
)
from common.lock import alone
from common.log import log
from common.quoting import identifier, literal
from common.settings import Settings
from connectors.readers.records import Unreadable, canonical, parse
from connectors.readers.rest.service import Reply, Service, Terms, connected
from warehouse.catalog import reading
from warehouse.outbox import COLUMNS, Outgoing, outgoing, store
from warehouse.shares import REPORT, STATES, TEXT, Contract, Open311, read_contracts, share_of

FORM = "application/x-www-form-urlencoded"
KEY = ParameterKey(kind="parameter", password="api_key")
TERMS = Terms(answer_bytes=16 * 2**20, seconds=60)
TOGETHER = 20
"""Reports noted, sent and noted again at a time: so many may be in doubt after a kill."""
FAILURES_AT_MOST = 3
PAGES_AT_MOST = 100
DESCRIPTION_AT_MOST = 4000
AROUND = timedelta(hours=1)

TOLD = {
    "unverified": ("OPEN", "Laporan belum diverifikasi"),
    "verified": ("OPEN", "Laporan sudah diverifikasi"),
    "in_progress": ("OPEN", "Laporan sedang diproses"),
    "closed": ("CLOSED", "Laporan selesai"),
    "refused": ("CLOSED", "Laporan ditolak"),
}
"""State of a report → status and description of its update."""


def send(settings: Settings, resolve: Resolver, agency: str | None = None) -> dict[str, Any]:
    """Give every agency whose contract says `open311`, or one, what it does not have yet.

    Returns agency → counts of: created, accepted, refused, in_doubt, unmapped (reports of a
    category that the contract does not map), updates, updates_refused. One agency's failure does
    not stop the others, nor does a fault in its contract; the first is raised at the end.
    """
    known = read_contracts(settings)
    contracts = {
        name: one for name, one in known.in_force.items() if one.open311 and agency in (None, name)
    }
    if agency and not contracts:
        known.require_sound()
        raise DefinitionError(
            f"no contract for {agency} says open311",
            next_step="see docs/open311.md for what one says.",
        )
    sent, failures = {}, []
    for name, contract in contracts.items():
        counts: Counter[str] = Counter()
        try:
            _require_no_circle(settings, contract)
            with _alone(settings, name):
                _send(settings, contract, resolve, counts)
        except MuaraError as error:
            log.error("reports_not_sent", agency=name, error=error.code, text=str(error))
            failures.append(error)
        log.info("reports_sent", agency=name, **counts)
        sent[name] = dict(counts)
    if failures:
        raise failures[0]
    if agency is None:
        known.require_sound()
    return sent


def _require_no_circle(settings: Settings, contract: Contract) -> None:
    """Raises DefinitionError when the contract would give a server its own reports."""
    dataset, there = contract.of(REPORT), contract.open311
    assert dataset is not None
    assert there is not None
    for source in load_sources(settings).values():
        reads_it = any(one.connection == there.connection for one in source.streams)
        if reads_it and literal(source.name) not in dataset.row_filter:
            raise DefinitionError(
                f"source {source.name} reads the server to which these reports would go",
                where=f"contract {contract.agency}",
                next_step=f"add `source <> {literal(source.name)}` to the rowFilter of "
                f"{dataset.name}.",
            )


@contextmanager
def _alone(settings: Settings, agency: str) -> Iterator[None]:
    """Two at once would send everything twice. Raises WarehouseBusy after the lock's time."""
    if not share_of(settings, agency).exists():
        raise DefinitionError(
            "there is no share yet",
            where=f"contract {agency}",
            next_step=f"run `muara extract {agency}` first.",
        )
    with alone(
        settings,
        f"open311.{agency}",
        what=f"another `muara send {agency}`",
        next_step="wait for that to end.",
    ):
        yield


def _send(settings: Settings, contract: Contract, resolve: Resolver, counts: Counter[str]) -> None:
    there = contract.open311
    assert there
    with connected(
        resolve(there.connection),
        settings,
        TERMS,
        KEY,
        where=f"contract {contract.agency}",
        connection=there.connection,
    ) as service:
        server = Server(service, there)
        _resolve_tokens(settings, contract, server, counts)
        _settle_doubts(settings, contract, server, counts)
        _create(settings, contract, server, counts)
        _update(settings, contract, server, counts)


class Server:
    """An Open311 server. It is given up after some failures in a row; a refusal is none."""

    def __init__(self, service: Service, there: Open311) -> None:
        self.service, self.failures = service, 0
        self.fixed = {"jurisdiction_id": there.jurisdiction} if there.jurisdiction else {}

    def post(self, path: str, form: dict[str, Any]) -> Reply | None:
        """The answer; None when there was none. Raises SourceDenied for a wrong key, and
        SourceUnavailable when it has failed too often."""
        key = self.service.key if self.service.password else {}
        given = {name: value for name, value in form.items() if value is not None}
        content = urlencode(given | self.fixed | key).encode()
        try:
            reply = self.service.send("POST", path, content=content, kind=FORM)
        except (SourceUnavailable, SourceMalformed) as error:
            self._failed(error)
            return None
        if reply.status in (401, 403):
            raise self.service.denied(f"{path}: HTTP {reply.status}")
        if reply.status in (408, 425, 429) or reply.status >= 500:
            self._failed(self.service.unavailable(f"{path}: HTTP {reply.status}"))
            return None
        self.failures = 0
        return reply

    def get(self, path: str, parameters: dict[str, Any]) -> Any:
        """The JSON list of an answer. Raises Unreadable when it is none, and the SourceError
        family."""
        key = self.service.key if self.service.password else {}
        reply = self.service.send("GET", path, parameters | self.fixed | key)
        if reply.status in (401, 403):
            raise self.service.denied(f"{path}: HTTP {reply.status}")
        if reply.status != 200:
            raise Unreadable(f"HTTP {reply.status}")
        return records(reply)

    def _failed(self, error: MuaraError) -> None:
        self.failures += 1
        if self.failures == FAILURES_AT_MOST:
            raise error


def records(reply: Reply) -> list[dict[str, Any]]:
    """The objects of a GeoReport answer. Raises Unreadable."""
    rows = parse(reply.content)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise Unreadable("not a JSON array of objects")
    return rows


def _resolve_tokens(
    settings: Settings, contract: Contract, server: Server, counts: Counter[str]
) -> None:
    """Ask for the numbers that were to follow."""
    with reading(settings) as connection:
        accepted = outgoing(connection, contract.agency, "accepted")
    found = []
    for one in accepted:
        try:
            rows = server.get(f"/tokens/{quote(one.token or '', safe='')}.json", {})
        except Unreadable:
            continue
        if number := next((row.get("service_request_id") for row in rows), None):
            found.append(replace(one, state="created", request_id=str(number), token=None))
    store(settings, found)
    counts["created"] += len(found)


def _settle_doubts(
    settings: Settings, contract: Contract, server: Server, counts: Counter[str]
) -> None:
    """Look for what may have arrived; what is not there waits to be sent again."""
    with reading(settings) as connection:
        doubtful = outgoing(connection, contract.agency, "sending")
    settled = []
    for one in doubtful:
        try:
            number = _found(server, one)
        except Unreadable as error:
            log.error("report_in_doubt", agency=one.agency, report=one.report_id, text=str(error))
            counts["in_doubt"] += 1
            continue
        if number:
            settled.append(replace(one, state="created", request_id=number))
            counts["created"] += 1
        else:
            settled.append(replace(one, state="waiting"))
    store(settings, settled)


def _found(server: Server, one: Outgoing) -> str | None:
    """The server's number of the request that carries our reference. Raises Unreadable when it
    shows more than we read."""
    asked = {
        "service_code": one.service_code,
        "start_date": _moment(one.sent_at - AROUND),
        "end_date": _moment(one.sent_at + AROUND),
    }
    seen = None
    for page in range(1, PAGES_AT_MOST + 1):
        rows = server.get("/requests.json", asked | {"page": page})
        for row in rows:
            if reference(one.report_id) in canonical(row):
                return str(row.get("service_request_id"))
        if not rows or rows == seen:
            return None
        seen = rows
    raise Unreadable(f"more than {PAGES_AT_MOST} pages of requests")


def reference(report_id: str) -> str:
    """How a report is known again in a description."""
    return f"[muara {report_id}]"


def _create(settings: Settings, contract: Contract, server: Server, counts: Counter[str]) -> None:
    there = contract.open311
    assert there
    due = _due_reports(settings, contract)
    mapped = [one for one in due if one["category"] in there.services]
    counts["unmapped"] += len(due) - len(mapped)
    for start in range(0, len(mapped), TOGETHER):
        batch = mapped[start : start + TOGETHER]
        noted = [
            Outgoing(contract.agency, one["report_id"], there.services[one["category"]], "sending",
                     None, None, 1, None, contract.version, clock.now())
            for one in batch
        ]  # fmt: skip
        store(settings, noted)
        done: list[Outgoing] = []
        try:
            for report, row in zip(batch, noted, strict=True):
                done.append(_created(server, report, row, counts))
        finally:
            # What was not tried did not arrive; it need not be looked for.
            rest = [replace(row, state="waiting") for row in noted[len(done) + 1 :]]
            store(settings, [row for row in done if row.state != "sending"] + rest)


def _created(
    server: Server, report: dict[str, Any], row: Outgoing, counts: Counter[str]
) -> Outgoing:
    ours = reference(row.report_id)
    told = (report["description"] or "")[: DESCRIPTION_AT_MOST - len(ours) - 2]
    reply = server.post(
        "/requests.json",
        {
            "service_code": row.service_code,
            "lat": report["latitude"],
            "long": report["longitude"],
            "address_string": report["address"],
            "description": f"{told}\n\n{ours}".strip(),
            "attribute[external_id]": row.report_id,
        },
    )
    if reply is None:
        counts["in_doubt"] += 1
        return row
    if reply.status not in (200, 201):
        log.error("report_refused", agency=row.agency, report=row.report_id, status=reply.status)
        counts["refused"] += 1
        return replace(row, state="refused", http_status=reply.status)
    try:
        answer = next(iter(records(reply)), {})
    except Unreadable:
        answer = {}
    if number := answer.get("service_request_id"):
        counts["created"] += 1
        return replace(row, state="created", request_id=str(number))
    if token := answer.get("token"):
        counts["accepted"] += 1
        return replace(row, state="accepted", token=str(token))
    counts["in_doubt"] += 1
    return row


def _update(settings: Settings, contract: Contract, server: Server, counts: Counter[str]) -> None:
    """The states of created reports after the first, each in its order."""
    due = _due_states(settings, contract)
    failed: set[str] = set()
    for start in range(0, len(due), TOGETHER):
        done: dict[str, Outgoing] = {}
        try:
            for sent, number, state, reached_at in due[start : start + TOGETHER]:
                row = done.get(sent.report_id, sent)
                if row.report_id in failed:
                    continue
                status = _told(server, row, number, state, reached_at)
                if status is None:
                    failed.add(row.report_id)
                    continue
                is_taken = status in (200, 201)
                counts["updates" if is_taken else "updates_refused"] += 1
                if not is_taken:
                    log.error("state_refused", agency=row.agency, report=row.report_id,
                              state=state, status=status)  # fmt: skip
                done[row.report_id] = replace(
                    row, states_sent=number, http_status=None if is_taken else status
                )
        finally:
            store(settings, list(done.values()))


def _told(
    server: Server, row: Outgoing, number: int, state: str, reached_at: datetime | None
) -> int | None:
    """The HTTP status of an update; None when there was no answer."""
    status, description = TOLD[state]
    reply = server.post(
        "/servicerequestupdates.json",
        {
            "service_request_id": row.request_id,
            "update_id": f"{row.report_id}-{number}",
            "updated_datetime": reached_at and _moment(reached_at.replace(tzinfo=UTC)),
            "status": status,
            "description": description,
        },
    )
    return reply.status if reply else None


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _due_reports(settings: Settings, contract: Contract) -> list[dict[str, Any]]:
    """Reports of the share that were never sent, did not arrive, or were refused under another
    version of the contract."""
    text = contract.of(TEXT)
    joined = (
        f"LEFT JOIN share.{identifier(text.name)} AS text USING (source_record_id)" if text else ""
    )

    def granted(table: str, alias: str, column: str) -> str:
        dataset = contract.of(table)
        names = [name for name, _ in dataset.columns] if dataset else []
        return f"{alias}.{identifier(column)}" if column in names else "NULL"

    report = contract.of(REPORT)
    assert report
    with _beside_the_share(settings, contract) as connection:
        found = connection.execute(
            f"""
            SELECT
                CAST(report.source_record_id AS VARCHAR) AS report_id,
                coalesce(report.category_code, '') AS category,
                {granted(REPORT, "report", "latitude")} AS latitude,
                {granted(REPORT, "report", "longitude")} AS longitude,
                {granted(TEXT, "text", "description")} AS description,
                {granted(TEXT, "text", "address")} AS address
            FROM share.{identifier(report.name)} AS report {joined}
            LEFT JOIN lake.ops.outbox ON outbox.agency = ?
                AND outbox.report_id = CAST(report.source_record_id AS VARCHAR)
            WHERE outbox.state IS NULL OR outbox.state = 'waiting'
                OR (outbox.state = 'refused' AND outbox.contract_version <> ?)
            ORDER BY report_id
            """,
            [contract.agency, contract.version],
        )
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _due_states(
    settings: Settings, contract: Contract
) -> list[tuple[Outgoing, int, str, datetime | None]]:
    states = contract.of(STATES)
    if states is None:
        return []
    known = ", ".join(literal(state) for state in TOLD)
    with _beside_the_share(settings, contract) as connection:
        rows = connection.execute(
            f"""
            SELECT {COLUMNS}, status.status_number, status.state, status.reached_at
            FROM lake.ops.outbox JOIN share.{identifier(states.name)} AS status
                ON outbox.report_id = CAST(status.source_record_id AS VARCHAR)
            WHERE outbox.agency = ? AND outbox.state = 'created'
                AND status.status_number > outbox.states_sent AND status.state IN ({known})
            ORDER BY outbox.report_id, status.status_number
            """,
            [contract.agency],
        ).fetchall()
    return [(Outgoing(*row[:-3]), *row[-3:]) for row in rows]


@contextmanager
def _beside_the_share(
    settings: Settings, contract: Contract
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection that sees the lake and, as `share`, the agency's share."""
    with reading(settings) as connection:
        path = share_of(settings, contract.agency)
        connection.execute(f"ATTACH {literal(path)} AS share (READ_ONLY)")
        yield connection
