"""A source numbers without gaps and keeps every event until the log's own receipt for it has verified."""

import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared import outbox as module
from shared.drafts import Draft, read_draft
from shared.envelope import read_envelope
from shared.events import Role
from shared.note import NoteKey
from shared.outbox import Outbox, Outgoing, uuid7
from shared.signing import SigningKey, verify_event
from shared.words import RefusedError, SourceId, TrailError
from tests.notary import INVESTIGATOR, LOG_KEY, OBSERVED, ORIGIN, PERSON, REGISTERED, SITE, STRANGER, TRIAL, Office

SOURCE = SourceId("site/701")
KEYS: dict[Role, SigningKey] = {"site_system": SITE, "investigator": INVESTIGATOR}


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    outbox = Outbox.at(tmp_path / "outbox.sqlite", SOURCE, TRIAL)
    yield outbox
    outbox.close()


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path / "office")
    yield office
    office.notary.close()


def draft(value: int = 70, **changes: Any) -> Draft:
    fields: dict[str, Any] = {
        "source": SOURCE,
        "type": "screening.observed",
        "subject": PERSON,
        "time": "2026-03-04T09:00:00Z",
        "data": OBSERVED | {"value": value},
    }
    return Draft(**fields | changes)


def registration() -> Draft:
    return draft(type="screening.registered", data=REGISTERED)


def put(outbox: Outbox, *drafts: Draft) -> list[int]:
    return outbox.put(drafts, KEYS.__getitem__)


def sealed(office: Office, events: list[Outgoing]) -> list[str]:
    """Carry events to the notary; its receipts."""
    keys = {key.id: key for key in KEYS.values()}
    messages = [office.arrival(event.payload, keys[event.key], signature=event.signature) for event in events]
    return [receipt for _, receipt in office.seal(messages).receipts]


def receipt(outbox: Outbox, sequence: int) -> str | None:
    kept = outbox.kept(sequence)
    return None if kept is None else kept[1]


def test_numbers_run_from_1_without_a_gap_in_the_order_of_the_drafts(outbox: Outbox) -> None:
    assert put(outbox, registration(), draft(70), draft(71)) == [1, 2, 3]
    assert put(outbox, draft(72)) == [4]
    waiting = outbox.waiting(10)
    assert [event.sequence for event in waiting] == [1, 2, 3, 4]
    assert [read_envelope(event.payload).sequence for event in waiting] == [1, 2, 3, 4]
    assert [int(read_envelope(event.payload).data.get("value", 0)) for event in waiting] == [0, 70, 71, 72]
    assert outbox.next_sequence() == 5


def test_numbers_go_on_after_a_restart(outbox: Outbox, tmp_path: Path) -> None:
    put(outbox, registration(), draft())
    before = outbox.waiting(10)
    outbox.close()
    again = Outbox.at(tmp_path / "outbox.sqlite", SOURCE, TRIAL)
    assert again.waiting(10) == before
    assert put(again, draft(71)) == [3]
    again.close()


def test_each_event_is_signed_over_its_very_bytes_by_the_key_its_role_needs(outbox: Outbox) -> None:
    judged = {"interferes": False, "statement": "Nothing.", "on": "2026-03-03"}
    put(outbox, draft(), draft(type="screening.judged", data=judged))
    first, second = outbox.waiting(10)
    assert (first.key, second.key) == (SITE.id, INVESTIGATOR.id)
    assert (first.signature, second.signature) == (
        SITE.sign_event(first.payload),
        INVESTIGATOR.sign_event(second.payload),
    )
    assert not verify_event(SITE.public, bytes(64), first.payload)


def test_the_same_drafts_again_are_the_same_events(outbox: Outbox) -> None:
    drafts = [registration(), draft(70), draft(71)]
    assert put(outbox, *drafts[:2]) == [1, 2]
    before = outbox.waiting(10)
    assert put(outbox, *drafts) == [1, 2, 3]
    assert put(outbox, *drafts) == [1, 2, 3]
    assert outbox.waiting(10)[:2] == before
    assert outbox.count_waiting() == 3


def test_a_draft_given_twice_at_once_is_one_event(outbox: Outbox) -> None:
    assert put(outbox, draft(70), draft(70), draft(71)) == [1, 1, 2]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"type": "screening.weather"}, "type 'screening.weather' is not in the catalogue"),
        ({"subject": None}, "screening.observed needs subject"),
        ({"time": "yesterday"}, "time must be an RFC 3339 time"),
        ({"data": {}}, "data.item is missing"),
        ({"data": OBSERVED | {"collected": "2027-01-01"}}, "lies in the future"),
    ],
)
def test_one_bad_draft_keeps_the_whole_file_out(outbox: Outbox, bad: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RefusedError, match=sentence):
        put(outbox, draft(70), draft(**bad), draft(71))
    assert (outbox.waiting(10), outbox.next_sequence()) == ([], 1)


def test_one_draft_too_large_to_send_keeps_the_whole_file_out_even_unchecked(outbox: Outbox) -> None:
    with pytest.raises(RefusedError, match="at most 60000"):
        outbox.put([draft(70), draft(data={"x": "x" * 60_000})], KEYS.__getitem__, checked=False)
    assert (outbox.waiting(10), outbox.next_sequence()) == ([], 1)


def test_an_id_given_by_another_system_is_kept_and_never_given_twice(outbox: Outbox) -> None:
    event_id = str(uuid.UUID(int=7, version=4))
    assert put(outbox, draft(70, id=event_id)) == [1]
    assert put(outbox, draft(70, id=event_id)) == [1]
    with pytest.raises(TrailError, match=f"an event with id {event_id} was already submitted, with other content"):
        put(outbox, draft(69), draft(71, id=event_id))
    assert [event.id for event in outbox.waiting(10)] == [event_id]


def test_receipts_settle_the_events_they_are_about(outbox: Outbox, office: Office) -> None:
    outbox.put([registration(), draft(70), draft(-1), draft(71)], KEYS.__getitem__, checked=False)
    events = outbox.waiting(10)
    receipts = sealed(office, events[:3])
    assert outbox.confirm(reversed(receipts), LOG_KEY) == (3, [])
    assert [event.sequence for event in outbox.waiting(10)] == [4]
    outcomes = outbox.outcomes([1, 2, 3, 4])
    assert [(one.sequence, one.verdict, one.reason) for one in outcomes] == [
        (1, "admitted", ""),
        (2, "admitted", ""),
        (3, "refused", "data: weight cannot be negative"),
    ]
    entries = office.entries()
    assert [entries[one.index].body for one in outcomes] == [event.payload for event in events[:3]]
    assert [receipt(outbox, at) for at in (1, 2, 3, 4)] == [*receipts, None]


def test_a_receipt_heard_again_changes_nothing(outbox: Outbox, office: Office) -> None:
    put(outbox, registration())
    receipts = sealed(office, outbox.waiting(10))
    assert outbox.confirm(receipts, LOG_KEY) == (1, [])
    assert outbox.confirm(receipts + receipts, LOG_KEY) == (0, [])
    assert receipt(outbox, 1) == receipts[0]


def test_a_receipt_of_somebody_elses_event_settles_nothing(outbox: Outbox, office: Office) -> None:
    put(outbox, registration())
    payload = office.event("screening.registered", REGISTERED, subject="701-009")
    other = office.seal([office.arrival(payload)]).receipts[0][1]
    assert outbox.confirm([other], LOG_KEY) == (0, [])
    assert outbox.count_waiting() == 1


def test_a_forged_receipt_settles_nothing_and_the_genuine_one_beside_it_does(
    outbox: Outbox, office: Office
) -> None:
    put(outbox, registration(), draft())
    first, second = sealed(office, outbox.waiting(10))
    head, note = first.split("\n\n", 1)
    lines = head.split("\n")
    forged = [
        "\n".join([*lines[:3], "A" * 43 + "=", *lines[4:]]) + "\n\n" + note,
        "\n".join(lines[:2] + second.split("\n\n")[0].split("\n")[2:]) + "\n\n" + note,
        head + "\n\n" + note.replace("\n", "\n0", 1),
        "not a receipt",
        "",
    ]
    settled, faults = outbox.confirm([*forged, second], LOG_KEY)
    assert (settled, len(faults)) == (1, len(forged))
    assert [event.sequence for event in outbox.waiting(10)] == [1]
    assert receipt(outbox, 1) is None
    assert outbox.confirm([forged[0], first, forged[1]], LOG_KEY)[0] == 1
    assert receipt(outbox, 1) == first


def test_another_logs_receipt_settles_nothing(outbox: Outbox, office: Office) -> None:
    put(outbox, registration())
    receipts = sealed(office, outbox.waiting(10))
    settled, faults = outbox.confirm(receipts, NoteKey(ORIGIN, STRANGER.public))
    assert settled == 0
    assert "is not signed by" in faults[0]
    assert outbox.count_waiting() == 1


def test_waiting_events_come_oldest_first_and_in_pages(outbox: Outbox) -> None:
    put(outbox, *(draft(60 + at) for at in range(7)))
    assert [event.sequence for event in outbox.waiting(3)] == [1, 2, 3]
    assert [event.sequence for event in outbox.waiting(3, beyond=3)] == [4, 5, 6]
    assert [event.sequence for event in outbox.waiting(3, beyond=6)] == [7]
    assert outbox.count_waiting() == 7


@given(st.integers(0, 2**48 - 1).map(lambda ms: ms * 1_000_000))
def test_a_generated_id_is_a_version_7_uuid_of_its_millisecond(nanoseconds: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.time, "time_ns", lambda: nanoseconds)
        made = uuid.UUID(uuid7())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == nanoseconds // 1_000_000


def test_generated_ids_sort_by_their_time_and_never_repeat(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(1_772_600_000_000_000_000, 1_772_700_000_000_000_000, 1_000_000))
    monkeypatch.setattr(module.time, "time_ns", lambda: next(ticks))
    made = [uuid7() for _ in range(500)]
    assert all(one < other for one, other in pairwise(made))
    monkeypatch.setattr(module.time, "time_ns", lambda: 1_772_600_000_000_000_000)
    assert len({uuid7() for _ in range(500)}) == 500


def test_a_draft_line_keeps_its_numbers_exact() -> None:
    line = b'{"source":"site/701","type":"screening.observed","time":"2026-03-04T09:00:00Z","data":{"value":0.90}}'
    assert b'"value":0.90' in read_draft(line).payload(TRIAL, str(uuid.UUID(int=1)), 1)


@pytest.mark.parametrize("line", [b"[]", b'{"source":1,"source":2}', b"{"])
def test_a_draft_line_is_read_as_strictly_as_an_event(line: bytes) -> None:
    with pytest.raises(RefusedError):
        read_draft(line)


def test_a_draft_with_a_field_too_many_is_refused() -> None:
    with pytest.raises(ValidationError, match="sequence"):
        Draft.model_validate(draft().model_dump() | {"sequence": "7"})
