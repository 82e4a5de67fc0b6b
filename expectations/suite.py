"""Suites from `expectations/<source>.yml`, completed by what the definition itself demands.

A rule reads:

    - rule: nik_month_invalid          # our name: in quarantine, flags, documentation
      expect_column_values_to_match_regex: {column: nik, regex: '…'}
      severity: critical               # critical quarantines the row; warning loads and flags it;
                                       # info is only counted
      reason: NIK carries DDMMYY …
      origin: DOMAIN.md / a decree
      plain: Bulan dalam NIK …         # for the agency's workbook: what is wrong,
      remedy: Cocokkan NIK dengan …    # and what to correct

A rule across rows says which of the rows that break it together it implicates: all of them, or all
but the one that came `first` or `last` by a column:

      implicates: {among: [household_number], spare: first, by: registered_at}

From the definition come `<column>_missing` (required), `<column>_unreadable` (does not fit its
type), `<column>_unknown` (a code outside `values` or `codes`), `key_missing` and `key_shared`
(rows that share a key: all of them are rejected), all critical.
"""

import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from common.access import NAME
from common.definition import Column, Source, Stream
from common.definition_files import Unreadable, read_model
from common.errors import DefinitionError, QueryRefused
from common.given_sql import TableName, check_expression
from common.quoting import identifier, literal
from common.settings import Settings
from warehouse.tables import Table, tables

IMPLIED = "source.yml"
SCHEMA = "warehouse/tables"
KEY_SHARED = "key_shared"
Severity = Literal["critical", "warning", "info"]


ARGUMENTS = frozenset({
    "column", "column_A", "column_B", "column_list", "column_set", "condition", "double_sided",
    "exact_match", "ignore_row_if", "like_pattern", "like_pattern_list", "mostly", "match_on",
    "max_value", "min_value", "or_equal", "parse_strings_as_datetimes", "regex", "regex_list",
    "strict_max", "strict_min", "strftime_format", "sum_total", "threshold", "ties_okay", "type_",
    "type_list", "value", "value_pairs_set", "value_set",
})  # fmt: skip
"""What an expectation may be told: values, names of columns and one condition, never a query."""


class AllButOne(BaseModel):
    """Of rows with equal values `among` columns, the `first` or `last` `by` a column is spared.
    When two are equally early or late, neither is: nobody can tell which is right. Rows that
    another critical rule rejects do not count."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    among: tuple[str, ...] = Field(min_length=1)
    spare: Literal["first", "last"]
    by: str


class Rule(BaseModel):
    """One expectation: `kind` and `arguments` in Great Expectations' vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str = Field(pattern=NAME)
    severity: Severity
    reason: str
    origin: str
    plain: str = Field("", description="what is wrong, in Indonesian, for the agency it concerns")
    remedy: str = Field("", description="what to correct, in Indonesian")
    implicates: Literal["all"] | AllButOne = "all"
    kind: str = Field(pattern=r"^expect_[a-z_]+$")
    arguments: dict[str, Any]

    @model_validator(mode="before")
    @classmethod
    def _unfold(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        kinds = [name for name in value if str(name).startswith("expect_")]
        if len(kinds) != 1:
            raise ValueError("needs exactly one expect_… entry")
        rest = {name: part for name, part in value.items() if name != kinds[0]}
        return {**rest, "kind": kinds[0], "arguments": value[kinds[0]]}

    @model_validator(mode="after")
    def _can_spare(self) -> "Rule":
        if self.implicates != "all" and "condition" not in self.arguments:
            raise ValueError("`implicates` goes with expect_rows_to_satisfy")
        return self

    @property
    def is_about_rows(self) -> bool:
        return not self.kind.startswith("expect_table_")

    @property
    def is_implied(self) -> bool:
        return self.origin == IMPLIED

    @property
    def looks_at_other_rows(self) -> bool:
        """Whether a row's verdict depends on the other rows of its batch."""
        said = f"{self.kind} {self.arguments}"
        return self.implicates != "all" or bool(
            re.search(r"unique|\b(typed|known|_rows_with_key)\b", said)
        )


class Rules(BaseModel):
    """The file: stream → its rules."""

    model_config = ConfigDict(extra="forbid")

    streams: dict[str, list[Rule]]

    @model_validator(mode="after")
    def _speak_to_the_agency(self) -> "Rules":
        mute = [
            f"{stream}.{rule.rule}"
            for stream, rules in self.streams.items()
            for rule in rules
            if not (rule.plain and rule.remedy)
        ]
        if mute:
            raise ValueError(f"needs `plain` and `remedy`: {', '.join(mute)}")
        return self


class CoreRules(BaseModel):
    """The file `core.yml`: core table → its rules."""

    model_config = ConfigDict(extra="forbid")

    tables: dict[str, list[Rule]]


def cannot_be_run(rule: Rule, said: str, where: str) -> DefinitionError:
    """The error of a rule that is no question to these rows; `said` is the kind of exception."""
    return DefinitionError(
        f"rule {rule.rule} cannot be run ({said})",
        where=where,
        next_step="check the columns and the condition it names in its expectations file.",
    )


def load_rules(settings: Settings, source: Source) -> dict[str, list[Rule]]:
    """Stream → declared rules and those the definition implies.

    Raises DefinitionError with every fault of the file at once.
    """
    path = settings.expectations / f"{source.name}.yml"
    if not path.exists():
        raise DefinitionError(
            "has no expectations", where=source.name, next_step=f"write expectations/{path.name}."
        )
    declared = _read(path, Rules).streams
    known = {stream.name for stream in source.streams}
    if strangers := sorted(set(declared) - known):
        raise DefinitionError(
            f"rules for unknown stream(s): {', '.join(strangers)}",
            where=f"expectations/{path.name}",
            next_step=f"streams of {source.name}: {', '.join(sorted(known))}.",
        )
    return {
        stream.name: [*implied(stream), *declared.get(stream.name, [])] for stream in source.streams
    }


def load_core_rules(settings: Settings) -> dict[str, list[Rule]]:
    """Core table → declared rules and those the schema home implies.

    Raises DefinitionError with every fault of the file at once.
    """
    path = settings.expectations / "core.yml"
    declared = _read(path, CoreRules).tables if path.exists() else {}
    core = {name: table for name, table in tables().items() if table.is_of_landing}
    if strangers := sorted(set(declared) - set(core)):
        raise DefinitionError(
            f"rules for unknown table(s): {', '.join(strangers)}",
            where=f"expectations/{path.name}",
            next_step=f"core tables: {', '.join(sorted(core))}.",
        )
    return {name: [*_implied_of(table), *declared.get(name, [])] for name, table in core.items()}


def _implied_of(table: Table) -> list[Rule]:
    key = ", ".join(table.key)
    shared = f"({key}) NOT IN (SELECT ({key}) FROM typed GROUP BY ALL HAVING count(*) > 1)"
    rules = [
        _condition(KEY_SHARED, shared, "one version of a record holds at a time", origin=SCHEMA),
        _condition("key_missing", " AND ".join(f"{part} IS NOT NULL" for part in table.key),
                   "a row without its key cannot be followed", origin=SCHEMA),
    ]  # fmt: skip
    if f"{table.name}_identity" in tables():
        identity = f"SELECT source_record_id FROM current_{table.short_name}_identity"
        rules.append(
            _condition("identity_missing", f"source_record_id IN ({identity})",
                       "its identifiers stand in the table beside", origin=SCHEMA)
        )  # fmt: skip
    return rules


F = TypeVar("F", bound=BaseModel)


def may_judge_by(table: TableName) -> bool:
    """A rule looks at its batch, the night, sound rows of its source, references and core."""
    if table.catalog or table.schema:
        return table.catalog == "lake" and table.schema in ("ref", "core")
    return table.name in ("typed", "known", "night") or table.name.startswith("current_")


def _faults(rule: Rule) -> Iterator[str]:
    for name, value in rule.arguments.items():
        if name not in ARGUMENTS:
            yield f"argument {name} is not known, or is a query"
        elif name.startswith("column"):
            names = value if isinstance(value, list) else [value]
            if not all(isinstance(one, str) and re.fullmatch(r"\w+", one) for one in names):
                yield f"{name} is no name of a column"
    if "condition" in rule.arguments:
        try:
            check_expression(str(rule.arguments["condition"]), may_judge_by)
        except QueryRefused as refused:
            yield f"its condition is refused: {refused.what}"


def _read(path: Path, kind: type[F]) -> F:
    try:
        found = read_model(path, kind)
        faults = [
            f"{stream}.{rule.rule}: {fault}"
            for stream, rules in next(iter(dict(found).values())).items()
            for rule in rules
            for fault in _faults(rule)
        ]
    except Unreadable as error:
        faults = error.faults
    if faults:
        raise DefinitionError(
            f"{len(faults)} fault(s):\n  - " + "\n  - ".join(faults),
            where=f"expectations/{path.name}",
            next_step="correct the lines named, then run `muara check`.",
        ) from None
    return found


def columns_named_in(rules: list[Rule]) -> Callable[[str], bool]:
    """Whether any rule names a column; what no rule names need not be computed."""
    named = " ".join(f"{rule.arguments} {rule.implicates}" for rule in rules)
    words = set(re.findall(r"\w+", named))
    return words.__contains__


def columns_of(rule: Rule, stream: Stream) -> list[str]:
    """Our names of the columns that the rule is about: their cells are the ones to look at."""
    if rule.rule == KEY_SHARED:
        return list(stream.key)
    if condition := rule.arguments.get("condition"):
        said = re.sub(r"'[^']*'", "", condition)
    else:
        said = str([value for name, value in rule.arguments.items() if name.startswith("column")])
    if isinstance(rule.implicates, AllButOne):
        said = " ".join((said, *rule.implicates.among))
    words = set(re.findall(r"\w+", said))
    return [name for name in stream.names if words & {name, f"{name}_sent"}]


def implied(stream: Stream) -> list[Rule]:
    """The rules that follow from the definition itself."""
    theirs = {column.name: name for name, column in stream.columns.items()}
    key = ", ".join(theirs[part] for part in stream.key)
    rules = [
        _condition(
            KEY_SHARED,
            "_rows_with_key = 1",
            "several different rows share one key",
            f"Beberapa baris yang isinya berbeda memakai {key} yang sama.",
            f"Pastikan setiap baris memiliki {key} sendiri; gabungkan atau hapus baris yang ganda.",
        ),
        _condition(
            "key_missing",
            " AND ".join(f"{identifier(part)} IS NOT NULL" for part in stream.key),
            "a row without its key cannot be followed",
            f"Kunci baris ({key}) kosong atau tidak terbaca.",
            f"Isi {key}; tanpa kunci, baris tidak dapat dikenali.",
        ),
    ]
    for name, column in stream.columns.items():
        sent = _sent(column.name, column.empty)
        if column.required and column.name not in stream.key:
            rules.append(
                _condition(
                    f"{column.name}_missing",
                    _unless_read(column.name, sent),
                    "the definition requires a value",
                    f"Kolom {name} wajib diisi, tetapi kosong.",
                    f"Isi kolom {name}.",
                )
            )
        if column.values is not None:
            rules.append(
                _condition(
                    f"{column.name}_unknown",
                    _unless_read(column.name, f"NOT {sent}"),
                    "an unknown code is never mapped by guess",
                    f"Kode pada kolom {name} tidak dikenal.",
                    f"Isi kolom {name} dengan salah satu kode: {', '.join(column.values)}.",
                )
            )
        elif column.codes:
            codes = f"SELECT code FROM lake.ref.code WHERE list = {literal(column.codes)}"
            rules.append(
                _condition(
                    f"{column.name}_unknown",
                    f"{identifier(column.name)} IN ({codes})",
                    f"not in the code list {column.codes}",
                    f"Kode pada kolom {name} tidak ada dalam daftar kode resmi.",
                    f"Isi kolom {name} dengan salah satu kode pada lembar “Daftar kode”.",
                )
            )
        elif column.type != "text":
            kind, remedy = _readable(column)
            rules.append(
                _condition(
                    f"{column.name}_unreadable",
                    _unless_read(column.name, f"NOT {sent}"),
                    f"does not read as {column.form}",
                    f"Isi kolom {name} tidak terbaca sebagai {kind}.",
                    remedy,
                )
            )
    return rules


def _readable(column: Column) -> tuple[str, str]:
    """What the column should hold and how to write it, in Indonesian."""
    moment = datetime(2026, 8, 17, 9, 30)
    forms = " atau ".join(moment.strftime(form) for form in column.formats)
    match column.type:
        case "integer":
            return "bilangan bulat", "Tulis angka saja, tanpa titik, koma, spasi, atau huruf."
        case "decimal" if column.decimal_comma:
            return "angka", "Tulis angka dengan koma sebagai tanda desimal, misalnya 1.250,5."
        case "decimal":
            return "angka", "Tulis angka dengan titik sebagai tanda desimal, misalnya 1250.5."
        case "date":
            form = forms or str(moment.date())
            return "tanggal", f"Tulis tanggal yang memang ada, dengan bentuk {form}."
        case "timestamp":
            form = forms or str(moment)
            return "tanggal dan jam", f"Tulis waktu yang memang ada, dengan bentuk {form}."
        case "json":
            return "JSON", "Kirim JSON yang utuh, sesuai RFC 8259."
        case _:
            return "ya atau tidak", "Isi 1 untuk ya atau 0 untuk tidak."


def _unless_read(name: str, condition: str) -> str:
    """SQL: the column has a value, or else the condition holds. Only `if` leaves the costly part
    alone where it is not needed; OR computes both sides."""
    return f"if({identifier(name)} IS NOT NULL, true, {condition})"


def _sent(name: str, empty: tuple[str, ...]) -> str:
    """SQL: the source sent something that does not mean empty."""
    sent = identifier(f"{name}_sent")
    cleaned = f"trim(replace({sent}, chr(160), ' '), ' ' || chr(9) || chr(10) || chr(13))"
    nothing = ", ".join(literal(token) for token in ("", *empty))
    return f"({sent} IS NOT NULL AND {cleaned} NOT IN ({nothing}))"


def _condition(
    rule: str,
    condition: str,
    reason: str,
    plain: str = "",
    remedy: str = "",
    *,
    origin: str = IMPLIED,
) -> Rule:
    return Rule.model_validate(
        {
            "rule": rule,
            "severity": "critical",
            "reason": reason,
            "origin": origin,
            "plain": plain,
            "remedy": remedy,
            "expect_rows_to_satisfy": {"condition": condition},
        }
    )
