"""Names as they are written in Indonesia, in one spelling; the written one is kept elsewhere.

One rule per function, each from text to text; `standard` applies them in order, and `sound` goes on
to a spelling that is no name any more but is shared by most ways of writing one. There is no first
and no last name, and one word is a whole name. Source of every rule: docs/identity.md, "Names".
"""

from functools import reduce

import ibis
import ibis.expr.types as ir

from transforms.standardise.typed import clean

# What precedes a name and is none: religious, noble and academic titles, forms of address.
TITLES_BEFORE = (
    "HAJI|HAJJAH|HJH|HJ|H|KIAI|KYAI|KH|USTADZAH|USTADZ|UST|RADEN|RR|RD|R|PROF|DRS|DRA|DRG|DRH|"
    "DR|IR|TUAN|NYONYA|NY|TN|SDRI|SDR|BAPAK|BPK|IBU"
)
# What follows it. Two letters are a degree only with their dots: SE is also a syllable.
DEGREES_AFTER = (
    r"S\.? ?(PD|AG|KOM|SOS|KEP|FARM|HUM|PD\.? ?I)|M\.? ?(PD|AG|KOM|SI|KES)|S\.[EHTSP]\.?|S\.IP|"
    r"M\.[MHTA]\.?|A\.? ?MD(\.? ?(KEB|KEP|KOM))?|AMK|LC|PH\.? ?D|BA|BSC"
)
MUHAMMAD = r"M(UH?|OH?|OCH|UCH)[AO]M+[AEO]?[DT]|MO?U?C?HD?|MUHAMA[DT]|MOCH|MOH|MUH|MHD|MD|M"
AHMAD = "ACHMAD|ACHMED|AHMED|AKHMAD|AKHMED|AMAD"
SITI = "SITTI|SITIE|SITY|ST"
EXCHANGED = {"F": "P", "V": "P", "Z": "J", "Q": "K", "Y": "I", "O": "U", "E": "I"}
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@ibis.udf.scalar.builtin
def strip_accents(text: str) -> str:  # type: ignore[empty-body]
    """DuckDB's own."""


def folded(text: ir.StringValue) -> ir.StringValue:
    """Capitals without accents, ordinary blanks, one between words, one kind of apostrophe.

    UTF-8 that was read as cp1252 (`FAâ€™IZ`, `RINÃ‰`) is read again as what it was.
    """
    read_again = (
        clean(text)
        .re_replace("â€™|â€˜|[’‘`´]", "'")
        .re_replace("Ã[‰©ˆ¨]", "E")
        .re_replace("Ã[€¡\u00a0 ]", "A")
    )
    return strip_accents(read_again.upper()).re_replace(r"\s+", " ").strip()


def without_mother(text: ir.StringValue) -> ir.StringValue:
    """NULL for a newborn without a name, written by the mother's: `BAYI NY. SITI`, `BY. X`."""
    return text.re_search(r"^(BAYI|BY)([. ]|$)").ifelse(ibis.null("string"), text)


def without_remark(text: ir.StringValue) -> ir.StringValue:
    """Without what a clerk says of the person: `(ALM)`, `(ALMN0` [sic], `ALM.`, `ALMARHUMAH`."""
    return (
        text.re_replace(r"\([^)]*\)?", " ")
        .re_replace(r"(^|[ ,])(ALMARHUM(AH)?|ALMH?)(\.|$| )", " ")
        .re_replace(r"\s+", " ")
        .strip()
    )


def without_alias(text: ir.StringValue) -> ir.StringValue:
    """The name before `ALIAS`, `AL.`, `ALS` or `@`."""
    return text.re_replace(r"(.)( ALIAS | ALS\.? | AL\. ?| ?@ ?).*$", r"\1").strip()


def without_father(text: ir.StringValue) -> ir.StringValue:
    """The name before `BIN`, `BINTI` and the like: the father's follows. A name may begin so."""
    return text.re_replace(r"(.)[ ,](BIN|BINTI|BINTE|BT|BTE|B)\.? .*$", r"\1").strip()


def without_titles(text: ir.StringValue) -> ir.StringValue:
    """Without titles before and degrees behind; never without the last word that is left."""
    return (
        text.re_replace(rf"^(({TITLES_BEFORE})(\. ?| ))+(.)", r"\4")
        .re_replace(r"(.), ?[A-Z][A-Z., ]*$", r"\1")
        .re_replace(rf"(.)([ ,]+({DEGREES_AFTER})\.?)+$", r"\1")
        .strip()
    )


def letters(text: ir.StringValue) -> ir.StringValue:
    """Letters and blanks: an apostrophe joins (`FA'IZ`), every other mark parts (`ADINDA-DARI`)."""
    return text.replace("'", "").re_replace("[^A-Z]+", " ").strip()


def with_known_words(text: ir.StringValue) -> ir.StringValue:
    """One spelling of the words that are written in many ways or shortened: Muhammad and Ahmad,
    Siti before another word, and Abdul, which is parted from the name that it belongs to."""
    return (
        text.re_replace(rf"^({MUHAMMAD}) (.)", r"MUHAMMAD \3")
        .re_replace(r"( |^)M[OU](H|CH|KH)?[AO]M+[AE][DT]( |$)", r"\1MUHAMMAD\3")
        .re_replace(rf"( |^)({AHMAD})( |$)", r"\1AHMAD\3")
        .re_replace(rf"^({SITI}) (.)", r"SITI \2")
        .re_replace(r"( |^)ABD([UO]L|OEL)? (.)", r"\1ABDUL \3")
        .re_replace(r"( |^)ABD[UO]R ?R?([AEIOU][A-Z]{2,})", r"\1ABDUL R\2")
        .re_replace(r"( |^)ABD[UO]S ?S([A-Z]{3,})", r"\1ABDUL S\2")
        .re_replace(r"( |^)ABD[UO]N ?N([A-Z]{3,})", r"\1ABDUL N\2")
        .re_replace(r"( |^)ABD[UO]L([B-KM-Z][A-Z]{2,}|A[A-GI-Z][A-Z]+)", r"\1ABDUL \2")
    )


def new_spelling(text: ir.StringValue) -> ir.StringValue:
    """Spelling of before 1972, or 1947: oe, tj, dj, nj, sj, ch. A `j` alone is the present one, and
    `ch` is old before `o` and `u` and after a vowel, not in CHANDRA and CHRISTINA."""
    return (
        text.replace("OE", "U")
        .replace("TJ", "C")
        .replace("DJ", "J")
        .replace("NJ", "NY")
        .replace("SJ", "SY")
        .re_replace("CH([OU]|A[EI]|ALI)", r"KH\1")
        .re_replace("([AIU])CH([MTLRSD ]|$)", r"\1KH\2")
        .re_replace("CH([RL])", r"K\1")
        .replace("CH", "C")
    )


RULES = (
    folded,
    without_mother,
    without_remark,
    without_alias,
    without_father,
    without_titles,
    letters,
    with_known_words,
    new_spelling,
)


def standard(text: ir.StringValue) -> ir.StringValue:
    """The name in capitals, one blank between words, by all rules; NULL where nothing is left."""
    return reduce(lambda name, rule: rule(name), RULES, text).nullif("")


def sound(name: ir.StringValue) -> ir.StringValue:
    """A standard name as it is heard: letters that are exchanged in Indonesian names become one
    (f, v and p; z and j; sy and s; kh and h; ai and ae; y and i; q and k; x and ks; o and u), an h
    at the end of a word is silent, a letter said twice is said once, blanks go."""
    heard = (
        name.replace("SY", "S").replace("SH", "S").replace("KH", "H").replace("DH", "D")
        .replace("TH", "T").replace("DZ", "J").replace("PH", "P").replace("CK", "K")
        .replace("X", "KS")
    )  # fmt: skip
    heard = reduce(lambda text, pair: text.replace(*pair), EXCHANGED.items(), heard)
    heard = heard.re_replace("H( |$)", r"\1").re_replace("H([^AIU])", r"\1").replace(" ", "")
    return reduce(lambda text, one: text.replace(one * 2, one), LETTERS, heard).nullif("")
