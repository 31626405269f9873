"""What the owner of the files can do that nobody else can: change any row, put any file back or away."""

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from services.cli.installation import Installation

LOG, CHECKPOINTS = "audit/log.sqlite", "checkpoints/checkpoints.sqlite"
Statement = tuple[str, Sequence[object]]
_WAL = ("", "-wal", "-shm")


def change(path: Path, *statements: Statement) -> None:
    """Change a database beside whoever uses it: what refuses changes is taken out of the way, and put back."""
    with closing(sqlite3.connect(path)) as database, database:
        guards = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
        for name, _ in guards:
            database.execute(f"DROP TRIGGER {name}")
        for statement, values in statements:
            database.execute(statement, values)
        for _, guard in guards:
            database.execute(guard)


@contextmanager
def changed(home: Installation, *statements: Statement) -> Iterator[None]:
    """The log's database with changed entries, for a while."""
    with closing(sqlite3.connect(home.places.log)) as database:
        rows = database.execute("SELECT idx, ref, entry FROM entries").fetchall()
    change(home.places.log, *statements)
    try:
        yield
    finally:
        back = [("INSERT INTO entries (idx, ref, entry) VALUES (?, ?, ?)", row) for row in rows]
        change(home.places.log, ("DELETE FROM entries", ()), *back)


def make_room(at: int) -> list[Statement]:
    """Move every entry from one on up by one."""
    return [
        ("UPDATE entries SET idx = -idx - 2 WHERE idx >= ?", (at,)),
        ("UPDATE entries SET idx = -idx - 1 WHERE idx < 0", ()),
    ]


def taken_away(path: Path) -> None:
    """Delete a database."""
    for suffix in _WAL:
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def kept(home: Installation, parts: Sequence[str], directory: Path) -> None:
    """Make a back-up of some databases, as SQLite makes them of databases in use."""
    for part in parts:
        (directory / part).parent.mkdir(parents=True)
        _copy(home.directory / part, directory / part)


def put_back(home: Installation, parts: Sequence[str], directory: Path, *, in_place: bool = False) -> None:
    """Put databases back from another place, over what is there; ``in_place`` beside whoever uses them."""
    for part in parts:
        if not in_place:
            taken_away(home.directory / part)
        _copy(directory / part, home.directory / part)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


def moved_away(path: Path) -> None:
    """Put a directory where nobody looks for it."""
    shutil.move(path, path.with_name(f"{path.name}-moved-away"))
