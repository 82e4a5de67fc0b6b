"""Typed values against parsers that share nothing with ours, and each row alone against the whole
batch (`make soak`: 100,000 texts of each type)."""

import json
import random
from datetime import UTC, date, datetime
from decimal import Context

import ibis
import pytest

from common.definition import Column
from common.settings import Settings
from transforms.standardise.typed import value
from warehouse.catalog import open_duckdb

CONTEXT = Context(prec=200)
FEW, MANY, ALONE = 4_000, 100_000, 150
ALPHABET = "0123456789+-./,:TZ eExX_'\u00a0\u0663\uff11aAmMpP()"
MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("home"))
    with open_duckdb(settings) as connection:
        connection.execute("CREATE TABLE sent (n INTEGER, text VARCHAR)")
        rows = ibis.duckdb.from_connection(connection).table("sent")

        def values(column: Column, texts: list[str]) -> list:
            connection.execute("DELETE FROM sent")
            connection.execute(
                "INSERT INTO sent SELECT generate_subscripts(?, 1), unnest(?)", [texts, texts]
            )
            asked = ibis.to_sql(
                rows.select(rows.n, value=value(rows.text, column)).order_by("n"), dialect="duckdb"
            )
            return [found for _, found in connection.execute(str(asked)).fetchall()]

        yield values


def cleaned(text):
    return text.replace("\u00a0", " ").strip(" \t\r\n")


def digits(text):
    return text != "" and all(one in "0123456789" for one in text)


def unsigned(text):
    return text[1:] if text[:1] in ("+", "-") else text


def integer(text):
    whole, point, zeros = unsigned(text).partition(".")
    if not digits(whole) or (point and (not zeros or zeros.strip("0"))):
        return None
    number = int(("-" if text[0] == "-" else "") + whole)
    return number if -(2**63) <= number < 2**63 else None


def decimal(places, comma=False):
    def parse(text):
        mantissa, letter, power = unsigned(text).replace("E", "e").partition("e")
        if letter:
            first, point, fraction = mantissa.partition(".")
            size = unsigned(power)
            if comma or not (digits(first) and len(first) == 1 and digits(size) and len(size) < 3):
                return None
            if point and not digits(fraction):
                return None
            if len(fraction.rstrip("0")) - int(power) > places:
                return None
            if first.strip("0") + fraction.strip("0") and int(power) >= 38 - places:
                return None
            return CONTEXT.create_decimal(text)
        whole, point, fraction = unsigned(text).partition("," if comma else ".")
        if comma and "." in whole:
            first, *groups = whole.split(".")
            if not (digits(first) and len(first) <= 3 and first[0] != "0"):
                return None
            if not all(digits(one) and len(one) == 3 for one in groups):
                return None
            whole = whole.replace(".", "")
        if not (digits(whole) or whole == "") or (point and not digits(fraction)):
            return None
        if whole == "" and (comma or not point):
            return None
        if len(fraction.rstrip("0")) > places or len(whole.lstrip("0")) > 38 - places:
            return None
        number = CONTEXT.create_decimal(f"{whole or 0}.{fraction or 0}")
        return number.copy_negate() if text[0] == "-" else number

    return parse


def day(text):
    if len(text) > 10:
        time = text[11:]
        is_time = text[10] in "T " and (time in ("00:00", "00:00:00") or (
            time.startswith("00:00:00.") and time[9:] and not time[9:].strip("0")))  # fmt: skip
        if not is_time:
            return None
    year, dash, month, other, number = text[:4], text[4:5], text[5:7], text[7:8], text[8:10]
    if not (digits(year + month + number) and len(number) == 2 and dash == other == "-"):
        return None
    try:
        return date(int(year), int(month), int(number))
    except ValueError:
        return None


def moment(text):
    if len(text) == 10:
        found = day(text)
        return datetime(found.year, found.month, found.day) if found else None
    if text[10:11] not in ("T", " "):
        return None
    found, rest = day(text[:10]), text[11:]
    zone = ""
    if rest.endswith("Z"):
        rest, zone = rest[:-1], "+00:00"
    else:
        for sign in "+-":
            if sign in rest:
                rest, _, shift = rest.rpartition(sign)
                hours, minutes = shift[:2], shift[2:].removeprefix(":")
                if not (digits(hours) and len(hours) == 2 and shift != f"{hours}:"):
                    return None
                if minutes and not (digits(minutes) and len(minutes) == 2):
                    return None
                zone = f"{sign}{hours}:{minutes or '00'}"
                break
    rest = rest[:-1] if zone and rest.endswith(" ") else rest
    clock, point, fraction = rest.partition(".")
    parts = clock.split(":")
    if not all(digits(one) and len(one) == 2 for one in parts) or len(parts) not in (2, 3):
        return None
    if point and (not digits(fraction) or len(parts) == 2 or fraction[6:].strip("0")):
        return None
    try:
        told = datetime.fromisoformat(
            f"{text[:10]}T{':'.join([*parts, '00'][:3])}.{fraction[:6]:0<6}{zone}"
        )
        return (told.astimezone(UTC).replace(tzinfo=None) if zone else told) if found else None
    except (ValueError, OverflowError):
        return None


def by_format(form):
    """Walks the text along the format."""

    def parse(text):
        told, at, place = {}, 0, 0
        while place < len(form):
            if form[place] != "%":
                if text[at : at + 1] != form[place]:
                    return None
                at, place = at + 1, place + 1
                continue
            name = form[place + 1]
            least, most = {"Y": (4, 4), "y": (2, 2)}.get(name, (1, 2))
            if form[place + 2 : place + 3] == "%" or form[:place][-2:-1] == "%":
                least = most
            if name == "b":
                told["m"] = next(
                    (n for n, month in enumerate(MONTHS, 1)
                     if text[at : at + 3].lower() == month.lower()), 0,
                )  # fmt: skip
                at += 3
            else:
                end = at
                while end < len(text) and end - at < most and text[end] in "0123456789":
                    end += 1
                if end - at < least:
                    return None
                told[name], at = int(text[at:end]), end
            place += 2
        if at != len(text):
            return None
        year = told["Y"] if "Y" in told else told["y"] + (2000 if told["y"] < 69 else 1900)
        try:
            return datetime(year, told["m"], told["d"], told.get("H", 0), told.get("M", 0))
        except ValueError:
            return None

    return parse


def either(*forms):
    def parse(text):
        found = {form(text) for form in forms} - {None}
        return found.pop() if len(found) == 1 else None

    return parse


def as_day(parse):
    return lambda text: (found := parse(text)) and found.date()


def boolean(text):
    return {"1": True, "true": True, "t": True, "0": False, "false": False, "f": False}.get(
        text.lower() if text.isascii() else text
    )


def only_json(text):
    def refuse(name):
        raise ValueError(name)

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return None
    return text


def number(chance):
    if chance.random() < 0.2:
        return repr(chance.random() * 10 ** chance.randint(-22, 25))
    spelt = str(chance.randint(0, 10 ** chance.randint(1, 20)))
    return (
        spelt
        if chance.random() < 0.5
        else f"{spelt}.{chance.randint(0, 10 ** chance.randint(1, 20))}"
    )


def with_comma(chance):
    return f"{chance.randint(0, 10**7):,}".replace(",", ".") + chance.choice(
        ["", ",5", ",00", ",125"]
    )


def instant(chance):
    when = datetime(
        chance.choice([1, 95, 1987, 2026, 9999]), chance.randint(1, 12), chance.randint(1, 28),
        chance.randint(0, 23), chance.randint(0, 59),
    )  # fmt: skip
    text = when.isoformat(
        chance.choice("T "), chance.choice(["minutes", "seconds", "microseconds"])
    )
    zones = [
        "",
        "",
        "Z",
        "+07",
        "+07:00",
        "-0330",
        " +07:00",
        " Asia/Jakarta",
        " UTC",
        "+7",
        " WIB",
    ]
    return text + chance.choice(zones)


def midnight(chance):
    return date_like("%Y-%m-%d")(chance) + chance.choice(
        ["", "T00:00", " 00:00:00", " 00:00:00.000", " 00:00:01", "T00:00:00Z", " 00:00:00+07"]
    )


def date_like(form):
    def make(chance):
        when = date(chance.choice([95, 1987, 2026, 12, 2000]), chance.randint(1, 12),
                    chance.randint(1, 28))  # fmt: skip
        text = form.replace("%Y", chance.choice([str(when.year), f"{when.year:04}"]))
        day, month = chance.choice([("{:02}", "{:02}"), ("{}", "{}")])
        text = text.replace("%d", day.format(when.day)).replace("%m", month.format(when.month))
        text = text.replace("%y", f"{when.year % 100:02}").replace("%b", MONTHS[when.month - 1])
        return text.replace("%H", "09").replace("%M", "30")

    return make


def word(chance):
    return chance.choice(["1", "0", "true", "FALSE", "t", "F", "ya", "yes", "on", "2", "-1", "1.0"])


DOCUMENTS = [
    '{"a":1}', "[1,2]", '{"a":1,}', '{"a":NaN}', '"nan, ]"', "[1,]", "null", '{"a": "x, }"}',
    "Infinity", "-1e3", "{'a':1}", '"\\\\"', '["\\"",]', "[1, ]", "[[],]", '{"nan":{}}',
]  # fmt: skip


def document(chance):
    return chance.choice(DOCUMENTS)


SLASHED = ("%d/%m/%Y", "%d/%m/%y", "%Y%m%d", "%d%m%y", "%d %b %Y", "%d-%m-%Y %H:%M")
CASES = {
    "integer": (Column(name="x", type="integer"), integer, number),
    "decimal": (Column(name="x", type="decimal"), decimal(18), number),
    "places": (Column(name="x", type="decimal", places=2), decimal(2), number),
    "whole": (Column(name="x", type="decimal", places=0), decimal(0), number),
    "comma": (Column(name="x", type="decimal", decimal_comma=True), decimal(18, True), with_comma),
    "date": (Column(name="x", type="date"), day, date_like("%Y-%m-%d")),
    "day of a moment": (Column(name="x", type="date"), day, midnight),
    "timestamp": (Column(name="x", type="timestamp"), moment, instant),
    "boolean": (Column(name="x", type="boolean"), boolean, word),
    "json": (Column(name="x", type="json"), only_json, document),
    **{
        form: (
            Column(name="x", type="timestamp", formats=(form,)), by_format(form), date_like(form)
        )
        for form in SLASHED
    },
    "two forms": (
        Column(name="x", type="date", formats=("%d/%m/%Y", "%m/%d/%Y")),
        as_day(either(by_format("%d/%m/%Y"), by_format("%m/%d/%Y"))),
        date_like("%d/%m/%Y"),
    ),
}  # fmt: skip


def spoilt(text, chance):
    """The text with up to two characters changed, put in or left out."""
    for _ in range(chance.choice([0, 0, 1, 1, 2])):
        at = chance.randint(0, len(text))
        text = (
            text[:at]
            + chance.choice([chance.choice(ALPHABET), ""])
            + text[at + chance.randint(0, 1) :]
        )
    return text


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.soak)])
def test_what_does_not_match_is_no_value(read, case, count):
    column, parse, make = CASES[case]
    chance = random.Random(f"{case} {count}")
    texts = [spoilt(make(chance), chance) for _ in range(count)]
    found = read(column, texts)
    wanted = [parse(cleaned(text)) if cleaned(text) else None for text in texts]
    differ = [(text, one, other) for text, one, other in zip(texts, found, wanted, strict=True)
              if one != other]  # fmt: skip
    assert not differ, f"{len(differ)} differ: {differ[:10]}"
    assert 0 < sum(one is not None for one in found) < count


@pytest.mark.parametrize("case", CASES)
def test_a_value_depends_on_its_row_only(read, case):
    column, _, make = CASES[case]
    chance = random.Random(case)
    texts = [spoilt(make(chance), chance) for _ in range(ALONE)]
    assert read(column, texts) == [read(column, [text])[0] for text in texts]
