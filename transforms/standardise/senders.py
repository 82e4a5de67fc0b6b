"""Phone numbers and e-mail addresses by which one sender is known again."""

import ibis
import ibis.expr.types as ir

COUNTRY_CODE = "62"


def phone(text: ir.StringValue) -> ir.StringValue:
    """Digits with the country's code; NULL for what is no subscriber (a name, a short number)."""
    digits = text.re_replace("[^0-9]", "").re_replace("^(00|0)", "")
    whole = digits.startswith(COUNTRY_CODE).ifelse(digits, COUNTRY_CODE + digits)
    return whole.re_search("^[0-9]{9,15}$").ifelse(whole, ibis.null("string"))


def email(text: ir.StringValue) -> ir.StringValue:
    """In lower case; NULL for what is no address."""
    address = text.strip().lower()
    return address.re_search("^[^@ ]+@[^@ ]+$").ifelse(address, ibis.null("string"))
