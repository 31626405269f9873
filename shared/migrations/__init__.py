"""How a store's tables come to be what this program reads and writes, also in a store that is in use.

A store's tables are described once, as SQLAlchemy metadata. Alembic's migrations lead there from every earlier
revision, in one transaction; rows of the log are never touched. A SQLite file is brought forward when opened.
A PostgreSQL schema is its owner's: services only check it, and `trail database upgrade` brings it forward.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, insert, inspect, select, update

from shared.database import Place, engine_at, is_postgresql
from shared.words import TrailError

ADDED: Final = "SELECT, INSERT"
"""What a writer may do with an append-only table."""

CHANGED: Final = "SELECT, INSERT, UPDATE"


@dataclass(frozen=True, slots=True)
class Stored:
    """A set of tables that belong together.

    ``scripts`` is the folder of its migrations, ``revision`` the last of them; ``rights`` are what the service that
    writes there may do with each table in PostgreSQL, ``functions`` what it may call.
    """

    name: str
    metadata: MetaData
    scripts: Path
    revision: str
    rights: Mapping[str, str]
    functions: tuple[str, ...] = ()

    @property
    def version_table(self) -> Table:
        """Where the revision stands that a database is at, as Alembic keeps it."""
        return Table(f"{self.name}_version", MetaData(), Column("version_num", String(32), primary_key=True))

    def version(self, connection: Connection) -> str | None:
        """The revision that a database is at; None where it says none."""
        table = self.version_table
        if not inspect(connection).has_table(table.name):
            return None
        return connection.execute(select(table.c.version_num)).scalar()

    def has_tables(self, connection: Connection) -> bool:
        """Whether any table of it is there."""
        return not self.metadata.tables.keys().isdisjoint(inspect(connection).get_table_names())


def open_for_writing(place: Place, *stores: Stored) -> Engine:
    """Open a place whose tables are this program's: brought forward in SQLite, checked in PostgreSQL.

    Raises TrailError when they cannot be.
    """
    engine = engine_at(place)
    try:
        for stored in stores:
            if is_postgresql(engine):
                check(stored, engine)
            else:
                _bring_forward(stored, engine)
    except BaseException:
        engine.dispose()
        raise
    return engine


def check(stored: Stored, engine: Engine) -> None:
    """Raise TrailError unless a database is at this program's revision."""
    with engine.connect() as connection:
        found = stored.version(connection)
    if found is None:
        raise TrailError(
            f"the database has no tables of the {stored.name} for this role: have its owner make "
            "them; docs/databases.md says how"
        )
    if found != stored.revision:
        raise TrailError(
            f"the tables of the {stored.name} are at revision {found}, and this program needs {stored.revision}: "
            "have their owner run `trail database upgrade`, or install the program that goes with them"
        )


def stamp(stored: Stored, connection: Connection) -> None:
    """Write down that a database is at this program's revision."""
    table = stored.version_table
    table.create(connection, checkfirst=True)
    at = {"version_num": stored.revision}
    if connection.execute(update(table).values(at)).rowcount == 0:
        connection.execute(insert(table), at)


def _bring_forward(stored: Stored, engine: Engine) -> None:
    with engine.connect() as connection:
        if stored.version(connection) == stored.revision:
            return
    with engine.begin() as connection:
        if stored.version(connection) is None and not stored.has_tables(connection):
            stored.metadata.create_all(connection)
            stamp(stored, connection)
        else:
            # Alembic takes a fifth of a second to import, and is needed once in a file's life.
            from shared.migrations.forward import upgrade  # noqa: PLC0415

            upgrade(stored, connection)
