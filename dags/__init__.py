"""Schedules, assets, retries. The only place that imports Airflow; no data logic."""
