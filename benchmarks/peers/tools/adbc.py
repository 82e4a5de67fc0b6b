"""ADBC, streamed as Arrow into DuckLake: `adbc.py full|night FOLDER`, source SOURCE_URL."""

import os
import sys
from pathlib import Path

import lake
from adbc_driver_postgresql import dbapi

mode, folder = sys.argv[1], Path(sys.argv[2])
connection = lake.attach(folder)
query = "SELECT * FROM penduduk"
if mode == "night":
    query += f" WHERE updated_at > '{lake.newest(connection)}'"
with dbapi.connect(os.environ["SOURCE_URL"]) as source, source.cursor() as cursor:
    cursor.execute(query)
    rows = cursor.fetch_record_batch()
    (lake.replace if mode == "full" else lake.merge)(connection.register("pulled", rows), "pulled")
