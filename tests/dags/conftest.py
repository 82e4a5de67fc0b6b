"""Importing Airflow writes into AIRFLOW_HOME: for tests, a folder of their own."""

import os
import tempfile

import pytest

from common.settings import ROOT

_home = tempfile.TemporaryDirectory(prefix="muara-airflow-")
os.environ["AIRFLOW_HOME"] = _home.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(ROOT / "dags")


@pytest.fixture(scope="module")
def bag():
    """Every DAG of ours, parsed once."""
    from airflow.dag_processing.dagbag import DagBag

    found = DagBag(dag_folder=ROOT / "dags")
    assert found.import_errors == {}
    return found
