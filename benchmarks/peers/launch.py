"""Start one command, wait, write what it cost as JSON: `launch.py REPORT COMMAND …`.

A process of its own, and a small one: the kernel counts the peak memory of whoever starts a command
as the command's own. Peak memory is that of the largest process of the command; CPU time and bytes
written are of all of them. Linux only.
"""

import json
import os
import sys
import time

report, *command = sys.argv[1:]
started = time.monotonic()
process = os.posix_spawnp(command[0], command, os.environ)
os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
seconds = time.monotonic() - started
with open(f"/proc/{process}/io") as file:
    counters = dict(line.split(": ") for line in file.read().splitlines())
_, status, usage = os.wait4(process, 0)
with open(report, "w") as file:
    json.dump(
        {
            "exit_code": os.waitstatus_to_exitcode(status),
            "wall": seconds,
            "cpu": usage.ru_utime + usage.ru_stime,
            "peak": usage.ru_maxrss * 1024,
            "written": int(counters["write_bytes"]) - int(counters["cancelled_write_bytes"]),
        },
        file,
    )
