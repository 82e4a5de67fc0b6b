"""Where a connection id leads. Whoever calls passes a resolver in; secrets never enter a message.

In DAGs the resolver is Airflow's own; elsewhere `AIRFLOW_CONN_<ID>` in its URI or JSON form, then
`<home>/connections.toml` (mode 0600), which the sample city writes.
"""

import json
import os
import tomllib
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from common.errors import DefinitionError
from common.settings import Settings

Resolver = Callable[[str], str]


def resolver(settings: Settings) -> Resolver:
    """A resolver from connection id to URL, for use outside Airflow."""
    path = settings.home / "connections.toml"

    def resolve(connection_id: str) -> str:
        if text := os.environ.get(f"AIRFLOW_CONN_{connection_id.upper()}"):
            return _from_json(text) if text.lstrip().startswith("{") else text
        if path.exists():
            known = tomllib.loads(path.read_text()).get("connections", {})
            if connection_id in known:
                return str(known[connection_id])
        raise DefinitionError(
            f"connection {connection_id} is not known",
            next_step=f"set AIRFLOW_CONN_{connection_id.upper()} or add it to "
            f"{path.name} in MUARA_HOME.",
        )

    return resolve


def _from_json(text: str) -> str:
    part = json.loads(text)
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
