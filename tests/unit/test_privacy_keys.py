"""A participant's privacy key: made once, kept to its owner, destroyed for good, never silently made again."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.drafts import Draft
from shared.envelope import read_envelope
from shared.outbox import Outbox
from shared.privacy_keys import PrivacyKeys
from shared.private_drafts import PrivateDrafts
from shared.private_text import PrivateText, decrypt
from shared.words import LogIndex, ParticipantId, RefusedError, SourceId, TrailError
from tests.notary import INVESTIGATOR, TRIAL

PERSON, OTHER = ParticipantId("701-001"), ParticipantId("701-002")
TIME = "2026-03-04T09:00:00+08:00"
TOLD = "Mrs Li of Rose Street called"


@pytest.fixture
def keys(tmp_path: Path) -> PrivacyKeys:
    return PrivacyKeys(tmp_path / "privacy")


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox.at(tmp_path / "outbox.sqlite", SourceId("site/701"), TRIAL)
    yield outbox
    outbox.close()


def judged(statement: str = TOLD, **more: Any) -> Draft:
    data = {"interferes": False, "statement": statement, "on": "2026-03-03"}
    return Draft(source="site/701", type="screening.judged", subject=PERSON, time=TIME, data=data, **more)


def destroyed(keys: PrivacyKeys) -> None:
    keys.condemn(PERSON, LogIndex(12), "2026-03-05T00:00:00Z")
    keys.destroy(PERSON)


def everything(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file())


def test_a_key_is_made_once_and_for_its_owner_only(keys: PrivacyKeys) -> None:
    assert keys.own(PERSON) is None
    made = keys.make(PERSON)
    assert keys.make(PERSON) == keys.own(PERSON) == keys.find(PERSON, made.id) == made
    assert keys.make(OTHER).id != made.id
    assert keys.find(OTHER, made.id) is None
    assert [path.stat().st_mode & 0o777 for _, path in keys.present()] == [0o600, 0o600]
    assert keys.directory.stat().st_mode & 0o077 == 0
    assert PERSON not in made.id


def test_a_copied_key_reads_and_is_destroyed_with_the_own(keys: PrivacyKeys, tmp_path: Path) -> None:
    site = PrivacyKeys(tmp_path / "site")
    theirs, own = site.make(PERSON), keys.make(PERSON)
    shutil.copy(tmp_path / "site" / f"{PERSON}.key", keys.directory / f"{PERSON}.site-701.key")
    assert keys.find(PERSON, theirs.id) == theirs
    assert keys.own(PERSON) == own, "what is written here goes under the own key"
    stone = keys.condemn(PERSON, LogIndex(12), "2026-03-05T00:00:00Z")
    assert set(stone.keys) == {theirs.id, own.id}
    assert keys.destroy(PERSON) == 2
    assert site.own(PERSON) == theirs, "a key elsewhere is not reached"


def test_a_destroyed_key_leaves_nothing_but_a_tombstone(keys: PrivacyKeys) -> None:
    keys.make(OTHER)
    secret = json.loads((keys.directory / "701-001.key").read_text())["secret"] if keys.make(PERSON) else ""
    destroyed(keys)
    assert [path.name for path in sorted(keys.directory.iterdir())] == ["701-001.erased", "701-002.key"]
    assert secret.encode() not in everything(keys.directory)
    stone = keys.tombstone(PERSON)
    assert stone is not None
    assert stone.ordered == 12
    for refused in (lambda: keys.make(PERSON), lambda: keys.check_not_erased(PERSON)):
        with pytest.raises(RefusedError, match=r"was erased by order of entry 12.*\"private\": false"):
            refused()


def test_a_file_is_overwritten_before_it_is_unlinked(keys: PrivacyKeys) -> None:
    keys.make(PERSON)
    (keys.directory / "kept").hardlink_to(keys.directory / f"{PERSON}.key")  # another name of the same bytes
    destroyed(keys)
    assert set((keys.directory / "kept").read_bytes()) == {0}


def test_a_condemned_key_is_not_used_even_if_we_die_before_it_is_destroyed(keys: PrivacyKeys) -> None:
    made = keys.make(PERSON)
    keys.condemn(PERSON, LogIndex(12), "2026-03-05T00:00:00Z")
    assert keys.own(PERSON) is keys.find(PERSON, made.id) is None
    again = keys.condemn(PERSON, LogIndex(99), "2026-04-01T00:00:00Z")
    assert (again.ordered, again.time, again.keys) == (12, "2026-03-05T00:00:00Z", (made.id,))
    assert keys.destroy(PERSON) == 1


def test_a_key_that_was_overwritten_when_we_died_is_gone_with_the_next_run(keys: PrivacyKeys) -> None:
    made = keys.make(PERSON)
    keys.condemn(PERSON, LogIndex(12), "2026-03-05T00:00:00Z")
    path = keys.directory / f"{PERSON}.key"
    path.write_bytes(bytes(path.stat().st_size))
    assert keys.condemn(PERSON, LogIndex(12), "2026-03-06T00:00:00Z").keys == (made.id,)
    assert keys.destroy(PERSON) == 1


def test_a_key_restored_from_a_backup_is_not_used_and_can_be_destroyed_again(keys: PrivacyKeys) -> None:
    made = keys.make(PERSON)
    backup = (keys.directory / f"{PERSON}.key").read_bytes()
    destroyed(keys)
    (keys.directory / f"{PERSON}.key").write_bytes(backup)
    assert keys.find(PERSON, made.id) is None
    destroyed(keys)
    assert list(keys.present()) == []


def test_a_damaged_key_file_is_not_taken_for_a_missing_one(keys: PrivacyKeys) -> None:
    keys.make(PERSON)
    path = keys.directory / f"{PERSON}.key"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(TrailError, match="is not a privacy key of participant 701-001"):
        keys.make(PERSON)
    shutil.copy(keys.directory / "701-001.key", keys.directory / "701-002.key")
    keys.directory.joinpath("701-001.key").unlink()
    keys.make(PERSON)
    shutil.copy(keys.directory / "701-001.key", keys.directory / "701-002.key")
    with pytest.raises(TrailError, match="is not a privacy key of participant 701-002"):
        keys.make(OTHER)


def test_the_same_draft_is_the_same_event_and_its_text_is_nowhere(
    keys: PrivacyKeys, outbox: Outbox, tmp_path: Path
) -> None:
    privacy = PrivateDrafts(keys, TRIAL, by_default=True)
    put = [outbox.put([judged()], lambda _role: INVESTIGATOR, privacy=privacy) for _ in range(3)]
    assert put == [[1], [1], [1]]
    assert outbox.put([judged("another")], lambda _role: INVESTIGATOR, privacy=privacy) == [2]
    envelope = read_envelope(outbox.waiting(1)[0].payload)
    key = keys.own(PERSON)
    assert key is not None
    assert decrypt(PrivateText.parse(envelope.data["statement"]), key, TRIAL, PERSON).text == TOLD
    files = everything(tmp_path)
    assert TOLD.encode() not in files
    assert judged().digest().encode() not in files, "a digest could be found by trying texts"


def test_what_an_older_outbox_holds_is_not_posted_again(keys: PrivacyKeys, outbox: Outbox) -> None:
    assert outbox.put([judged()], lambda _role: INVESTIGATOR) == [1]
    privacy = PrivateDrafts(keys, TRIAL, by_default=True)
    assert outbox.put([judged()], lambda _role: INVESTIGATOR, privacy=privacy) == [1]


@pytest.mark.parametrize(
    ("by_default", "private", "encrypted"),
    [(True, [], True), (True, False, False), (False, [], False), (False, ["statement"], True)],
)
@pytest.mark.part11("E6(R3) 3.16.1(t)")
def test_free_text_is_private_by_default_or_when_marked(
    keys: PrivacyKeys, by_default: bool, private: Any, encrypted: bool
) -> None:
    draft = judged(private=private)
    draft.check(TRIAL)
    sealed = PrivateDrafts(keys, TRIAL, by_default=by_default).encrypted(draft)
    assert (TOLD not in sealed.data["statement"]) == encrypted
    assert (keys.own(PERSON) is not None) == encrypted, "no key is made for nothing"
    sealed.check(TRIAL)


def test_monitor_and_site_can_read_each_others_questions_unless_they_mark_them(keys: PrivacyKeys) -> None:
    said = {"query": "q1", "text": "It was the left arm."}
    answer = Draft(source="site/701", type="review.query_answered", subject=PERSON, time=TIME, data=said)
    privacy = PrivateDrafts(keys, TRIAL, by_default=True)
    assert privacy.encrypted(answer) == answer
    assert "arm" not in privacy.encrypted(answer.model_copy(update={"private": ["text"]})).data["text"]


@pytest.mark.parametrize(
    ("type_", "data", "path", "sentence"),
    [
        (
            "safety.event_reported",
            {"ae": "1", "term": "Fever", "onset": "2026-03-03", "grade": 1, "serious": [], "causality": "probable"},
            "term",
            "data.term is not free text, and the trial's rules must read it",
        ),
        (
            "screening.history_listed",
            {"history": "prior_malignancies", "on": "2026-03-03", "entries": []},
            "entries[0].term",
            "there is no data.entries[0].term",
        ),
        ("screening.withdrawn", {"on": "2026-03-03", "why": "x"}, "reason", "what can be here: why"),
        ("privacy.erasure_ordered", {"why": "asked for"}, "why", "its texts stay readable for all"),
    ],
)
def test_a_mark_on_what_is_no_free_text_is_refused(
    type_: str, data: dict[str, Any], path: str, sentence: str
) -> None:
    draft = Draft(source="site/701", type=type_, subject=PERSON, time=TIME, data=data, private=[path])
    with pytest.raises(RefusedError) as error:
        draft.marked()
    assert sentence in str(error.value)


def test_nothing_private_goes_out_where_it_cannot_be_encrypted(keys: PrivacyKeys, outbox: Outbox) -> None:
    privacy = PrivateDrafts(keys, TRIAL, by_default=True)
    with pytest.raises(RefusedError, match=r"data\.statement is 1400 bytes long"):
        outbox.put([judged("x" * 1400)], lambda _role: INVESTIGATOR, privacy=privacy)
    with pytest.raises(RefusedError, match="must be a whole private text"):
        outbox.put([judged("private: his wife called")], lambda _role: INVESTIGATOR, privacy=privacy)
    with pytest.raises(RefusedError, match="there are no privacy keys here"):
        outbox.put([judged(private=["statement"])], lambda _role: INVESTIGATOR)
    destroyed(keys)
    with pytest.raises(RefusedError, match="no private text can be sent about them any more"):
        outbox.put([judged()], lambda _role: INVESTIGATOR, privacy=privacy)
    assert outbox.count_waiting() == 0
    assert outbox.put([judged("Nothing.", private=False)], lambda _role: INVESTIGATOR, privacy=privacy) == [1]
