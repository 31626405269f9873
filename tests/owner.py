"""What the owner of a log's files can do that nobody else can: copy them, drop the triggers, change any row."""

import sqlite3
from pathlib import Path


def copy_of(original: Path, directory: Path) -> Path:
    """A copy of a log and its checkpoints in ``directory``, with nothing in it that refuses changes."""
    for part in ("audit/log.sqlite", "checkpoints/checkpoints.sqlite"):
        (directory / part).parent.mkdir(parents=True)
        with sqlite3.connect(original / part) as source, sqlite3.connect(directory / part) as target:
            source.backup(target)
        drop_guards(directory / part)
    return directory


def drop_guards(path: Path) -> None:
    """Take out of a database what refuses changes."""
    with sqlite3.connect(path) as database:
        for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            database.execute(f"DROP TRIGGER {name}")


def change(directory: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    """Change a copy's database."""
    with sqlite3.connect(directory / "audit" / "log.sqlite") as database:
        for statement, values in statements:
            database.execute(statement, values)
