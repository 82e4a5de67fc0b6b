"""Settings are read, or refused by name with what to do next."""

import pytest

from common.errors import DefinitionError
from muara.cli.shared import read_settings


@pytest.mark.parametrize(("written", "size"), [("200MB", 200_000_000), ("1.5 GiB", 3 << 29)])
def test_memory_is_written_as_a_size(monkeypatch, written, size):
    monkeypatch.setenv("MUARA_BATCH_MEMORY_LIMIT", written)
    assert read_settings().batch_memory_limit == size


@pytest.mark.parametrize("wrong", ["lots", "200", ""])
def test_memory_that_is_no_size_or_too_little_is_refused_by_name(monkeypatch, wrong):
    monkeypatch.setenv("MUARA_BATCH_MEMORY_LIMIT", wrong)
    with pytest.raises(DefinitionError, match=r"1 wrong setting\(s\): batch_memory_limit: ") as it:
        read_settings()
    assert "muara.toml" in str(it.value)
