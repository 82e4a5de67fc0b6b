"""Importing Airflow writes into AIRFLOW_HOME: for tests, a folder of their own."""

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="muara-airflow-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
