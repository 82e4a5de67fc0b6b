"""Suites from `expectations/<source>.yml`, completed by what the definition itself demands.

A rule reads:

    - rule: nik_month_invalid          # our name: in quarantine, flags, documentation
      expect_column_values_to_match_regex: {column: nik, regex: '…'}
      severity: critical               # critical quarantines the row; warning loads and flags it
      reason: NIK carries DDMMYY …
      origin: DOMAIN.md / a decree
      plain: Bulan dalam NIK …         # for the agency's workbook: what is wrong,
      remedy: Cocokkan NIK dengan …    # and what to correct

From the definition come `<column>_missing` (required), `<column>_unreadable` (does not fit its
type), `<column>_unknown` (a code outside `values` or `codes`), `key_missing` and `key_shared`
(rows that share a key: all of them are rejected), all critical.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from common.definition import NAME, Column, Source, Stream
from common.errors import DefinitionError
from common.settings import Settings

Severity = Literal["critical", "warning"]
KEY_SHARED = "key_shared"
IMPLIED = "source.yml"


class Rule(BaseModel):
    """One expectation: `kind` and `arguments` in Great Expectations' vocabulary."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str = Field(pattern=NAME)
    severity: Severity
    reason: str
    origin: str
    plain: str = Field(min_length=1, description="what is wrong, in Indonesian, for its agency")
    remedy: str = Field(min_length=1, description="what to correct, in Indonesian")
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

    @property
    def is_about_rows(self) -> bool:
        return not self.kind.startswith("expect_table_")

    @property
    def is_implied(self) -> bool:
        return self.origin == IMPLIED

    @property
    def looks_at_other_rows(self) -> bool:
        """Whether a row's verdict depends on the other rows of its batch."""
        return bool(
            re.search(r"unique|\b(typed|_rows_with_key)\b", f"{self.kind} {self.arguments}")
        )


class Rules(BaseModel):
    """The file: stream → its rules."""

    model_config = ConfigDict(extra="forbid")

    streams: dict[str, list[Rule]]


def load_rules(settings: Settings, source: Source) -> dict[str, list[Rule]]:
    """Stream → declared rules and those the definition implies.

    Raises DefinitionError with every fault of the file at once.
    """
    path = settings.expectations / f"{source.name}.yml"
    if not path.exists():
        raise DefinitionError(
            "has no expectations", where=source.name, next_step=f"write expectations/{path.name}."
        )
    try:
        declared = Rules.model_validate(
            yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        ).streams
    except ValidationError as error:
        faults = [
            f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors(include_input=False, include_url=False)
        ]
        raise DefinitionError(
            f"{len(faults)} fault(s):\n  - " + "\n  - ".join(faults),
            where=f"expectations/{path.name}",
            next_step="correct the lines named, then run `muara check`.",
        ) from None
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


def columns_named_in(rules: list[Rule]) -> Callable[[str], bool]:
    """Whether any rule names a column; what no rule names need not be computed."""
    words = set(re.findall(r"\w+", " ".join(str(rule.arguments) for rule in rules)))
    return words.__contains__


def columns_of(rule: Rule, stream: Stream) -> list[str]:
    """Our names of the columns that the rule is about: their cells are the ones to look at."""
    if rule.rule == KEY_SHARED:
        return list(stream.key)
    if condition := rule.arguments.get("condition"):
        said = re.sub(r"'[^']*'", "", condition)
    else:
        said = str([value for name, value in rule.arguments.items() if name.startswith("column")])
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
            " AND ".join(f'"{part}" IS NOT NULL' for part in stream.key),
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
                    f'"{column.name}" IS NOT NULL OR {sent}',
                    "the definition requires a value",
                    f"Kolom {name} wajib diisi, tetapi kosong.",
                    f"Isi kolom {name}.",
                )
            )
        if column.values is not None:
            rules.append(
                _condition(
                    f"{column.name}_unknown",
                    f'NOT ({sent}) OR "{column.name}" IS NOT NULL',
                    "an unknown code is never mapped by guess",
                    f"Kode pada kolom {name} tidak dikenal.",
                    f"Isi kolom {name} dengan salah satu kode: {', '.join(column.values)}.",
                )
            )
        elif column.codes:
            codes = f"SELECT code FROM lake.ref.code WHERE list = '{column.codes}'"
            rules.append(
                _condition(
                    f"{column.name}_unknown",
                    f'"{column.name}" IN ({codes})',
                    f"not in the code list {column.codes}",
                    f"Kode pada kolom {name} tidak ada dalam daftar kode resmi.",
                    f"Isi kolom {name} dengan salah satu kode pada lembar “Daftar kode”.",
                )
            )
        elif column.type not in ("text", "json"):
            kind, remedy = _readable(column)
            rules.append(
                _condition(
                    f"{column.name}_unreadable",
                    f'NOT ({sent}) OR "{column.name}" IS NOT NULL',
                    f"does not read as {column.type}",
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
        case _:
            return "ya atau tidak", "Isi 1 untuk ya atau 0 untuk tidak."


def _sent(name: str, empty: tuple[str, ...]) -> str:
    """SQL: the source sent something that does not mean empty."""
    cleaned = f"trim(replace(\"{name}_sent\", chr(160), ' '), ' ' || chr(9) || chr(10) || chr(13))"
    nothing = ", ".join(f"'{token}'" for token in ("", *empty))
    return f'("{name}_sent" IS NOT NULL AND {cleaned} NOT IN ({nothing}))'


def _condition(rule: str, condition: str, reason: str, plain: str, remedy: str) -> Rule:
    return Rule.model_validate(
        {
            "rule": rule,
            "severity": "critical",
            "reason": reason,
            "origin": IMPLIED,
            "plain": plain,
            "remedy": remedy,
            "expect_rows_to_satisfy": {"condition": condition},
        }
    )
