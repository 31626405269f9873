"""PostgreSQL for a trial: its roles, schemas and tables, made and brought forward by whoever owns the database.

schema               written by       what is in it
TRIAL_log            TRIAL_notary     entries, subtrees (only ever added), register, lease
TRIAL_checkpoints    TRIAL_notary     checkpoints, cosignatures, timestamps (only ever added)
TRIAL_screening      TRIAL_screening  that service's state, cursor and outbox
TRIAL_safety         TRIAL_safety     likewise

All of it belongs to TRIAL_owner, a role that nobody can log in as. TRIAL_reader reads the log and its checkpoints.
"""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from services.audit.checkpoint_tables import CHECKPOINT_STORE
from services.audit.log_tables import LOG_STORE
from services.cli.installation import DECIDING
from shared.database import Schema, trial_name
from shared.decider import DECIDER_STORE
from shared.migrations import Stored
from shared.migrations.forward import upgrade
from shared.outbox import OUTBOX_STORE
from shared.words import TrailError

READER: Final = "reader"
_LOCK: Final = 77_027_853  # of this program: two who create or upgrade take turns


class _Part(NamedTuple):
    """A schema: who writes there, what is in it, and whether the reader may see it."""

    name: str
    writer: str
    stores: Sequence[Stored]
    is_read: bool


_PARTS: Final = (
    _Part("log", "notary", (LOG_STORE,), is_read=True),
    _Part("checkpoints", "notary", (CHECKPOINT_STORE,), is_read=True),
    *(_Part(name, name, (OUTBOX_STORE, DECIDER_STORE), is_read=False) for name in DECIDING),
)
ROLES: Final = tuple(dict.fromkeys((*(part.writer for part in _PARTS), READER)))
"""The roles that log in, as the files of their passwords are called."""


def create(admin: str, trial: str, passwords: Path) -> str:
    """Make a trial's roles, schemas and tables; the URL that its services and readers use, without a role.

    ``admin``: the URL of a role that may make others. The roles' passwords are made anew and kept in ``passwords``,
    a file each, as libpq reads them (``ROLE.pgpass``). Raises TrailError when the database does not answer or
    refuses, or holds a log of that trial.
    """
    with _as_admin(admin) as (connection, url):
        _refuse_a_second_log(connection, trial)
        owner = _named(trial, "owner")
        if not _exists(connection, "pg_roles", "rolname", owner):
            _do(connection, "CREATE ROLE {} NOLOGIN", owner)
        # To make what belongs to it; whoever is a superuser could anyway.
        _do(connection, "GRANT {} TO CURRENT_USER", owner)
        for name in ROLES:
            role, password = _named(trial, name), secrets.token_urlsafe(24)
            verb = "ALTER" if _exists(connection, "pg_roles", "rolname", role) else "CREATE"
            _do(connection, f"{verb} ROLE {{}} LOGIN PASSWORD {_literal(password)}", role)
            _do(connection, f"GRANT CONNECT ON DATABASE {{}} TO {_quoted(role)}", url.database or "postgres")
            _keep_password(passwords / f"{name}.pgpass", url, role, password)
        for part in _PARTS:
            _do(
                connection,
                f"CREATE SCHEMA IF NOT EXISTS {{}} AUTHORIZATION {_quoted(owner)}",
                _named(trial, part.name),
            )
        _bring_forward(connection, trial, owner)
    # Made of its parts: URL.set leaves what is None as it is, and the administrator's password must not stay.
    apart = URL.create("postgresql", host=url.host, port=url.port, database=url.database, query=url.query)
    return apart.render_as_string(hide_password=False)


def bring_forward(admin: str, trial: str) -> None:
    """Bring a trial's tables to this program's revisions; what is in them stays as it is.

    Raises TrailError when the database does not answer or refuses, or is already further than this program.
    """
    with _as_admin(admin) as (connection, _):
        owner = _named(trial, "owner")
        if not _exists(connection, "pg_roles", "rolname", owner):
            raise TrailError(f"this database holds nothing of trial {trial}; `trail init --database` begins it")
        _bring_forward(connection, trial, owner)


def _refuse_a_second_log(connection: Connection, trial: str) -> None:
    """Its services would be shut out by new passwords, and nothing could be begun there all the same."""
    entries = f"{_quoted(_named(trial, 'log'))}.entries"
    if connection.exec_driver_sql(f"SELECT to_regclass({_literal(entries)})").scalar() is None:
        return
    if connection.exec_driver_sql(f"SELECT 1 FROM {entries} LIMIT 1").scalar() is not None:  # noqa: S608
        raise TrailError(
            f"this database holds a log of trial {trial} already. Go on with the data directory that it was begun "
            "with, or name another database"
        )


def _bring_forward(connection: Connection, trial: str, owner: str) -> None:
    _do(connection, "SET LOCAL ROLE {}", owner)
    for part in _PARTS:
        schema = _named(trial, part.name)
        _do(connection, "SET LOCAL search_path = {}", schema)
        for stored in part.stores:
            upgrade(stored, connection)
            _grant(connection, stored, schema, _named(trial, part.writer))
            if part.is_read:
                _grant_reading(connection, stored, schema, _named(trial, READER))


def _grant(connection: Connection, stored: Stored, schema: str, writer: str) -> None:
    to = _quoted(writer)
    _do(connection, f"GRANT USAGE ON SCHEMA {{}} TO {to}", schema)
    for table, rights in stored.rights.items():
        _do(connection, f"REVOKE ALL ON {{}} FROM {to}", table)
        _do(connection, f"GRANT {rights} ON {{}} TO {to}", table)
    _do(connection, f"GRANT SELECT ON {{}} TO {to}", stored.version_table.name)
    for function in stored.functions:
        connection.exec_driver_sql(f"GRANT EXECUTE ON FUNCTION {function} TO {to}")


def _grant_reading(connection: Connection, stored: Stored, schema: str, reader: str) -> None:
    to = _quoted(reader)
    _do(connection, f"GRANT USAGE ON SCHEMA {{}} TO {to}", schema)
    for table in (*stored.rights, stored.version_table.name):
        _do(connection, f"GRANT SELECT ON {{}} TO {to}", table)


@contextmanager
def _as_admin(admin: str) -> Iterator[tuple[Connection, URL]]:
    """A transaction in which everything happens, or nothing."""
    url = Schema(admin, "public").parsed
    try:
        engine = create_engine(url, connect_args={"connect_timeout": 10})
    except ModuleNotFoundError:
        raise TrailError("PostgreSQL's driver is missing: pip install 'trialtrail[postgresql]'") from None
    try:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
            yield connection, url
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()[0]
        raise TrailError(f"the database did not do it, and nothing was changed: {said}") from None
    finally:
        engine.dispose()


def _named(trial: str, name: str) -> str:
    """How a trial's roles and schemas are called."""
    return f"{trial_name(trial)}_{name}"


def _exists(connection: Connection, catalogue: str, column: str, name: str) -> bool:
    found = connection.exec_driver_sql(f"SELECT 1 FROM {catalogue} WHERE {column} = {_literal(name)}")  # noqa: S608
    return found.scalar() is not None


def _do(connection: Connection, statement: str, name: str) -> None:
    connection.exec_driver_sql(statement.format(_quoted(name)))


def _quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _literal(value: str) -> str:
    """A text as SQL has it; all that comes here is of letters, digits, underscores and hyphens."""
    return "'" + value.replace("'", "''") + "'"


def _keep_password(path: Path, url: URL, role: str, password: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)
    draft.chmod(0o600)
    # Of several servers each may be the one that is asked.
    host, port = (url.host, str(url.port or 5432)) if url.host else ("*", "*")
    parts = (host, port, url.database or "*", role, password)
    draft.write_text(":".join(one.replace("\\", r"\\").replace(":", r"\:") for one in parts) + "\n", "utf-8")
    draft.replace(path)
