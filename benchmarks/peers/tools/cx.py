"""ConnectorX, streamed as Arrow into DuckLake: `cx.py full|night FOLDER`, source SOURCE_URL."""

import os
import sys
from pathlib import Path

import connectorx
import lake

mode, folder = sys.argv[1], Path(sys.argv[2])
connection = lake.attach(folder)
query = "SELECT * FROM penduduk"
if mode == "night":
    query += f" WHERE updated_at > '{lake.newest(connection)}'"
rows = connectorx.read_sql(os.environ["SOURCE_URL"], query, return_type="arrow_stream")
(lake.replace if mode == "full" else lake.merge)(connection.register("pulled", rows), "pulled")
