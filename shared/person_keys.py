"""A person's key on disk: the encrypted file, and beside it the record of who tried it in vain.

``anna.key`` is the key file (shared.key_files), ``anna.key.attempts`` the record (shared.attempts), and
``anna.key.lock`` a file that is locked while either is used, so that processes take turns.

The lock after failures holds against people at this installation. Whoever carries the key file away guesses as fast
as scrypt lets him, and for that the passphrase has to be good.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from shared.attempts import MOST, AccessError, Attempts
from shared.key_files import LEAST, USUAL, Cost, KeyFile, read_key_file, seal, unseal
from shared.passphrases import check_passphrase, normalised
from shared.signing import Signer, SigningKey
from shared.words import RefusedError, TrailError


@dataclass(frozen=True, slots=True)
class PersonKey:
    """The key of a person, at the path of its file. Every ``now`` is an aware datetime, given by the caller.

    ``cost`` is what a guess at a file written here costs, ``least`` what it must cost for a file to be opened.
    """

    path: Path
    cost: Cost = USUAL
    least: Cost = LEAST

    def create(
        self, user: str, holder: str, passphrase: str, now: datetime, *, expires: date | None = None
    ) -> Signer:
        """Make a person a new key; ``expires`` is a year from now where it is left out.

        Raises RefusedError when the passphrase or user id will not do, TrailError when there is a key already.
        """
        key = SigningKey.generate()
        known = seal(key, user, holder, passphrase, now, expires=expires, cost=self.cost)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(making=True):
            if self.path.exists():
                raise TrailError(
                    f"there is already a key at {self.path}; change its passphrase, or move it away first"
                )
            if self._record.exists() and self.attempts() != Attempts():
                raise TrailError(f"{self._record} tells of attempts at another key; move it away to where that is")
            # The record first: a key file without one is not opened.
            self._write(self._record, Attempts().text())
            self._write(self.path, known.text())
        return key

    def about(self) -> KeyFile:
        """Whose key it is, its public key, and when its passphrase expires; no passphrase is needed.

        Raises TrailError when there is none, or it cannot be read.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            raise TrailError(f"there is no key at {self.path}; restore it from its back-up") from None
        return read_key_file(text, str(self.path))

    def open(self, user: str, passphrase: str, now: datetime) -> Signer:
        """Open the key with both components.

        A failed attempt is on disk before its answer is given, and MOST in a row lock the key. Raises AccessError
        when the passphrase is wrong or the key is locked, TrailError when the passphrase has expired, or the file
        is not this user's or not there.
        """
        with self._alone():
            known = self.about()
            if known.expired(now):
                raise TrailError(
                    f"the passphrase of {known.user} expired after {known.expires}; change it with "
                    f"`trail key passphrase {self.path}`"
                )
            return self._tried(known, user, passphrase, now)

    def change_passphrase(
        self, user: str, old: str, new: str, now: datetime, *, expires: date | None = None
    ) -> KeyFile:
        """Encrypt the key with another passphrase, expired or not; returns what is known of it from now on.

        The old passphrase is an attempt like any other. Copies of the old file still open with it. Raises as
        :meth:`open` does, and RefusedError when the new passphrase is the old one or will not do.
        """
        with self._alone():
            known = self.about()
            check_passphrase(new, known.user, known.holder)
            if normalised(new) == normalised(old):
                raise RefusedError("the new passphrase is the old one; take another")
            key = self._tried(known, user, old, now)
            changed = seal(key, known.user, known.holder, new, now, expires=expires, cost=self.cost)
            self._write(self.path, changed.text())
        return changed

    def attempts(self) -> Attempts:
        """What is known of failed attempts.

        Raises AccessError when the record is missing or damaged: that may not be taken for none.
        """
        try:
            return Attempts.parse(self._record.read_text("utf-8"))
        except (FileNotFoundError, ValueError):
            raise AccessError(
                f"the record of attempts {self._record} is missing or damaged, so the key beside it stays locked; "
                f"an administrator finds out why, and runs `trail key unlock {self.path}`"
            ) from None

    def mark_reported(self, told: Attempts) -> None:
        """Say that an event with ``told.event_data`` is kept in an outbox; what failed since then is not meant."""
        with self._alone():
            self._write(self._record, self.attempts().after_report(told).text())

    def unlock(self, now: datetime) -> Attempts:
        """Let the key be tried again, as an administrator; what failed stays on record, reported or not.

        A record that is missing or damaged begins anew.
        """
        with self._alone():
            self.about()
            try:
                known = self.attempts()
            except AccessError:
                known = Attempts()
            unlocked = known.unlock(now)
            self._write(self._record, unlocked.text())
        return unlocked

    def _tried(self, known: KeyFile, user: str, passphrase: str, now: datetime) -> SigningKey:
        before = self.attempts()
        if before.locked:
            raise AccessError(
                f"the key of {known.user} is locked, because {MOST} attempts in a row failed; an administrator "
                f"finds out who tried, and unlocks it with `trail key unlock {self.path}`"
            )
        # Counted as failed before it is tried: if we die from here on, the attempt was one.
        counted = before.failed(now)
        self._write(self._record, counted.text())
        try:
            key = unseal(known, user, passphrase, least=self.least)
        except AccessError as error:
            then = (
                f"{counted.left} more may fail before the key is locked"
                if counted.left
                else "the key is locked now"
            )
            raise AccessError(f"{error}; {then}") from None
        except TrailError:
            self._write(self._record, before.text())  # no passphrase was tried
            raise
        self._write(self._record, before.succeeded().text())
        return key

    @property
    def _record(self) -> Path:
        return self.path.with_name(f"{self.path.name}.attempts")

    @contextmanager
    def _alone(self, *, making: bool = False) -> Iterator[None]:
        """Hold the key against other processes: two that try at once must not get more attempts than one."""
        if not making:
            self.about()  # no lock is left beside a key that is not there
        held = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)

    def _write(self, path: Path, text: str) -> None:
        """Write a file whole or not at all, to disk, readable by its owner only. Only one process is here."""
        draft = path.with_name(f".{path.name}.new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
