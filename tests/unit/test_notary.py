"""The notary goes on after any stop where it left off, and never signs over a contradiction."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import DatabaseError, OperationalError

from services.audit.admission import ref_of
from services.audit.checkpoints import Checkpoints
from services.audit.log import Log
from services.audit.notary import Notary
from shared.checkpoint import open_checkpoint
from shared.entry import Arrival, Entry
from shared.outbox import uuid7
from shared.receipt import open_receipt
from shared.signing import Keyring
from shared.words import EvidenceError, TrailError
from tests.notary import (
    LOG,
    LOG_KEY,
    OBSERVED,
    PERSON,
    ROOT,
    TRIAL,
    Office,
    opened,
)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def message(office: Office, **changes: Any) -> Arrival:
    return office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON, **changes))


def signed(office: Office) -> int:
    latest = office.notary.checkpoints.latest()
    assert latest is not None
    return open_checkpoint(latest[1], LOG_KEY).size


def said(entry: Entry) -> tuple[str, dict[str, Any]]:
    document = json.loads(entry.body)
    return document["type"].removeprefix("trialtrail.").removesuffix(".v1"), document["data"]


def failing_once(error: Exception, real: Callable[..., Any]) -> Callable[..., Any]:
    calls = []

    def call(*args: Any, **keywords: Any) -> Any:
        calls.append(args)
        if len(calls) == 1:
            raise error
        return real(*args, **keywords)

    return call


DISK_FULL = OperationalError("INSERT", {}, Exception("database or disk is full"))


def test_after_a_restart_size_register_and_receipts_are_the_same(office: Office) -> None:
    one = message(office)
    first = office.seal([one])
    before = (office.notary.size, office.notary.intake, office.notary.log.register_rows(), office.entries())
    office.reopen()
    assert (
        office.notary.size,
        office.notary.intake,
        office.notary.log.register_rows(),
        office.entries(),
    ) == before
    again = office.seal([office.arrival(one.payload)])
    assert again.entries == []
    assert again.receipts[0][1] == first.receipts[0][1]
    assert office.seal([message(office)]).entries[0].admitted
    assert office.verify().good


def test_every_batch_is_signed_over_its_last_entry(office: Office) -> None:
    for count in (1, 3, 2):
        last = office.counter("site/701").last
        sealed = office.seal([message(office, sequence=last + at + 1) for at in range(count)])
        checkpoint = open_checkpoint(sealed.note, LOG_KEY)
        assert (checkpoint.size, len(sealed.entries)) == (office.notary.size, count)
        assert checkpoint.root == office.notary.log.tree(checkpoint.size).root()


def test_order_within_a_batch_is_the_intakes(office: Office) -> None:
    last = office.counter("site/701").last
    arrivals = [message(office, sequence=last + at + 1) for at in range(50)]
    assert [entry.body for entry in office.seal(arrivals).entries] == [one.payload for one in arrivals]


def test_a_crash_between_commit_and_checkpoint_is_repaired_at_the_next_start(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = message(office)
    monkeypatch.setattr(office.notary.checkpoints, "add", failing_once(DISK_FULL, office.notary.checkpoints.add))
    with pytest.raises(OperationalError):
        office.seal([one])
    size = office.notary.log.size()
    assert signed(office) == size - 1
    office.reopen()
    assert (signed(office), office.notary.size) == (size, size)
    answer = office.seal([office.arrival(one.payload)])
    assert answer.entries == []
    assert open_receipt(answer.receipts[0][1], one.payload, LOG_KEY).entry.admitted
    assert office.verify().good


def test_what_could_not_be_signed_is_signed_when_its_messages_come_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = message(office)
    monkeypatch.setattr(office.notary.checkpoints, "add", failing_once(DISK_FULL, office.notary.checkpoints.add))
    with pytest.raises(OperationalError):
        office.seal([one])
    answer = office.seal([office.arrival(one.payload)])
    assert answer.entries == []
    assert open_receipt(answer.receipts[0][1], one.payload, LOG_KEY).entry.admitted
    assert signed(office) == office.notary.size
    assert office.verify().good


def test_what_could_not_be_signed_is_signed_with_the_next_batch(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(office.notary.checkpoints, "add", failing_once(DISK_FULL, office.notary.checkpoints.add))
    with pytest.raises(OperationalError):
        office.seal([message(office)])
    assert office.seal([message(office)]).entries[0].admitted
    assert signed(office) == office.notary.size
    assert office.verify().good


def test_a_crash_right_after_the_very_first_batch_is_repaired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    office = Office(tmp_path)
    genesis = office.event("log.opened", opened(), key=ROOT)
    monkeypatch.setattr(office.notary.checkpoints, "add", failing_once(DISK_FULL, office.notary.checkpoints.add))
    with pytest.raises(OperationalError):
        office.seal([office.arrival(genesis, ROOT, intake=0)])
    office.reopen()
    assert (signed(office), office.notary.size) == (1, 1)
    office.notary.close()


def test_a_failing_write_leaves_nothing_sealed_and_the_next_try_works(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = message(office)
    before = (office.notary.size, office.notary.log.size(), office.notary.log.register_rows())
    connection = sqlite3.connect(office.directory / "audit" / "log.sqlite")
    connection.execute(
        "CREATE TRIGGER full BEFORE INSERT ON register BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
    )
    connection.commit()
    with pytest.raises(DatabaseError):
        office.seal([one])
    assert (office.notary.size, office.notary.log.size(), office.notary.log.register_rows()) == before
    connection.execute("DROP TRIGGER full")
    connection.commit()
    connection.close()
    sealed = office.seal([one])
    assert [(entry.index, entry.admitted) for entry in sealed.entries] == [(before[0], True)]
    assert office.verify().good


def test_a_database_cut_behind_the_last_checkpoint_refuses_to_start(office: Office) -> None:
    office.notary.close()
    connection = sqlite3.connect(office.directory / "audit" / "log.sqlite")
    connection.executescript(  # as a DBA could
        "DROP TRIGGER entries_no_delete; DELETE FROM entries WHERE idx = (SELECT max(idx) FROM entries);"
    )
    connection.close()
    with pytest.raises(EvidenceError, match=r"entries were cut.* Put back the newest database"):
        office.open()
    office.notary = Office(office.directory / "elsewhere").notary


@pytest.mark.part11("11.10(c)")
def test_a_restored_back_up_refuses_to_start_and_the_newest_one_starts_again(office: Office) -> None:
    home = office.directory / "audit"
    office.notary.close()
    shutil.copytree(home, office.directory / "backup")
    office.notary = office.open()
    assert office.seal([message(office)]).entries[0].admitted
    office.notary.close()
    home.rename(office.directory / "newest")
    shutil.copytree(office.directory / "backup", home)
    with pytest.raises(EvidenceError, match="a back-up was restored or entries were cut"):
        office.open()
    shutil.rmtree(home)
    (office.directory / "newest").rename(home)
    office.notary = office.open()
    assert office.verify().good


def test_a_back_up_that_was_written_on_refuses_to_start(office: Office) -> None:
    home = office.directory / "audit"
    office.notary.close()
    shutil.copytree(office.directory, office.directory.parent / "fork")
    fork = Office(office.directory.parent / "fork")
    fork.intake, fork.now = office.intake, office.now
    for _ in range(2):
        assert fork.seal([message(fork)]).entries[0].admitted
    fork.notary.close()
    office.notary = office.open()
    for _ in range(2):
        assert office.seal([message(office)]).entries[0].admitted
    office.notary.close()
    shutil.rmtree(home)
    shutil.copytree(fork.directory / "audit", home)
    with pytest.raises(EvidenceError, match="entries are not those that were signed"):
        office.open()
    office.notary = fork.open()


def test_lost_checkpoints_are_not_signed_anew(office: Office) -> None:
    office.notary.close()
    shutil.move(office.directory / "checkpoints", office.directory / "lost")
    with pytest.raises(EvidenceError, match="put back the newest checkpoints directory"):
        office.open()
    shutil.rmtree(office.directory / "checkpoints")
    shutil.move(office.directory / "lost", office.directory / "checkpoints")
    office.notary = office.open()


def test_a_lost_database_beside_signed_checkpoints_refuses_to_start(office: Office) -> None:
    office.notary.close()
    shutil.move(office.directory / "audit", office.directory / "lost")
    with pytest.raises(EvidenceError, match="the log is empty; restore its database"):
        office.open()
    shutil.rmtree(office.directory / "audit")
    shutil.move(office.directory / "lost", office.directory / "audit")
    office.notary = office.open()


def test_checkpoints_of_another_key_are_refused(office: Office) -> None:
    office.notary.close()
    with pytest.raises(TrailError, match="that private key is not here"):
        Notary(office.directory / "audit", TRIAL, Keyring(ROOT))
    office.notary = office.open()


def test_a_log_has_one_notary_at_a_time(office: Office) -> None:
    with pytest.raises(TrailError, match="another notary is writing the log"):
        office.open()
    office.reopen()
    assert office.seal([message(office)]).entries[0].admitted


def test_of_two_notaries_that_extend_one_checkpoint_the_second_fails(office: Office) -> None:
    office.notary.close()
    shutil.copytree(office.directory / "audit", office.directory / "copy")
    office.notary = office.open()
    copy = Notary(office.directory / "copy", TRIAL, Keyring(LOG), clock=lambda: office.now)
    one = message(office)
    before = copy.checkpoints.all()
    assert office.seal([one]).entries[0].admitted
    with pytest.raises(EvidenceError, match="a checkpoint after size 7 was already signed: another notary"):
        copy.seal([one])
    assert copy.checkpoints.all() == [*before, office.notary.checkpoints.all()[-1]]
    copy.close()


def test_a_checkpoint_is_never_replaced(tmp_path: Path) -> None:
    store = Checkpoints.at(tmp_path / "c.sqlite")
    store.add(0, 5, "first")
    for follows, size in ((0, 6), (0, 5), (5, 5)):
        with pytest.raises(EvidenceError, match=f"a checkpoint after size {follows} was already signed"):
            store.add(follows, size, "second")
    store.add(5, 6, "next")
    assert store.all() == [(0, 5, "first"), (5, 6, "next")]
    store.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE entries SET entry = x'00'", "DELETE FROM entries", "DELETE FROM entries WHERE idx = 1"]
)
@pytest.mark.part11("11.10(c)", "11.10(e)")
def test_the_database_itself_rejects_changes_to_what_is_sealed(office: Office, statement: str) -> None:
    connection = sqlite3.connect(office.directory / "audit" / "log.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="the log is append-only"):
        connection.execute(statement)
    connection.close()
    assert office.verify().good


@pytest.mark.parametrize("statement", ["UPDATE checkpoints SET note = ''", "DELETE FROM checkpoints"])
def test_the_database_itself_rejects_changes_to_signed_checkpoints(office: Office, statement: str) -> None:
    connection = sqlite3.connect(office.directory / "checkpoints" / "checkpoints.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="checkpoints are only ever added"):
        connection.execute(statement)
    connection.close()


def test_a_reader_beside_the_notary_changes_nothing(office: Office) -> None:
    path = office.directory / "audit" / "log.sqlite"
    log = Log.at(path, read_only=True)
    assert log.size() == office.notary.size
    with pytest.raises(DatabaseError), log.engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO entries VALUES (99, 0, x'00')")
    log.close()
    with pytest.raises(TrailError, match="there is no log at"):
        Log.at(office.directory / "nowhere.sqlite", read_only=True)


def test_numbers_that_the_intake_has_lost_are_stated_before_what_came_after(office: Office) -> None:
    before = office.intake
    office.intake += 3
    lost, event = office.seal([message(office)]).entries
    assert said(lost) == ("log.intake_lost", {"first_missing": before + 1, "last_missing": before + 3})
    assert event.admitted
    assert office.notary.intake == before + 4
    office.reopen()
    assert [said(entry)[0] for entry in office.seal([message(office)]).entries] == ["screening.observed"]
    assert office.verify().good


def test_a_rebuilt_intake_that_counts_anew_repeats_nothing(office: Office) -> None:
    first = message(office)
    office.seal([first])
    office.intake = 0
    assert office.seal([office.arrival(first.payload)]).entries == []
    assert [entry.admitted for entry in office.seal([message(office)]).entries] == [True]
    assert office.verify().good


@pytest.mark.parametrize("intake", [0, 1])
def test_a_log_begins_with_its_genesis_or_not_at_all(tmp_path: Path, intake: int) -> None:
    office = Office(tmp_path)
    genesis = office.event("log.opened", opened(), key=ROOT)
    for wrong in (
        office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON), intake=intake),
        office.arrival(genesis, ROOT, signature=LOG.sign_event(genesis), intake=intake),
        office.arrival(b"not JSON", intake=intake),
    ):
        with pytest.raises(EvidenceError, match="the log cannot begin with this event: "):
            office.seal([wrong])
        assert (office.notary.size, office.notary.log.size(), office.notary.log.register_rows()) == (0, 0, {})
    assert office.seal([office.arrival(genesis, ROOT, intake=intake)]).entries[0].admitted
    office.notary.close()


def test_no_entry_and_no_message_is_nothing(office: Office) -> None:
    before = office.notary.checkpoints.all()
    assert office.seal([]).entries == []
    assert office.notary.checkpoints.all() == before


def test_many_messages_that_claim_one_id_are_not_read_again_for_each_other(tmp_path: Path) -> None:
    """Nobody signed them, so nobody needs to find them by that id; only the genuine event is found by it."""
    office = Office.founded(tmp_path)
    first, claimed = office.notary.size, uuid7()
    data = {"sex": "female"}
    vandal = [
        office.arrival(
            office.event(
                "screening.registered", data | {"birth_date": f"{1930 + at}"}, event_id=claimed, subject="701-009"
            ),
            signature="",
        )
        for at in range(50)
    ]
    office.seal(vandal)
    refs = [row.ref for row in office.notary.log.rows(first)]
    assert len(set(refs)) == len(refs) == 50
    genuine = office.event("screening.registered", data, event_id=claimed, subject="701-009")
    assert office.send(genuine).admitted
    (found,) = office.notary.log.by_ref([ref_of(claimed)])[ref_of(claimed)]
    assert found.body == genuine
