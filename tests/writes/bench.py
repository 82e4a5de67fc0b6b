"""Trials: an operation on a copy of a prepared home, struck at a write call; what a reader sees
right after it, and what its re-run gives, beside the undisturbed run."""

import os
import random
import shutil
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.settings import ROOT
from tests.writes import KILLED, KILLS, Fault, Outcome, Runner

DAY = 86_400
WRITTEN_ONCE = ("lake/data", "published", "extracts", "originals", "data_docs")
"""Folders whose files are never written to again, so that a copy may share them."""
OURS = range(1, 40)
"""Exit codes of our errors."""


@dataclass(frozen=True)
class Operation:
    """A command, on what home it is run, and how often it is chosen beside others. `history`:
    whether its snapshots can still be looked at after it."""

    step: tuple[str, ...]
    base: str
    weight: int = 1
    history: bool = True

    @property
    def name(self) -> str:
        return f"{' '.join(self.step)} ({self.base})"


@dataclass(frozen=True)
class Undisturbed:
    """What an operation makes of its base when nothing strikes it."""

    calls: int
    before: dict[str, Any]
    seen: list[dict[str, Any]]
    deliveries: dict[str, Any]
    loaded: list[list[Any]]
    left: dict[str, Any]


@dataclass
class Trial:
    """One chain of faults on one home: what was struck, and what was wrong."""

    operation: str
    struck: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Bench:
    """A sample city of few people, homes of its nights, and trials on copies of them."""

    def __init__(
        self, folder: Path, operations: list[Operation], sources: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.operations = folder, operations
        self.runner = Runner(folder)
        self.settings = {"MUARA_IMPACT_ASSESSMENT": "1/2026", "MUARA_RETRY_DELAY_SECONDS": "0",
                         "MUARA_LOCK_TIMEOUT_SECONDS": "20"}  # fmt: skip
        if sources:
            connectors = folder / "connectors"
            for source in sources:
                shutil.copytree(ROOT / "connectors" / source, connectors / source)
            self.settings["MUARA_CONNECTORS"] = str(connectors)
        self.undisturbed: dict[str, Undisturbed] = {}
        self.sources = sources

    def close(self) -> None:
        self.runner.close()

    def ask(self, home: Path, *question: str) -> Any:
        return self.must(home, *question).answer

    def must(self, home: Path, *step: str) -> Outcome:
        done = self.runner.run(home, list(step), Fault.COUNT, settings=self.settings)
        assert done.code == 0, f"{step} ended with {done.code}: {done.output[-2000:]}"
        return done

    @cached_property
    def empty(self) -> Path:
        """A city, and nothing of it read yet."""
        home = self.folder / "empty"
        self.must(home, "city", "build", "--residents", "1000", "--seed", "1")
        return home

    @cached_property
    def new_day(self) -> Path:
        """The day after the first night: the city has changed and nobody has read that."""
        home = self.folder / "new_day"
        shutil.copytree(self.empty, home)
        for path in (home / "connections.toml",):
            path.write_text(path.read_text().replace(str(self.empty), str(home)))
        self.must(home, "night", "--direct")
        self.must(home, "city", "tomorrow")
        return home

    @cached_property
    def loaded(self) -> Path:
        """The second night after its loads: nobody is linked and nothing has left."""
        home = copy(self.new_day, self.folder / "loaded")
        for source in self.sources or [path.name for path in (ROOT / "connectors").glob("*")]:
            if (ROOT / "connectors" / source / "source.yml").exists():
                self.must(home, "sync", source)
        return home

    @cached_property
    def record(self) -> str:
        return str(self.ask(self.loaded, "someone"))

    def base_of(self, operation: Operation) -> Path:
        return getattr(self, operation.base)

    def step_of(self, operation: Operation) -> list[str]:
        return [self.record if one == "{record}" else one for one in operation.step]

    def reference(self, operation: Operation) -> Undisturbed:
        """What the operation gives undisturbed; done once."""
        if operation.name not in self.undisturbed:
            base = self.base_of(operation)
            home = copy(base, self.folder / "undisturbed")
            before = self.ask(home, "deliveries")
            since = self.ask(home, "version")
            first = self.ask(home, "lake")[0]
            done = self.must(home, *self.step_of(operation))
            seen = self.ask(home, "lake", str(since + 1)) if operation.history else []
            seen += [first, self.ask(home, "lake")[0]]
            deliveries, loaded = self.ask(home, "deliveries"), self.ask(home, "loaded")
            left = self.left(home)
            self.undisturbed[operation.name] = Undisturbed(
                done.calls, before, seen, deliveries, loaded, left
            )
            shutil.rmtree(home)
        return self.undisturbed[operation.name]

    def left(self, home: Path) -> dict[str, Any]:
        """What lies in the home after the preparation of a night in a week."""
        for path in home.rglob("*"):
            if not path.is_symlink() and path.stat().st_nlink == 1:
                then = time.time() - 2 * DAY
                os.utime(path, (then, then))
        self.must(home, "tidy")
        return self.ask(home, "left")

    def trial(self, operation: Operation, strikes: list[tuple[Fault, int]]) -> Trial:
        """Strike the operation on one home once after the other, then run it undisturbed."""
        reference, trial = self.reference(operation), Trial(operation.name)
        home = copy(self.base_of(operation), self.folder / "struck")
        for fault, at in strikes:
            done = self.runner.run(home, self.step_of(operation), fault, at, self.settings)
            where = f"{operation.name}: {fault.name} at {at}"
            if not done.struck:
                continue
            where = f"{where}, {done.struck}"
            trial.struck.append(where)
            trial.faults += [f"{where}: {what}" for what in self._ended(fault, done)]
            trial.faults += [f"{where}: {what}" for what in self._seen(home, reference)]
        if trial.struck:
            where = trial.struck[-1]
            trial.faults += [
                f"{where}: re-run: {what}" for what in self._rerun(home, operation, reference)
            ]
        shutil.rmtree(home)
        return trial

    def _ended(self, fault: Fault, done: Outcome) -> list[str]:
        if fault in KILLS:
            return [] if done.code == KILLED else [f"ended with {done.code}"]
        wrong = []
        if done.code != 0 and done.code not in OURS:
            wrong.append(f"ended with {done.code}: {done.output[-1500:]}")
        elif "Traceback" in done.output:
            wrong.append(f"a stack trace: {done.output[-1500:]}")
        return wrong

    def _seen(self, home: Path, reference: Undisturbed) -> list[str]:
        wrong = []
        now = self.ask(home, "lake")[0]
        if now not in reference.seen:
            nearest = min((_differ(now, one) for one in reference.seen), key=len)
            wrong.append(f"a reader sees half of {', '.join(nearest)}")
        held = self.held(home, reference)
        for folder in reference.before.keys() | held.keys():
            if folder not in held:
                wrong.append(f"{folder} is gone")
                continue
            before, after = reference.before.get(folder), reference.deliveries.get(folder)
            if held[folder] not in (before, after):
                how = _brief(held[folder], after)
                wrong.append(f"{folder} is neither as before nor as after: {how}")
        return wrong

    def held(self, home: Path, reference: Undisturbed) -> dict[str, Any]:
        """What has left, where the operation has anything to do with that."""
        if reference.before == reference.deliveries:
            return reference.before
        return self.ask(home, "deliveries")

    def _rerun(self, home: Path, operation: Operation, reference: Undisturbed) -> list[str]:
        done = self.runner.run(home, self.step_of(operation), settings=self.settings)
        if done.code != 0:
            return [f"ended with {done.code}: {done.output[-1500:]}"]
        wrong = []
        now = self.ask(home, "lake")[0]
        if differ := _differ(now, reference.seen[-1]):
            wrong.append(f"differ: {', '.join(differ)}")
        held = self.held(home, reference)
        if differ := _differ(held, reference.deliveries):
            wrong += [
                f"{name}: {_brief(held.get(name), reference.deliveries.get(name))}"
                for name in differ
            ]
        if (loaded := self.ask(home, "loaded")) != reference.loaded:
            wrong.append(f"loaded {loaded} instead of {reference.loaded}")
        left = self.left(home)
        for name in sorted(left["names"].keys() | reference.left["names"].keys()):
            more = left["names"].get(name, 0) - reference.left["names"].get(name, 0)
            if more:
                wrong.append(f"{abs(more)} {'more' if more > 0 else 'fewer'} {name}")
        if left["orphans"] or left["damaged"]:
            wrong.append(f"{left['orphans']} orphans, damaged {left['damaged']}")
        return wrong

    def sample(self, chance: random.Random, faults: tuple[Fault, ...], number: int) -> list[Trial]:
        """So many strikes, each in a trial of its own, operations and calls chosen at random."""
        return self.chains(chance, faults, number, 1)

    def chains(
        self, chance: random.Random, faults: tuple[Fault, ...], number: int, length: int
    ) -> list[Trial]:
        """So many strikes in trials of this length; operations and calls chosen at random."""
        trials: list[Trial] = []
        while sum(len(trial.struck) for trial in trials) < number:
            operation = chance.choices(self.operations, [one.weight for one in self.operations])[0]
            calls = self.reference(operation).calls
            strikes = [(chance.choice(faults), chance.randint(1, calls)) for _ in range(length)]
            trials.append(self.trial(operation, strikes))
        return trials


def copy(home: Path, to: Path) -> Path:
    """A copy of a home that shares what is written once, and reads the same city."""
    shutil.rmtree(to, ignore_errors=True)

    def place(source: str, target: str) -> None:
        below = Path(source).relative_to(home).as_posix()
        if below.startswith(WRITTEN_ONCE):
            os.link(source, target)
        else:
            shutil.copy2(source, target)

    shutil.copytree(home, to, symlinks=True, copy_function=place,
                    ignore=lambda folder, names: {"city"} & set(names) if Path(folder) == home
                    else set())  # fmt: skip
    return to


def _differ(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _brief(held: Any, wanted: Any) -> str:
    if isinstance(held, dict) and isinstance(wanted, dict):
        return f"differs in {', '.join(_differ(held, wanted))}"
    return f"{held} instead of {wanted}"[:300]
