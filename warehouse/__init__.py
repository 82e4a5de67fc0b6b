"""The integrated warehouse: the schema home, the lake, the load, and what leaves it."""
