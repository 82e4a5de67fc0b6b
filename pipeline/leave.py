"""What leaves the warehouse each night: the published copy and the agencies' extracts."""

from common.settings import Settings


def publish(settings: Settings) -> dict[str, int]:
    """Rebuild the marts and swap in tonight's published warehouse. Returns rows per table."""
    raise AssertionError("written next")


def deliver(settings: Settings) -> dict[str, int]:
    """Cut, deliver and verify every contract's extract. Returns rows per agency and dataset."""
    raise AssertionError("written next")
