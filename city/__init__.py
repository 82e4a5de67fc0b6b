"""The sample city: synthetic residents with known truth, and the legacy systems filled from it.

All people, reports and plans are invented. `build` raises the city, `tomorrow` lets a day pass,
`serve_open311` puts its report inbox on the loopback. `fill_opensid` writes the same residents into
a MariaDB in the shape of a system that is not among the five.
"""

from city.dirt import Fault, faults
from city.life import build, connections, content_hashes, today, tomorrow
from city.open311 import failing, serve_open311
from city.opensid import fill_opensid
from city.systems import Systems

__all__ = [
    "Fault",
    "Systems",
    "build",
    "connections",
    "content_hashes",
    "failing",
    "faults",
    "fill_opensid",
    "serve_open311",
    "today",
    "tomorrow",
]
