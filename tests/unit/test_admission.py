"""Nothing is lost: whatever reaches the intake is sealed, and what is refused says why, with its exact bytes."""

import json
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.entry import Entry, digest_body
from shared.moments import stamp
from shared.receipt import open_receipt
from tests.notary import (
    INVESTIGATOR,
    LOG_KEY,
    OBSERVED,
    OTHER_SITE,
    PERSON,
    REGISTERED,
    ROOT,
    SCREENING,
    SITE,
    START,
    TRIAL,
    Office,
    signature,
)

NOTARYS_IDS = uuid.UUID("6f1d3c0e-5a1b-5c8e-9d57-2b9d0b7f5a10")


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def good(office: Office) -> Entry:
    return office.post("screening.observed", OBSERVED, subject=PERSON)


def observed(office: Office, **changes: Any) -> bytes:
    data = OBSERVED | changes
    return office.event("screening.observed", {k: v for k, v in data.items() if v is not None}, subject=PERSON)


def altered(office: Office, **changes: Any) -> bytes:
    document = json.loads(observed(office)) | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


BYTES: list[tuple[str, str, Callable[[Office], bytes]]] = [
    ("not JSON", "not valid JSON", lambda _: b"weight 70 kg"),
    ("empty", "not valid JSON", lambda _: b""),
    ("not an object", "not a JSON object", lambda _: b"[1, 2]"),
    ("not UTF-8", "not UTF-8: byte 0", lambda _: b"\xff\xfe{}"),
    ("deep", "nests deeper than 32", lambda _: b'{"data":' + b"[" * 5000),
    ("exponent beyond all", "too large an exponent", lambda _: b'{"data":1e99999999999999999999}'),
    ("unknown type", "type trialtrail.weather.sunny.v1", lambda o: o.event("weather.sunny", {})),
    ("unknown field", "not known: 'colour'", lambda o: altered(o, colour="red")),
    ("missing field", "lacks trial", lambda o: altered(o, trial=None)),
    ("wrong type", "sequence must be a string", lambda o: altered(o, sequence=7)),
    ("no offset", "time must be an RFC 3339", lambda o: altered(o, time="2026-03-04T09:00:00")),
    ("another trial", "belongs to trial NCT00000000", lambda o: altered(o, trial="NCT00000000")),
    ("unknown data field", "data.colour is not a field", lambda o: observed(o, colour="red")),
    ("wrong data type", "data.value must be a number", lambda o: observed(o, value="70")),
    ("missing data field", "data.collected is missing", lambda o: observed(o, collected=None)),
    ("unknown item", "item height is not in the catalogue", lambda o: observed(o, item="height")),
    ("unit does not fit", "the unit ms cannot be converted", lambda o: observed(o, unit="ms")),
    ("not UCUM", "is no UCUM unit", lambda o: observed(o, unit="stone-ish")),
    ("negative", "weight cannot be negative", lambda o: observed(o, value=-70)),
    ("impossible", "weight 7000 kg is impossible", lambda o: observed(o, value=7000)),
    ("future date", "data.collected: 2026-03-07 lies in the future", lambda o: observed(o, collected="2026-03-07")),
    ("nonexistent date", "data.collected: names a day", lambda o: observed(o, collected="2026-02-30")),
    (
        "future date in a list",
        "data.occurred[1]: 2030 lies in the future",
        lambda o: o.event(
            "screening.attested",
            {"topic": "copd", "answer": "yes", "on": "2026-03-03", "occurred": ["2020", "2030"]},
            subject=PERSON,
        ),
    ),
    (
        "future time",
        "lies after 2026-03-04T09:",
        lambda o: o.event("screening.observed", OBSERVED, subject=PERSON, time=stamp(o.now + timedelta(minutes=6))),
    ),
    (
        "unknown participant",
        "participant 701-009 is not known: send screening.registered first",
        lambda o: o.event("screening.observed", OBSERVED, subject="701-009"),
    ),
    ("no participant", "subject must name", lambda o: o.event("screening.observed", OBSERVED)),
    (
        "registered twice",
        "participant 701-001 was already registered, by site/701",
        lambda o: o.event("screening.registered", REGISTERED, subject=PERSON),
    ),
    (
        "correction of nothing",
        "data.corrects: there is no admitted event",
        lambda o: observed(o, corrects="0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50", reason="slip"),
    ),
    (
        "correction without a reason",
        "data: a correction needs both corrects (the event's id) and reason",
        lambda o: observed(o, corrects="0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50"),
    ),
]


@pytest.mark.parametrize(("what", "sentence", "write"), BYTES, ids=[row[0] for row in BYTES])
@pytest.mark.part11("11.10(a)", "11.10(f)", "11.10(h)")
def test_refused_bytes_are_sealed_as_they_came_and_what_follows_is_still_sealed(
    office: Office, what: str, sentence: str, write: Callable[[Office], bytes]
) -> None:
    payload = write(office)
    size = office.notary.size
    refused = office.send(payload)
    assert (refused.index, refused.admitted, refused.body) == (size, False, payload)
    assert sentence in refused.header.reason
    assert good(office).admitted
    assert office.verify().good


def test_a_too_large_event_is_sealed_by_its_digest_and_its_receipt_says_so(office: Office) -> None:
    payload = observed(office) + b" " * 60_000
    sealed = office.seal([office.arrival(payload)])
    entry = sealed.entries[0]
    assert entry.body == digest_body(payload)
    assert entry.header.reason.startswith(f"the event is {len(payload)} bytes long; at most 60000 are allowed")
    receipt = open_receipt(sealed.receipts[0][1], payload, LOG_KEY)
    assert not receipt.entry.admitted
    assert office.verify().good


def test_a_too_large_event_sent_again_is_answered_and_not_sealed_again(office: Office) -> None:
    payload = b"x" * 70_000
    first = office.seal([office.arrival(payload)])
    again = office.seal([office.arrival(payload)])
    assert again.entries == []
    assert again.receipts[0][1] == first.receipts[0][1]


def test_the_same_bytes_again_bring_the_same_receipt_and_no_entry(office: Office) -> None:
    message = office.arrival(observed(office))
    first, again = office.seal([message]), office.seal([office.arrival(message.payload)])
    assert again.entries == []
    assert [text for _, text in again.receipts] == [text for _, text in first.receipts]


def test_a_repeat_within_one_batch_is_sealed_once_and_answered_twice(office: Office) -> None:
    payload = observed(office)
    sealed = office.seal([office.arrival(payload), office.arrival(payload)])
    assert len(sealed.entries) == 1
    assert len({text for _, text in sealed.receipts}) == 1
    assert [arrival.intake for arrival, _ in sealed.receipts] == [office.intake - 1, office.intake]


def test_a_refused_message_repeated_is_answered_and_not_sealed_again(office: Office) -> None:
    first = office.seal([office.arrival(b"not JSON")])
    again = office.seal([office.arrival(b"not JSON")])
    assert (first.entries[0].admitted, again.entries) == (False, [])
    assert again.receipts[0][1] == first.receipts[0][1]


@pytest.mark.part11("11.10(f)")
def test_a_sequence_used_for_other_bytes_is_sealed_as_equivocation(office: Office) -> None:
    used = office.counter("site/701").last
    entry = office.post("screening.observed", OBSERVED | {"value": 71}, subject=PERSON, sequence=used)
    assert entry.header.reason == (
        f"equivocation: site/701 has used sequence {used} before, for an event with other bytes"
    )


def test_an_id_used_for_other_bytes_is_refused(office: Office) -> None:
    first = good(office)
    event_id = json.loads(first.body)["id"]
    entry = office.post("screening.observed", OBSERVED | {"value": 71}, subject=PERSON, event_id=event_id)
    assert entry.header.reason == f"the id {event_id} was already used by entry {first.index}"


def test_an_id_belongs_to_its_source_so_nobody_can_use_up_anothers(office: Office) -> None:
    event_id = json.loads(good(office).body)["id"]
    entry = office.post("screening.registered", REGISTERED, subject="702-001", key=OTHER_SITE, event_id=event_id)
    assert entry.admitted
    assert office.verify().good


@pytest.mark.part11("11.10(f)")
def test_a_gap_is_stated_behind_the_event_that_shows_it_and_closed_by_late_arrivals(office: Office) -> None:
    last = office.counter("site/701").last
    ahead = office.event("screening.observed", OBSERVED, subject=PERSON, sequence=last + 4)
    event, gap = office.seal([office.arrival(ahead)]).entries
    assert event.admitted
    assert (gap.admitted, gap.header.intake, json.loads(gap.body)["type"]) == (
        True,
        0,
        "trialtrail.log.gap_detected.v1",
    )
    assert json.loads(gap.body)["data"] == {
        "source": "site/701",
        "first_missing": last + 1,
        "last_missing": last + 3,
        "noticed_at": event.index,
    }
    for late in (last + 2, last + 3, last + 1):
        entries = office.seal(
            [office.arrival(office.event("screening.observed", OBSERVED, subject=PERSON, sequence=late))]
        ).entries
        assert [entry.admitted for entry in entries] == [True]
    assert office.counter("site/701").missing == ()
    assert office.verify().good


def test_a_refused_event_that_skips_numbers_shows_the_gap_too(office: Office) -> None:
    last = office.counter("site/701").last
    payload = office.event("screening.observed", OBSERVED | {"value": -1}, subject=PERSON, sequence=last + 2)
    refused, gap = office.seal([office.arrival(payload)]).entries
    assert (refused.admitted, gap.admitted) == (False, True)
    assert office.verify().gaps == {"site/701": [(last + 1, last + 1)]}


def test_what_is_refused_before_the_source_has_spoken_does_not_use_up_its_sequence(office: Office) -> None:
    before = office.counter("site/701")
    payload = observed(office)
    assert not office.send(payload, SITE, signature=OTHER_SITE.sign_event(payload)).admitted
    assert not office.send(payload, OTHER_SITE).admitted
    assert office.counter("site/701") == before
    assert office.send(payload).admitted


def test_what_the_source_itself_got_wrong_uses_up_its_sequence(office: Office) -> None:
    before = office.counter("site/701").last
    assert not office.send(observed(office, value=-1)).admitted
    assert office.counter("site/701").last == before + 1


def test_a_source_cannot_name_an_event_of_another_in_a_correction(office: Office) -> None:
    old = json.loads(good(office).body)["id"]
    office.register("702-001", OTHER_SITE)
    data = OBSERVED | {"corrects": old, "reason": "slip"}
    entry = office.post("screening.observed", data, subject="702-001", key=OTHER_SITE)
    assert entry.header.reason == f"data.corrects: there is no admitted event {old} of site/702"


@pytest.mark.part11("11.10(e)")
def test_a_correction_leaves_what_it_corrects_as_it_was_and_says_who_when_and_why(office: Office) -> None:
    old = good(office)
    named = {"corrects": json.loads(old.body)["id"], "reason": "read from the wrong line"}
    new = office.send(observed(office, value=71, **named))
    assert office.entries()[old.index].raw == old.raw
    assert (new.admitted, new.header.key, new.header.sealed_at) == (True, SITE.id, stamp(office.now))
    assert named.items() <= json.loads(new.body)["data"].items()
    assert office.verify().good


def test_a_correction_stays_with_its_participant(office: Office) -> None:
    old = json.loads(good(office).body)["id"]
    office.register("701-002")
    data = OBSERVED | {"corrects": old, "reason": "slip"}
    entry = office.post("screening.observed", data, subject="701-002")
    assert entry.header.reason == f"data.corrects: event {old} is about another participant"
    assert office.post("screening.observed", data, subject=PERSON).admitted


def test_a_correction_stays_with_its_type(office: Office) -> None:
    old = json.loads(good(office).body)["id"]
    data = {"on": "2026-03-03", "corrects": old, "reason": "slip"}
    entry = office.post("screening.completed", data, subject=PERSON)
    assert entry.header.reason == (f"data.corrects: event {old} is a screening.observed, not a screening.completed")


def test_a_refused_event_cannot_be_corrected(office: Office) -> None:
    refused = office.send(observed(office, value=-1))
    old = json.loads(refused.body)["id"]
    entry = office.send(observed(office, corrects=old, reason="slip"))
    assert f"there is no admitted event {old}" in entry.header.reason


def test_a_registration_cannot_be_retracted(office: Office) -> None:
    registered = json.loads(office.register("701-002").body)["id"]
    data = {"corrects": registered, "reason": "wrong person"}
    entry = office.post("screening.retracted", data, subject="701-002")
    assert entry.header.reason == "data.corrects: a screening.registered event cannot be retracted"


def test_a_participant_is_known_to_its_own_site_only(office: Office) -> None:
    entry = office.post("screening.observed", OBSERVED, subject=PERSON, key=OTHER_SITE)
    assert entry.header.reason == f"participant {PERSON} belongs to another site"


def test_an_event_that_is_about_nobody_takes_no_subject(office: Office) -> None:
    data = {"key": SITE.id, "why": "lost"}
    entry = office.post("identity.revoked", data, key=ROOT, subject=PERSON)
    assert entry.header.reason == "identity.revoked is not about a participant: leave subject out"
    assert good(office).admitted


@pytest.mark.part11("11.10(h)")
def test_an_event_on_another_subject_than_its_own_is_refused(office: Office) -> None:
    payload = observed(office)
    for message in (
        office.arrival(payload, source="site/702"),
        office.arrival(payload, route="screening.consented"),
        office.arrival(payload, route="x" * 10_000),
    ):
        entry = office.seal([message]).entries[0]
        assert entry.header.reason.startswith("the event was published on another subject than its own, intake.")
    assert office.send(payload).admitted


@pytest.mark.part11("11.70")
def test_a_signature_binds_only_the_very_entries_it_names(office: Office) -> None:
    record = good(office)
    beyond = office.notary.size + 100
    for index, leaf in ((record.index, "0" * 64), (record.index - 1, record.leaf.hex()), (beyond, "0" * 64)):
        data = signature(record, records=[{"index": index, "leaf": leaf}])
        entry = office.post("record.signed", data, subject=PERSON, key=INVESTIGATOR)
        assert entry.header.reason == f"data.records: entry {index} does not have leaf hash {leaf}"
    entry = office.post("record.signed", signature(record, meaning="grade"), subject=PERSON, key=INVESTIGATOR)
    told = f"data.records: entry {record.index} is a screening.observed, which is not signed for grade"
    assert entry.header.reason == told
    assert office.verify().good


def test_a_site_cannot_stop_the_log_by_using_the_id_of_its_next_statement(office: Office) -> None:
    # The notary computes its ids, so a site can know the one of the gap that its own event will show.
    taken = str(uuid.uuid5(NOTARYS_IDS, f"{TRIAL}/{office.notary.size + 1}"))
    ahead = office.counter("site/701").last + 3
    payload = office.event("screening.observed", OBSERVED, subject=PERSON, sequence=ahead, event_id=taken)
    event, gap = office.seal([office.arrival(payload)]).entries
    assert json.loads(event.body)["id"] == json.loads(gap.body)["id"] == taken
    assert office.verify().good


def test_a_decision_is_admitted_though_a_site_has_used_its_id_before(office: Office) -> None:
    event_id = json.loads(good(office).body)["id"]
    entry = office.post(
        "screening.enrolment_refused",
        {
            "cause": {"index": 0, "leaf": "0" * 64},
            "engine": "1",
            "protocol": "1",
            "protocol_digest": "0" * 64,
            "reasons": ["full"],
            "evidence": [],
        },
        subject=PERSON,
        key=SCREENING,
        event_id=event_id,
    )
    assert entry.admitted


def test_a_clock_a_little_fast_is_forgiven(office: Office) -> None:
    time = stamp(office.now + timedelta(minutes=4))
    assert office.post("screening.observed", OBSERVED, subject=PERSON, time=time).admitted
    assert office.now < START + timedelta(minutes=1)
