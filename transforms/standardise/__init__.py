"""One rule per function, on Ibis expressions; the raw value is always kept beside."""
