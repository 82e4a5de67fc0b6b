"""Airflow's connections (UI, secrets backends, environment) as the URLs our readers expect."""

import json
from urllib.parse import quote

from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from sqlalchemy import URL

from common import connection
from common.connection import Resolver
from common.errors import DefinitionError
from common.settings import Settings

DRIVERS = {
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mysql+pymysql",
}


def resolver(settings: Settings) -> Resolver:
    """Airflow's answer; where Airflow knows no such connection, that of `common.connection`."""
    elsewhere = connection.resolver(settings)

    def resolve(connection_id: str) -> str:
        try:
            found = BaseHook.get_connection(connection_id)
        except AirflowNotFoundException:
            return elsewhere(connection_id)
        except (AirflowException, ValueError):
            found = None  # Airflow's own message may quote a password
        if found is None or not found.conn_type:
            raise DefinitionError(
                f"connection {connection_id} cannot be understood",
                next_step="write it as a URL, or correct it in Airflow's UI.",
            )
        return url_of(found)

    return resolve


def channel_resolver(settings: Settings) -> Resolver:
    """The URL of a channel for alarms, which is apprise's own and no connection of Airflow's kinds:
    as it is written outside Airflow, else whole in the password of a connection in Airflow."""
    elsewhere = connection.resolver(settings)

    def resolve(connection_id: str) -> str:
        try:
            return elsewhere(connection_id)
        except DefinitionError:
            try:
                return str(BaseHook.get_connection(connection_id).password or "")
            except (AirflowException, ValueError):
                pass  # Airflow's own message may quote a password
            raise

    return resolve


def url_of(found: Connection) -> str:
    """A URL for SQLAlchemy, httpx or a folder, with its password.

    Airflow's own `get_uri()` writes names that SQLAlchemy does not know (`postgres`) or that lead
    to drivers we do not use, and quotes paths.
    """
    kind = str(found.conn_type).replace("_", "-")
    match kind:
        case "sqlite":
            return f"sqlite:///{_path(found)}"
        case "file" | "fs":
            return f"file://{quote(_path(found))}"
        case "maildir":
            return f"maildir://{quote(_path(found))}"
        case "http" | "https":
            return _http(found, kind)
        case _:
            return URL.create(
                DRIVERS.get(kind, kind),
                username=found.login or None,
                password=found.password or None,
                host=found.host or None,
                port=found.port,
                database=found.schema or None,
                query={name: str(value) for name, value in found.extra_dejson.items()},
            ).render_as_string(hide_password=False)


def _path(found: Connection) -> str:
    """An absolute path: of a URL in `schema`, of Airflow's UI in `host` or extra `path`."""
    path = found.schema or found.host or json.loads(found.extra or "{}").get("path") or ""
    return f"/{path.lstrip('/')}"


def _http(found: Connection, scheme: str) -> str:
    """Airflow's UI keeps the scheme of an HTTP connection in `schema`, or all of it in `host`."""
    host, path = found.host or "", found.schema or ""
    if "://" in host:
        scheme, host = host.split("://", 1)
    if path in ("http", "https"):
        scheme, path = path, ""
    login = quote(found.login or "", safe="")
    if found.password:
        login += f":{quote(found.password, safe='')}"
    port = f":{found.port}" if found.port else ""
    return f"{scheme}://{login}{'@' if login else ''}{host}{port}{'/' if path else ''}{path}"
