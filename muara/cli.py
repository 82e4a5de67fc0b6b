"""The command line. Every command answers `--help` with an example and `--json` for machines."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from common import clock, log
from common.connection import resolver
from common.definition import Source, load_source, load_sources
from common.errors import DefinitionError, MuaraError
from common.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False,
                  help="One warehouse out of a city's scattered agency systems.")  # fmt: skip
city_app = typer.Typer(no_args_is_help=True, help="The sample city: synthetic people, real shapes.")
person_app = typer.Typer(no_args_is_help=True, help="One person's records.")
app.add_typer(city_app, name="city")
app.add_typer(person_app, name="person")
WIDTH = 160
console = Console(width=None if sys.stdout.isatty() else WIDTH)
Json = Annotated[bool, typer.Option("--json", help="answer as JSON")]


def main() -> None:
    """Run the command line; an error of ours is one message and its family's exit code."""
    try:
        app()
    except MuaraError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": error.code, "what": error.what, "where": error.where,
                              "next": error.next_step}))  # fmt: skip
        else:
            message = f"[bold red]{error.code}[/] {escape(str(error))}"
            Console(stderr=True).print(message, highlight=False)
        sys.exit(error.exit_code)


def _settings() -> Settings:
    try:
        settings = Settings()
    except ValidationError as error:
        faults = [f"{fault['loc'][0]}: {fault['msg']}" for fault in error.errors()]
        raise DefinitionError(
            f"{len(faults)} wrong setting(s): {'; '.join(faults)}",
            next_step="correct MUARA_… in the environment or muara.toml.",
        ) from None
    log.configure(settings)
    return settings


def _answer(as_json: bool, data: Any, show: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(data, default=str, indent=2, ensure_ascii=False))
    else:
        show()


@contextmanager
def _progress(as_json: bool) -> Iterator[None]:
    """A line that follows the stage marks, on a terminal only."""
    if as_json or not console.is_terminal:
        yield
        return
    columns = (SpinnerColumn(), TextColumn("{task.fields[step]}{task.description}"),
               TimeElapsedColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None, step="")

        def follow(name: str, where: dict[str, Any]) -> None:
            if step := where.get("step"):
                progress.update(task, step=f"{step}, ")
            progress.update(
                task, description=f"{where.get('source')}.{where.get('stream')}: {name}"
            )

        log.on_stage(follow)
        yield


@app.command()
def sources(as_json: Json = False) -> None:
    """List the agency systems and their streams. Example: muara sources"""
    found = load_sources(_settings())

    def show() -> None:
        table = Table("source", "agency", "stream", "reads", "strategy", "key")
        for source in found.values():
            for stream in source.streams:
                table.add_row(source.name, source.agency, stream.name, stream.read.reader,
                              stream.strategy, ", ".join(stream.key))  # fmt: skip
        console.print(table)

    _answer(as_json, [source.model_dump(mode="json") for source in found.values()], show)


@app.command()
def check(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    propose: Annotated[
        bool, typer.Option(help="look at it and write the definition that fits")
    ] = False,
    accept: Annotated[bool, typer.Option(help="its open drifts were looked at")] = False,
    as_json: Json = False,
) -> None:
    """Check definitions, rules and contracts; touches no source unless asked to propose.

    Example: muara check brojol --propose
    """
    if propose or accept:
        _check_drift(source, propose, as_json)
        return
    from expectations.suite import load_rules
    from transforms.conform import conform_of, landing_only
    from warehouse.shares import load_contracts

    settings = _settings()
    found = load_sources(settings)
    chosen = [load_source(settings, source)] if source else list(found.values())
    rules, parked = {}, []
    for one in chosen:
        for stream, found_rules in load_rules(settings, one).items():
            rules[f"{one.name}.{stream}"] = len(found_rules)
            if conform_of(one, stream) is landing_only:
                parked.append(f"{one.name}.{stream}")
    contracts = load_contracts(settings)
    data = {"rules": rules, "contracts": sorted(contracts), "landing_only": parked}

    def show() -> None:
        if parked:
            console.print(f"landed and in no core table: {', '.join(parked)}")
        console.print(
            f"{len(chosen)} source(s), {len(rules)} streams, {sum(rules.values())} rules, "
            f"{len(contracts)} contracts: no fault"
        )

    _answer(as_json, data, show)


def _check_drift(name: str | None, propose: bool, as_json: bool) -> None:
    """How a source differs from its definition; or mark what is open as looked at."""
    from pipeline import proposal
    from warehouse.drift import accept

    settings = _settings()
    if name is None:
        raise DefinitionError("this asks for one source", next_step="`muara check SOURCE …`.")
    source = load_source(settings, name)
    if not propose:
        count = accept(settings, source=name)
        _answer(as_json, {"accepted": count}, lambda: console.print(f"{count} drift(s) accepted"))
        return
    with _city_services(settings):
        found = proposal.propose(settings, source, resolver(settings))

    def show() -> None:
        if not found.path:
            console.print(f"{name}: as its definition says")
            return
        table = Table("stream", "kind", "column", "likely", "was", "is", "rows", "touches")
        for one in found.differences:
            drift = one.drift
            rows = "" if drift.rows is None else f"{drift.rows:,}"
            parts = (one.stream, drift.kind, drift.column, drift.likely or "", drift.was, drift.now,
                     rows, "\n".join(one.downstream))  # fmt: skip
            table.add_row(*map(escape, parts))
        console.print(table)
        console.print(found.diff, markup=False, highlight=False)
        console.print(f"\nReview {found.path}, then copy it over {source.name}/source.yml")

    answer = {
        "differences": [{"stream": one.stream, **vars(one.drift), "downstream": one.downstream,
                         "codes": one.codes} for one in found.differences],
        "diff": found.diff,
        "proposal": found.path,
    }  # fmt: skip
    _answer(as_json, answer, show)


@app.command()
def sync(
    source: str,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    accept: Annotated[bool, typer.Option(help="accept that many rows vanished")] = False,
    as_json: Json = False,
) -> None:
    """Bring one source, or one stream, up to now. Example: muara sync brojol birth_report"""
    from pipeline.sync import prepare
    from pipeline.sync import sync as sync_stream

    settings = _settings()
    chosen = load_source(settings, source)
    streams = [chosen.stream(stream)] if stream else list(chosen.streams)
    accounts, failure = [], None
    with _city_services(settings), _progress(as_json):
        prepare(settings, load_sources(settings))
        resolve = resolver(settings)
        for one in streams:
            try:
                accounts.append(
                    sync_stream(settings, chosen, one, resolve, accept_deletions=accept)
                )
            except MuaraError as error:
                failure = failure or error
    _answer(as_json, [vars(account) for account in accounts],
            lambda: _show_status(settings, source=source))  # fmt: skip
    if failure:
        raise failure


@app.command()
def night(
    direct: Annotated[bool, typer.Option(help="without Airflow, in this process")] = False,
    as_json: Json = False,
) -> None:
    """A whole night: every source, publish, extracts, then the checks. Example: muara night"""
    from pipeline import night as nights
    from warehouse.account import last_batch
    from warehouse.catalog import lake_folder, reading

    settings = _settings()
    found = load_sources(settings)
    before = 0
    if (lake_folder(settings) / "catalog.sqlite").exists():
        with reading(settings) as connection:
            before = last_batch(connection)
    started = time.monotonic()
    with _city_services(settings), _progress(as_json):
        if direct:
            nights.run(settings, found, resolver(settings))
        else:
            _through_airflow(as_json)
    seconds = time.monotonic() - started
    answers = nights.checks(settings, found, before)
    summary = nights.summary(settings, before, seconds)
    data = {"summary": summary, "checks": [vars(answer) for answer in answers]}
    _answer(as_json, data, lambda: _show_night(settings, summary, answers))
    if not all(answer.holds for answer in answers):
        raise typer.Exit(1)


def _through_airflow(quiet: bool) -> None:
    """The DAGs in a process of their own; Airflow's settings are in place before it is imported."""
    output = subprocess.DEVNULL if quiet else None
    subprocess.run([sys.executable, "-m", "dags.local", "night"], check=False, stdout=output)


def _show_night(settings: Settings, summary: dict[str, Any], answers: list[Any]) -> None:
    _show_status(settings)
    console.print(
        f"\nNight of [bold]{summary['night']}[/]: {summary['extracted']:,} rows read, "
        f"{summary['quarantined']:,} in quarantine, {summary['persons']:,} persons, "
        f"{summary['extract_files']} extract files, {summary['seconds']:.0f} s"
    )
    for answer in answers:
        sign = "[green]yes[/]" if answer.holds else "[bold red]NO[/] "
        console.print(f"  {sign}  {answer.name}: {answer.detail}", highlight=False)
    home = settings.home
    console.print(
        f"\nLook: {home}/published/current/warehouse.duckdb · {home}/extracts · "
        "`.venv/bin/muara status` · `.venv/bin/muara sql 'FROM lake.core.person LIMIT 5'`"
    )


@app.command()
def serve() -> None:
    """Airflow's scheduler and UI on this machine, until stopped. Example: muara serve"""
    settings = _settings()
    with _city_services(settings):
        code = subprocess.run([sys.executable, "-m", "dags.local", "up"], check=False).returncode
    raise typer.Exit(code)


@app.command()
def status(
    every: Annotated[bool, typer.Option("--all", help="every batch, not only the newest")] = False,
    as_json: Json = False,
) -> None:
    """What the newest batch of every stream did. Example: muara status --all"""
    from warehouse.account import attempts
    from warehouse.catalog import reading

    settings = _settings()
    with reading(settings) as connection:
        rows = attempts(connection, every=every)
        drifts = _open_drifts(connection)
    data = [{**vars(row), "drifts": drifts.get((row.source, row.stream), [])} for row in rows]
    _answer(as_json, data, lambda: _show_status(settings, every=every))


def _open_drifts(connection: Any) -> dict[tuple[str, str], list[str]]:
    """(source, stream) → `kind column` of every open drift."""
    from warehouse.drift import standing

    found: dict[tuple[str, str], list[str]] = {}
    for seen in standing(connection):
        if seen.state == "open":
            told = f"{seen.drift.kind} {seen.drift.column}"
            found.setdefault((seen.source, seen.stream), []).append(told)
    return found


def _show_status(settings: Settings, *, every: bool = False, source: str | None = None) -> None:
    from warehouse.account import COUNTS, attempts
    from warehouse.catalog import reading

    with reading(settings) as connection:
        rows = attempts(connection, every=every)
        drifts = _open_drifts(connection)
    table = Table(box=None, pad_edge=False)
    for name in ("batch", "night", "stream", "outcome"):
        table.add_column(name, no_wrap=True)
    for name in COUNTS:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("fresh as of", no_wrap=True)
    for row in rows:
        if source and row.source != source:
            continue
        good = row.outcome == "loaded" and not row.error
        table.add_row(str(row.batch_id), str(row.night), f"{row.source}.{row.stream}",
                      f"[{'green' if good else 'red'}]{row.outcome}[/]",
                      *(f"{row.counts[name]:,}" for name in COUNTS),
                      str(row.fresh_as_of or "never"))  # fmt: skip
    console.print(table)
    for row in rows:
        if row.error and (not source or row.source == source):
            stream = f"[red]{row.source}.{row.stream}[/]"
            console.print(f"{stream} {escape(row.error)}", highlight=False)
    for (name, stream_name), told in drifts.items():
        if not source or name == source:
            stream = f"[yellow]{name}.{stream_name}[/]"
            console.print(f"{stream} drifted: {escape(', '.join(told))}. Next: "
                          f"`muara check {name} --propose`", highlight=False)  # fmt: skip


@app.command()
def gaps(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """What is not covered: streams, stretches of cursors and files that did not load, and what to
    do next. Exit code 0 when there are none, 1 when there are some. Example: muara gaps brojol"""
    from pipeline.gaps import gaps as find_gaps

    settings = _settings()
    found = find_gaps(settings, _chosen(settings, source))

    def show() -> None:
        if not found:
            console.print("no gaps")
        _show_gaps(found)

    _answer(as_json, [vars(gap) for gap in found], show)
    if found:
        raise typer.Exit(1)


@app.command()
def repair(
    source: Annotated[str | None, typer.Argument(help="one source; all when left out")] = None,
    stream: Annotated[str | None, typer.Argument(help="one stream; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Read again what `muara gaps` names, and say what is closed and what remains. Ends with the
    first error's exit code when something remains. Example: muara repair brojol birth_report"""
    from pipeline.gaps import repair as repair_gaps
    from pipeline.sync import prepare

    settings = _settings()
    chosen = _chosen(settings, source)
    if source and stream:
        chosen[source].stream(stream)
    with _city_services(settings), _progress(as_json):
        prepare(settings, load_sources(settings))
        done = repair_gaps(settings, chosen, resolver(settings), stream)

    def show() -> None:
        for gap in done.closed:
            console.print(f"[green]closed[/] {gap.source}.{gap.stream}: {escape(gap.what)}",
                          highlight=False)  # fmt: skip
        _show_gaps(done.remaining)
        console.print(f"{len(done.closed)} closed, {len(done.remaining)} remain")

    _answer(as_json, {"closed": [vars(gap) for gap in done.closed],
                      "remaining": [vars(gap) for gap in done.remaining]}, show)  # fmt: skip
    if done.remaining:
        raise done.failure or typer.Exit(1)


def _chosen(settings: Settings, source: str | None) -> dict[str, Source]:
    return {source: load_source(settings, source)} if source else load_sources(settings)


def _show_gaps(found: list[Any]) -> None:
    for gap in found:
        console.print(f"[red]{gap.source}.{gap.stream}[/] {gap.kind}: {escape(gap.what)}. "
                      f"Next: {escape(gap.next_step)}", highlight=False)  # fmt: skip


MOMENTS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"]


@app.command()
def backfill(
    source: str,
    stream: str,
    low: Annotated[
        datetime,
        typer.Option("--from", formats=MOMENTS, metavar="TIME", help="in the source's own time"),
    ],
    high: Annotated[
        datetime, typer.Option("--to", formats=MOMENTS, metavar="TIME", help="up to, without it")
    ],
    step: Annotated[str, typer.Option(help="length of one batch: 7d, 12h")] = "1d",
    again: Annotated[bool, typer.Option("--again", help="also steps that loaded before")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only count and estimate")] = False,
    as_json: Json = False,
) -> None:
    """Read a stretch of the past again from a source with a cursor, a batch for each step. After a
    failure the same command goes on where it stopped.

    Example: muara backfill archive letter --from 2026-01-01 --to 2026-02-01 --step 7d --dry-run
    """
    from pipeline import backfill as backfills
    from pipeline.sync import prepare

    settings = _settings()
    chosen = load_source(settings, source)
    one = chosen.stream(stream)
    planned = backfills.steps(settings, chosen, one, low, high, _length(step))
    todo = [each for each in planned if again or not each.is_loaded]
    resolve = resolver(settings)
    if dry_run:
        with _city_services(settings), _progress(as_json):
            todo = backfills.estimate(settings, chosen, one, resolve, todo)
        _answer(as_json, [_as_data(each) for each in todo],
                lambda: _show_estimate(todo, len(planned) - len(todo)))  # fmt: skip
        return
    accounts, failure = [], None
    with _city_services(settings), _progress(as_json):
        prepare(settings, load_sources(settings))
        try:
            for account in backfills.backfill(settings, chosen, one, resolve, todo):
                accounts.append(account)
        except MuaraError as error:
            failure = error

    def show() -> None:
        rows = sum(account.extracted for account in accounts)
        console.print(f"{len(accounts)} of {len(todo)} steps loaded, {rows:,} rows read"
                      + _skipped(len(planned) - len(todo)))  # fmt: skip

    _answer(as_json, [vars(account) for account in accounts], show)
    if failure:
        raise failure


def _length(step: str) -> timedelta:
    found = re.fullmatch(r"([1-9]\d{0,3})([dh])", step)
    if not found:
        raise DefinitionError(f"{step} is no length of a step",
                              where="--step", next_step="give days or hours: 7d, 12h.")  # fmt: skip
    return timedelta(**{{"d": "days", "h": "hours"}[found[2]]: int(found[1])})


def _as_data(step: Any) -> dict[str, Any]:
    return {"low": step.interval.low, "high": step.interval.high, "rows": step.rows,
            "seconds": step.seconds}  # fmt: skip


def _skipped(number: int) -> str:
    return f"; {number} loaded before (--again reads them too)" if number else ""


def _show_estimate(steps: list[Any], skipped: int) -> None:
    table = Table("from", "to", box=None, pad_edge=False)
    table.add_column("rows", justify="right")
    table.add_column("seconds", justify="right")
    for step in steps:
        table.add_row(str(step.interval.low), str(step.interval.high), f"{step.rows:,}",
                      _seconds([step]))  # fmt: skip
    console.print(table)
    console.print(f"{len(steps)} steps, {sum(step.rows for step in steps):,} rows, "
                  f"{_seconds(steps)} seconds{_skipped(skipped)}; nothing was read")  # fmt: skip


def _seconds(steps: list[Any]) -> str:
    known = [step.seconds for step in steps if step.seconds is not None]
    return f"{sum(known):,.1f}" if len(known) == len(steps) else "unknown"


@app.command()
def sql(
    query: str,
    limit: Annotated[int, typer.Option(help="rows shown")] = 100,
    as_json: Json = False,
) -> None:
    """Ask the lake, read-only, also while a load runs.

    Example: muara sql "SELECT status, count(*) FROM lake.core.person WHERE valid_to IS NULL
    GROUP BY 1"
    """
    import duckdb

    from warehouse.catalog import lock_down, reading

    settings = _settings()
    with reading(settings) as connection:
        lock_down(connection, settings)
        try:
            result = connection.execute(query)
            columns = [one[0] for one in result.description or []]
            rows = result.fetchmany(limit)
        except duckdb.Error as error:
            raise DefinitionError(
                str(error).splitlines()[0],
                where="query",
                next_step="correct the query; the lake is read-only.",
            ) from None

    def show() -> None:
        table = Table(*columns)
        for row in rows:
            table.add_row(*("" if value is None else escape(str(value)) for value in row))
        console.print(table)
        if len(rows) == limit:
            console.print(f"the first {limit} rows; --limit shows more")

    _answer(as_json, [dict(zip(columns, row, strict=True)) for row in rows], show)


@app.command()
def publish(as_json: Json = False) -> None:
    """Rebuild the marts and the analysts' warehouse now. Example: muara publish"""
    from pipeline import leave

    rows = leave.publish(_settings())
    _answer(
        as_json, rows, lambda: console.print(f"{len(rows)} tables, {sum(rows.values()):,} rows")
    )


@app.command()
def extract(
    agency: Annotated[str | None, typer.Argument(help="one agency; all when left out")] = None,
    as_json: Json = False,
) -> None:
    """Cut, verify and deliver extracts now. Example: muara extract bp4d"""
    from warehouse.shares import deliver, load_contracts

    settings = _settings()
    contracts = load_contracts(settings)
    if agency and agency not in contracts:
        raise DefinitionError(f"no contract for {agency}",
                              next_step=f"use one of: {', '.join(contracts)}")  # fmt: skip
    today = clock.today(settings)
    rows = {name: deliver(settings, contract, today) for name, contract in contracts.items()
            if agency in (None, name)}  # fmt: skip

    def show() -> None:
        for name, datasets in rows.items():
            console.print(f"{settings.home}/extracts/{name}/{today}", highlight=False)
            for dataset, count in datasets.items():
                console.print(f"  {dataset}: {count:,} rows", highlight=False)

    _answer(as_json, rows, show)


@app.command()
def verify(folder: Path, as_json: Json = False) -> None:
    """Check a delivery against its manifest. Example: muara verify var/extracts/bp4d/2026-11-23"""
    from warehouse.manifest import verify as verify_folder

    manifest = verify_folder(folder)
    _answer(
        as_json, manifest, lambda: console.print(f"{len(manifest['files'])} files as delivered")
    )


@app.command()
def doctor(
    rebuild: Annotated[bool, typer.Option(help="also rebuild core from landing")] = False,
    as_json: Json = False,
) -> None:
    """Look for what would make tonight fail. Example: muara doctor --rebuild"""
    from pipeline.doctor import examine

    settings = _settings()
    with _city_services(settings):
        answers = examine(settings, rebuild=rebuild)

    def show() -> None:
        for answer in answers:
            sign = "[green]ok[/]" if answer.holds else "[bold red]NO[/]"
            console.print(f"{sign}  {answer.name}: {answer.detail}", highlight=False)

    _answer(as_json, [vars(answer) for answer in answers], show)
    if not all(answer.holds for answer in answers):
        raise typer.Exit(1)


@person_app.command("erase")
def person_erase(
    record: Annotated[str, typer.Argument(help="source_record_id in core.person_identity")],
    reference: Annotated[str, typer.Option(help="number of the request, no person data")],
    as_json: Json = False,
) -> None:
    """Erase a resident's record everywhere we keep it, then publish and deliver anew.

    Example: muara person erase 6f1c… --reference 470/12/2026
    """
    from pipeline import leave
    from warehouse.erase import erase

    settings = _settings()
    found = load_sources(settings)
    source = found["civil_registry"]
    touched = erase(settings, found, source, source.stream("resident"), record,
                    reference=reference, night=clock.today(settings))  # fmt: skip
    leave.publish(settings)
    leave.deliver(settings)
    _answer(as_json, touched, lambda: console.print(
        "erased: " + ", ".join(f"{name} {count}" for name, count in touched.items())))  # fmt: skip


@city_app.command("build")
def city_build(
    residents: Annotated[int, typer.Option(min=100)] = 356_629,
    seed: int = 1,
    today: Annotated[str, typer.Option(help="the city's date")] = "2026-11-23",
    if_missing: Annotated[bool, typer.Option(help="keep a city that is already there")] = False,
) -> None:
    """Build the sample city and its legacy systems. Example: muara city build --residents 5000"""
    import city

    settings = _settings()
    home = settings.home / "city"
    if (home / "city.json").exists():
        if if_missing:
            console.print(f"keeping the sample city of {city.today(home)} in {home}")
            return
        raise DefinitionError("there is a sample city already", where=str(home),
                              next_step="`make clean` forgets it and its warehouse.")  # fmt: skip
    if (settings.home / "lake").exists():
        console.print(
            f"{settings.home} holds a warehouse of its own; no sample city is built there"
        )
        raise typer.Exit(0 if if_missing else 1)
    started = time.monotonic()
    with console.status(f"building a city of {residents:,} residents"):
        city.build(home, residents, seed, date.fromisoformat(today), _legacy_servers(home))
    _adopt(settings, home)
    console.print(
        f"a city of {residents:,} synthetic residents in {time.monotonic() - started:.0f} s"
    )


@city_app.command("tomorrow")
def city_tomorrow() -> None:
    """Advance the sample city by one day. Example: muara city tomorrow"""
    import city

    settings = _settings()
    home = settings.home / "city"
    if not (home / "city.json").exists():
        raise DefinitionError("there is no sample city", next_step="run `muara city build` first.")
    city.tomorrow(home, _legacy_servers(home))
    _adopt(settings, home)
    console.print(f"it is {city.today(home)} in the city")


@city_app.command("serve")
def city_serve() -> None:
    """Serve the sample city's report inbox until stopped. Example: muara city serve"""
    import city

    with city.serve_open311(_settings().home / "city") as url:
        console.print(f"AIRFLOW_CONN_REPORT_INBOX={url}  (Ctrl-C stops it)", highlight=False)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            return


def _legacy_servers(home: Path) -> Any:
    """Real servers for the city's databases where MUARA_CITY_<SYSTEM> names them."""
    import city

    named = {system: os.environ[f"MUARA_CITY_{system.upper()}"]
             for system in ("simreda", "civil_registry", "brojol", "cctv")
             if f"MUARA_CITY_{system.upper()}" in os.environ}  # fmt: skip
    return city.Systems(**named) if named else None


def _adopt(settings: Settings, home: Path) -> None:
    """Let the warehouse live in the city's date and know its connections."""
    import city

    (settings.home / "today").write_text(f"{city.today(home)}\n")
    lines = [f'{name} = "{url}"' for name, url in city.connections(home).items()]
    path = settings.home / "connections.toml"
    path.touch(mode=0o600)
    path.write_text("[connections]\n" + "\n".join(lines) + "\n")


@contextmanager
def _city_services(settings: Settings) -> Iterator[None]:
    """The sample city's inbox answers while a command runs; nothing where there is no such city."""
    home = settings.home / "city"
    if not (home / "city.json").exists() or "AIRFLOW_CONN_REPORT_INBOX" in os.environ:
        yield
        return
    import city

    with city.serve_open311(home) as url:
        os.environ["AIRFLOW_CONN_REPORT_INBOX"] = url
        try:
            yield
        finally:
            del os.environ["AIRFLOW_CONN_REPORT_INBOX"]
