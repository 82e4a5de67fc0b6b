"""A process that has imported everything and forks for every step it is asked for: the step is the
leader of a group of its own, which a fault kills as a whole.

Per line of the input {home, step, output, settings} one line with the step's exit code.
"""

import json
import os
import signal
import sys
import traceback
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

STACK_TRACE = 70
HEAVY = (
    "great_expectations.render.renderer", "great_expectations.render.view", "ibis", "openpyxl",
    "pandas", "python_calamine", "splink", "city", "dags.local", "expectations.engine",
    "muara.cli", "pipeline.backfill", "pipeline.gaps", "pipeline.link", "pipeline.night",
    "portal.app", "tests.writes.steps",
)  # fmt: skip


def main() -> None:
    import_everything()
    for line in sys.stdin:
        print(run(json.loads(line)), flush=True)


def import_everything() -> None:
    """What any step imports. No thread may be left of it, for threads do not survive a fork."""
    for module in HEAVY:
        import_module(module)
    import duckdb

    duckdb.execute("SET threads = 1")  # of the connection that importing it opens
    threads = len(os.listdir("/proc/self/task"))
    assert threads == 1, f"{threads} threads before the first step"


def run(asked: dict[str, Any]) -> int:
    """The exit code of the step, negative when a signal ended it."""
    child = os.fork()
    if child == 0:
        os._exit(attempt(asked))
    _, status = os.waitpid(child, 0)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(status)


def attempt(asked: dict[str, Any]) -> int:
    """In the child: everything printed goes to the output; an error that is none of ours ends with
    STACK_TRACE."""
    os.setsid()
    output = os.open(asked["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, ours in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(descriptor, ours)
    os.environ |= {"MUARA_HOME": asked["home"]} | asked["settings"]
    code = 0
    try:
        command(asked["step"])
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
        code = STACK_TRACE
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def command(step: list[str]) -> None:
    from common import log
    from common.settings import Settings
    from muara import cli
    from tests.writes import steps

    name, *arguments = step
    if question := steps.QUESTIONS.get(name):
        print(json.dumps(question(Path(os.environ["MUARA_HOME"]), *arguments)))
        return
    if part := steps.COMMANDS.get(name):
        cli.app.command(name)(part)
        log.configure(Settings())
    sys.argv = ["muara", *step]
    cli.main()


main()
