"""Schedules, assets, retries. The only place that imports Airflow; no data logic.

Whoever imports it, every task of Airflow's among them, writes files for its owner only.
"""

import os

os.umask(0o077)
