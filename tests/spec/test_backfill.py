"""A stretch of the past, read again step by step: resumable, idempotent, and its price known."""

import json

import pytest

from common.errors import DefinitionError, SourceUnavailable
from connectors.readers import sql
from tests.archive import Archive
from tests.spec.test_gaps import muara  # noqa: F401
