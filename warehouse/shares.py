"""Contracts (Open Data Contract Standard 3.1), the shares they yield, the extracts cut from them.

A share is a DuckDB file of its own with the granted rows and columns and nothing else. A column
that the schema home drops for everyone leaves only when the contract grants it by name
(`grant: clear`) and states its legal basis.
"""

import secrets
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaObject
from pydantic import Field, ValidationError

from common.access import Name, Strict
from common.errors import DefinitionError, QueryRefused
from common.given_sql import TableName, check_expression
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.audit import seals
from warehouse.catalog import attach, open_duckdb
from warehouse.manifest import delivery, write_manifest
from warehouse.masks import masked
from warehouse.tables import tables

FORMATS = ("parquet", "csv")


@dataclass(frozen=True)
class Dataset:
    """One granted table: output columns as (name, SQL), the row filter, the order."""

    name: str
    table: str
    columns: tuple[tuple[str, str], ...]
    row_filter: str
    order: tuple[str, ...]


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


def load_contracts(settings: Settings) -> dict[str, Contract]:
    """All contracts by agency. Raises DefinitionError with every fault at once."""
    contracts, faults = {}, []
    for path in sorted(settings.contracts.glob("*.odcs.yaml")):
        try:
            standard = OpenDataContractStandard.model_validate(
                yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
            )
        except (ValidationError, yaml.YAMLError) as error:
            faults.append(f"{path.name}: not an ODCS contract ({type(error).__name__})")
            continue
        contract, found = _resolve(path.name, standard)
        faults += found
        contracts[contract.agency] = contract
    if faults:
        raise DefinitionError(
            f"{len(faults)} fault(s) in contracts:\n  - " + "\n  - ".join(faults),
            next_step="correct the lines named, then run `muara check`.",
        )
    return contracts


def _custom(holder) -> dict[str, Any]:
    return {one.property: one.value for one in holder.customProperties or []}


def _resolve(file: str, standard: OpenDataContractStandard) -> tuple[Contract, list[str]]:
    facts = _custom(standard)
    agency, basis = facts.get("agency", ""), facts.get("legalBasis", "")
    faults = []
    if file != f"{agency}.odcs.yaml":
        faults.append(f"{file}: customProperties.agency must equal the file's name")
    datasets = []
    for schema in standard.schema_ or []:
        dataset, found = _dataset(file, agency, basis, schema)
        faults += found
        if dataset:
            datasets.append(dataset)
    purpose = (standard.description.purpose if standard.description else "") or ""
    if not purpose:
        faults.append(f"{file}: description.purpose is missing")
    contract = Contract(agency, standard.version or "", purpose, basis, tuple(datasets))
    if "open311" in facts:
        return _two_way(file, contract, facts["open311"], faults)
    return contract, faults


def _two_way(
    file: str, contract: Contract, declared: Any, faults: list[str]
) -> tuple[Contract, list[str]]:
    try:
        contract = replace(contract, open311=Open311.model_validate(declared))
    except ValidationError as error:
        for fault in error.errors(include_input=False, include_url=False):
            place = ".".join(str(part) for part in fault["loc"])
            faults.append(f"{file} open311 {place}: {fault['msg']}")
    if contract.of(REPORT) is None:
        faults.append(f"{file} open311: no dataset of {REPORT}")
    for table, needed in NEEDED.items():
        granted = [one for one in contract.datasets if one.table == table]
        if len(granted) > 1:
            faults.append(f"{file} open311: two datasets of {table}")
        for dataset in granted:
            if missing := sorted(needed - {name for name, _ in dataset.columns}):
                faults.append(f"{file} {dataset.name}: open311 needs {', '.join(missing)}")
    return contract, faults


def _dataset(
    file: str, agency: str, basis: str, schema: SchemaObject
) -> tuple[Dataset | None, list[str]]:
    table = tables().get(schema.physicalName or "")
    if table is None:
        return None, [f"{file} {schema.name}: no table {schema.physicalName}"]
    columns: list[tuple[str, str]] = []
    faults: list[str] = []
    for one in schema.properties or []:
        name = one.name or ""
        column = table.all_columns.get(name)
        if column is None:
            faults.append(f"{file} {schema.name}.{one.name}: {table.name} has no such column")
            continue
        granted = _custom(one).get("grant") == "clear"
        if granted and not basis:
            faults.append(f"{file} {schema.name}.{one.name}: granted without a legalBasis")
        pair = (name, identifier(name)) if granted else masked(name, column, agency)
        if pair is None:
            faults.append(f"{file} {schema.name}.{one.name}: personal, needs `grant: clear`")
        else:
            columns.append(pair)
    facts = _custom(schema)
    row_filter = facts.get("rowFilter", "valid_to IS NULL" if table.history else "TRUE")
    try:
        check_expression(str(row_filter), may_choose_by)
    except QueryRefused as refused:
        faults.append(f"{file} {schema.name}: rowFilter is refused: {refused.what}")
    return Dataset(schema.name or "", table.name, tuple(columns), row_filter, table.key), faults


def may_choose_by(table: TableName) -> bool:
    """A row filter looks at its row, and at what holds of others."""
    return table.catalog == "lake" and table.schema in ("core", "mart", "ref")


def share_of(settings: Settings, agency: str) -> Path:
    """Where an agency's share is, once it was built."""
    return settings.home / "shares" / f"{agency}.duckdb"


def deliver(settings: Settings, contract: Contract, night: date) -> dict[str, int]:
    """Build the share, cut the extract, verify it, swap it in. Returns rows per dataset.

    The extract lands in `<home>/extracts/<agency>/<night>/`, whole or not at all.
    """
    share = share_of(settings, contract.agency)
    share.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = share.with_name(f".{contract.agency}-{secrets.token_hex(4)}.duckdb")
    snapshot, rows = _build_share(settings, contract, fresh)
    fresh.replace(share)
    final = settings.home / "extracts" / contract.agency / str(night)
    with delivery(final) as folder:
        _cut(share, contract, folder)
        write_manifest(
            folder,
            {
                "agency": contract.agency,
                "night": str(night),
                "contract_version": contract.version,
                "legal_basis": contract.legal_basis,
                "snapshot": snapshot,
                **seals.head(settings),
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


def _build_share(settings: Settings, contract: Contract, path: Path) -> tuple[int, dict[str, int]]:
    connection = open_duckdb(settings)
    try:
        attach(connection, settings, read_only=True)
        connection.execute(f"ATTACH {literal(path)} AS share")
        connection.execute("BEGIN")
        snapshot = connection.execute(
            "SELECT max(snapshot_id) FROM ducklake_snapshots('lake')"
        ).fetchall()[0][0]
        rows = {}
        for dataset in contract.datasets:
            columns = ", ".join(f"{sql} AS {identifier(name)}" for name, sql in dataset.columns)
            order = ", ".join(identifier(part) for part in dataset.order)
            try:
                connection.execute(
                    f"CREATE TABLE share.{identifier(dataset.name)} AS SELECT {columns} "
                    f"FROM lake.{dataset.table} WHERE ({dataset.row_filter}) ORDER BY {order}"
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
    finally:
        connection.close()


def _cut(share: Path, contract: Contract, folder: Path) -> None:
    with duckdb.connect(str(share), read_only=True) as connection:
        for dataset in contract.datasets:
            columns = connection.execute(
                "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = ? "
                "ORDER BY column_index",
                [dataset.name],
            ).fetchall()
            flat = ", ".join(
                f"CAST({name} AS VARCHAR) AS {name}" if kind == "UUID"
                else f"array_to_string({name}, '|') AS {name}" if kind.endswith("[]")
                else name
                for name, kind in ((identifier(name), kind) for name, kind in columns)
            )  # fmt: skip
            rows = f"SELECT {flat} FROM {identifier(dataset.name)}"
            base = folder / dataset.name
            connection.execute(f"COPY ({rows}) TO {literal(f'{base}.parquet')} (FORMAT parquet)")
            connection.execute(f"COPY ({rows}) TO {literal(f'{base}.csv')} (FORMAT csv, HEADER)")
