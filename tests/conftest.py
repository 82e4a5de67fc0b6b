"""What every test may use: real database servers, raised when first asked for, once per session.

A skipped test fails the session: a skip that exits green hides what was not tested.
`MUARA_ALLOW_SKIPS=1` allows skips, for machines that cannot run everything.
"""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from tests import servers

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the processors
    os.environ.setdefault("MUARA_THREADS", "1")


@pytest.fixture(autouse=True)
def umask_of_the_session() -> Iterator[None]:
    """A command that runs within a test closes what is made after it to others; a server that runs
    as another user could not read what later tests give it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Server]:
    """A private PostgreSQL; create a database of your own in it."""
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[servers.Server]:
    """A private MariaDB; create a database of your own in it."""
    with servers.mariadb() as server:
        yield server


@pytest.fixture
def free_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    otherwise_green = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
    if otherwise_green and _forbidden_skips(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if skips := _forbidden_skips(config):
        terminalreporter.section("a skip is a failure (MUARA_ALLOW_SKIPS=1 allows it)", red=True)
        for report in skips:
            path, line, reason = report.longrepr
            terminalreporter.line(f"{report.nodeid or path}:{line}: {reason}")


def _forbidden_skips(config: pytest.Config) -> list[Any]:
    """Reports of skipped tests and of test files skipped as a whole."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("MUARA_ALLOW_SKIPS") == "1":
        return []
    return list(reporter.stats.get("skipped", []))
