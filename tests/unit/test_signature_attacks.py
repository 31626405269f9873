"""Forged, moved, replayed and backdated signatures, each tried against a real notary (21 CFR 11.70)."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.console.signatures import signed
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.moments import stamp
from tests.notary import INVESTIGATOR, PERSON, ROOT, SCREENING, SITE, Office, signature

REPORT = {"ae": "1", "term": "Nausea", "grade": 2, "causality": "possible", "onset": "2026-03-03", "serious": []}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    assert office.verify().good, "whatever was tried, the log verifies"
    office.notary.close()


@pytest.fixture
def report(office: Office) -> Entry:
    return office.post("safety.event_reported", REPORT, subject=PERSON)


def sign(
    office: Office, record: Entry, *, key: Any = INVESTIGATOR, time: str | None = None, **changes: Any
) -> Entry:
    more = {} if time is None else {"time": time}
    data = signature(record, meaning="grade") | changes
    return office.post("record.signed", data, key=key, subject=PERSON, **more)


def refused(entry: Entry, sentence: str) -> None:
    assert entry.header.verdict == "refused"
    assert sentence in entry.header.reason


def test_an_honest_signature_is_admitted(office: Office, report: Entry) -> None:
    assert sign(office, report).admitted


@pytest.mark.part11("11.70")
def test_a_signature_moved_to_another_record_binds_nothing(office: Office, report: Entry) -> None:
    other = office.post("safety.event_reported", REPORT | {"ae": "2", "grade": 4}, subject=PERSON)
    moved = [{"index": other.index, "leaf": report.leaf.hex()}]
    refused(sign(office, report, records=moved), f"entry {other.index} does not have leaf hash {report.leaf.hex()}")
    honest = sign(office, report)
    body = honest.body.replace(report.leaf.hex().encode(), other.leaf.hex().encode())
    moved_bytes = office.send(body, INVESTIGATOR, signature=honest.header.signature)
    refused(moved_bytes, "the signature is not that of key")


def test_a_record_that_is_changed_after_signing_supersedes_the_signature(office: Office, report: Entry) -> None:
    given = sign(office, report)

    correction = REPORT | {"grade": 3, "corrects": read_envelope(report.body).id, "reason": "misread"}
    changed = office.post("safety.event_reported", correction, subject=PERSON)
    assert changed.admitted
    one = signed(office.entries()).signatures[given.index]
    assert (one.status, one.changes[0].by, one.again) == ("superseded", changed.index, (changed.index,))


def test_a_signed_event_that_is_sent_again_counts_once(office: Office, report: Entry) -> None:
    given = sign(office, report)
    again = office.seal([office.arrival(given.body, INVESTIGATOR)])
    assert again.entries == []
    renumbered = given.body.replace(b'"sequence":"', b'"sequence":"9')
    refused(
        office.send(renumbered, INVESTIGATOR, signature=given.header.signature), "the signature is not that of key"
    )
    assert len(signed(office.entries()).signatures) == 1


@pytest.mark.parametrize(
    ("type_", "more", "sentence"),
    [
        ("identity.revoked", {}, "was revoked by entry"),
        ("identity.suspended", {}, "is suspended since entry"),
        ("identity.changed", {"roles": ["investigator"], "until": "2026-03-04T09:00:02Z"}, "expired at"),
    ],
)
@pytest.mark.part11("11.200(a)(2)")
def test_a_key_that_may_not_speak_signs_nothing(
    office: Office, report: Entry, type_: str, more: dict[str, Any], sentence: str
) -> None:
    assert office.post(type_, {"key": INVESTIGATOR.id, "why": "left"} | more, key=ROOT).admitted
    office.now += timedelta(seconds=5)
    refused(sign(office, report), sentence)


def test_a_backdated_signature_is_refused(office: Office, report: Entry) -> None:
    office.now += timedelta(hours=30)
    late = office.post("safety.event_reported", REPORT | {"ae": "2"}, subject=PERSON)
    before = stamp(office.now - timedelta(hours=1))
    refused(sign(office, late, time=before), "nothing is signed before it exists")
    refused(sign(office, report, time=stamp(office.now - timedelta(hours=25))), "more than 24 hours before")


@pytest.mark.parametrize(
    ("thief", "sentence"), [(SITE, "record.signed may be submitted by"), (SCREENING, "may be")]
)
@pytest.mark.part11("11.200(a)(2)")
def test_a_stolen_key_of_a_system_signs_as_nobody(office: Office, report: Entry, thief: Any, sentence: str) -> None:
    refused(sign(office, report, key=thief), sentence)


@pytest.mark.part11("11.50(a)(1)", "11.100(a)", "11.200(a)(2)")
def test_nobody_signs_in_anothers_name_or_role(office: Office, report: Entry) -> None:
    refused(sign(office, report, name="Somebody Else"), "a signature shows the signer's own user id and name")
    refused(sign(office, report, user="another"), "a signature shows the signer's own user id and name")
    refused(sign(office, report, role="medical_monitor"), "does not have the role medical_monitor")
