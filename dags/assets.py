"""The assets by which DAGs wait for each other."""

from airflow.sdk import Asset

PUBLISHED = Asset(name="published", uri="muara://published/warehouse")


def landed(source: str, stream: str) -> Asset:
    """Tonight's rows of one stream are in the warehouse."""
    return Asset(name=f"{source}.{stream}", uri=f"muara://landing/{source}/{stream}")


def settled(source: str) -> Asset:
    """Every stream of the source landed tonight."""
    return Asset(name=source, uri=f"muara://source/{source}")
