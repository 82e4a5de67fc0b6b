"""How a record's key is spelt: the text that its surrogate is made of.

Keys that are the same value are one text (`7`, `007`, ` 7`, `7.0` of an integer; texts that look
alike), and keys that are not never are: parts are joined so that they can be parted again. Ordinary
keys are spelt as they are sent.
"""

from collections.abc import Callable, Iterable

from common import forms
from common.definition import Column, Stream
from common.quoting import identifier, literal

MACROS = r"""
CREATE OR REPLACE TEMP MACRO key_text(text) AS
    if(regexp_full_match(text, '[!-~]+'), text,
        nullif(nfc_normalize(trim(regexp_replace(
            regexp_replace(text, '[\p{Cf}\x{0}-\x{8}\x{e}-\x{1f}\x{7f}-\x{9f}]+', '', 'g'),
            '[\s\p{Z}]+', ' ', 'g'))), ''));
"""
"""`key_text`: a text without what nobody sees of it; NULL where nothing is left."""


def key_of(stream: Stream, cell: Callable[[str], str] = identifier) -> str:
    """SQL: the key of a row, NULL where a part of it is missing; `cell` gives the SQL of a column
    as sent."""
    columns = {column.name: column for column in stream.columns.values()}
    parts = [_spelt(columns[part], f"key_text({cell(part)})") for part in stream.key]
    if len(parts) > 1:
        parts = [f"replace(replace({part}, '\\', '\\\\'), '|', '\\|')" for part in parts]
    return " || '|' || ".join(parts)


def _spelt(column: Column, text: str) -> str:
    """SQL: the value as it is printed where the text has the form of its type, else the text."""
    match column.type:
        case "integer":
            number = f"CAST(TRY_CAST({text} AS BIGINT) AS VARCHAR)"
            is_one = f"{number} = {text} OR regexp_full_match({text}, {literal(forms.INTEGER)})"
            return f"coalesce(CASE WHEN {is_one} THEN {number} END, {text})"
        case "decimal" if not column.decimal_comma:
            number = f"CAST(TRY_CAST({text} AS DECIMAL(38, {column.places})) AS VARCHAR)"
            if column.places:
                number = f"rtrim(rtrim({number}, '0'), '.')"
            is_one = f"regexp_full_match({text}, {literal(forms.decimal(column.places))})"
            return f"coalesce(CASE WHEN {is_one} THEN {number} END, {text})"
        case "date" if column.formats:
            branches = " ".join(
                f"WHEN regexp_full_match({text}, {literal(forms.of_format(form))}) "
                f"THEN CAST(CAST(try_strptime({text}, {literal(form)}) AS DATE) AS VARCHAR)"
                for form in column.formats
            )
            return f"coalesce(CASE {branches} END, {text})"
    return text


def row_text(cells: Iterable[str]) -> str:
    """SQL: one text of all these texts of a row; of two rows that differ, two texts.

    Unit separator between values, record separator for NULL; a row that holds one of them itself,
    which no office's table does, is written as JSON instead.
    """
    cells = list(cells)
    usual = f"concat_ws(chr(31), {', '.join(f'coalesce({cell}, chr(30))' for cell in cells)})"
    is_odd = f"regexp_matches(concat({', '.join(cells)}), '[\\x1e\\x1f]')"
    return f"if({is_odd}, chr(30) || CAST(to_json([{', '.join(cells)}]) AS VARCHAR), {usual})"
