"""Where stores are kept, SQLite files or PostgreSQL schemas, and how they are opened.

Either way a commit is on disk when it returns, what is open for reading only cannot change anything, and the
database itself refuses to change rows of an append-only table.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy import DDL, URL, Engine, Executable, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.exc import ArgumentError, DatabaseError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from shared.words import TrailError

_CONNECTED_WITHIN: Final = 5  # seconds
_HELD_UP: Final = 10_000  # milliseconds a transaction may stand still: a paused writer must not lock others out


@dataclass(frozen=True, slots=True)
class Schema:
    """A schema of a PostgreSQL database.

    ``url`` is like ``postgresql://role@host:5432/database``, or, where one server may take over from another, like
    ``postgresql://role@/database?host=one:5432&host=other:5432&target_session_attrs=read-write``.
    """

    url: str
    name: str

    def __str__(self) -> str:
        """Without the password."""
        return f"schema {self.name} of {self.parsed.render_as_string(hide_password=True)}"

    @property
    def parsed(self) -> URL:
        """The URL with the driver that is used.

        Raises TrailError when it is none, or not PostgreSQL's.
        """
        try:
            url = make_url(self.url)
        except ArgumentError:
            raise TrailError(
                "the database's URL cannot be read; write postgresql://ROLE@HOST:5432/DATABASE"
            ) from None
        if url.get_backend_name() != "postgresql":
            raise TrailError(
                f"a database of {url.get_backend_name()} is not supported: leave its URL out for SQLite files, or "
                "name a PostgreSQL one"
            )
        if url.query.get("target_session_attrs") == "read-write":
            # It means the same, and a session that only reads would not count as read-write.
            url = url.update_query_dict({"target_session_attrs": "primary"})
        return url.set(drivername="postgresql+psycopg")

    @property
    def arguments(self) -> dict[str, Any]:
        """What psycopg connects with, for whoever does without an engine."""
        return dict(self.parsed.get_dialect()().create_connect_args(self.parsed)[1])

    def engine(self, *, read_only: bool = False) -> Engine:
        """Connections with the schema as their search path.

        Raises TrailError when the driver is not installed. A server that does not sync its commits is refused when
        a connection is made for writing.
        """
        options = f"-c search_path={self.name} -c default_transaction_read_only={'on' if read_only else 'off'}"
        if not read_only:
            options += f" -c idle_in_transaction_session_timeout={_HELD_UP}"
        arguments = {
            "options": options,
            "connect_timeout": _CONNECTED_WITHIN,
            "application_name": "trialtrail",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        }
        try:
            engine = create_engine(self.parsed, connect_args=arguments)
        except ModuleNotFoundError:
            raise TrailError("PostgreSQL's driver is missing: pip install 'trialtrail[postgresql]'") from None
        if not read_only:
            event.listen(engine, "connect", _refuse_unsynced)
        return engine


def trial_schema(url: str, trial: str, part: str) -> Schema:
    """The schema of a part of a trial, like ``nct06027853_log``: two trials share none."""
    return Schema(url, f"{trial_name(trial)}_{part}")


def as_role(url: str, trial: str, role: str, passwords: Path | None = None) -> str:
    """A database's URL for one of the trial's roles, its password in a file of that name where there is one."""
    made = make_url(url).set(username=f"{trial_name(trial)}_{role}")
    passfile = None if passwords is None else passwords / f"{role}.pgpass"
    if passfile is not None and passfile.exists():
        made = made.update_query_dict({"passfile": str(passfile)})
    return made.render_as_string(hide_password=False)


def trial_name(trial: str) -> str:
    """A trial's name as PostgreSQL's names begin: up to 40 small letters, digits and underscores; no two alike."""
    name = re.sub(r"[^a-z0-9]+", "_", trial.lower())
    if re.fullmatch(r"[A-Z0-9]{1,40}", trial):
        return name
    return f"{name[:31]}_{hashlib.sha256(trial.encode()).hexdigest()[:8]}"


Place = Path | Schema
"""Where a store is: a SQLite file, or a schema of a PostgreSQL database."""


def engine_at(place: Place, *, read_only: bool = False) -> Engine:
    """Open a place."""
    return place.engine(read_only=read_only) if isinstance(place, Schema) else sqlite(place, read_only=read_only)


def is_there(place: Place, table: Table) -> bool:
    """Whether a place has been begun: its file exists, or its schema has this table."""
    if isinstance(place, Path):
        return place.exists()
    engine = place.engine(read_only=True)
    try:
        with engine.connect() as connection:
            asked = text("SELECT to_regclass(:name)")
            return connection.execute(asked, {"name": f"{place.name}.{table.name}"}).scalar() is not None
    except SQLAlchemyError as error:
        raise TrailError(f"the {place} cannot be reached: {_first_line(error)}") from None
    finally:
        engine.dispose()


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


def is_postgresql(engine: Engine) -> bool:
    """Whether an engine's database is PostgreSQL."""
    return engine.dialect.name == "postgresql"


def upsert(engine: Engine, table: Table, *key: str) -> Executable:
    """A statement that adds a row, or replaces all of the row that has this key."""
    statement: Any = (postgresql if is_postgresql(engine) else sqlite_dialect).insert(table)
    others = {column.name: statement.excluded[column.name] for column in table.c if column.name not in key}
    made: Executable = statement.on_conflict_do_update(index_elements=list(key), set_=others)
    return made


def insert_new(engine: Engine, table: Table) -> Executable:
    """A statement that adds a row unless its key is there."""
    statement: Any = (postgresql if is_postgresql(engine) else sqlite_dialect).insert(table)
    made: Executable = statement.on_conflict_do_nothing()
    return made


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
        event.listen(table, "after_create", refusal.execute_if(dialect="sqlite"))
    return table


def _refuse_unsynced(connection: Any, _record: Any) -> None:
    """Raise TrailError unless what this server commits is on its disk; a stronger promise stays as it is set."""
    with connection.cursor() as cursor:
        if cursor.execute("SHOW fsync").fetchone()[0] != "on":
            raise TrailError(
                "the database server runs with fsync = off, so what it has committed may be lost: set it to on, "
                "and restart the server"
            )
        if cursor.execute("SHOW synchronous_commit").fetchone()[0] == "off":
            cursor.execute("SET synchronous_commit TO on")
    connection.commit()


def _first_line(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
