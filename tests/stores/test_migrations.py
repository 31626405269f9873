"""Tables are brought forward from every earlier revision, and no row of the log changes on the way."""

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text

from services.audit.checkpoint_tables import CHECKPOINT_STORE
from services.audit.log import Log
from services.audit.log_tables import LOG_STORE
from services.audit.places import Places
from services.cli.databases import bring_forward
from shared.database import engine_at, sqlite, trial_schema
from shared.decider import DECIDER_STORE
from shared.migrations import Stored, open_for_writing
from shared.migrations.forward import upgrade
from shared.outbox import OUTBOX_STORE
from shared.words import TrailError
from tests.notary import OBSERVED, PERSON, Office
from tests.stores.conftest import Begun

STORES = {
    "log": LOG_STORE,
    "checkpoints": CHECKPOINT_STORE,
    "outbox": OUTBOX_STORE,
    "decider": DECIDER_STORE,
}
SCHEMAS = {"log": "log", "checkpoints": "checkpoints", "outbox": "screening", "decider": "screening"}


def differences(stored: Stored, engine: Engine) -> list[object]:
    """What Alembic would change to come from a database to the tables as this program describes them."""
    ours = set(stored.metadata.tables)

    def is_ours(_object: object, name: str | None, kind: str, _reflected: object, _other: object) -> bool:
        return kind != "table" or name in ours

    with engine.connect() as connection:
        return list(
            compare_metadata(
                MigrationContext.configure(connection, opts={"include_object": is_ours, "compare_type": True}),
                stored.metadata,
            )
        )


@pytest.mark.parametrize("name", STORES)
def test_the_migrations_lead_to_the_very_tables_that_a_new_file_is_made_with(name: str, tmp_path: Path) -> None:
    stored = STORES[name]
    migrated, made = sqlite(tmp_path / "migrated.sqlite"), open_for_writing(tmp_path / "made.sqlite", stored)
    with migrated.begin() as connection:
        upgrade(stored, connection)
        assert stored.version(connection) == stored.revision
    assert differences(stored, migrated) == differences(stored, made) == []
    kept = "SELECT type, name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' ORDER BY type, name"
    with migrated.connect() as one, made.connect() as other:
        assert one.execute(text(kept)).all() == other.execute(text(kept)).all(), "triggers and indexes too"
    migrated.dispose()
    made.dispose()


@pytest.mark.parametrize("name", STORES)
def test_the_migrations_lead_to_the_same_tables_in_postgresql(name: str, begun: Begun) -> None:
    engine = engine_at(trial_schema(begun.owner, begun.trial, SCHEMAS[name]))
    assert differences(STORES[name], engine) == []
    engine.dispose()


@pytest.mark.parametrize("name", STORES)
def test_the_revision_that_this_program_names_is_the_last_there_is(name: str) -> None:
    scripts = ScriptDirectory(
        str(Path(upgrade.__code__.co_filename).parent), version_locations=[STORES[name].scripts]
    )
    assert scripts.get_heads() == [STORES[name].revision]


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory as an earlier version left it: without a lease, without a word on revisions."""
    office = Office.founded(tmp_path)
    office.register()
    for _ in range(3):
        office.seal([office.arrival(b"%d" % office.now.microsecond + b"%d" % number) for number in range(100)])
    office.notary.close()
    for path, gone in (
        (tmp_path / "audit" / "log.sqlite", ("lease", "log_version")),
        (tmp_path / "checkpoints" / "checkpoints.sqlite", ("cosignatures", "timestamps", "checkpoints_version")),
    ):
        with closing(sqlite3.connect(path)) as database:
            for table in gone:
                database.execute(f"DROP TABLE {table}")
            database.commit()
    return tmp_path


def rows(path: Path, table: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        return database.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall()


def test_an_older_log_is_brought_forward_while_it_is_read_and_no_entry_changes(old: Path) -> None:
    path = old / "audit" / "log.sqlite"
    entries, subtrees = rows(path, "entries"), rows(path, "subtrees")
    reader = Log.at(path, read_only=True)
    seen = reader.rows()
    next(seen)
    office = Office(old)
    assert (rows(path, "entries"), rows(path, "subtrees")) == (entries, subtrees)
    assert rows(path, "log_version") == [(LOG_STORE.revision,)]
    assert sum(1 for _ in seen) == len(entries) - 1, "whoever was reading reads on"
    reader.close()
    office.intake = office.notary.intake
    assert office.post("screening.observed", OBSERVED, subject=PERSON).admitted
    assert office.verify().faults == []
    with pytest.raises(sqlite3.IntegrityError, match="append-only"), closing(sqlite3.connect(path)) as database:
        database.execute("DELETE FROM entries")
    office.notary.close()


def test_an_older_log_can_be_read_by_whoever_may_not_change_it(old: Path) -> None:
    log = Log.at(old / "audit" / "log.sqlite", read_only=True)
    assert log.size() == sum(1 for _ in log.entries())
    assert not [row for row in rows(old / "audit" / "log.sqlite", "sqlite_master") if row[1] == "lease"]
    log.close()


def test_a_file_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    open_for_writing(path, LOG_STORE).dispose()
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE log_version SET version_num = '9999'")
        database.commit()
    with pytest.raises(TrailError, match="A later version of this program has changed them: use that one"):
        open_for_writing(path, LOG_STORE)
    assert rows(path, "log_version") == [("9999",)]


def test_a_live_log_in_postgresql_is_brought_forward_and_no_entry_changes(begun: Begun, tmp_path: Path) -> None:
    office = Office.founded(tmp_path, places=begun.places())
    before = office.entries()
    office.notary.close()
    with psycopg.connect(begun.owner) as connection:  # as the version before this one left it
        connection.execute(b"SET search_path = nct06027853_log")
        connection.execute(b"DROP TABLE lease")
        connection.execute(b"UPDATE log_version SET version_num = '0001'")
    reader = Log.at(begun.places("reader").log, read_only=True)
    seen = reader.entries()
    next(seen)
    with pytest.raises(TrailError, match="have their owner run `trail database upgrade`"):
        office.open()
    bring_forward(begun.owner, begun.trial)
    bring_forward(begun.owner, begun.trial)
    assert sum(1 for _ in seen) == len(before) - 1
    reader.close()
    office.reopen()
    assert office.entries() == before
    assert office.send(b"goes on").index == len(before)
    assert office.verify().faults == []
    office.notary.close()


def test_checkpoints_may_be_in_another_database(begun: Begun, tmp_path: Path) -> None:
    """Then no back-up of the one puts back the other."""
    apart = Places(begun.places().log, tmp_path / "checkpoints.sqlite")
    office = Office.founded(tmp_path, places=apart)
    assert office.notary.checkpoints.latest() is not None
    assert office.verify().faults == []
    office.notary.close()
