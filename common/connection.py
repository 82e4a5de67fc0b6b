"""Where a connection id leads. Whoever calls passes a resolver in; secrets never enter a message.

In DAGs the resolver is Airflow's own; elsewhere `AIRFLOW_CONN_<ID>` in its URI or JSON form, then
`<home>/connections.toml` (mode 0600), which the sample city writes.
"""

import json
import os
import tomllib
from collections.abc import Callable
from urllib.parse import quote

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
    return f"{part['conn_type']}://{login}{part.get('host') or ''}{port}/{part.get('schema') or ''}"
