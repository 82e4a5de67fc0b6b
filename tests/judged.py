"""The small world with rules and definitions that a test can change."""

import shutil

import yaml

from common.settings import ROOT
from pipeline.replay import is_due, replay
from tests.world import Cameras
from warehouse.catalog import attach, open_duckdb, reading


class Judged(Cameras):
    """Cameras whose rules can change."""

    def __init__(self, folder, strategy="snapshot"):
        shutil.copytree(
            ROOT / "expectations", folder / "rules", ignore=shutil.ignore_patterns("*.py")
        )
        super().__init__(folder, strategy, expectations=folder / "rules")

    def rule(self, name, condition, severity="critical", stream="monitor"):
        """Add a rule, or replace the one of that name; without a condition take it away."""
        path = self.settings.expectations / "cctv.yml"
        tree = yaml.safe_load(path.read_text())
        rules = [one for one in tree["streams"][stream] if one["rule"] != name]
        if condition:
            rules.append({"rule": name, "expect_rows_to_satisfy": {"condition": condition},
                          "severity": severity, "reason": "-", "origin": "-"})  # fmt: skip
        tree["streams"][stream] = rules
        path.write_text(yaml.safe_dump(tree))

    def define(self, **changes):
        """Change column entries of the definition, by the source's name; None takes one away."""
        columns = {**self.stream.columns}
        for name, change in changes.items():
            columns[name] = columns[name].model_copy(update=change)
        self.stream = self.stream.model_copy(update={"columns": columns})
        streams = [self.stream if one.name == "monitor" else one for one in self.source.streams]
        self.source = self.source.model_copy(update={"streams": tuple(streams)})
        self.source.__dict__.pop("fingerprint", None)
        self.sources = {**self.sources, "cctv": self.source}

    def replay(self):
        return replay(self.settings, self.source, self.stream)

    def execute_lake(self, statement):
        connection = open_duckdb(self.settings)
        attach(connection, self.settings)
        connection.execute(statement)
        connection.close()

    @property
    def is_due(self):
        with reading(self.settings) as connection:
            return is_due(connection, self.settings, self.source, self.stream)

    def entries(self, columns="rules, state"):
        return self.rows(
            f"SELECT {columns} FROM lake.quarantine.row ORDER BY first_batch_id, row_number, rules"
        )
