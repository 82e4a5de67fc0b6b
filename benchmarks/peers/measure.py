"""Whole processes, measured by the operating system."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
SECONDS = 1800


@dataclass(frozen=True)
class Command:
    """What to run. Secrets go into `environment`, never into `words`."""

    words: list[str]
    environment: dict[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes. `written` counts what went to files of all kinds, less what was deleted
    before it reached the disk."""

    wall: float
    cpu: float
    peak: int
    written: int


class RunFailed(Exception):
    """The command ended with an error or took too long; carries the end of what it said."""


def measure(command: Command, folder: Path) -> tuple[Cost, str]:
    """Run the command in `folder`; its cost and its output. Raises RunFailed."""
    with tempfile.TemporaryDirectory(prefix="muara-measure-") as scratch:
        report, said, moaned = (Path(scratch) / name for name in ("report", "out", "err"))
        with said.open("wb") as out, moaned.open("wb") as err:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command.words],
                cwd=folder,
                env=_environment(command),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
            try:
                process.wait(SECONDS)
            except BaseException as error:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                if isinstance(error, subprocess.TimeoutExpired):
                    raise RunFailed(f"took more than {SECONDS} s") from None
                raise
        output = said.read_text(errors="replace")
        if not report.exists():
            raise RunFailed(_end(moaned.read_text(errors="replace")))
        found = json.loads(report.read_text())
        if exit_code := found.pop("exit_code"):
            text = _end(f"{output}\n{moaned.read_text(errors='replace')}")
            raise RunFailed(f"ended with {exit_code}: {text}")
        return Cost(**found), output


def floor(command: Command) -> float:
    """Seconds that the command takes with its output thrown away. Raises RunFailed."""
    with tempfile.TemporaryDirectory(prefix="muara-measure-") as scratch:
        report = Path(scratch) / "report"
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(LAUNCHER), str(report), *command.words],
            env=_environment(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
        )
        found = json.loads(report.read_text()) if report.exists() else {"exit_code": "nothing"}
        if found["exit_code"]:
            raise RunFailed(_end(done.stderr.decode(errors="replace")))
        return found["wall"]


def _environment(command: Command) -> dict[str, str]:
    """Ours and the command's; what Python has compiled is kept, as on any other machine."""
    ours = {key: text for key, text in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return {**ours, **command.environment}


def _end(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " / ".join(lines[-4:])[-600:]
