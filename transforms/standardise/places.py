"""Places of birth and street addresses, brought to one spelling. Source of every rule:
docs/identity.md, "Places and addresses"."""

import ibis
import ibis.expr.types as ir

from transforms.standardise.names import folded

KINDS = "KABUPATEN|KAB|KOTA MADYA|KOTAMADYA|KODYA|KOTA|KECAMATAN|KEC|KELURAHAN|KEL|DESA"
STREET = "JALAN|JLN|JL|GANG|GG|KAMPUNG|KP|BLOK|BLK|PERUMAHAN|PERUM|KOMPLEK|KOMP|DUSUN|DSN|DS"


def town(text: ir.StringValue) -> ir.StringValue:
    """A place without its kind (`KAB. BOGOR`, `BOGOR, KOTA`) and without blanks, for it is
    written apart and together (`TANAH ABANG`); NULL where nothing is left. Kota and
    Kabupaten of one name become one here: people write the town they mean."""
    plain = folded(text).re_replace("[^A-Z]+", " ")
    bare = plain.re_replace(rf"( |^)({KINDS})( |$)", " ").re_replace(" +", "")
    return ibis.coalesce(bare.nullif(""), plain.replace(" ", "").nullif(""))


def street(text: ir.StringValue) -> ir.StringValue:
    """The name of the street, without the word for it, house number, RT, RW and what follows; NULL
    where nothing is left."""
    plain = folded(text).re_replace(r"[ ,]*\b(RT|RW|NO|NOMOR)\b.*$", "")
    bare = plain.re_replace(r"[^A-Z]+", " ").strip().re_replace(rf"^({STREET}) ", "")
    return bare.replace(" ", "").nullif("")


def house(text: ir.StringValue) -> ir.StringValue:
    """The house number as digits and letter (`12A`); NULL where there is none."""
    number = folded(text).re_extract(r"\b(?:NO|NOMOR|NMR)[. ]*([0-9]+ ?[A-Z]?)\b", 1)
    return number.replace(" ", "").nullif("")


def rt(text: ir.StringValue) -> ir.StringValue:
    """RT in an address, three digits: `RT 05 RW 08`, `RT.005/RW.008`, `RW 06 RT 5`, `RT/RW 5/8`."""
    return _of_three(text, r"RT[ ./:]*(?:RW[ ./:]*)?0*([0-9]{1,3})")


def rw(text: ir.StringValue) -> ir.StringValue:
    """RW in an address, three digits, in the same forms."""
    both = _of_three(text, r"RT[ ./:]*RW[ ./:]*[0-9]{1,3}[ ./]+0*([0-9]{1,3})")
    return ibis.coalesce(both, _of_three(text, r"RW[ ./:]*0*([0-9]{1,3})"))


def _of_three(text: ir.StringValue, pattern: str) -> ir.StringValue:
    found = folded(text).re_extract(rf"\b{pattern}\b", 1).nullif("")
    return found.lpad(3, "0")
