"""The sample city: synthetic residents with known truth, and the legacy systems filled from it.

All people, reports and plans are invented. `build` raises the city, `tomorrow` lets a day pass,
`serve_open311` puts its report inbox on the loopback.
"""

from city.dirt import Fault, faults
from city.life import build, connections, content_hashes, today, tomorrow
from city.open311 import failing, serve_open311
from city.systems import Systems

__all__ = [
    "Fault",
    "Systems",
    "build",
    "connections",
    "content_hashes",
    "failing",
    "faults",
    "serve_open311",
    "today",
    "tomorrow",
]
