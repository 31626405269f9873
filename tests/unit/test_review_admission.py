"""Reviews of the audit trail and queries to sites, as admission rules on them and as a reviewer meets them."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.console.reviews import trail
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.moments import stamp
from shared.signing import SigningKey
from tests.notary import OBSERVED, OTHER_SITE, PERSON, ROOT, SITE, Office, grant, seeded_key

CRA = seeded_key("monitor of site 701")
CRA_SOURCE = "sponsor/cra"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    cra = grant(CRA, CRA_SOURCE, "monitor") | {"user": "cho.m", "sites": ["701"]}
    assert office.post("identity.granted", cra, key=ROOT).admitted
    yield office
    assert office.verify().faults == []
    office.notary.close()


def ask(office: Office, query: str = "Q1", about: Entry | None = None, **changes: Any) -> Entry:
    entry = about or office.post("screening.observed", OBSERVED, subject=PERSON)
    data = {"query": query, "site": "701", "text": "Which scales?"} | changes
    data.setdefault("records", [{"index": entry.index, "leaf": entry.leaf.hex()}])
    return office.post("review.query_raised", data, key=CRA, source=CRA_SOURCE, subject=PERSON)


def say(office: Office, verb: str, key: SigningKey, source: str, query: str = "Q1", **changes: Any) -> Entry:
    subject = changes.pop("subject", PERSON)
    data = {"query": query, "text": "The ones in room 2."} | changes
    return office.post(f"review.query_{verb}", data, key=key, source=source, subject=subject)


def test_a_query_is_raised_answered_and_closed_once(office: Office) -> None:
    assert ask(office).admitted
    assert say(office, "answered", SITE, "site/701").admitted
    assert say(office, "answered", SITE, "site/701").admitted, "an answer may be added to"
    assert say(office, "closed", CRA, CRA_SOURCE).admitted
    assert say(office, "closed", CRA, CRA_SOURCE).header.reason == "data.query: Q1 is closed: raise another"
    assert say(office, "answered", SITE, "site/701").header.reason == "data.query: Q1 is closed: raise another"


def test_a_querys_name_is_used_once(office: Office) -> None:
    first = ask(office)
    assert ask(office).header.reason == (
        f"data.query: Q1 was raised before, by entry {first.index}: choose another name"
    )


def test_a_query_names_the_very_entries_of_its_participant_and_their_site(office: Office) -> None:
    assert "does not have leaf hash" in ask(office, records=[{"index": 3, "leaf": "0" * 64}]).header.reason
    assert ask(office, site="702").header.reason == f"data.site: participant {PERSON} is of site 701"
    assert office.post("screening.registered", _born(), key=OTHER_SITE, subject="702-001").admitted
    other = office.post("screening.observed", OBSERVED, key=OTHER_SITE, subject="702-001")
    entry = ask(office, about=other)
    assert entry.header.reason == f"data.records: entry {other.index} is about participant 702-001"


def test_what_was_refused_can_be_asked_about(office: Office) -> None:
    refused = office.post("screening.observed", {**OBSERVED, "value": -1}, subject=PERSON)
    assert not refused.admitted
    assert ask(office, about=refused).admitted


def test_another_site_answers_nothing_and_a_query_keeps_its_participant(office: Office) -> None:
    assert ask(office).admitted
    entry = say(office, "answered", OTHER_SITE, "site/702")
    assert entry.header.reason == f"participant {PERSON} belongs to another site"
    assert office.register("701-002").admitted
    entry = say(office, "answered", SITE, "site/701", subject="701-002")
    assert entry.header.reason == f"data.query: Q1 is about participant {PERSON}"
    assert say(office, "answered", SITE, "site/701", "Q2").header.reason == "data.query: no query Q2 was raised"


def review(office: Office, **changes: Any) -> Entry:
    last = office.notary.size - 1
    data = {"first": 0, "as_of": last, "found": "One correction, explained."} | changes
    return office.post("review.recorded", data, key=CRA, source=CRA_SOURCE, subject=PERSON)


def test_nobody_has_reviewed_what_is_not_sealed_yet(office: Office) -> None:
    size = office.notary.size
    assert review(office, as_of=size).header.reason == (
        f"data.as_of: there is no entry {size} yet; the last is {size - 1}"
    )
    assert review(office, queries=["Q1"]).header.reason == "data.queries: no query Q1 was raised"
    assert ask(office).admitted
    assert review(office, queries=["Q1"]).admitted


def test_queries_and_reviews_outlive_a_restart(office: Office) -> None:
    assert ask(office).admitted
    office.reopen()
    assert "was raised before" in ask(office).header.reason
    assert say(office, "closed", CRA, CRA_SOURCE).admitted


def test_a_reviewer_meets_what_is_notable_until_it_was_looked_at(office: Office) -> None:
    weighed = office.post("screening.observed", OBSERVED, subject=PERSON)
    corrected = {**OBSERVED, "value": 71, "corrects": read_envelope(weighed.body).id, "reason": "misread"}
    correction = office.post("screening.observed", corrected, subject=PERSON)
    late = office.post("screening.observed", OBSERVED, subject=PERSON, time=stamp(office.now - timedelta(days=5)))
    refused = office.post("screening.observed", {**OBSERVED, "value": -1}, subject=PERSON)
    number = office.counter("site/701").last + 3
    office.post("screening.observed", OBSERVED, subject=PERSON, sequence=number)
    found = {one.index: one.why for one in trail(office.entries()).unreviewed()}
    assert "misread" in found[correction.index]
    assert found[late.index] == "recorded 5 days before it was sealed"
    assert found[refused.index].startswith("refused: data: weight cannot be negative")
    assert any("skipped its numbers" in why for why in found.values())
    assert review(office).admitted
    left = {one.index for one in trail(office.entries()).unreviewed()}
    assert correction.index not in left, "a review of the participant covers what is about the participant"
    assert refused.index in left, "and not what is about nobody"
    whole = {"first": 0, "as_of": office.notary.size - 1, "found": "Nothing more."}
    assert office.post("review.recorded", whole, key=CRA, source=CRA_SOURCE).admitted
    assert not list(trail(office.entries()).unreviewed())


def test_a_query_stands_as_its_last_step_left_it(office: Office) -> None:
    assert ask(office).admitted
    assert trail(office.entries()).queries["Q1"].standing == "open"
    assert say(office, "answered", SITE, "site/701").admitted
    assert trail(office.entries()).queries["Q1"].standing == "answered"
    assert say(office, "closed", CRA, CRA_SOURCE, text="Thank you.").admitted
    known = trail(office.entries()).queries["Q1"]
    assert (known.standing, known.asked.text, known.answers[0].text) == (
        "closed",
        "Which scales?",
        "The ones in room 2.",
    )
    assert known.closed is not None
    assert known.closed.source == CRA_SOURCE


def test_the_committee_can_name_only_a_sealed_recommendation(office: Office) -> None:
    member = seeded_key("committee member")
    assert office.post("identity.granted", grant(member, "sponsor/board", "cohort_committee"), key=ROOT).admitted
    decided = {"dose_level": "DL1", "decision": "hold", "why": "waiting"}

    def named(entry: Entry, leaf: str = "") -> Entry:
        data = decided | {"recommendation": entry.index, "recommendation_leaf": leaf or entry.leaf.hex()}
        return office.post("safety.cohort_decided", data, key=member, source="sponsor/board")

    some = office.post("screening.observed", OBSERVED, subject=PERSON)
    assert named(some, "0" * 64).header.reason == (
        f"data.recommendation: entry {some.index} does not have leaf hash {'0' * 64}"
    )
    assert named(some).header.reason == f"data.recommendation: entry {some.index} is no safety.cohort_recommended"
    assert office.post("safety.cohort_decided", decided, key=member, source="sponsor/board").admitted


def _born() -> dict[str, str]:
    return {"sex": "female", "birth_date": "1980-05"}
