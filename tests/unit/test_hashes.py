"""The hash verification finds what the full one finds in the hashes, on many processes, and can go on."""

import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.hashes import HashReport, VerifiedTo, verify_hashes
from services.audit.log import Log
from services.audit.verify import Fault, Verifier
from shared.checkpoint import open_checkpoint
from shared.entry import Entry, seal
from shared.merkle import Frontier
from shared.words import LeafHash, TrailError
from tests.notary import LOG_KEY, OBSERVED, TRIAL, Office
from tests.owner import change, copy_of
from tests.synthetic_log import found, grow

SIZE = 1_500


@pytest.fixture(autouse=True)
def _short_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of 64 entries, so that a small log has many and its checkpoints lie anywhere in them."""
    monkeypatch.setattr("services.audit.hashes.RUN", 64)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 1,500 entries with a checkpoint after every seven."""
    directory = tmp_path_factory.mktemp("large")
    found(directory)
    grow(directory, SIZE, batch=7, entry_bytes=600)
    return directory


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 60 entries that were all admitted, so that the full verification holds as well."""
    office = Office.founded(tmp_path_factory.mktemp("sealed"))
    office.register()
    while office.notary.size < 60:
        batch = [office.arrival(office.event("screening.observed", OBSERVED, subject="701-001"))]
        office.seal(batch if office.notary.size % 3 else [*batch, office.arrival(b"no event")])
    office.notary.close()
    return office.directory


@pytest.fixture
def copy(sealed: Path, tmp_path: Path) -> Path:
    return copy_of(sealed, tmp_path)


def roots(directory: Path) -> dict[int, bytes]:
    store = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite", read_only=True)
    signed = {size: open_checkpoint(note, LOG_KEY).root for _, size, note in store.all()}
    store.close()
    return signed


def hashes(directory: Path, **how: object) -> HashReport:
    return verify_hashes(directory / "audit" / "log.sqlite", roots(directory), **how)  # type: ignore[arg-type]


def fully(directory: Path) -> Fault | None:
    """The first fault that the full verification finds."""
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    store = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite", read_only=True)
    try:
        report = Verifier(TRIAL, LOG_KEY, lambda index: log.entry(index).raw).run(log.rows(), store.all())
    finally:
        log.close()
        store.close()
    return next(iter(report.faults), None)


def entries(directory: Path) -> list[Entry]:
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    stored = list(log.entries())
    log.close()
    return stored


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_an_untouched_log_verifies_to_its_own_tree_on_any_number_of_processes(large: Path, processes: int) -> None:
    told: list[int] = []
    report = hashes(large, processes=processes, progress=told.append)
    leaves = [entry.leaf for entry in entries(large)]
    assert report == HashReport(VerifiedTo(Frontier().extend(leaves), leaves[-1]), None)
    assert told == [*range(64, SIZE, 64), SIZE]


def test_it_goes_on_from_wherever_it_was_and_reads_nothing_before(large: Path, tmp_path: Path) -> None:
    directory = copy_of(large, tmp_path)
    whole = hashes(directory)
    signed = [0, *sorted(roots(directory))]
    reached = None
    for at in sorted(random.Random(11).sample(range(1, len(signed)), 12)):
        until = {size: root for size, root in roots(directory).items() if size <= signed[at]}
        report = verify_hashes(directory / "audit" / "log.sqlite", until, since=reached, stop=signed[at])
        assert report.fault is None
        reached = report.verified
        assert reached.tree.size == signed[at]
        change(directory, ("DELETE FROM entries WHERE idx < ?", (signed[at] - 1,)))
    assert hashes(directory, since=reached) == whole


def test_what_was_verified_before_must_go_on_here(large: Path) -> None:
    signed = sorted(roots(large))
    path, until = large / "audit" / "log.sqlite", {signed[40]: roots(large)[signed[40]]}
    reached = verify_hashes(path, until, stop=signed[40]).verified
    other = VerifiedTo(reached.tree, LeafHash(bytes(32)))
    assert hashes(large, since=other).fault == Fault(
        signed[40] - 1, f"entry {signed[40] - 1} is not the one that entry {signed[40]} links to"
    )
    other = VerifiedTo(Frontier(reached.tree.size, (bytes(32), *reached.tree.peaks[1:])), reached.leaf)
    assert hashes(large, since=other).fault == Fault(
        signed[40] - 1, f"the checkpoint over {signed[40]} entries signed others than were verified before"
    )
    fault = verify_hashes(path, until, since=reached, stop=signed[40] - 1).fault
    assert fault == Fault(
        signed[40] - 1, f"entry {signed[40] - 1} is missing: {signed[40]} entries were verified before"
    )


def test_a_flipped_byte_anywhere_is_located_at_the_entry_where_the_full_verification_locates_it(
    sealed: Path, tmp_path: Path
) -> None:
    chance = random.Random(5)
    for attempt in range(40):
        directory = copy_of(sealed, tmp_path / str(attempt))
        entry = chance.choice(entries(sealed))
        at = chance.randrange(len(entry.raw))
        flipped = entry.raw[:at] + bytes([entry.raw[at] ^ 1 << chance.randrange(8)]) + entry.raw[at + 1 :]
        change(directory, ("UPDATE entries SET entry = ? WHERE idx = ?", (flipped, entry.index)))
        fault, known = hashes(directory).fault, fully(directory)
        assert fault is not None
        assert known is not None
        assert fault.index == known.index == entry.index


def rewritten(stored: list[Entry], since: int) -> Iterator[tuple[str, tuple[object, ...]]]:
    """The statements that put another entry at ``since`` and relink all that follow."""
    leaf = stored[since].header.prev
    for entry in stored[since:]:
        header = {name: getattr(entry.header, name) for name in entry.header.__dataclass_fields__}
        again = seal(type(entry.header)(**(header | {"prev": leaf})), entry.body + b" " * (entry.index == since))
        leaf = again.leaf
        yield "UPDATE entries SET entry = ? WHERE idx = ?", (again.raw, again.index)


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        ("DELETE FROM entries WHERE idx = ?", (21,)),
        ("DELETE FROM entries WHERE idx = ?", (0,)),
        ("DELETE FROM entries WHERE idx BETWEEN ? AND ?", (30, 40)),
        ("DELETE FROM entries WHERE idx >= ?", (44,)),
        ("DELETE FROM entries", ()),
    ],
    ids=["one", "the first", "many", "the last", "all"],
)
def test_what_was_deleted_is_named_in_the_words_of_the_full_verification(
    copy: Path, statement: str, values: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.audit.hashes.RUN", 16)
    change(copy, (statement, values))
    assert hashes(copy).fault == fully(copy) is not None


@pytest.mark.parametrize(
    ("statement", "at"),
    [
        ("UPDATE entries SET entry = (SELECT entry FROM entries WHERE idx = 21) WHERE idx = ?", 59),
        ("UPDATE entries SET entry = (SELECT entry FROM entries WHERE idx = 21) WHERE idx = ?", 20),
        ("INSERT INTO entries SELECT ?, ref, entry FROM entries WHERE idx = 59", 60),
    ],
    ids=["over the last", "over its neighbour", "behind the last"],
)
def test_an_entry_that_was_copied_elsewhere_is_named_there(copy: Path, statement: str, at: int) -> None:
    change(copy, (statement, (at,)))
    fault, known = hashes(copy).fault, fully(copy)
    assert fault is not None
    assert known is not None
    assert fault.index == known.index == at


@pytest.mark.parametrize("since", [1, 20, 44, 58, 59])
def test_entries_rewritten_together_are_told_from_their_checkpoint(sealed: Path, copy: Path, since: int) -> None:
    change(copy, *rewritten(entries(sealed), since))
    fault = hashes(copy).fault
    first = min(size for size in roots(copy) if size > since)
    assert fault is not None
    if since == 59:
        assert fault.index == 59
        assert fault.what.startswith("the checkpoint over 60 entries signed another entry 59")
    else:
        before = max((size for size in roots(copy) if size < first), default=0)
        assert fault == Fault(
            before,
            f"entries {before} to {first - 1} are not those that the checkpoint over {first} signed: they were "
            "rewritten together",
        )


def test_an_entry_that_is_not_bytes_is_named(copy: Path) -> None:
    change(copy, ("UPDATE entries SET entry = CAST(entry AS TEXT) WHERE idx = ?", (33,)))
    assert hashes(copy).fault == Fault(33, "entry 33 is not stored as bytes: the database was changed")


def test_entries_that_nobody_signed_are_named(sealed: Path) -> None:
    signed = roots(sealed)
    last = max(signed)
    del signed[last]
    fault = verify_hashes(sealed / "audit" / "log.sqlite", signed).fault
    assert fault == Fault(
        max(signed), f"entries {max(signed)} to {last - 1} are not covered by a signed checkpoint"
    )


def test_a_database_that_cannot_be_read_is_a_fault_and_never_a_crash(tmp_path: Path) -> None:
    fault = verify_hashes(tmp_path / "absent.sqlite", {}).fault
    assert fault is not None
    assert fault.what.startswith("the database cannot be read: ")
    (tmp_path / "torn.sqlite").write_bytes(b"SQLite format 3\x00" + bytes(8_000))
    fault = verify_hashes(tmp_path / "torn.sqlite", {}).fault
    assert fault is not None
    assert fault.what.startswith("the database cannot be read: ")


def test_a_process_that_is_killed_is_no_verdict_on_the_log(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/true")
    with pytest.raises(TrailError, match="a process that was hashing entries was ended"):
        hashes(large, processes=2)
