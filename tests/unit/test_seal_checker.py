"""No seal, no decision: a decider is given only entries that a checkpoint signed by the log covers."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from shared.checkpoint import Checkpoint
from shared.decider import SealChecker
from shared.entry import Entry, Header, seal
from shared.log_keys import LogKeys
from shared.merkle import Frontier
from shared.note import NoteKey
from shared.words import EvidenceError, LeafHash, LogIndex
from tests.notary import LOG, LOG_KEY, ORIGIN, STRANGER, Office


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    office = Office.founded(tmp_path_factory.mktemp("office"))
    office.register()
    yield office
    office.notary.close()


@pytest.fixture(scope="module")
def entries(office: Office) -> list[Entry]:
    return office.entries()


def note(entries: list[Entry], size: int, key: object = LOG) -> str:
    """The log's checkpoint over the first ``size`` entries."""
    tree = Frontier().extend([entry.leaf for entry in entries[:size]])
    return Checkpoint(ORIGIN, size, tree.root()).sign(key)  # type: ignore[arg-type]


def test_what_the_notary_signed_passes_as_it_was_signed(office: Office, entries: list[Entry]) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    for _, size, signed in office.notary.checkpoints.all():
        assert checker.add(entries[size - 1], signed) == [entries[size - 1]]
    assert (checker.next, checker.tree.size) == (len(entries), len(entries))
    assert checker.tree.root() == office.notary.log.tree(len(entries)).root()


def test_nothing_passes_before_the_checkpoint_that_covers_it_and_then_all_in_order(entries: list[Entry]) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    for entry in entries[:4]:
        assert checker.add(entry, None) == []
    assert (checker.next, checker.tree.size) == (4, 0)
    assert checker.add(entries[4], note(entries, 5)) == entries[:5]
    assert (checker.next, checker.tree.size, checker.leaf) == (5, 5, entries[4].leaf)


@pytest.mark.parametrize("size", [1, 2, 4, 5])
def test_a_checkpoint_over_another_number_of_entries_does_not_cover_these(entries: list[Entry], size: int) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    checker.add(entries[0], None)
    checker.add(entries[1], None)
    with pytest.raises(EvidenceError, match="the checkpoint with entry 2 does not cover LOG's entries"):
        checker.add(entries[2], note(entries, size))
    assert checker.tree.size == 0


def test_the_size_is_compared_as_well_as_the_root(entries: list[Entry]) -> None:
    tree = Frontier().extend([entry.leaf for entry in entries[:3]])
    checker = SealChecker(LogKeys.of(LOG_KEY))
    checker.add(entries[0], None)
    checker.add(entries[1], None)
    with pytest.raises(EvidenceError, match="does not cover"):
        checker.add(entries[2], Checkpoint(ORIGIN, 4, tree.root()).sign(LOG))


def test_a_wrong_root_is_evidence_against_the_broker(entries: list[Entry]) -> None:
    with pytest.raises(EvidenceError, match="does not cover"):
        SealChecker(LogKeys.of(LOG_KEY)).add(entries[0], Checkpoint(ORIGIN, 1, bytes(32)).sign(LOG))


def test_another_logs_key_seals_nothing(entries: list[Entry]) -> None:
    for signed in (
        note(entries, 1, STRANGER),
        note(entries, 1).replace(ORIGIN, "other.example/log"),
        "",
        "x\n\ny\n",
    ):
        checker = SealChecker(LogKeys.of(LOG_KEY))
        with pytest.raises(EvidenceError, match=r"the note|not signed"):
            checker.add(entries[0], signed)
        assert checker.tree.size == 0
    with pytest.raises(EvidenceError, match="not signed by"):
        SealChecker(LogKeys.of(NoteKey(ORIGIN, STRANGER.public))).add(entries[0], note(entries, 1))


@pytest.mark.parametrize("at", [0, 2, 3])
def test_a_skipped_repeated_or_foreign_entry_does_not_follow(entries: list[Entry], at: int) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    checker.add(entries[0], None)
    with pytest.raises(EvidenceError, match=f"entry {at} of LOG does not follow entry 0"):
        checker.add(entries[at], None)
    assert checker.next == 1
    assert checker.add(entries[1], note(entries, 2)) == entries[:2]


@pytest.mark.parametrize("index", [1, -1, 5])
def test_a_log_is_read_from_its_first_entry(entries: list[Entry], index: int) -> None:
    with pytest.raises(EvidenceError, match="does not follow entry -1"):
        SealChecker(LogKeys.of(LOG_KEY)).add(entries[index], note(entries, 1))


def forged(entry: Entry, **changes: object) -> Entry:
    return seal(replace(entry.header, **changes), entry.body)  # type: ignore[arg-type]


def test_a_forged_entry_does_not_follow_or_is_not_covered(entries: list[Entry]) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    checker.add(entries[0], None)
    with pytest.raises(EvidenceError, match="does not follow"):
        checker.add(forged(entries[1], prev=LeafHash(bytes(32))), None)
    with pytest.raises(EvidenceError, match="does not follow"):
        checker.add(forged(entries[1], index=LogIndex(2)), None)
    with pytest.raises(EvidenceError, match="does not cover"):
        checker.add(forged(entries[1], verdict="refused", reason="because"), note(entries, 2))


@pytest.mark.parametrize("at", range(5))
def test_an_entry_rewritten_with_all_links_after_it_is_not_covered(entries: list[Entry], at: int) -> None:
    rewritten: list[Entry] = []
    for entry in entries[:5]:
        header: Header = entry.header
        if rewritten:
            header = replace(header, prev=rewritten[-1].leaf)
        rewritten.append(seal(header, b"{}" if entry.index == at else entry.body))
    checker = SealChecker(LogKeys.of(LOG_KEY))
    for entry in rewritten[:4]:
        assert checker.add(entry, None) == []
    with pytest.raises(EvidenceError, match=r"the checkpoint with entry 4 does not cover|entry 0 cannot be read"):
        checker.add(rewritten[4], note(entries, 5))


def test_reading_goes_on_where_it_was_left_and_only_there(entries: list[Entry]) -> None:
    tree = Frontier().extend([entry.leaf for entry in entries[:3]])
    checker = SealChecker(LogKeys.of(LOG_KEY), tree, entries[2].leaf)
    assert checker.next == 3
    assert checker.add(entries[3], note(entries, 4)) == [entries[3]]
    with pytest.raises(EvidenceError, match="does not follow"):
        SealChecker(LogKeys.of(LOG_KEY), tree, entries[1].leaf).add(entries[3], note(entries, 4))
    other = Frontier().extend([entry.leaf for entry in entries[1:4]])
    with pytest.raises(EvidenceError, match="does not cover"):
        SealChecker(LogKeys.of(LOG_KEY), other, entries[2].leaf).add(entries[3], note(entries, 4))


def test_the_readers_cursor_survives_being_stored(entries: list[Entry], tmp_path: Path) -> None:
    checker = SealChecker(LogKeys.of(LOG_KEY))
    for entry in entries[:6]:
        checker.add(entry, note(entries, entry.index + 1))
    tree = Frontier.from_bytes(checker.tree.size, checker.tree.to_bytes())
    again = SealChecker(LogKeys.of(LOG_KEY), tree, checker.leaf)
    assert again.add(entries[6], note(entries, 7)) == [entries[6]]
