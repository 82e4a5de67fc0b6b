"""Names and texts in SQL: the only place where they are put between quotation marks.

DuckDB's quotation, which is the SQL standard's. What a source's own database is asked is quoted by
its dialect.
"""


def identifier(name: str) -> str:
    """The name of a table, column or schema."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: object) -> str:
    """A text: a name, a path, a date. What a row holds is a parameter instead."""
    return "'" + str(value).replace("'", "''") + "'"


def json_key(name: str) -> str:
    """The JSON Pointer of a key of the outermost object, as a text."""
    return literal("/" + name.replace("~", "~0").replace("/", "~1"))
