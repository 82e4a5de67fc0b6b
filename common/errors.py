"""Every failure a user can meet, in one tree.

    MuaraError (1)
    ├── DefinitionError (3)      a source definition, contract or setting is wrong; all listed
    ├── SourceError
    │   ├── SourceUnavailable (4)   down, refused, timed out, HTTP 5xx; transient: retried
    │   ├── SourceDenied (5)        wrong password, no right to read
    │   ├── SourceShapeChanged (6)  a table, column or endpoint is gone
    │   ├── SourceMalformed (7)     invalid JSON, half-written or unreadable file
    │   └── SourceResting (13)      outside the hours in which its owner lets us in
    ├── BatchStopped
    │   ├── TooManyDeletions (8)    kill-switch: too much of a stream vanished at once
    │   ├── TooFewRows (8)          an expectation on the volume of the batch failed
    │   └── Imbalance (9)           extracted rows and their homes do not add up
    ├── WarehouseBusy (10)       the writer's lock was not free in time
    ├── WarehouseFault (11)      catalog, files or tables are lost, damaged or not as declared
    ├── ExtractFault (12)        a delivered file does not match its manifest
    ├── Unreconciled (14)        source and warehouse differ, and no coming batch would mend it
    ├── HomeFault (15)           a file or folder of `MUARA_HOME` cannot be read or written
    ├── BackupFault (16)         a backup is cut, altered, or not the one that was asked for
    │   ├── NoBackups (16)       there is nothing at the place that could be opened
    │   └── BackupPlaceUnavailable (16)  the place of backups does not answer; transient: retried
    ├── NightInPast (17)         tonight is earlier than the newest night that was worked on
    ├── QueryRefused (18)        SQL that somebody gave is not one question that only reads
    ├── DisclosureRefused (19)   what would leave says too much of too few people
    └── ErasureIncomplete (20)   something of the erased person was found again

A message says what, where (source, stream, file, row, column) and what to do next, never a value
of a row. `transient` is a property of the class: only those are retried.
"""


class MuaraError(Exception):
    """Base of all our errors: `what` happened, `where`, and what to do `next`."""

    exit_code = 1
    transient = False

    def __init__(self, what: str, *, where: str = "", next_step: str = "") -> None:
        self.what, self.where, self.next_step = what, where, next_step
        text = f"{where}: {what}" if where else what
        if next_step:
            stop = "" if text.endswith((".", "!", "?")) else "."
            text = f"{text}{stop} Next: {next_step}"
        super().__init__(text)

    @property
    def code(self) -> str:
        """The class name: stable, free of data, fit for the ledger and for JSON output."""
        return type(self).__name__


class DefinitionError(MuaraError):
    """One or more definitions are wrong. Raised while loading them, with every fault at once."""

    exit_code = 3


class SourceError(MuaraError):
    """A legacy system did not give what its definition says."""


class SourceUnavailable(SourceError):
    """The system does not answer. Raised while connecting or reading; retried."""

    exit_code = 4
    transient = True


class SourceDenied(SourceError):
    """The system answers and refuses our credentials or rights."""

    exit_code = 5


class SourceShapeChanged(SourceError):
    """A table, column or endpoint named in the definition is not there."""

    exit_code = 6


class SourceMalformed(SourceError):
    """What arrived cannot be read: invalid JSON, an undecodable or half-written file."""

    exit_code = 7


class SourceResting(SourceError):
    """The definition's `window` is closed. Raised before the system is touched."""

    exit_code = 13


class BatchStopped(MuaraError):
    """The batch was read but must not be committed. Nothing of it is in the warehouse."""


class TooManyDeletions(BatchStopped):
    """More of a stream vanished at once than its definition allows (the kill-switch)."""

    exit_code = 8


class TooFewRows(BatchStopped):
    """A critical expectation on the batch as a whole failed."""

    exit_code = 8


class Imbalance(BatchStopped):
    """The law `extracted = inserted + updated + unchanged + quarantined + excluded` is broken."""

    exit_code = 9


class WarehouseBusy(MuaraError):
    """Another writer held the lock for longer than `lock_timeout_seconds`."""

    exit_code = 10
    transient = True


class WarehouseFault(MuaraError):
    """The lake is not set up, damaged or not whole, or not as the schema home says. Raised before
    anything is written or deleted."""

    exit_code = 11


class ExtractFault(MuaraError):
    """A published or delivered file is missing or does not match its manifest."""

    exit_code = 12


class Unreconciled(MuaraError):
    """A reconciliation left differences unexplained. Raised after it was recorded."""

    exit_code = 14


class HomeFault(MuaraError):
    """A file or folder of ours is missing, damaged, not writable, or its disk is full."""

    exit_code = 15


class BackupFault(MuaraError):
    """A backup cannot be made, is incomplete, was altered, is another lake's, or cannot be opened
    with these keys."""

    exit_code = 16


class NoBackups(BackupFault):
    """No backup was ever made at the place, or it is another one."""


class BackupPlaceUnavailable(BackupFault):
    """The disk or server that holds the backups cannot be reached."""

    transient = True


class NightInPast(MuaraError):
    """Tonight is earlier than the newest night that was worked on. Raised before anything is
    written; a replay of one source's night is asked for by its date."""

    exit_code = 17


class QueryRefused(MuaraError):
    """SQL given by somebody is not one SELECT of tables it may see; raised before it runs. Or it
    took more time or memory than a query may, and was ended."""

    exit_code = 18


class DisclosureRefused(MuaraError):
    """A publication or extract is below the profile's floor of disclosure. Nothing leaves."""

    exit_code = 19


class ErasureIncomplete(MuaraError):
    """An erasure's own search found a value of the erased person. The request stays open."""

    exit_code = 20
