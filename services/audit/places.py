"""Where a log and its checkpoints are kept: files of the notary's directories, or schemas of a database."""

from dataclasses import dataclass
from pathlib import Path

from services.audit.leases import DatabaseLease, FileLease, Lease
from services.audit.log_tables import LOG_STORE
from shared.database import Place, trial_schema
from shared.migrations import open_for_writing


@dataclass(frozen=True, slots=True)
class Places:
    """The two are apart on purpose: putting back one leaves the other to betray it."""

    log: Place
    checkpoints: Place

    @classmethod
    def in_files(cls, directory: Path) -> "Places":
        """In SQLite files; ``directory`` is the notary's own."""
        return cls(directory / "log.sqlite", directory.parent / "checkpoints" / "checkpoints.sqlite")

    @classmethod
    def in_database(cls, url: str, trial: str, checkpoints_url: str = "") -> "Places":
        """In PostgreSQL; the checkpoints in another database where ``checkpoints_url`` names one."""
        return cls(trial_schema(url, trial, "log"), trial_schema(checkpoints_url or url, trial, "checkpoints"))

    def lease(self) -> Lease:
        """Take the right to write the log.

        Raises LeaseError when another notary has it, TrailError when the database is not this program's.
        """
        if isinstance(self.log, Path):
            return FileLease(self.log.parent)
        return DatabaseLease(open_for_writing(self.log, LOG_STORE))
