"""Where a connection id leads. Whoever calls passes a resolver in; secrets never enter a message.

In DAGs the resolver is Airflow's own; elsewhere `AIRFLOW_CONN_<ID>` in its URI or JSON form, then
`<home>/connections.toml` (mode 0600), which the sample city writes.
"""

import json
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from common.definition_files import faults_of
from common.errors import DefinitionError, HomeFault
from common.settings import Settings

Resolver = Callable[[str], str]


def resolver(settings: Settings) -> Resolver:
    """A resolver from connection id to URL, for use outside Airflow."""
    path = settings.home / "connections.toml"

    def resolve(connection_id: str) -> str:
        if text := os.environ.get(f"AIRFLOW_CONN_{connection_id.upper()}"):
            return _from_json(connection_id, text) if text.lstrip().startswith("{") else text
        known = _known(path) if path.exists() else {}
        if connection_id in known:
            return known[connection_id]
        raise DefinitionError(
            f"connection {connection_id} is not known",
            next_step=f"set AIRFLOW_CONN_{connection_id.upper()} or add it to "
            f"{path.name} in MUARA_HOME.",
        )

    return resolve


class _File(BaseModel):
    """`connections.toml`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    connections: dict[str, str]


def _known(path: Path) -> dict[str, str]:
    """Raises HomeFault for what is no list of connections, without what it says."""
    try:
        return _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).connections
    except ValidationError as error:
        fault = "; ".join(faults_of(error))
    except ValueError as error:
        fault = f"not readable as TOML ({type(error).__name__})"
    raise HomeFault(
        fault,
        where=str(path),
        next_step='it holds `[connections]` and lines such as `simreda = "mysql+pymysql://…"`.',
    )


def _from_json(connection_id: str, text: str) -> str:
    try:
        return _url_of(json.loads(text))
    except (ValueError, TypeError, AttributeError, LookupError):
        raise DefinitionError(
            "not the JSON of a connection",
            where=f"AIRFLOW_CONN_{connection_id.upper()}",
            next_step="write it as Airflow does, with conn_type, host, login …, or as a URI.",
        ) from None


def _url_of(part: dict[str, Any]) -> str:
    user = quote(part.get("login") or "", safe="")
    password = quote(part.get("password") or "", safe="")
    login = f"{user}:{password}@" if user or password else ""
    port = f":{part['port']}" if part.get("port") else ""
    extra = part.get("extra") or {}
    extra = json.loads(extra) if isinstance(extra, str) else extra
    query = f"?{urlencode(_as_text(extra))}" if extra else ""
    place = f"{part.get('host') or ''}{port}/{part.get('schema') or ''}"
    return f"{part['conn_type']}://{login}{place}{query}"


def query_of(url: str) -> dict[str, str]:
    """What a connection's URL asks for beside the place: Airflow writes extras there, those that
    are not text as JSON under `__extra__`."""
    asked = dict(parse_qsl(urlsplit(url).query))
    return asked | _as_text(json.loads(asked.pop("__extra__", "{}")))


def _as_text(extra: dict[str, Any]) -> dict[str, str]:
    return {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in extra.items()
    }
