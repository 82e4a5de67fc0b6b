"""UTF-8 from standard input into Parquet by DuckDB's reader: `csv_pipe.py FOLDER`."""

import sys

import duckdb

connection = duckdb.connect(config={"threads": 2, "memory_limit": "1200MB"})
connection.execute(
    "COPY (FROM read_csv('/dev/stdin', delim = ';', header = true, all_varchar = true)) "
    f"TO '{sys.argv[1]}/out.parquet'"
)
