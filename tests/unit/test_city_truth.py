"""The sample city against its own truth: what is sound is fully sound, what is wrong is known."""

import csv
import hashlib
from collections import Counter
from datetime import date
from pathlib import Path

import duckdb
import pytest

import city
from city.systems import load_sqlite_extension, tables
from tests.unit.city_reading import read_systems

RESIDENTS, TODAY = 5_000, date(2026, 11, 23)
