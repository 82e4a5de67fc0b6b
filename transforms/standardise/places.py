"""Places of birth, brought to one spelling. Source of every rule: docs/identity.md, "Places"."""

import ibis
import ibis.expr.types as ir

from transforms.standardise.names import folded

KINDS = "KABUPATEN|KAB|KOTA MADYA|KOTAMADYA|KODYA|KOTA|KECAMATAN|KEC|KELURAHAN|KEL|DESA"


def town(text: ir.StringValue) -> ir.StringValue:
    """A place without its kind (`KAB. BOGOR`, `BOGOR, KOTA`) and without blanks, for it is
    written apart and together (`TANAH ABANG`); NULL where nothing is left. Kota and
    Kabupaten of one name become one here: people write the town they mean."""
    plain = folded(text).re_replace("[^A-Z]+", " ")
    bare = plain.re_replace(rf"( |^)({KINDS})( |$)", " ").re_replace(" +", "")
    return ibis.coalesce(bare.nullif(""), plain.replace(" ", "").nullif(""))
