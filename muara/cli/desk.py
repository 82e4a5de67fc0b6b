"""The portal: serving it, its accounts, its audit log, and what waits at the review desk."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from getpass import getuser
from typing import Annotated, Any

import typer
from rich.table import Table

from common.errors import WarehouseFault
from common.settings import Settings
from muara.cli.shared import Json, answer, console, read_settings

account_app = typer.Typer(no_args_is_help=True, help="Accounts of the portal.")
Name = Annotated[str, typer.Argument(help="the account's name, as people sign in")]


def portal(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="port to listen on; else that of the settings"),
    ] = None,
) -> None:
    """Serve the review desk until it is stopped. Other machines reach it through a proxy with TLS.

    Example: muara portal --port 8090
    """
    import uvicorn

    from portal.server import config

    settings = read_settings()
    port = port or settings.portal_port
    console.print(f"http://{host}:{port} (Ctrl-C ends it)")
    uvicorn.Server(config(settings, host, port)).run()


def review(as_json: Json = False) -> None:
    """How many pairs wait for people's answer, by kind and state. Example: muara review"""
    from portal.desk import Desk

    desk = Desk(read_settings())
    try:
        waiting = desk.waiting()
    finally:
        desk.close()
    rows = [{"kind": kind, "state": state, "pairs": n} for (kind, state), n in waiting.items()]

    def show() -> None:
        table = Table("kind", "state", "pairs")
        for row in rows:
            table.add_row(str(row["kind"]), str(row["state"]), f"{row['pairs']:,}")
        console.print(table if rows else "nothing waits.")

    answer(as_json, rows, show)


def audit(
    verify: Annotated[
        bool, typer.Option("--verify", help="only check that nothing of it was changed or cut out")
    ] = False,
    accept: Annotated[
        str,
        typer.Option(
            help="begin its seals anew and answer for the log and the accounts as they are: why"
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Who signed in, saw which pair and answered what. Example: muara audit --verify"""
    from warehouse import audit as log

    found = log.faults(read_settings())
    if found and not accept:
        raise WarehouseFault(
            "; ".join(map(str, found)),
            where="audit log",
            next_step="keep the home as it is and compare it with a backup; then "
            '`muara audit --accept "why"`.',
        )
    with _portal_store(anew=bool(accept)) as (_, store):
        if accept:
            first = log.accept(store, by=getuser(), why=accept)
            console.print(f"row {first} begins the seals anew; rows above it are not verified")
            return
        with store.engine.connect() as connection:
            rows = [vars(entry) for entry in log.entries(connection)]

    def show() -> None:
        table = Table("row", "at (UTC)", "account", "from", "action", "what")
        for row in rows:
            table.add_row(str(row["id"]), f"{row['at']:%Y-%m-%d %H:%M:%S}", row["account"],
                          row["address"], row["action"], row["what"])  # fmt: skip
        fits = f"{len(rows)} rows, every seal fits; the last is {last}"
        console.print((fits if verify else table) if rows else "no rows yet.")

    last = rows[-1]["seal"] if rows else ""
    answer(as_json, {"rows": len(rows), "last_seal": last} if verify else rows, show)


@account_app.command("add")
def account_add(
    name: Name,
    role: Annotated[str, typer.Option(help="reviewer, supervisor or auditor")],
) -> None:
    """A new account; its password is asked for, or read from standard input.

    Example: muara account add siti --role reviewer
    """
    from portal import accounts

    with _portal_store() as (_, store):
        accounts.add(store, name, role, _password())
    console.print(f"{name} may sign in as {role}")


@account_app.command("list")
def account_list(as_json: Json = False) -> None:
    """All accounts. Example: muara account list"""
    from portal import accounts

    with _portal_store() as (_, store):
        rows = accounts.all_of(store)

    def show() -> None:
        table = Table("account", "role", "may sign in")
        for row in rows:
            allowed = "yes" if row["is_active"] else "no"
            if not row["is_as_sealed"]:
                allowed = "no: changed in the file, see `muara audit --verify`"
            table.add_row(str(row["name"]), str(row["role"]), allowed)
        console.print(table if rows else "no accounts yet: muara account add NAME --role reviewer")

    answer(as_json, rows, show)


@account_app.command("password")
def account_password(name: Name) -> None:
    """Another password; whoever is signed in with the old one is out.

    Example: muara account password siti
    """
    _change(name, password=_password())
    console.print(f"{name} has another password")


@account_app.command("disable")
def account_disable(name: Name) -> None:
    """Nobody signs in with this account any more; its rows in the audit log stay.

    Example: muara account disable siti
    """
    _change(name, is_active=False)
    console.print(f"{name} is out")


@account_app.command("enable")
def account_enable(name: Name) -> None:
    """An account that was out may sign in again. Example: muara account enable siti"""
    _change(name, is_active=True)
    console.print(f"{name} may sign in")


@contextmanager
def _portal_store(*, anew: bool = False) -> Iterator[tuple[Settings, Any]]:
    from warehouse.audit.store import open_store

    settings = read_settings()
    store = open_store(settings, anew=anew)
    try:
        yield settings, store
    finally:
        store.dispose()


def _change(name: str, **values: Any) -> None:
    from portal import accounts

    with _portal_store() as (_, store):
        accounts.change(store, name, **values)


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\n")
