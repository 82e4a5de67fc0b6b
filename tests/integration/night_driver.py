"""A night in a process of its own, killed with its whole group at the n-th stage mark.

python night_driver.py HOME N [SOURCE …]      N = 0: undisturbed
"""

import os
import signal
import sys
from pathlib import Path

from common import log
from tests.integration.conftest import Town


def main() -> None:
    home, fatal, only = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    town = Town(home)
    town.sources = {name: town.sources[name] for name in only}
    passed = 0

    def maybe_die(name: str, where: dict) -> None:
        nonlocal passed
        passed += 1
        print(name, flush=True)
        if passed == fatal:
            os.killpg(os.getpgrp(), signal.SIGKILL)

    log.on_stage(maybe_die)
    print("failures", len(town.night()), flush=True)


main()
