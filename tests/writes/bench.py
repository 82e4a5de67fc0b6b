"""Trials: an operation on a copy of a prepared home, struck at a write call; what a reader sees
right after it, and what its re-run gives, beside the undisturbed run."""

import os
import random
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from common.errors import MuaraError
from common.home_files import write_whole
from common.settings import ROOT
from tests.writes import KILLED, KILLS, Fault, Outcome, Runner

DAY = 86_400
WRITTEN_ONCE = ("lake/data", "published", "extracts", "originals", "data_docs")
"""Folders whose files are never written to again, so that a copy may share them."""
UNFORESEEN = ("Traceback", "unexpected ", "beside the main work")
"""What is printed of a failure that no error of ours was made for."""


@dataclass(frozen=True)
class Operation:
    """A command, on what home it is run, and how often it is chosen beside others.

    `erases`: snapshots cannot be looked at after it, it goes table by table, and takes away what
    left before, to make it anew with other surrogates. `made`: the home whose writes
    are struck and that is looked at afterwards. `proof`: a command that must succeed after it.
    """

    step: tuple[str, ...]
    base: str
    weight: int = 1
    erases: bool = False
    made: str = "{home}"
    proof: tuple[str, ...] = ()

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

    def must(self, home: Path, *step: str, counted: Path | None = None) -> Outcome:
        done = self.run(home, step, Fault.COUNT, 0, counted)
        assert done.code == 0, f"{step} ended with {done.code}: {done.output[-2000:]}"
        return done

    def run(
        self,
        home: Path,
        step: Sequence[str],
        fault: Fault = Fault.OFF,
        at: int = 0,
        counted: Path | None = None,
    ) -> Outcome:
        words = [self._filled(word, home) for word in step]
        settings = self.settings | {"MUARA_BACKUP_PLACE": f"{home}.backups"}
        return self.runner.run(home, words, fault, at, settings, counted)

    def _filled(self, word: str, home: Path) -> str:
        if word == "{record}":
            return self.record
        return word.replace("{home}", str(home))

    @cached_property
    def empty(self) -> Path:
        """A city, and nothing of it read yet."""
        home = self.folder / "empty"
        self.must(home, "city", "build", "--residents", "1000", "--seed", "1")
        # Surrogates can only be compared under one key.
        write_whole(home / "secrets" / "pseudonym.key", "c1" * 32)
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

    @cached_property
    def backed_up(self) -> Path:
        """The same with a backup of it."""
        home = copy(self.loaded, self.folder / "backed_up")
        self.must(home, "backup")
        return home

    def base_of(self, operation: Operation) -> Path:
        return getattr(self, operation.base)

    def made(self, operation: Operation, home: Path) -> Path:
        return Path(self._filled(operation.made, home))

    def reference(self, operation: Operation) -> Undisturbed:
        """What the operation gives undisturbed; done once."""
        if operation.name not in self.undisturbed:
            base = self.base_of(operation)
            home = copy(base, self.folder / "undisturbed")
            made = self.made(operation, home)
            before = self.ask(made, "deliveries")
            since = self.ask(made, "version")
            first = self.ask(made, "lake")[0]
            done = self.must(home, *operation.step, counted=made)
            seen = [] if operation.erases else self.ask(made, "lake", str(since + 1))
            seen += [first, self.ask(made, "lake")[0]]
            deliveries, loaded = self.ask(made, "deliveries"), self.ask(made, "loaded")
            left = self.left(made)
            self.undisturbed[operation.name] = Undisturbed(
                done.calls, before, seen, deliveries, loaded, left
            )
        return self.undisturbed[operation.name]

    def left(self, home: Path) -> dict[str, Any]:
        """What lies in the home after the preparation of a night days later, and after people said
        that in so small a lake these are few orphans, too (0034)."""
        for path in home.rglob("*"):
            if not path.is_symlink() and path.stat().st_nlink == 1:
                then = time.time() - 2 * DAY
                os.utime(path, (then, then))
        self.must(home, "tidy")
        self.must(home, "catalog", "orphans", "--delete")
        return self.ask(home, "left")

    def trial(self, operation: Operation, strikes: list[tuple[Fault, int]]) -> Trial:
        """Strike the operation on one home once after the other, then run it undisturbed."""
        reference, trial = self.reference(operation), Trial(operation.name)
        home = copy(self.base_of(operation), self.folder / "struck")
        made = self.made(operation, home)
        for fault, at in strikes:
            done = self.run(home, operation.step, fault, at, made)
            where = f"{operation.name}: {fault.name} at {at}"
            if not done.struck:
                continue
            where = f"{where}, {done.struck}"
            trial.struck.append(where)
            trial.faults += [f"{where}: {what}" for what in self._ended(fault, done)]
            trial.faults += [f"{where}: {what}" for what in self._seen(made, operation, reference)]
        if trial.struck:
            where = trial.struck[-1]
            trial.faults += [
                f"{where}: re-run: {what}" for what in self._rerun(home, operation, reference)
            ]
        return trial

    def _ended(self, fault: Fault, done: Outcome) -> list[str]:
        if fault in KILLS:
            return [] if done.code == KILLED else [f"ended with {done.code}"]
        wrong = []
        if done.code not in (0, *_exit_codes(MuaraError)):
            wrong.append(f"ended with {done.code}: {done.output[-1500:]}")
        elif any(word in done.output for word in UNFORESEEN):
            wrong.append(f"nobody foresaw this: {done.output[-1500:]}")
        return wrong

    def _seen(self, home: Path, operation: Operation, reference: Undisturbed) -> list[str]:
        wrong = []
        now = self.ask(home, "lake")[0]
        if operation.erases:
            before, *_, after = (_differ(now, one) for one in reference.seen)
            if both := set(before) & set(after):
                wrong.append(f"a reader sees half of {', '.join(sorted(both))}")
            return wrong + _not_whole(self.held(home, reference))
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
        for step in filter(None, (operation.step, operation.proof)):
            done = self.run(home, step)
            if done.code != 0:
                return [f"{step[0]} ended with {done.code}: {done.output[-1500:]}"]
        wrong, home = [], self.made(operation, home)
        now = self.ask(home, "lake")[0]
        if differ := _differ(now, reference.seen[-1]):
            wrong.append(f"differ: {', '.join(differ)}")
        held = self.held(home, reference)
        if operation.erases:
            wrong += _not_whole(held)
            if differ := held.keys() ^ reference.deliveries.keys():
                wrong.append(f"other deliveries: {', '.join(sorted(differ))}")
        elif differ := _differ(held, reference.deliveries):
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
    """A copy of a home that shares what is written once, and reads the same city; its backups with
    it."""
    for one in (to, Path(f"{to}.backups"), Path(f"{to}.restored")):
        shutil.rmtree(one, ignore_errors=True)
    if (backups := Path(f"{home}.backups")).exists():
        shutil.copytree(backups, f"{to}.backups")

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


def _exit_codes(kind: type[MuaraError]) -> set[int]:
    return {kind.exit_code}.union(*map(_exit_codes, kind.__subclasses__()))


def _differ(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _not_whole(held: dict[str, Any]) -> list[str]:
    return [f"{name}: {told}" for name, told in held.items() if str(told).startswith("fault")]


def _brief(held: Any, wanted: Any) -> str:
    if isinstance(held, dict) and isinstance(wanted, dict):
        return f"differs in {', '.join(_differ(held, wanted))}"
    return f"{held} instead of {wanted}"[:300]
