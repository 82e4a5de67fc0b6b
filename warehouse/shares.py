"""Contracts (Open Data Contract Standard 3.1), the shares they yield, the extracts cut from them.

A share is a DuckDB file of its own with the granted rows and columns and nothing else. A column
that the schema home drops for everyone leaves only when the contract grants it by name
(`grant: clear`) and states its legal basis.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
from pydantic import Field, ValidationError

from common.access import NAME, Name, Strict
from common.definition_files import Unreadable, faults_of
from common.errors import DefinitionError, QueryRefused
from common.given_sql import TableName, check_expression
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse import odcs
from warehouse.audit import seals
from warehouse.catalog import data_folder, naming_damage, reading, require_night, require_sound
from warehouse.cells import counts, pooled
from warehouse.disclosure import load_floor
from warehouse.formulas import NOTE, neutral
from warehouse.manifest import building, declared, delivery, leaving, write_manifest
from warehouse.masks import masked
from warehouse.tables import Table, tables

FORMATS = ("parquet", "csv")
SUFFIX = ".odcs.yaml"
CURRENT = "valid_to IS NULL"
NO_TEXT = ("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT",
           "USMALLINT", "UINTEGER", "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL", "DATE",
           "TIME")  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """One granted table: output columns as (name, SQL), and the row filter."""

    name: str
    table: str
    columns: tuple[tuple[str, str], ...]
    row_filter: str


class Open311(Strict):
    """An agency's own Open311 server, to which the reports of its share are given.

    `services`: our category → its service code ('' → for reports without a category). A report of
    any other category is not sent. What leaves is what the share holds: of `core.report` at least
    source_record_id and category_code; latitude, longitude and, of `core.report_identity`,
    description and address where they are granted; of `core.report_status` the states.
    """

    connection: Name
    jurisdiction: str | None = None
    services: dict[str, str] = Field(min_length=1)


REPORT, TEXT, STATES = "core.report", "core.report_identity", "core.report_status"
NEEDED = {
    REPORT: {"source_record_id", "category_code"},
    TEXT: {"source_record_id"},
    STATES: {"source_record_id", "status_number", "state", "reached_at"},
}


@dataclass(frozen=True)
class Contract:
    """What one agency is granted."""

    agency: str
    version: str
    purpose: str
    legal_basis: str
    datasets: tuple[Dataset, ...]
    open311: Open311 | None = None

    def of(self, table: str) -> Dataset | None:
        """The one dataset of a table; None when there is none."""
        return next((one for one in self.datasets if one.table == table), None)


@dataclass(frozen=True)
class Contracts:
    """Those in force by agency; `faults`: file → what is wrong with it, and its agency is given
    nothing; `resting`: file → its status, where that is not `active`."""

    in_force: dict[str, Contract]
    faults: dict[str, list[str]]
    resting: dict[str, str]

    def require_sound(self) -> None:
        """Raises DefinitionError with every fault at once."""
        if self.faults:
            said = [f"{file} {fault}" for file, some in self.faults.items() for fault in some]
            raise DefinitionError(
                f"{len(said)} fault(s) in contracts:\n  - " + "\n  - ".join(said),
                next_step="correct the lines named, then run `muara check`; until then these "
                "agencies are given nothing.",
            )


def read_contracts(settings: Settings) -> Contracts:
    """Every file of the contracts' folder. Raises DefinitionError when there is no such folder."""
    if not settings.contracts.is_dir():
        raise DefinitionError(
            "there is no such folder",
            where="setting contracts",
            next_step="correct MUARA_CONTRACTS or muara.toml.",
        )
    in_force, faults, resting = {}, {}, {}
    with _empty_tables() as scratch:
        for path in sorted(settings.contracts.iterdir()):
            if path.name.startswith("."):
                continue
            try:
                contract, status = _resolve(scratch, path)
            except Unreadable as error:
                faults[path.name] = error.faults
                continue
            if status == "active":
                in_force[contract.agency] = contract
            else:
                resting[path.name] = status
    return Contracts(in_force, faults, resting)


def load_contracts(settings: Settings) -> dict[str, Contract]:
    """All contracts in force, by agency. Raises DefinitionError with every fault at once."""
    contracts = read_contracts(settings)
    contracts.require_sound()
    return contracts.in_force


def _resolve(scratch: duckdb.DuckDBPyConnection, path: Path) -> tuple[Contract, str]:
    """A contract and its status. Raises Unreadable with every fault at once."""
    if not path.name.endswith(SUFFIX):
        raise Unreadable([f"a contract is a file called <agency>{SUFFIX}"])
    file = odcs.read_contract_file(path)
    facts = {name: one.value for name, one in odcs.said(file).items()}
    agency, basis = facts.get("agency"), facts.get("legalBasis", "")
    faults = []
    if path.name != f"{agency}{SUFFIX}" or not re.match(NAME, str(agency)):
        faults.append("customProperties.agency must equal the file's name, a plain word")
    if not isinstance(basis, str):
        faults.append("customProperties.legalBasis must be a text")
    datasets = []
    for schema in file.schema_:
        dataset, found = _dataset(scratch, str(agency), bool(basis), schema)
        faults += [f"{schema.name}{fault}" for fault in found]
        if dataset:
            datasets.append(dataset)
    faults += [f"two datasets are called {name}" for name in _twice(one.name for one in datasets)]
    contract = Contract(str(agency), file.version, file.description.purpose, basis, tuple(datasets))
    if "open311" in facts:
        contract, found = _two_way(contract, facts["open311"])
        faults += found
    if faults:
        raise Unreadable(faults)
    return contract, file.status


def _two_way(contract: Contract, declared: Any) -> tuple[Contract, list[str]]:
    faults = []
    try:
        contract = replace(contract, open311=Open311.model_validate(declared))
    except ValidationError as error:
        faults += [f"open311 {fault}" for fault in faults_of(error)]
    if contract.of(REPORT) is None:
        faults.append(f"open311: no dataset of {REPORT}")
    for table, needed in NEEDED.items():
        granted = [one for one in contract.datasets if one.table == table]
        if len(granted) > 1:
            faults.append(f"open311: two datasets of {table}")
        for dataset in granted:
            if missing := sorted(needed - {name for name, _ in dataset.columns}):
                faults.append(f"{dataset.name}: open311 needs {', '.join(missing)}")
    return contract, faults


def _dataset(
    scratch: duckdb.DuckDBPyConnection, agency: str, has_basis: bool, schema: odcs.SchemaObject
) -> tuple[Dataset | None, list[str]]:
    table = tables().get(schema.physicalName)
    if table is None:
        return None, [f": no table {schema.physicalName}"]
    columns: list[tuple[str, str]] = []
    faults: list[str] = []
    for one in schema.properties:
        column = table.all_columns.get(one.name)
        if column is None:
            faults.append(f".{one.name}: {table.name} has no such column")
            continue
        grant = odcs.said(one).get("grant")
        if grant and grant.value != "clear":
            faults.append(f".{one.name}: the one grant there is, is `clear`")
        if grant and not has_basis:
            faults.append(f".{one.name}: granted without a legalBasis")
        pair = (one.name, identifier(one.name)) if grant else masked(one.name, column, agency)
        if pair is None:
            faults.append(f".{one.name}: personal, needs `grant: clear`")
        else:
            columns.append(pair)
    faults += [f": two columns are called {name}" for name in _twice(name for name, _ in columns)]
    row_filter, found = _row_filter(scratch, table, odcs.said(schema).get("rowFilter"))
    return (
        Dataset(schema.name, table.name, tuple(columns), row_filter),
        faults + found,
    )


def _row_filter(
    scratch: duckdb.DuckDBPyConnection, table: Table, said: odcs.CustomProperty | None
) -> tuple[str, list[str]]:
    """SQL of which rows are granted, and what is wrong with it: that is said always, and with a
    reason where it is every row."""
    named = {"all": "TRUE"} | ({"current": CURRENT} if table.history else {})
    if said is None:
        return "FALSE", [f": says no rowFilter; where no row is held back: {' or '.join(named)}"]
    if not isinstance(said.value, str) or not said.value.strip():
        return "FALSE", [": rowFilter must be SQL, or one of: " + ", ".join(named)]
    if said.value in named:
        lacks = [] if said.description.strip() else [
            f": rowFilter `{said.value}` holds no row back and needs a `description` that says why"
        ]  # fmt: skip
        return named[said.value], lacks
    try:
        check_expression(said.value, may_choose_by)
    except QueryRefused as refused:
        return "FALSE", [f": rowFilter is refused: {refused.what}"]
    fault = _no_question(scratch, table, said.value)
    return said.value, [f": rowFilter {fault}"] if fault else []


def _no_question(scratch: duckdb.DuckDBPyConnection, table: Table, text: str) -> str | None:
    """Why a text does not ask something of each row of a table; None where it does."""
    where = f"FROM lake.{table.name} WHERE ({text}\n)"
    try:
        asked = scratch.execute("SELECT json_serialize_sql(?)", [f"SELECT 1 {where}"]).fetchall()
        kind = scratch.execute(
            f"DESCRIBE SELECT ({text}\n) AS granted FROM lake.{table.name}"
        ).fetchall()[0][1]
        plan = scratch.execute(f"EXPLAIN SELECT 1 {where}").fetchall()[0][1]
    except duckdb.Error as error:
        return f"cannot be run on {table.name} ({type(error).__name__})"
    if kind != "BOOLEAN":
        return f"is no condition: it gives {kind}"
    if '"COLUMN_REF"' not in asked[0][0]:
        return "asks for no column; for every row say `all`"
    if not any(part in plan for part in ("Filters", "FILTER", "JOIN")):
        return "is the same for every row; for every row say `all`"
    return None


@contextmanager
def _empty_tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The schema home's tables without a row, to ask whether a filter can be run."""
    with duckdb.connect(config={"enable_external_access": False}) as scratch:
        scratch.execute("ATTACH ':memory:' AS lake")
        for schema in {table.schema_name for table in tables().values()}:
            scratch.execute(f"CREATE SCHEMA lake.{schema}")
        for table in tables().values():
            scratch.execute(table.ddl("lake"))
        # What is known of empty tables would answer every question.
        scratch.execute("SET disabled_optimizers = 'statistics_propagation'")
        scratch.execute("SET lock_configuration = true")
        yield scratch


def _twice(names: Iterable[str]) -> list[str]:
    return sorted(name for name, count in Counter(names).items() if count > 1)


def may_choose_by(table: TableName) -> bool:
    """A row filter looks at its row, and at what holds of others."""
    return table.catalog == "lake" and table.schema in ("core", "mart", "ref")


def share_of(settings: Settings, agency: str) -> Path:
    """Where an agency's share is, once it was built."""
    return settings.home / "shares" / f"{agency}.duckdb"


def files_of(contract: Contract) -> set[str]:
    """The files that every extract of a contract holds."""
    formats = {"formats": FORMATS}
    return declared({"datasets": {dataset.name: formats for dataset in contract.datasets}})


def deliver(settings: Settings, contract: Contract, night: date) -> dict[str, int]:
    """Build the share, cut the extract, verify it, swap it in. Returns rows per dataset.

    The extract lands in `<home>/extracts/<agency>/<night>/`, whole or not at all. Raises
    WarehouseBusy when somebody else keeps building what leaves.
    """
    require_night(settings)
    final = settings.home / "extracts" / contract.agency / str(night)
    with leaving(settings):
        snapshot, rows = _renew_share(settings, contract)
        with delivery(final) as folder:
            _cut(share_of(settings, contract.agency), contract, folder)
            write_manifest(
                folder,
                {
                    "agency": contract.agency,
                    "night": str(night),
                    "contract_version": contract.version,
                    "legal_basis": contract.legal_basis,
                    "snapshot": snapshot,
                    **seals.head(settings),
                    "formulas": NOTE,
                    "datasets": {
                        dataset.name: {
                            "rows": rows[dataset.name],
                            "columns": [name for name, _ in dataset.columns],
                            "formats": list(FORMATS),
                        }
                        for dataset in contract.datasets
                    },
                },
            )
    return rows


def _renew_share(settings: Settings, contract: Contract) -> tuple[int, dict[str, int]]:
    """Swap in the share as the lake is now. Returns its snapshot and rows per dataset."""
    share = share_of(settings, contract.agency)
    with building(share.parent) as folder:
        fresh = folder / share.name
        snapshot, rows = _build_share(settings, contract, fresh)
        fresh.replace(share)
    return snapshot, rows


def _build_share(settings: Settings, contract: Contract, path: Path) -> tuple[int, dict[str, int]]:
    floor = load_floor(settings)
    with reading(settings) as connection:
        require_sound(connection, data_folder(settings))
        connection.execute(f"ATTACH {literal(path)} AS share")
        connection.execute("BEGIN")
        snapshot = connection.execute(
            "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')"
        ).fetchall()[0][0]
        rows = {}
        for dataset in contract.datasets:
            columns = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in dataset.columns)
            table, rows_of = tables()[dataset.table], f"lake.{dataset.table}"
            if counts(table):
                rows_of = f"({pooled(table, rows_of, floor.cells)})"
            try:
                with naming_damage(settings):
                    connection.execute(
                        f"CREATE TABLE share.{identifier(dataset.name)} AS SELECT {columns} "
                        f"FROM {rows_of} WHERE ({dataset.row_filter}\n) ORDER BY ALL"
                    )
            except duckdb.Error as error:
                raise DefinitionError(
                    f"rowFilter of {dataset.name} cannot be run ({type(error).__name__})",
                    where=f"contract {contract.agency}",
                    next_step="correct it, then run `muara check`.",
                ) from None
            rows[dataset.name] = connection.execute(
                f"SELECT count(*) FROM share.{identifier(dataset.name)}"
            ).fetchall()[0][0]
        connection.execute("COMMIT")
        connection.execute("DETACH share")
        path.chmod(0o600)
        return snapshot, rows


def _cut(share: Path, contract: Contract, folder: Path) -> None:
    with duckdb.connect(str(share), read_only=True) as connection:
        for dataset in contract.datasets:
            columns = connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
                "ORDER BY column_index",
                [dataset.name],
            ).fetchall()
            quoted = [(identifier(name), kind) for name, kind in columns]
            kept = ", ".join(f"{_flat(name, kind)} AS {name}" for name, kind in quoted)
            harmless = ", ".join(f"{_harmless(name, kind)} AS {name}" for name, kind in quoted)
            for chosen, file, how in (
                (kept, f"{dataset.name}.parquet", "FORMAT parquet"),
                (harmless, f"{dataset.name}.csv", "FORMAT csv, HEADER"),
            ):
                connection.execute(
                    f"COPY (SELECT {chosen} FROM {identifier(dataset.name)}) "
                    f"TO {literal(str(folder / file))} ({how})"
                )


def _flat(name: str, kind: str) -> str:
    """SQL of a column, its name quoted, as one value: some formats know no lists and no UUID."""
    if kind.endswith("[]"):
        return f"array_to_string({name}, '|')"
    return f"CAST({name} AS VARCHAR)" if kind == "UUID" else name


def _harmless(name: str, kind: str) -> str:
    """The same for a spreadsheet: all but numbers, dates and booleans may hold a formula."""
    flat = _flat(name, kind)
    if kind.startswith(NO_TEXT) and not kind.endswith("[]"):
        return flat
    return neutral(f"CAST({flat} AS VARCHAR)")
