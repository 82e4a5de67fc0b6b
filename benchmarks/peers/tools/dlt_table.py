"""dlt with its ConnectorX backend into a DuckDB file: `dlt_table.py full|first|night FOLDER`."""

import os
import sys

import dlt
from dlt.sources.sql_database import sql_table

mode, folder = sys.argv[1:]
pipeline = dlt.pipeline(
    "bench",
    destination=dlt.destinations.duckdb(f"{folder}/out.duckdb"),
    dataset_name="bench",
    pipelines_dir=f"{folder}/pipelines",
)
by_change = {} if mode == "full" else {"incremental": dlt.sources.incremental("updated_at")}
table = sql_table(os.environ["SOURCE_URL"], "penduduk", backend="connectorx", **by_change)
if mode == "full":
    pipeline.run(table, write_disposition="replace")
else:
    table.apply_hints(primary_key="id")
    pipeline.run(table, write_disposition="merge")
