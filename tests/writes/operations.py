"""What is struck: every operation that writes below a home. One line each.

`base` is a home of `tests.writes.bench.Bench`:
`empty`, `new_day` or `loaded`.
"""

from tests.writes.bench import Operation

FEW_SOURCES = ("cctv", "civil_registry", "brojol")
ERASE = ("person", "erase", "{record}", "--reference", "1/2026")
RESTORE = ("restore", "--to", "{home}.restored")
OPERATIONS = [
    Operation(("sync", "cctv"), "empty", weight=1),
    Operation(("sync_stream", "cctv", "monitor_status"), "new_day", weight=3),
    Operation(("sync_stream", "civil_registry", "resident"), "new_day", weight=3),
    Operation(("sync_stream", "brojol", "birth_notice"), "new_day", weight=3),
    Operation(("sync", "cctv"), "new_day"),
    Operation(("tidy",), "new_day", weight=2),
    Operation(("link",), "loaded", weight=2),
    Operation(("judge",), "loaded", weight=2),
    Operation(("replay", "cctv"), "loaded"),
    Operation(("publish",), "loaded", weight=3),
    Operation(("extract",), "loaded", weight=3),
    Operation(("rejections",), "loaded", weight=3),
    Operation(ERASE, "loaded", weight=2, erases=True),
    Operation(("backup",), "loaded", proof=("backup", "verify")),
    Operation(RESTORE, "backed_up", made="{home}.restored"),
]
