"""Nobody can rewrite the log unseen: whatever is changed in the database, verify finds it and says where."""

import random
import sqlite3
from collections.abc import Iterator
from copy import deepcopy
from importlib.resources import files
from pathlib import Path

import pytest

from services.audit.checkpoints import Checkpoints
from services.audit.log import Log, Row
from services.audit.verify import Report, Verifier
from services.cli.study import synthetic_study
from shared.checkpoint import Checkpoint
from shared.entry import Header, read_entry, seal
from shared.merkle import Frontier
from shared.note import NoteKey
from shared.words import EvidenceError
from tests.inprocess import LOG_KEY, TRIAL, InProcess, seeded_key
from tests.owner import copy_of

ENTRIES = 200
SEED = 20260304


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real log of 200 entries in a real data directory."""
    directory = tmp_path_factory.mktemp("log")
    days = synthetic_study()
    protocol = files("shared.protocol").joinpath("nct06027853.yaml").read_text("utf-8")
    study = InProcess(directory, days[0].at, protocol)
    study.play([])
    for day in days[:40]:
        if study.notary.size >= ENTRIES:
            break
        if day.at > study.now:
            study.root("log.clock_moved", {"to": day.at.isoformat()})
            study.now = day.at
        for act in day.acts:
            if hasattr(act, "draft") and study.notary.size < ENTRIES:
                study.post([act.draft])
    assert study.notary.size >= ENTRIES
    study.notary.close()
    return directory


@pytest.fixture(scope="module")
def rows(original: Path) -> list[Row]:
    log = Log.at(original / "audit" / "log.sqlite", read_only=True)
    stored = list(log.rows())
    log.close()
    return stored


@pytest.fixture(scope="module")
def heads(original: Path) -> list[tuple[int, int, str]]:
    store = Checkpoints.at(original / "checkpoints" / "checkpoints.sqlite", read_only=True)
    signed = store.all()
    store.close()
    return signed


@pytest.fixture
def copy(original: Path, tmp_path: Path) -> Path:
    """A copy of the log whose owner has dropped the triggers, as a database's owner can."""
    return copy_of(original, tmp_path)


def verify_rows(rows: list[Row], heads: list[tuple[int, int, str]]) -> Report:
    return Verifier(TRIAL, LOG_KEY, lambda index: rows[index].raw).run(rows, heads)


def verify_copy(directory: Path) -> Report:
    log = Log.at(directory / "audit" / "log.sqlite", read_only=True)
    store = Checkpoints.at(directory / "checkpoints" / "checkpoints.sqlite", read_only=True)
    try:
        verifier = Verifier(TRIAL, LOG_KEY, lambda index: log.entry(index).raw)
        return verifier.run(log.rows(), store.all(), saved=log.register_rows())
    finally:
        log.close()
        store.close()


def change(directory: Path, *statements: tuple[str, tuple[object, ...]]) -> None:
    with sqlite3.connect(directory / "audit" / "log.sqlite") as database:
        for statement, values in statements:
            database.execute(statement, values)


def flipped(raw: bytes, at: int, bit: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ (1 << bit)]) + raw[at + 1 :]


def sampled(rows: list[Row]) -> Iterator[int]:
    """Entries chosen by seed, the first and the last always among them."""
    yield from sorted({0, len(rows) - 1, *random.Random(SEED).sample(range(3, len(rows) - 1), 4)})


def test_an_untouched_log_verifies(original: Path) -> None:
    assert verify_copy(original).faults == []


@pytest.mark.part11("11.10(a)")
def test_any_single_flipped_byte_of_a_sampled_entry_is_located(
    rows: list[Row], heads: list[tuple[int, int, str]]
) -> None:
    """Every byte of the sampled entries, one bit of it, chosen by seed: caught, and at that entry."""
    chance, caught, missed = random.Random(SEED), 0, []
    for index in sampled(rows):
        raw = rows[index].raw
        # What lies before is verified once; each flip goes on from there.
        before = Verifier(TRIAL, LOG_KEY, lambda at: rows[at].raw)
        before.run(rows[:index], heads)
        before.report.faults.clear()
        for at in range(len(raw)):
            broken = Row(index, rows[index].ref, flipped(raw, at, chance.randrange(8)))
            faults = deepcopy(before).run([broken, *rows[index + 1 : index + 3]], heads).faults
            if faults and faults[0].index == index:
                caught += 1
            else:
                missed.append((index, at, faults))
    print(f"{caught} single flipped bytes caught and located")
    assert missed == []
    assert caught > 2000


def test_flipped_bytes_in_the_database_file_are_located(copy: Path, rows: list[Row]) -> None:
    chance = random.Random(SEED + 1)
    for _ in range(25):
        index = chance.randrange(len(rows))
        raw = rows[index].raw
        broken = flipped(raw, chance.randrange(len(raw)), chance.randrange(8))
        change(copy, ("UPDATE entries SET entry = ? WHERE idx = ?", (broken, index)))
        report = verify_copy(copy)
        assert [fault.index for fault in report.faults][:1] == [index]
        change(copy, ("UPDATE entries SET entry = ? WHERE idx = ?", (raw, index)))


@pytest.mark.parametrize("index", [1, 57, 120, 198])
def test_a_deleted_entry_is_named(copy: Path, index: int) -> None:
    change(copy, ("DELETE FROM entries WHERE idx = ?", (index,)))
    report = verify_copy(copy)
    assert report.faults[0].index == index
    assert f"entry {index} is missing" in report.faults[0].what


def test_two_swapped_entries_are_named(copy: Path) -> None:
    change(
        copy,
        ("UPDATE entries SET idx = -1 WHERE idx = ?", (80,)),
        ("UPDATE entries SET idx = ? WHERE idx = ?", (80, 81)),
        ("UPDATE entries SET idx = ? WHERE idx = -1", (81,)),
    )
    report = verify_copy(copy)
    assert report.faults[0].index == 80
    assert "says it is entry 81" in report.faults[0].what


def test_an_inserted_entry_is_named(copy: Path, rows: list[Row]) -> None:
    change(copy, ("UPDATE entries SET idx = -idx - 1 WHERE idx >= ?", (100,)))
    change(copy, ("UPDATE entries SET idx = -idx WHERE idx < 0", ()))
    change(copy, ("INSERT INTO entries (idx, ref, entry) VALUES (?, ?, ?)", (100, rows[99].ref, rows[99].raw)))
    assert verify_copy(copy).faults[0].index == 100


@pytest.mark.parametrize("kept", [1, 50, 199])
def test_a_truncated_tail_is_named_by_the_last_signed_checkpoint(copy: Path, kept: int) -> None:
    change(copy, ("DELETE FROM entries WHERE idx >= ?", (kept,)), ("DELETE FROM subtrees", ()))
    report = verify_copy(copy)
    assert report.faults[0].index == kept
    assert "a checkpoint over" in report.faults[0].what


def test_a_changed_index_key_is_named(copy: Path) -> None:
    change(copy, ("UPDATE entries SET ref = ref + 1 WHERE idx = ?", (42,)))
    assert verify_copy(copy).faults[0].index == 42


def test_a_changed_register_is_noticed(copy: Path) -> None:
    change(
        copy,
        (
            "UPDATE register SET value = replace(value, '\"last\": ', '\"last\": 9') WHERE key = 'source:site/101'",
            (),
        ),
    )
    assert "site/101" in verify_copy(copy).faults[0].what


def test_a_removed_checkpoint_is_noticed(copy: Path, heads: list[tuple[int, int, str]]) -> None:
    with sqlite3.connect(copy / "checkpoints" / "checkpoints.sqlite") as database:
        database.execute("DELETE FROM checkpoints WHERE size = ?", (heads[20][1],))
    assert "does not follow" in verify_copy(copy).faults[0].what


@pytest.mark.part11("11.10(e)")
def test_a_rewritten_tail_with_correct_links_is_noticed(rows: list[Row], heads: list[tuple[int, int, str]]) -> None:
    """The operator drops entry 150 and chains what follows anew: the links hold, the signed tree head does not."""
    kept = [read_entry(row.raw) for row in rows]
    chain = kept[:150]
    for old in kept[151:]:
        head = old.header
        header = Header(
            index=type(head.index)(len(chain)),
            intake=head.intake,
            key=head.key,
            prev=chain[-1].leaf,
            reason=head.reason,
            sealed_at=head.sealed_at,
            signature=head.signature,
            subject=head.subject,
            verdict=head.verdict,
        )
        chain.append(seal(header, old.body))
    forged = [
        Row(entry.index, row.ref, entry.raw) for entry, row in zip(chain, [*rows[:150], *rows[151:]], strict=True)
    ]
    faults = verify_rows(forged, heads).faults
    assert faults
    assert faults[0].index >= 149


def test_a_log_signed_anew_with_another_key_is_not_the_one_that_entry_0_names(
    rows: list[Row], heads: list[tuple[int, int, str]]
) -> None:
    """Whoever holds the data directory can sign checkpoints with a key of their own, and name it in trial.json."""
    stranger = seeded_key("stranger")
    tree, signed = Frontier(), []
    for row in rows:
        tree = tree.append(read_entry(row.raw).leaf)
        signed.append((row.idx, tree.size, Checkpoint(LOG_KEY.name, tree.size, tree.root()).sign(stranger)))
    verifier = Verifier(TRIAL, NoteKey(LOG_KEY.name, stranger.public), lambda index: rows[index].raw)
    (fault,) = verifier.run(rows, signed).faults
    assert (fault.index, "not signed by" in fault.what) == (0, True)


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        ("UPDATE register SET value = 'x' WHERE key = 'log'", "register cannot be read"),
        ("UPDATE entries SET entry = CAST(entry AS TEXT) WHERE idx = 20", "entry 20 is not stored as bytes"),
        ("UPDATE entries SET entry = 7 WHERE idx = 20", "entry 20 is not stored as bytes"),
        ("DROP TABLE entries", "database cannot be read"),
    ],
)
def test_a_database_that_makes_no_sense_is_told_in_a_sentence(copy: Path, statement: str, sentence: str) -> None:
    change(copy, (statement, ()))
    try:
        told = "; ".join(fault.what for fault in verify_copy(copy).faults)
    except EvidenceError as error:
        told = str(error)
    assert sentence in told
