"""The map of the sample city: kelurahan, RW, RT, streets, and the places people come from.

Regions and agencies are the profile's data files; the shares of `places.yml` are assumed.
"""

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from city.sql import Con, Rng, feeding

HERE = Path(__file__).parent
PROFILE = HERE.parent / "profiles" / "kota_cirebon"
REFERENCE = HERE.parent / "warehouse" / "reference"

SOUTH, NORTH, WEST, EAST = -6.80, -6.66, 108.50, 108.62  # every sound point lies within


@cache
def settings(name: str) -> dict[str, Any]:
    """A YAML data file of this folder."""
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load((HERE / f"{name}.yml").read_text(encoding="utf-8"), loader)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@dataclass(frozen=True)
class Map:
    """One entry per RW (247), in the order of the kelurahan; `weight` sums to 1.

    region_code (32.74.01.1001), bps_code, postcode, latitude and longitude (the RW's centre, a
    fixed place around the kelurahan's centroid), rw number, rt count.
    """

    region_code: np.ndarray
    name: np.ndarray
    bps_code: np.ndarray
    postcode: np.ndarray
    latitude: np.ndarray
    longitude: np.ndarray
    rw: np.ndarray
    rt_count: np.ndarray
    weight: np.ndarray

    @property
    def district(self) -> np.ndarray:
        """The kecamatan's number, 1 to 5."""
        return np.array([int(code[6:8]) for code in self.region_code])

    def near(self, rng: Rng, rw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points (latitude, longitude) scattered around the centres of these RW (indexes)."""
        latitude = self.latitude[rw] + rng.normal(0, 0.0006, len(rw))
        longitude = self.longitude[rw] + rng.normal(0, 0.0006, len(rw))
        margin = 0.001
        return (
            latitude.clip(SOUTH + margin, NORTH - margin),
            longitude.clip(WEST + margin, EAST - margin),
        )


@cache
def city_map() -> Map:
    """Spreads 247 RW over the kelurahan by their weight, and 1,362 RT over the RW evenly."""
    known = settings("places")
    regions = [row for row in rows(PROFILE / "region.csv") if row["level"] == "kelurahan"]
    weights = np.array(
        [known["weights"][row["kode_kemendagri"].replace(".", "")] for row in regions]
    )
    rw_count = _spread(known["rw"], weights)
    at = np.repeat(np.arange(len(regions)), rw_count)
    number = np.concatenate([np.arange(1, count + 1) for count in rw_count])
    angle = number * 2.399963  # the golden angle: RW lie around the centroid like seeds
    radius = 0.0055 * np.sqrt(number / rw_count[at])
    of_rw = {
        name: np.array([row[name] for row in regions], dtype=object)[at] for name in regions[0]
    }
    return Map(
        region_code=of_rw["kode_kemendagri"],
        name=of_rw["nama_2025"],
        bps_code=of_rw["kode_bps"],
        postcode=of_rw["kodepos"],
        latitude=of_rw["lat"].astype(float) + radius * np.sin(angle),
        longitude=of_rw["lng"].astype(float) + radius * np.cos(angle),
        rw=number,
        rt_count=_spread(known["rt"], np.ones(len(at))),
        weight=(weights / rw_count)[at] / weights.sum(),
    )


def _spread(total: int, weights: np.ndarray) -> np.ndarray:
    """Whole numbers that sum to `total`, in proportion to the weights."""
    edges = np.floor(np.cumsum(weights) / weights.sum() * total + 1e-9).astype(int)
    return np.diff(edges, prepend=0)


def create_rw_table(con: Con) -> None:
    """Table `rw`: rw_index, region_code, kelurahan_name, bps_code, postcode, rw."""
    city = city_map()
    columns = {
        "rw_index": np.arange(len(city.rw)),
        "region_code": city.region_code,
        "kelurahan_name": city.name,
        "bps_code": city.bps_code,
        "postcode": city.postcode,
        "rw": city.rw,
    }
    with feeding(con, "rw_columns", columns):
        con.execute("CREATE TABLE rw AS FROM rw_columns")
