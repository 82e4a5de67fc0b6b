"""Addresses as they are written, brought to street, house, RT and RW. Source of every rule:
docs/identity.md, "Addresses".
"""

import ibis.expr.types as ir

from transforms.standardise.names import folded

KINDS = {
    "JL": "JALAN|JLN|JL",
    "GG": "GANG|GG",
    "KP": "KAMPUNG|KAMP|KP",
    "PERUM": "PERUMAHAN|PERUMNAS|PERUM|KOMPLEKS|KOMPLEK|KOMP",
    "DUSUN": "DUSUN|DSN",
    "BLOK": "BLOK|BLK",
}
# What names the kelurahan or something larger, and a postcode: all that follows is no street.
BEYOND = r"(KELURAHAN|KEL|DESA|DS|KECAMATAN|KEC|KOTA|KABUPATEN|KAB|KODE POS|KODEPOS)[. :]"
UNIT = r"{unit}[ .:]*0*([0-9]{{1,3}})( |$)"
PAIR = r"RT ?/ ?RW[ .:]*0*([0-9]{1,3})[ ./-]+0*([0-9]{1,3})( |$)"


def marks(text: ir.StringValue) -> ir.StringValue:
    """Capitals, and a blank for every mark but the stops and slashes that belong to a number."""
    return folded(text).re_replace("[^A-Z0-9./:-]+", " ").strip()


def rt(text: ir.StringValue) -> ir.StringValue:
    """The RT, three digits: `RT 05`, `RT.005/RW.008`, `RT/RW 05/08`; else NULL."""
    return _unit(text, "RT", 1)


def rw(text: ir.StringValue) -> ir.StringValue:
    """The RW, three digits, before or after the RT; else NULL."""
    return _unit(text, "RW", 2)


def _unit(text: ir.StringValue, unit: str, place: int) -> ir.StringValue:
    plain = marks(text)
    apart = plain.re_replace("/", " ").re_extract(rf"(^| ){UNIT.format(unit=unit)}", 2)
    paired = plain.re_extract(PAIR, place)
    return apart.nullif("").coalesce(paired.nullif("")).lpad(3, "0")


def street(text: ir.StringValue) -> ir.StringValue:
    """Kind, name and number of the house, without RT, RW and what is larger: `Jalan Kartini No. 5`
    → `KARTINI 5`, `Gang Mawar` → `GG MAWAR`. `JL` is left out, for it often is; NULL where nothing
    is left."""
    plain = marks(text).re_replace(PAIR, " ").re_replace("/", " ")
    for unit in ("RT", "RW"):
        plain = plain.re_replace(rf"(^| ){UNIT.format(unit=unit)}", " ")
    plain = plain.re_replace(rf"(^| ){BEYOND}.*$", " ").re_replace("(^| )(NO|NOMOR)[. :]+", " ")
    plain = plain.re_replace("[^A-Z0-9]+", " ")
    for kind, ways in KINDS.items():
        plain = plain.re_replace(rf"(^| )({ways}) ", rf"\1{kind} ")
    plain = plain.re_replace("(^| )JL ", r"\1").re_replace("(^| )0+([0-9])", r"\1\2")
    return plain.re_replace(" +", " ").strip().nullif("")


def standard(text: ir.StringValue) -> ir.StringValue:
    """Street, RT and RW as one; NULL unless all three are said: less is an address of many."""
    return street(text) + " RT " + rt(text) + " RW " + rw(text)
