"""What each task of the night reads and writes, for OpenLineage.

Airflow's provider emits an event when a task starts, ends or fails and asks the extractor below for
its datasets; only the provider imports this file. Names of tables and columns come from
`pipeline.lineage`, so they are the code's own. No event carries a row or a value of one.
"""

from airflow.providers.openlineage.extractors.base import BaseExtractor, OperatorLineage
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import column_lineage_dataset as facet

from common.definition import load_sources
from common.settings import Settings
from pipeline.lineage import Graph, before, brought_in, delivered, published


class Extractor(BaseExtractor):
    """Our tasks are functions; which one it is follows from DAG and task."""

    @classmethod
    def get_operator_classnames(cls) -> list[str]:
        return ["_PythonDecoratedOperator"]

    def _execute_extraction(self) -> OperatorLineage:
        """At the start: nothing yet, the end tells it."""
        return OperatorLineage()

    def extract_on_complete(self, task_instance: object) -> OperatorLineage:
        """Also of a task that failed: what it would have written."""
        written = written_by(Settings(), self.operator.dag_id, self.operator.task_id)
        return OperatorLineage(inputs=inputs_of(written), outputs=outputs_of(written))


def written_by(settings: Settings, dag_id: str, task_id: str) -> Graph:
    """The columns that a task of ours writes; empty for one that writes no table."""
    match dag_id, task_id:
        case "publish", "publish":
            return published()
        case "deliver_extracts", "deliver":
            return delivered(settings)
    source = load_sources(settings).get(dag_id.removeprefix("sync_"))
    for stream in source.streams if source else ():
        if stream.name == task_id:
            return brought_in(source, stream)
    return {}


def inputs_of(written: Graph) -> list[InputDataset]:
    """The tables that are read and not written by the same task."""
    mentioned = {name for origin in written.values() for name in origin.values | origin.choice}
    tables = {_table(name) for name in mentioned if _is_read(written, name)}
    return [InputDataset(*_address(table)) for table in sorted(tables)]


def outputs_of(written: Graph) -> list[OutputDataset]:
    """The tables that are written, each column with the columns of the inputs it is made of."""
    fields: dict[str, dict[str, facet.Fields]] = {}
    for name in written:
        if not _is_read(written, name):
            made_of = [one for one in sorted(before(written, name)) if _is_read(written, one)]
            fields.setdefault(_table(name), {})[_column(name)] = facet.Fields(
                [facet.InputField(*_address(_table(one)), _column(one)) for one in made_of]
            )
    return [
        OutputDataset(
            *_address(table), facets={"columnLineage": facet.ColumnLineageDatasetFacet(columns)}
        )
        for table, columns in sorted(fields.items())
    ]


def _is_read(written: Graph, name: str) -> bool:
    return name not in written or name.startswith("source.")


def _table(name: str) -> str:
    return name.rpartition(".")[0]


def _column(name: str) -> str:
    return name.rpartition(".")[2]


def _address(table: str) -> tuple[str, str]:
    """Namespace and name of a dataset: where it is, without hosts or paths."""
    kind, _, rest = table.partition(".")
    match kind:
        case "source" | "contract":
            owner, _, name = rest.partition(".")
            return f"muara://{kind}/{owner}", name
        case "published":
            return "muara://published", rest
        case "quarantine":
            return "muara://lake", "quarantine.row"
        case _:
            return "muara://lake", table
