"""A notary whose files somebody else touches while it runs stops; one whose disk fails for a while goes on."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from shared.entry import Arrival
from shared.words import EvidenceError
from tests.notary import OBSERVED, PERSON, Office
from tests.owner import change, drop_guards

DISK = OperationalError("INSERT", {}, Exception("disk I/O error"))
LOG, CHECKPOINTS = "audit/log.sqlite", "checkpoints/checkpoints.sqlite"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def message(office: Office) -> Arrival:
    return office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON))


@pytest.mark.parametrize("part", [LOG, CHECKPOINTS])
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_file_that_was_taken_away_is_written_to_no_more(office: Office, part: str, how: str) -> None:
    path = office.directory / part
    if how == "replaced":
        shutil.copy(path, path.with_suffix(".copy"))
        path.with_suffix(".copy").replace(path)
    else:
        path.unlink()
    with pytest.raises(EvidenceError, match=f"{path.name} was deleted or replaced while the notary was running"):
        office.seal([message(office)])


def test_an_entry_that_somebody_else_has_written_is_not_signed_over(office: Office) -> None:
    size, signed = office.notary.size, office.notary.checkpoints.latest()
    with closing(sqlite3.connect(office.directory / LOG)) as database, database:
        database.execute("INSERT INTO entries SELECT ?, ref, entry FROM entries WHERE idx = 3", (size,))
    with pytest.raises(EvidenceError, match=f"entry {size} or one behind it is in the database already"):
        office.seal([message(office)])
    assert office.notary.checkpoints.latest() == signed


def test_a_missing_new_entry_is_told_at_the_start(office: Office) -> None:
    office.notary.close()
    drop_guards(office.directory / LOG)
    change(office.directory, ("DELETE FROM entries WHERE idx = ?", (3,)))
    with pytest.raises(EvidenceError, match="one is missing; `trail verify` says which"):
        office.open()
    office.notary = Office(office.directory / "elsewhere").notary


def test_what_fails_while_nothing_can_be_read_either_is_sealed_as_if_for_the_first_time(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DISK

    one, size = message(office), office.notary.size
    with monkeypatch.context() as broken:
        broken.setattr(office.notary.log, "append", fails)
        broken.setattr(office.notary.log, "register", fails)
        for _ in range(2):
            with pytest.raises(OperationalError):
                office.seal([one])
    assert (office.notary.size, office.notary.intake) == (size, one.intake - 1)
    assert [entry.admitted for entry in office.seal([one]).entries] == [True], "it does not contradict itself"
    assert office.verify().good


def test_a_commit_that_failed_and_was_done_all_the_same_is_signed_with_the_next_try(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = office.notary.log.append

    def half(*arguments: object) -> None:
        append(*arguments)  # type: ignore[arg-type]
        raise DISK

    one, size = message(office), office.notary.size
    with monkeypatch.context() as broken:
        broken.setattr(office.notary.log, "append", half)
        with pytest.raises(OperationalError):
            office.seal([one])
    sealed = office.seal([one])
    assert (sealed.entries, office.notary.size) == ([], size + 1)
    assert [arrival for arrival, _ in sealed.receipts] == [one], "it is a repeat, and has its receipt"
    assert office.verify().good


def test_whoever_signs_while_a_batch_fails_is_another_notary(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise DISK

    with monkeypatch.context() as broken:
        broken.setattr(office.notary.log, "append", fails)
        with pytest.raises(OperationalError):
            office.seal([message(office)])
    office.notary.checkpoints.add(office.notary.size, office.notary.size + 1, "a note that is not ours")
    with pytest.raises(EvidenceError, match="a checkpoint was signed that is not this notary's"):
        office.seal([message(office)])
