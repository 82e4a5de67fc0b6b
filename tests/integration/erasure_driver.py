"""Erasures in a process of its own, killed with its whole group after so many seconds.

python -m tests.integration.erasure_driver HOME SECONDS ID …      SECONDS = 0: undisturbed
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

from pipeline.erasure import erase
from tests.integration.conftest import Town


def main() -> None:
    home, seconds, asked = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
    town = Town(home)
    print("begun", flush=True)
    if seconds:
        threading.Timer(seconds, os.killpg, (os.getpgrp(), signal.SIGKILL)).start()
    began = time.monotonic()
    erase(town.settings, town.sources, asked, reference="470/30")
    print(time.monotonic() - began, flush=True)


main()
