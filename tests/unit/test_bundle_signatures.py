"""What somebody who holds only a bundle reads of the signatures in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.bundle.pages import Cover, record
from services.console.signature_words import manifestation
from services.console.signatures import signed
from tests.notary import INVESTIGATOR, PERSON, TRIAL, Office, signature

REPORTED = {"ae": "1", "term": "Nausea", "onset": "2026-03-02", "grade": 2, "serious": []}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


@pytest.mark.part11("11.50(b)")
def test_the_record_to_read_shows_name_time_and_meaning_of_each_signature_beside_what_it_binds(
    office: Office,
) -> None:
    reported = office.post("safety.event_reported", REPORTED, subject=PERSON)
    given = signature(reported, meaning="grade")
    assert office.post("record.signed", given, subject=PERSON, key=INVESTIGATOR).admitted
    entries = office.entries()
    book = signed(entries)
    page = b"".join(record(Cover(TRIAL, "all", "checkpoint", "key", [], []), entries, {}, {}, book)).decode()
    (one,) = book.on(reported.index)
    shown = manifestation(one)
    assert "signed by holder of site/701 (investigator.701), investigator, meaning grade" in shown[0]
    assert f"signed at {one.signed_at}, sealed at {one.sealed_at}" in shown[1]
    rows = page.split("<tr")
    beside = next(row for row in rows if "safety.event_reported" in row)
    assert all(line.replace("'", "&#x27;") in beside for line in shown)
