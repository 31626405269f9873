"""The stores in PostgreSQL: what both promise, and what only a server with roles can."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import SQLAlchemyError

from services.audit.leases import LeaseError
from services.audit.log import Log, _add
from services.audit.log_tables import LOG_STORE, PART
from services.audit.places import Places
from services.cli.beginning import begin_log
from services.cli.databases import ROLES, bring_forward
from shared.database import Place, trial_name, trial_schema
from shared.migrations import open_for_writing
from shared.receipt import open_receipt
from shared.words import EvidenceError, TrailError
from tests.notary import LOG_KEY, Office
from tests.postgres import GIVEN, PASSWORD, database, missing, server
from tests.stores.conftest import Begun, Cluster
from tests.stores.suite import StoresSuite


class TestPostgresql(StoresSuite):
    @pytest.fixture
    def places(self, begun: Begun) -> Places:
        return begun.places()

    @pytest.fixture
    def reading(self, begun: Begun) -> Places:
        return begun.places("reader")

    @pytest.fixture
    def decider_place(self, begun: Begun) -> Place:
        return trial_schema(begun.role("screening"), begun.trial, "screening")

    @pytest.fixture(autouse=True)
    def _owner(self, begun: Begun) -> None:
        self.owner = begun.owner

    def changes(self, table: str) -> list[str]:
        more = [f"TRUNCATE {table}", f"DROP TABLE {table}", f"ALTER TABLE {table} DISABLE TRIGGER ALL"]
        return [*super().changes(table), *more]

    def take_away(self, places: Places, table: str, size: int) -> None:
        with psycopg.connect(self.owner) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(f"DELETE FROM nct06027853_{table}.{table} WHERE size = {size}".encode())


def refusal(url: str, statement: str) -> str:
    """What the server says to whoever asks for this in that role; empty when it would be done."""
    connection = psycopg.connect(url)
    try:
        connection.execute(statement.encode())
    except psycopg.Error as error:
        return str(error).splitlines()[0]
    finally:
        connection.rollback()
        connection.close()
    return ""


@pytest.fixture
def office(begun: Begun, tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path, places=begun.places())
    yield office
    office.notary.close()


def test_each_role_may_do_what_its_service_does_and_nothing_else(office: Office, begun: Begun) -> None:
    assert office.notary.size == 6
    log, kept, state = "nct06027853_log", "nct06027853_checkpoints", "nct06027853_screening"
    reads = {
        f"SELECT 1 FROM {log}.entries": {"notary", "reader"},
        f"SELECT 1 FROM {kept}.checkpoints": {"notary", "reader"},
        f"SELECT 1 FROM {state}.documents": {"screening"},
    }
    writes = [
        f"INSERT INTO {log}.entries SELECT idx + 100, ref, entry FROM {log}.entries",
        f"UPDATE {log}.register SET value = value",
        f"SELECT {log}.extend_entries(20000000)",
        f"INSERT INTO {kept}.checkpoints SELECT size + 100, follows + 100, note FROM {kept}.checkpoints",
    ]
    never = [
        *(f"{verb} {log}.entries" for verb in ("DELETE FROM", "TRUNCATE", "DROP TABLE")),
        f"DELETE FROM {log}.entries_0",
        f"INSERT INTO {log}.entries_0 SELECT idx + 200, ref, entry FROM {log}.entries_0",
        f"DELETE FROM {log}.register",
        f"CREATE TABLE {log}.mine (one int)",
        f"CREATE OR REPLACE FUNCTION {log}.refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'",
        "CREATE TABLE public.mine (one int)",
        "SET session_replication_role = replica",
        "SET ROLE nct06027853_owner",
        "CREATE ROLE mine",
    ]
    asked = reads | {statement: {"notary"} for statement in writes} | {statement: set() for statement in never}
    for statement, may in asked.items():
        done = {role for role in ROLES if not refusal(begun.role(role), statement)}
        assert done == may, statement


def test_the_owners_password_is_kept_nowhere_and_each_roles_in_a_file_of_its_own(
    cluster: Cluster, tmp_path: Path
) -> None:
    home = begin_log(tmp_path / "trial", database=database(cluster.url, "kept"))
    assert PASSWORD not in "".join(path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    files = {path.name: path for path in (home.directory / "keys").glob("*.pgpass")}
    assert set(files) == {f"{role}.pgpass" for role in ROLES}
    assert {path.stat().st_mode & 0o777 for path in files.values()} == {0o600}
    passwords = {path.read_text().rpartition(":")[2] for path in files.values()}
    assert len(passwords) == len(ROLES)
    assert "PASSWORD" not in home.database.upper()


def test_a_database_that_holds_a_log_of_the_trial_is_left_as_it_is(
    office: Office, begun: Begun, tmp_path: Path
) -> None:
    with pytest.raises(TrailError, match="holds a log of trial NCT06027853 already"):
        begin_log(tmp_path / "second", database=begun.owner)
    assert not (tmp_path / "second").exists()
    assert office.send(b"whose passwords are what they were").index == 6
    office.reopen()


def test_even_the_owner_is_told_that_the_log_is_append_only(office: Office, begun: Begun) -> None:
    assert office.notary.size
    for statement in (
        "DELETE FROM entries",
        "UPDATE entries SET ref = 1",
        "TRUNCATE entries",
        "TRUNCATE entries_0",
    ):
        asked = f"SET search_path = nct06027853_log; {statement}"
        assert refusal(begun.owner, asked) == "the log is append-only"


def test_partitions_are_made_ahead_and_the_log_goes_on_over_their_edge(begun: Begun) -> None:
    parts = b"SELECT count(*) FROM pg_inherits WHERE inhparent = 'nct06027853_log.entries'::regclass"
    with psycopg.connect(begun.owner) as connection:
        assert connection.execute(parts).fetchone() == (1,)
    log = Log.at(begun.places().log)
    log._make_room(PART - 10)
    with log.engine.begin() as connection:
        _add(connection, [(index, index, b"%d" % index) for index in range(PART - 3, PART + 3)])
    assert [row.idx for row in log.rows(PART - 3)] == list(range(PART - 3, PART + 3))
    assert log.size() == PART + 3
    log.close()
    with psycopg.connect(begun.owner) as connection:
        assert connection.execute(parts).fetchone() == (2,)
        where = b"SELECT tableoid::regclass::text, count(*) FROM nct06027853_log.entries GROUP BY 1 ORDER BY 1"
        assert [row[1] for row in connection.execute(where)] == [3, 3]


def test_somebody_elses_entry_stops_the_notary_before_it_writes_another(office: Office, begun: Begun) -> None:
    with psycopg.connect(begun.role("notary")) as connection:
        connection.execute(b"SET search_path = nct06027853_log")
        connection.execute(b"INSERT INTO entries SELECT idx + 1, ref, entry FROM entries WHERE idx = 5")
    with pytest.raises(EvidenceError, match="somebody else writes there"):
        office.send(b"one more")
    assert office.notary.log.size() == 7


def test_an_older_state_put_back_beneath_the_notary_is_noticed(office: Office, begun: Begun) -> None:
    with psycopg.connect(begun.owner) as connection:
        connection.execute(b"SET session_replication_role = replica")
        connection.execute(b"DELETE FROM nct06027853_log.entries WHERE idx = 5")
    with pytest.raises(EvidenceError, match="a back-up was put back"):
        office.send(b"one more")


def test_a_notary_that_stood_still_writes_nothing_when_another_took_over(
    office: Office, begun: Begun, tmp_path: Path
) -> None:
    """The fencing token: its own clock and memory say that it may, the database says no."""
    with pytest.raises(LeaseError, match=r"another notary, .*, is writing the log; unless it renews"):
        Office(tmp_path / "second", begun.places())
    with psycopg.connect(begun.owner) as connection:
        # As if its term had passed.
        connection.execute(b"UPDATE nct06027853_log.lease SET expires = clock_timestamp()")
    second = Office(tmp_path / "second", begun.places())
    second.intake = second.notary.intake
    entry = second.send(b"from the second")
    with pytest.raises(LeaseError, match="another notary has taken the log over while this one stood still"):
        office.send(b"from the first")
    with pytest.raises(LeaseError):
        office.notary.lease.renew()
    assert list(second.notary.log.entries())[-1] == entry
    office.notary.close()
    assert second.send(b"and goes on").index == entry.index + 1, (
        "what the first gives back was not its own any more"
    )
    assert second.verify().faults == []
    second.notary.close()


def test_a_lease_that_nobody_else_wants_is_kept_however_long_it_was_not_renewed(
    office: Office, begun: Begun
) -> None:
    with psycopg.connect(begun.owner) as connection:
        connection.execute(b"UPDATE nct06027853_log.lease SET expires = to_timestamp(0)")
    assert office.send(b"still there").index == 6


def test_a_database_that_is_killed_loses_nothing_and_is_written_to_again(cluster: Cluster, tmp_path: Path) -> None:
    if cluster.server is None:
        pytest.skip("the server that was given is not ours to kill")
    begun = cluster.begin(tmp_path / "keys")
    office = Office.founded(tmp_path, places=begun.places())
    entry = office.send(b"before")
    arrival = office.arrival(b"meanwhile")
    cluster.server.stop(signal.SIGQUIT)
    for _ in range(2):
        with pytest.raises(SQLAlchemyError):
            office.seal([arrival])
    cluster.server.start()
    receipts = []
    while not receipts:  # several connections are dead, and each costs a try
        with suppress(SQLAlchemyError):
            receipts = office.seal([arrival]).receipts
    assert [entry.body for entry in office.entries()].count(b"meanwhile") == 1
    assert open_receipt(receipts[0][1], b"meanwhile", LOG_KEY).entry.index == entry.index + 1
    assert office.verify().faults == []
    office.notary.close()


def test_a_server_that_does_not_sync_is_refused(tmp_path: Path) -> None:
    if missing() or GIVEN:
        pytest.skip(missing() or "the server that was given is not ours to configure")
    with server(["fsync=off"]) as careless:
        begun = Cluster(careless.url, careless).begin(tmp_path / "keys")
        with pytest.raises(TrailError, match="the database server runs with fsync = off"):
            Office(tmp_path, begun.places())


def test_two_trials_in_one_database_see_nothing_of_each_other(
    office: Office, begun: Begun, another: Callable[[str, str], Begun]
) -> None:
    other = another("OTHER-1", begun.owner)
    theirs = Places.in_database(other.role("notary"), other.trial)
    log = Log.at(theirs.log)
    assert (log.size(), office.notary.log.size()) == (0, 6)
    log.close()
    for role in ("notary", "reader", "screening"):
        assert "permission denied" in refusal(other.role(role), "SELECT 1 FROM nct06027853_log.entries")
        of_theirs = f"SELECT 1 FROM {trial_name(other.trial)}_log.entries"
        assert "permission denied" in refusal(begun.role(role), of_theirs)


def test_no_two_trials_have_the_same_names_in_a_database() -> None:
    trials = ("NCT06027853", "nct06027853", "OTHER-1", "OTHER_1", "other-1", "OTHER.1", "A" * 64, "A" * 63 + "B")
    names = {trial_name(trial) for trial in trials}
    assert len(names) == len(trials)
    assert all(re.fullmatch(r"[a-z0-9_]{1,40}", name) for name in names)
    assert trial_name("NCT06027853") == "nct06027853"


def test_a_service_says_what_to_do_about_tables_that_are_not_its_own(cluster: Cluster, begun: Begun) -> None:
    empty = database(cluster.url, "empty")
    with pytest.raises(TrailError, match="the database has no tables of the log for this role"):
        open_for_writing(trial_schema(empty, begun.trial, "log"), LOG_STORE)
    with psycopg.connect(begun.owner) as connection:
        connection.execute(b"UPDATE nct06027853_log.log_version SET version_num = '0001'")
    with pytest.raises(TrailError, match="at revision 0001, and this program needs 0002: have their owner run"):
        open_for_writing(begun.places().log, LOG_STORE)
    with psycopg.connect(begun.owner) as connection:
        connection.execute(b"UPDATE nct06027853_log.log_version SET version_num = '9999'")
    with pytest.raises(TrailError, match="A later version of this program"):
        bring_forward(begun.owner, begun.trial)
    with pytest.raises(TrailError, match="the database did not do it, and nothing was changed"):
        bring_forward("postgresql://nobody@127.0.0.1:1/none", begun.trial)
    with pytest.raises(TrailError, match="holds nothing of trial ANOTHER"):
        bring_forward(begun.owner, "ANOTHER")
    for url, sentence in (("sqlite:///x", "a database of sqlite"), ("no url", "cannot be read")):
        with pytest.raises(TrailError, match=sentence):
            bring_forward(url, begun.trial)
