"""The log's root changes its key: whoever knows the first key follows, and a stolen key is of no use."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from services.audit.log import Row
from services.audit.verify import Report, Verifier
from shared.checkpoint import Checkpoint, open_checkpoint
from shared.decider import SealChecker
from shared.entry import Entry, seal
from shared.log_keys import LogKeys
from shared.merkle import Frontier
from shared.note import NoteKey
from shared.receipt import open_receipt
from shared.signing import Keyring, SigningKey
from shared.words import EvidenceError, TrailError
from tests.notary import LOG, LOG_KEY, ORIGIN, ROOT, SITE, TRIAL, Office, seeded_key, text_key

NEXT, THIRD = seeded_key("next log key"), seeded_key("third log key")
NEXT_KEY = NoteKey(ORIGIN, NEXT.public)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = with_next_keys(Office.founded(tmp_path))
    yield office
    office.notary.close()


def with_next_keys(office: Office) -> Office:
    office.notary.close()
    office.keyring = Keyring(LOG, NEXT, THIRD)
    office.notary = office.open()
    return office


def rotate(office: Office, key: SigningKey = NEXT, by: SigningKey = ROOT) -> Entry:
    return office.post("log.key_rotated", {"public_key": text_key(key), "why": "a yearly change"}, key=by)


def verify(office: Office, given: NoteKey) -> Report:
    log = office.notary.log
    verifier = Verifier(TRIAL, given, lambda index: log.entry(index).raw)
    return verifier.run(log.rows(), office.notary.checkpoints.all(), saved=log.register_rows())


def notes(office: Office) -> dict[int, str]:
    return {size: note for _, size, note in office.notary.checkpoints.all()}


def test_after_a_rotation_the_next_key_signs_and_the_old_one_no_more(office: Office) -> None:
    entry = rotate(office)
    assert entry.admitted
    office.register()
    signed = notes(office)
    for size, note in signed.items():
        key = LOG_KEY if size <= entry.index else NEXT_KEY
        assert open_checkpoint(note, key).size == size
        with pytest.raises(EvidenceError):
            open_checkpoint(note, NEXT_KEY if key == LOG_KEY else LOG_KEY)


@pytest.mark.parametrize("given", [LOG_KEY, NEXT_KEY], ids=["first", "present"])
def test_whoever_knows_the_first_or_the_present_key_verifies_across_the_change(
    office: Office, given: NoteKey
) -> None:
    rotate(office)
    office.register()
    assert verify(office, given).faults == []


def test_a_key_that_was_neither_first_nor_is_present_verifies_nothing(office: Office) -> None:
    rotate(office)
    rotate(office, THIRD)
    assert verify(office, NoteKey(ORIGIN, THIRD.public)).good
    (fault,) = verify(office, NEXT_KEY).faults
    assert "entry 0 names another log key" in fault.what


def test_the_logs_own_statements_are_signed_with_the_next_key(office: Office) -> None:
    rotate(office)
    sequence = office.counter("site/701").last + 3
    payload = office.event("screening.registered", {"sex": "male"}, subject="701-009", sequence=sequence)
    _, gap = office.seal([office.arrival(payload, SITE)]).entries
    assert (gap.header.key, gap.admitted) == (NEXT.id, True)
    assert verify(office, LOG_KEY).good


def test_a_restart_behind_a_rotation_goes_on_with_the_next_key(office: Office) -> None:
    rotate(office)
    office.reopen()
    office.register()
    assert verify(office, LOG_KEY).good


def test_a_notary_without_the_next_private_key_says_so_before_anything_is_committed(office: Office) -> None:
    office.notary.close()
    office.keyring = Keyring(LOG)
    office.notary = office.open()
    size = office.notary.size
    with pytest.raises(
        TrailError, match=r"that private key is not here: name it in TRAIL_KEY_NEXT, and start the notary"
    ):
        rotate(office)
    assert (office.notary.size, office.notary.log.size()) == (size, size)


def test_a_keyring_finds_the_next_key_beside_the_first(tmp_path: Path) -> None:
    LOG.save(tmp_path / "log.pem")
    keyring = Keyring.at(tmp_path / "log.pem")
    with pytest.raises(TrailError, match=r"put it beside .*log\.pem"):
        keyring.get(NEXT.public)
    NEXT.save(tmp_path / "log-2.pem")
    assert keyring.get(NEXT.public).public == NEXT.public


@pytest.mark.parametrize(
    ("by", "reason"),
    [(LOG, "do not come through the intake"), (SITE, "may be submitted by root, not by site_system")],
    ids=["the log's own key", "a site"],
)
def test_nobody_but_the_root_rotates_the_key(office: Office, by: SigningKey, reason: str) -> None:
    """Least of all the log's key: whoever stole it could hand the log to themselves."""
    entry = rotate(office, by=by)
    assert reason in entry.header.reason


def test_a_key_that_was_ever_anybodys_is_refused(office: Office) -> None:
    assert rotate(office).admitted
    for key in (LOG, NEXT, SITE, ROOT):
        assert "was already granted by entry" in rotate(office, key).header.reason
    assert verify(office, LOG_KEY).good


def test_entries_of_an_older_format_know_no_rotation(tmp_path: Path) -> None:
    """What was refused when it was sealed stays refused, whatever the catalogue has learned since."""
    office = with_next_keys(Office.founded(tmp_path, people=False))
    entry = rotate(office)
    rows = list(office.notary.log.rows())
    old = [seal(replace(one.header, format=1), one.body) for one in office.entries()]
    rows = [Row(one.index, None, one.raw) for one in old]
    faults = Verifier(TRIAL, LOG_KEY, lambda at: rows[at].raw).run(rows[: entry.index + 1], []).faults
    assert faults  # their links are those of the new format; the ruling itself:
    relinked, tree = [], Frontier()
    for one in old:
        before = relinked[-1].leaf if relinked else one.header.prev
        relinked.append(seal(replace(one.header, prev=before), one.body))
        tree = tree.append(relinked[-1].leaf)
    heads = [(0, tree.size, Checkpoint(ORIGIN, tree.size, tree.root()).sign(LOG))]
    rows = [Row(one.index, None, one.raw) for one in relinked]
    (fault,) = Verifier(TRIAL, LOG_KEY, lambda at: rows[at].raw).run(rows, heads).faults
    assert "it must be refused: type trialtrail.log.key_rotated.v1 is not in the catalogue" in fault.what


def test_a_decider_follows_a_rotation_and_keeps_refusing_the_old_key(office: Office) -> None:
    entry = rotate(office)
    office.register()
    entries, signed = office.entries(), notes(office)
    checker = SealChecker(LogKeys.of(LOG_KEY))
    for one in entries:
        assert checker.add(one, signed[one.index + 1]) == [one]
    assert checker.log.keys == ((0, LOG.public), (entry.index + 1, NEXT.public))
    stolen = SealChecker(LogKeys.of(LOG_KEY))
    for one in entries[: entry.index + 1]:
        stolen.add(one, signed[one.index + 1])
    tree = Frontier().extend([one.leaf for one in entries[: entry.index + 2]])
    with pytest.raises(EvidenceError, match="not signed by"):
        stolen.add(entries[entry.index + 1], Checkpoint(ORIGIN, tree.size, tree.root()).sign(LOG))


@pytest.mark.parametrize("signer", ["log", "stranger", "nobody"])
def test_a_rotation_that_the_root_has_not_signed_is_followed_by_nobody(office: Office, signer: str) -> None:
    """The notary's word that it admitted something is not enough: its key may be the one that was stolen."""
    entry = rotate(office)
    signature = {"log": LOG.sign_event(entry.body), "stranger": THIRD.sign_event(entry.body), "nobody": ""}[signer]
    forged = seal(replace(entry.header, signature=signature), entry.body)
    keys = LogKeys.of(LOG_KEY).after(office.entries()[0], 0)
    assert keys.after(entry, 1).current == NEXT_KEY
    with pytest.raises(EvidenceError, match="this log's root has not signed it"):
        keys.after(forged, 1)


def test_a_log_that_begins_with_a_rotation_is_not_the_first_keys_log(office: Office) -> None:
    """A forger can name any first key in an entry 0 of their own; only a checkpoint of that key makes it true."""
    entry = rotate(office)
    keys = LogKeys.of(LOG_KEY).after(office.entries()[0], 0)
    with pytest.raises(EvidenceError, match="before the first one signed anything"):
        keys.after(entry, 0)
    rows = [Row(one.index, None, one.raw) for one in office.entries()]
    tree = Frontier().extend([one.leaf for one in office.entries()])
    heads = [(0, tree.size, Checkpoint(ORIGIN, tree.size, tree.root()).sign(NEXT))]
    (fault,) = Verifier(TRIAL, LOG_KEY, lambda at: rows[at].raw).run(rows, heads).faults
    assert (fault.index, "before the first one signed anything" in fault.what) == (entry.index, True)


def test_an_old_rotation_sealed_again_brings_no_stolen_key_back(office: Office) -> None:
    first = rotate(office)
    second = rotate(office, THIRD)
    keys = LogKeys.of(LOG_KEY).after(office.entries()[0], 0).after(first, 1).after(second, 1)
    with pytest.raises(EvidenceError, match="to one that it had before"):
        keys.after(seal(replace(first.header, index=second.index + 1), first.body), 1)


def test_receipts_are_checked_with_the_key_of_their_tree(office: Office) -> None:
    entry = rotate(office)
    payload = office.event("screening.registered", {"sex": "male"}, subject="701-009")
    ((_, receipt),) = office.seal([office.arrival(payload, SITE)]).receipts
    keys = LogKeys.of(LOG_KEY).rotated(entry.index, NEXT.public)
    assert open_receipt(receipt, payload, keys).entry.admitted
    with pytest.raises(EvidenceError, match="not signed by"):
        open_receipt(receipt, payload, LOG_KEY)
    early = office.notary.receipts_of([office.entries()[1].index])
    assert open_receipt(next(iter(early.values())), office.entries()[1].body, keys).entry.index == 1
