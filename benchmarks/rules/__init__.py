"""The registry's rules over many rows, beside a hand-written aggregate and pandas."""
