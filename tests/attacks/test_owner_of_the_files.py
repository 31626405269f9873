"""Whoever owns the files changes the log beneath the running notary: who notices, when, and in which words."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from services.cli.installation import Installation
from shared.entry import Entry, seal
from shared.policy import NONE
from shared.words import LogIndex, TrailError
from tests.attacks.owner import (
    CHECKPOINTS,
    LOG,
    Statement,
    change,
    changed,
    make_room,
    put_back,
    taken_away,
)
from tests.attacks.scene import A, Trial, copied, entries, running, trail, weighed


@pytest.fixture(scope="module")
def quiet(original: Installation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    """A running stack on which nobody posts anything, for attacks that are undone again."""
    with running(copied(original, tmp_path_factory.mktemp("quiet") / "trial")) as made:
        assert made.post(weighed(A, 70))
        made.come_to_rest()
        yield made


def looked_over(trial: Trial) -> list[str]:
    """What `trail verify` and `trail fsck` complain of."""
    told = [trail(command, "--data", trial.home.directory) for command in ("verify", "fsck")]
    assert [one.code for one in told] == [1, 1]
    return [one.text for one in told]


def flipped(entry: Entry, old: bytes, new: bytes) -> Statement:
    """Change an entry's bytes, and nothing else about it."""
    assert old in entry.raw
    assert len(old) == len(new)
    return "UPDATE entries SET entry = ? WHERE idx = ?", (entry.raw.replace(old, new), entry.index)


def forged(log: list[Entry], at: int) -> Statement:
    """Put an event into the log once more, as an entry with a good link."""
    old, before = log[at - 5], log[at - 1]
    head = replace(old.header, index=LogIndex(at), prev=before.leaf, sealed_at=before.header.sealed_at)
    return "INSERT INTO entries (idx, ref, entry) VALUES (?, 7, ?)", (at, seal(head, old.body).raw)


def test_a_flipped_bit_in_an_old_entry(quiet: Trial) -> None:
    entry = next(entry for entry in entries(quiet.home) if b'"creatinine"' in entry.body)
    with changed(quiet.home, flipped(entry, b'"value":92', b'"value":62')):
        verified, examined = looked_over(quiet)
    assert f"entry {entry.index}: recorded as admitted, but it must be" in verified
    assert "refused: the signature is not that of key" in verified
    assert f"is not the one that entry {entry.index + 1} links to" in examined
    assert quiet.said("audit", "critical") == [], "the running notary does not read full tiles again"


def test_a_deleted_entry(quiet: Trial) -> None:
    with changed(quiet.home, ("DELETE FROM entries WHERE idx = 57", ())):
        verified, examined = looked_over(quiet)
    assert "entry 57 is missing; the next one stored is 58" in verified
    assert "entry 57: is missing" in examined


def test_an_inserted_entry(quiet: Trial) -> None:
    with changed(quiet.home, *make_room(101), forged(entries(quiet.home), 101)):
        verified, examined = looked_over(quiet)
    assert "entry 101: recorded as admitted, but it must be refused: equivocation" in verified
    assert "entry 102: says it is entry 101" in examined


def test_two_entries_in_another_order(quiet: Trial) -> None:
    moves = ((80, -1), (81, 80), (-1, 81))
    with changed(quiet.home, *(("UPDATE entries SET idx = ? WHERE idx = ?", (to, at)) for at, to in moves)):
        verified, examined = looked_over(quiet)
    assert "what is stored as entry 80 says it is entry 81" in verified
    assert "entry 81: says it is entry 80" in examined


def test_a_truncated_tail(quiet: Trial) -> None:
    size = len(entries(quiet.home))
    with changed(quiet.home, ("DELETE FROM entries WHERE idx >= ?", (size - 9,))):
        verified, examined = looked_over(quiet)
    assert f"entry {size - 9} is missing: a checkpoint over {size} entries was signed" in verified
    assert f"holds {size} entries and the database {size - 9}" in examined


def test_a_flipped_bit_in_a_new_entry_beneath_the_notary(trial: Trial) -> None:
    change(trial.home.places.log, flipped(entries(trial.home)[-1], b'"value":62', b'"value":92'))
    trial.post(weighed(A, 70))
    words = trial.last_words("audit")
    # The witnesses' errand and the publisher's are at it side by side, and either may be first.
    assert "is not the one that was signed" in words or "that are not those of this database" in words
    assert "the signature is not that" in trail("verify", trial.home.directory).text


def test_an_entry_put_behind_the_last_one_beneath_the_notary(trial: Trial) -> None:
    log = entries(trial.home)
    change(trial.home.places.log, forged(log, len(log)))
    assert not trial.post(weighed(A, 70), timeout=2)
    words = trial.last_words("audit")
    assert f"entry {len(log)} or one behind it is in the database already, and not sealed by this notary" in words
    verified = trail("verify", trial.home.directory).text
    assert f"entry {len(log)}: recorded as admitted, but it must be refused: equivocation" in verified


@pytest.mark.parametrize("what", ["flipped", "deleted", "truncated"])
def test_a_changed_log_before_the_notary_starts(home: Installation, what: str) -> None:
    log = entries(home)
    size, last = len(log), log[-2]
    mount, sentence = {
        "flipped": (
            flipped(last, b'"value":61', b'"value":16'),
            f"the database's first {size} entries are not those that were signed",
        ),
        "deleted": (
            ("DELETE FROM entries WHERE idx = ?", (last.index,)),
            "one is missing; `trail verify` says which",
        ),
        "truncated": (
            ("DELETE FROM entries WHERE idx >= ?", (size - 9,)),
            f"the database ends at entry {size - 10}, but a checkpoint over {size} entries was signed",
        ),
    }[what]
    change(home.places.log, mount)
    with pytest.raises(TrailError) as refused, running(home):
        pass
    assert sentence in str(refused.value)


def test_an_older_database_beneath_the_notary(trial: Trial, older: Path) -> None:
    put_back(trial.home, [LOG], older, in_place=True)
    trial.post(weighed(A, 70), timeout=2)
    words = trial.last_words("audit")
    assert "one is missing; `trail verify` says which" in words or "cannot be published" in words
    assert "is missing" in trail("verify", trial.home.directory).text


def test_a_restored_back_up_of_log_and_checkpoints(home: Installation, older: Path) -> None:
    size = len(entries(home))
    put_back(home, [LOG, CHECKPOINTS], older)
    cut = len(entries(home))
    verified = trail("verify", home.directory)
    assert verified.code == 1
    assert f"site-702 holds a receipt for another entry {cut} than the log has" in verified.text
    with pytest.raises(TrailError) as refused, running(home):
        pass
    assert f"has cosigned {size} entries of this log, and this notary has signed {cut}" in str(refused.value)


def test_a_restored_back_up_where_no_witness_is_asked(home: Installation, older: Path) -> None:
    policy = home.policy()
    assert policy is not None
    home.policy_path.write_text(replace(policy, witnesses={}, quorum=NONE).text(), "utf-8")
    size = len(entries(home))
    put_back(home, [LOG, CHECKPOINTS], older)
    cut = len(entries(home))
    with pytest.raises(TrailError) as refused, running(home):
        pass
    assert f"LOG holds {size} entries and the database {cut}: the database was restored from" in str(refused.value)


def test_a_deleted_database(home: Installation, tmp_path: Path) -> None:
    taken_away(home.places.log)
    verified = trail("verify", home.directory)
    assert verified.code == 2
    assert "there is no log at" in verified.text
    with pytest.raises(TrailError) as refused, running(home):
        pass
    assert "checkpoints are signed but the log is empty; restore its database" in str(refused.value)
    assert trail("receipt", "save", A, "3", "--out", tmp_path, "--data", home.directory).code == 0
    proof = trail("receipt", "verify", tmp_path / "site-701-3.tlog-proof", "--log-key", home.log_key.vkey())
    assert "The receipt holds." in proof.text, "what sites hold needs no database"


def test_a_database_deleted_beneath_the_notary(trial: Trial) -> None:
    """It could still be written to: receipts would be given for entries that nobody will ever read."""
    size = len(entries(trial.home))
    taken_away(trial.home.places.log)
    assert not trial.post(weighed(A, 70), timeout=2), "no receipt for what cannot be kept"
    assert "was deleted or replaced while the notary was running" in trial.last_words("audit")

    async def mirrored(connected: Any) -> int:
        return int((await connected.js.stream_info(trial.home.topology.log)).state.last_seq)

    assert trial.on_line(mirrored) == size, "LOG still holds every entry"
