"""The national identity number (NIK), column-wise: 16 digits = region of first registration (6) +
birth date DDMMYY, women DD+40 (6) + serial (4). Always text. Source: UU 23/2006 as amended by UU
24/2013, Permendagri on NIK; rules and their limits in docs/identity.md, "NIK". The row-wise oracle
of `whole` in the tests is `stdnum.id.nik`.
"""

import ibis
import ibis.expr.types as ir

DATE = "(0[1-9]|[12][0-9]|3[01]|4[1-9]|[56][0-9]|7[01])(0[1-9]|1[0-2])[0-9]{2}"
RUNNING = ("1234567890123456", "0123456789012345")


def digits(text: ir.StringValue) -> ir.StringValue:
    """The digits, where letters that look like one (O, I, L) stand for it; NULL unless 16 remain.
    Numbers that a spreadsheet rounded (3.27401E+15) are not recoverable and give NULL."""
    plain = text.upper().replace("O", "0").replace("I", "1").replace("L", "1")
    plain = plain.re_replace("[ .\u00a0-]", "")
    return plain.re_search("^[0-9]{16}$").ifelse(plain, ibis.null("string"))


def is_placeholder(nik: ir.StringValue) -> ir.BooleanValue:
    """One digit sixteen times, or the digits in order: shared by people who have no number."""
    return (nik == nik.substr(0, 1).repeat(16)) | nik.isin(RUNNING)


def is_temporary(nik: ir.StringValue) -> ir.BooleanValue:
    """Begins with 0: given until the real one is."""
    return nik.startswith("0")


def whole(text: ir.StringValue) -> ir.StringValue:
    """The number if it can be somebody's: 16 digits, a day, a month, a serial, no placeholder and
    not temporary; else NULL. An unknown region is no reason against it."""
    nik = digits(text)
    dated = nik.re_search(f"^[0-9]{{6}}{DATE}[0-9]{{4}}$") & (nik.substr(12, 4) != "0000")
    return (dated & ~is_placeholder(nik) & ~is_temporary(nik)).ifelse(nik, ibis.null("string"))
