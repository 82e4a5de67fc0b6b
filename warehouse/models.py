"""Models that link persons, each kept with its version; the one learnt last links."""

import hashlib
import json
from datetime import date
from typing import Any

import duckdb

VERSION_LENGTH = 12


def newest(connection: duckdb.DuckDBPyConnection) -> str | None:
    """The version of the model that was learnt last."""
    kept = connection.execute(
        "SELECT model_version FROM lake.ops.identity_model "
        "ORDER BY trained_night DESC, rowid DESC LIMIT 1"
    ).fetchall()
    return kept[0][0] if kept else None


def load(connection: duckdb.DuckDBPyConnection, version: str) -> dict[str, Any]:
    """A model's settings as Splink reads them; its terms in table `term` (column_name, term,
    share)."""
    connection.execute(
        "CREATE TABLE term AS SELECT column_name, term, share FROM lake.ops.identity_term "
        "WHERE model_version = ?",
        [version],
    )
    (text,) = connection.execute(
        "SELECT settings FROM lake.ops.identity_model WHERE model_version = ?", [version]
    ).fetchall()[0]
    return json.loads(text)


def keep(
    connection: duckdb.DuckDBPyConnection,
    settings: dict[str, Any],
    night: date,
    impact_assessment: str,
) -> str:
    """Keep a model learnt of table `mention`, with its terms in table `term`, in the caller's
    transaction; it is the newest then. Returns its version, the same for the same model."""
    text = json.dumps(settings, sort_keys=True)
    terms = connection.execute(
        "SELECT md5(string_agg(concat_ws('|', column_name, term, share), ';' "
        "ORDER BY column_name, term)) FROM term"
    ).fetchall()[0][0]
    version = hashlib.sha256(f"{text}{terms}".encode()).hexdigest()[:VERSION_LENGTH]
    if newest(connection) == version:
        return version
    # One that was learnt before and is learnt again is the newest again; its terms are kept.
    known = connection.execute(
        "DELETE FROM lake.ops.identity_model WHERE model_version = ?", [version]
    ).fetchall()
    connection.execute(
        """
        INSERT INTO lake.ops.identity_model
        SELECT ?, ?, count(*) FILTER (role = 'resident'), count(*), ?, ? FROM mention
        """,
        [version, night, impact_assessment, text],
    )
    if known == [(0,)]:
        connection.execute("INSERT INTO lake.ops.identity_term SELECT ?, * FROM term", [version])
    return version
