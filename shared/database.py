"""Database engines: SQLite files now, set up so that a commit is on disk when it returns."""

from pathlib import Path
from typing import Any

from sqlalchemy import DDL, URL, Engine, Table, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.pool import QueuePool


def sqlite(path: Path, *, read_only: bool = False) -> Engine:
    """Open a SQLite file: WAL, every commit synced, writers queue instead of failing.

    ``read_only`` never creates or changes anything; for verify and replay beside a running notary.
    """
    # By its parts: a path may hold what means something else in a URL.
    if read_only:
        mode = {"mode": "ro", "uri": "true"}
        url = URL.create("sqlite+pysqlite", database=path.absolute().as_uri(), query=mode)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        url = URL.create("sqlite+pysqlite", database=str(path))
    engine = create_engine(url, poolclass=QueuePool, connect_args={"check_same_thread": False, "timeout": 30})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        # The driver's own transaction handling begins too late for our single writer; SQLAlchemy begins instead.
        connection.isolation_level = None
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 10000")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def may_pass(error: BaseException) -> bool:
    """Whether evidence that cannot be read is only a database that does not answer now."""
    return isinstance(error.__cause__, DatabaseError)


def append_only(table: Table, told: str) -> Table:
    """Have the database itself refuse to change or delete rows of a table, with these words.

    Whoever owns the database can take that away again; what then shows it is kept elsewhere.
    """
    for verb in ("UPDATE", "DELETE"):
        trigger = f"CREATE TRIGGER {table.name}_no_{verb.lower()} BEFORE {verb} ON {table.name} "
        refusal = DDL(f"{trigger} BEGIN SELECT RAISE(ABORT, '{told}'); END")  # type: ignore[no-untyped-call]
        event.listen(table, "after_create", refusal)
    return table
