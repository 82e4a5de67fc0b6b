"""What is measured: full load, nights of change, a table without timestamps, memory.

Every run is paired with the floor, run just before it: machines are noisy, so the ratio of the two
counts, and of several pairs the median. After every load the table is read back and compared with
the source: rows, sums, distinct NIKs.
"""

import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import duckdb

from benchmarks.peers import contenders as all_contenders
from benchmarks.peers.contenders import Contender, NotInstalled
from benchmarks.peers.measure import RunFailed, floor, measure
from benchmarks.peers.source import Source

NIGHTS = {
    "empty night": None,
    "0.1 % changed": "mod(id, 1000) = 0",
    "1 % changed": "mod(id, 100) = 0",
}


@dataclass
class Result:
    """Medians of one contender in one scenario, or why there are none."""

    server: str
    scenario: str
    tool: str
    to: str
    state: str = "ok"
    note: str = ""
    wall: float | None = None
    cpu: float | None = None
    peak: float | None = None
    written: float | None = None
    grown: float | None = None
    read: float | None = None
    floor: float | None = None
    ratio: float | None = None
    extracted: int | None = None


@dataclass
class Bench:
    """The settings of a comparison and what it has found."""

    rows: int
    repeats: int
    cache: Path
    scratch: Path
    tools: list[Contender]
    say: Callable[[str], None]
    results: list[Result] = field(default_factory=list)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    environments: dict[str, Path | str] = field(default_factory=dict)

    def environment(self, tool: Contender) -> Path | str:
        """Its virtual environment; as text, why there is none."""
        if tool.name not in self.environments:
            try:
                found: Path | str = all_contenders.install(tool, self.cache)
                self.versions[tool.name] = all_contenders.versions(tool, Path(found))
            except NotInstalled as error:
                found = f"not installable here: {error}"
            self.environments[tool.name] = found
        return self.environments[tool.name]

    def on(self, kind: str) -> list[Contender]:
        return [tool for tool in self.tools if kind in tool.servers]

    def runs(
        self,
        source: Source,
        scenario: str,
        tool: Contender,
        mode: str,
        before: Callable[[Path], None],
        condition: str | None = None,
        repeats: int | None = None,
    ) -> Path:
        """Measure a contender `repeats` times, `before` preparing its folder; the folder."""
        self.say(f"{source.kind}: {scenario}: {tool.name}")
        folder = self.scratch / source.kind / tool.name
        result = Result(source.kind, scenario, tool.name, tool.to)
        self.results.append(result)
        environment = self.environment(tool)
        if isinstance(environment, str):
            result.state, result.note = "missing", environment
            return folder
        pairs, truth = [], source.checksum()
        try:
            for _ in range(repeats or self.repeats):
                before(folder)
                pairs.append(self._pair(source, tool, mode, environment, folder, condition, result))
                if (found := tool.check(tool, folder)) != truth:
                    result.state, result.note = "WRONG", f"{found} instead of {truth}"
                    break
        except (RunFailed, duckdb.Error) as error:
            secret = str(source.parts.password)
            result.state, result.note = "failed", str(error).replace(secret, "…")
        fill(result, pairs)
        return folder

    def _pair(
        self,
        source: Source,
        tool: Contender,
        mode: str,
        environment: Path,
        folder: Path,
        condition: str | None,
        result: Result,
    ) -> dict[str, float]:
        bare = floor(source.floor(condition))
        command = tool.build(tool, environment, mode, source, folder)
        sizes, read = _sizes(folder), source.read()
        cost, output = measure(command, folder)
        if tool.environment is None:
            result.extracted = all_contenders.extracted(output)
        return {
            **asdict(cost),
            "grown": _growth(sizes, _sizes(folder)),
            "read": _settled(source, read) - read,
            "floor": bare,
            "ratio": cost.wall / bare,
        }


def full(bench: Bench, source: Source) -> None:
    """The whole table into an empty folder."""
    for tool in bench.on(source.kind):
        shutil.rmtree(bench.runs(source, "full load", tool, "full", empty), ignore_errors=True)


def nights(bench: Bench, source: Source) -> None:
    """A keyed first load, then nights: every run starts from the state after the first load.

    The changes of a night include those of the smaller one before, so that what is newer than the
    first load is just that night's share.
    """
    able = [tool for tool in bench.on(source.kind) if tool.nights]
    ready = []
    source = replace(source, since=source.ask("SELECT max(updated_at) FROM penduduk")[0])
    newer = f"updated_at > '{source.since}'"
    for tool in able:
        folder = bench.runs(source, "first load, keyed", tool, "first", empty, repeats=1)
        if bench.results[-1].state == "ok":
            folder.rename(_kept(folder))
            ready.append(tool)
    for name, change in NIGHTS.items():
        if change:
            source.change(change)
        for tool in ready:
            bench.runs(source, name, tool, "night", _restore, newer)
        if any(tool.environment is None for tool in ready):
            _imports(bench, source, name, newer)
    for tool in ready:
        shutil.rmtree(_kept(bench.scratch / source.kind / tool.name))


def checksum(bench: Bench, source: Source) -> None:
    """A table without timestamps: some rows changed, half as many deleted, half as many new."""
    names = ("ours-snapshot", "ours-checksum")
    ready = []
    for tool in bench.on(source.kind):
        if tool.name in names:
            name = "first load, to be compared"
            folder = bench.runs(source, name, tool, "first", empty, repeats=1)
            if bench.results[-1].state == "ok":
                folder.rename(_kept(folder))
                ready.append(tool)
    changed = max(2, min(1000, bench.rows // 100))
    source.change_silently(changed, bench.rows)
    title = f"{changed:,} changed, {changed // 2:,} deleted, {changed // 2:,} new, no timestamps"
    for tool in ready:
        bench.runs(source, title, tool, "night", _restore)
        shutil.rmtree(_kept(bench.scratch / source.kind / tool.name))


def memory(bench: Bench, source: Source, small: Source) -> None:
    """Peak memory of one full load of a tenth of the rows, and of all; the ratio is of the two."""
    for tool in bench.on(source.kind):
        peaks = []
        for one, share in ((small, "a tenth of the rows"), (source, "all rows")):
            folder = bench.runs(one, f"memory: {share}", tool, "full", empty, repeats=1)
            shutil.rmtree(folder, ignore_errors=True)
            peaks.append(bench.results[-1].peak)
        if all(peaks):
            bench.results[-1].note = f"{peaks[1] / peaks[0]:.2f} x the peak of a tenth"


def _imports(bench: Bench, source: Source, scenario: str, condition: str) -> None:
    """How long our process takes before it does anything."""
    result = Result(source.kind, scenario, "ours: imports alone", "")
    pairs = []
    for _ in range(bench.repeats):
        bare = floor(source.floor(condition))
        cost, _said = measure(all_contenders.imports(), bench.scratch)
        pairs.append({**asdict(cost), "floor": bare, "ratio": cost.wall / bare})
    fill(result, pairs)
    bench.results.append(result)


def fill(result: Result, pairs: list[dict[str, float]]) -> None:
    """The medians of all pairs."""
    for name in pairs[0] if pairs else ():
        setattr(result, name, statistics.median(pair[name] for pair in pairs))


def _settled(source: Source, before: int) -> int:
    """The source's counter, which PostgreSQL brings up to date just after a session ended."""
    for _ in range(10):
        if (now := source.read()) > before + 1000:
            break
        time.sleep(0.05)
    return now


def empty(folder: Path) -> None:
    """An empty folder, whatever was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.first")


def _restore(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(_kept(folder), folder, symlinks=True)


def _sizes(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_size for path in _files(folder)}


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def _growth(before: dict[Path, int], after: dict[Path, int]) -> int:
    """Bytes by which the folder's files grew, new files included; what shrank is not set off."""
    return sum(max(0, size - before.get(path, 0)) for path, size in after.items())
