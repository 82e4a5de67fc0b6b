"""DuckDB's own scanner into DuckLake: `scanner.py full|night FOLDER`, the source from SOURCE_…"""

import os
import sys
from pathlib import Path

import lake

mode, folder = sys.argv[1], Path(sys.argv[2])
kind = os.environ["SOURCE_KIND"]
names = {"host": "host", "port": "port", "user": "user", "password": "password"}
names["dbname" if kind == "postgres" else "database"] = "database"
address = " ".join(f"{key}={os.environ[f'SOURCE_{name.upper()}']}" for key, name in names.items())
engine = "postgres" if kind == "postgres" else "mysql"

connection = lake.attach(folder)
lake.load_extension(connection, f"{engine}_scanner")
connection.execute(f"ATTACH '{address}' AS source (TYPE {engine}, READ_ONLY)")
if mode == "full":
    schema = "public" if kind == "postgres" else os.environ["SOURCE_DATABASE"]
    lake.replace(connection, f"source.{schema}.penduduk")
else:
    query = f"SELECT * FROM penduduk WHERE updated_at > ''{lake.newest(connection)}''"
    lake.merge(connection, f"{engine}_query('source', '{query}')")
