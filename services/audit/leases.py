"""The right to write a log, which one notary has at a time.

Beside a SQLite file it is a locked file. In PostgreSQL, where notaries of several machines could write, it is a row
with a fencing token: whoever takes the log over counts it up, and a commit under an older token is refused. So a
notary that was stopped and wakes up after its lease has gone to another commits nothing.
"""

import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from shared.words import TrailError

TERM: Final = 6.0
"""Seconds a lease in a database lasts unless it is renewed, which every commit does."""

_HELD: Final = text("SELECT token, holder, expires, expires > clock_timestamp() AS held FROM lease FOR UPDATE")
_FIRST: Final = text(
    "INSERT INTO lease (one, token, holder, expires) VALUES (1, 0, '', to_timestamp(0)) ON CONFLICT DO NOTHING"
)
_TAKE: Final = text(
    "UPDATE lease SET token = :token, holder = :holder, expires = clock_timestamp() + make_interval(secs => :term)"
)
_RENEW: Final = text(
    "UPDATE lease SET expires = clock_timestamp() + make_interval(secs => :term) WHERE token = :token"
)
_GIVE_BACK: Final = text("UPDATE lease SET expires = clock_timestamp() WHERE token = :token")


class LeaseError(TrailError):
    """Another notary writes the log."""


class Lease(Protocol):
    """The right to write a log, held until it is closed."""

    def check(self, connection: Connection) -> None:
        """Within the transaction that writes: raise LeaseError unless the lease is still held."""

    def renew(self) -> None:
        """Hold it longer. Raises LeaseError when another notary has it."""

    def close(self) -> None:
        """Give it back."""


class FileLease:
    """A locked file beside a SQLite database.

    Raises LeaseError when a notary holds it.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._held = os.open(directory / "notary.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._held)
            raise LeaseError(f"another notary is writing the log in {directory}; stop it first") from None

    def check(self, connection: Connection) -> None:
        """The kernel keeps a lock as long as its process lives."""

    def renew(self) -> None:
        """See ``check``."""

    def close(self) -> None:
        """Give it back."""
        os.close(self._held)


class DatabaseLease:
    """A row with a fencing token in the log's own schema.

    Raises LeaseError when another notary holds it.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        try:
            self._token = self._taken()
        except BaseException:
            engine.dispose()
            raise

    def _taken(self) -> int:
        with self._engine.begin() as connection:
            connection.execute(_FIRST)
            row = connection.execute(_HELD).one()
            if row.held:
                raise LeaseError(
                    f"another notary, {row.holder}, is writing the log; unless it renews its lease, that ends at "
                    f"{row.expires:%Y-%m-%d %H:%M:%S %z}"
                )
            token = int(row.token) + 1
            taken = {"token": token, "holder": f"{socket.gethostname()}:{os.getpid()}", "term": TERM}
            connection.execute(_TAKE, taken)
        return token

    def check(self, connection: Connection) -> None:
        """See Lease. The row stays locked until the commit, so nobody takes the log over in between."""
        if connection.execute(_RENEW, {"token": self._token, "term": TERM}).rowcount != 1:
            raise LeaseError(
                "another notary has taken the log over while this one stood still; nothing was written. It goes on "
                "there, and this one may be started again to stand by"
            )

    def renew(self) -> None:
        """See Lease."""
        with self._engine.begin() as connection:
            self.check(connection)

    def close(self) -> None:
        """See Lease. A database that does not answer learns it when the lease ends by itself."""
        with suppress(SQLAlchemyError), self._engine.begin() as connection:
            connection.execute(_GIVE_BACK, {"token": self._token})
        self._engine.dispose()
