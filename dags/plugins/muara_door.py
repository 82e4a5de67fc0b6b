"""Puts `dags/door.py` before Airflow's pages, its API and its sign-in."""

from airflow.plugins_manager import AirflowPlugin

from dags.door import Door


class MuaraDoor(AirflowPlugin):
    name = "muara_door"
    fastapi_root_middlewares = [{"name": "muara_door", "middleware": Door}]
