"""The safety decider at the edges of what can be said: it decides as an event can hold it, and never stops."""

from typing import Any

import pytest

from services.safety.trial import Answer, Rules, Trial, draft
from shared.decider import read_event
from shared.entry import Entry
from shared.envelope import MAX_EVENT_BYTES
from shared.words import ParticipantId
from tests.feed import Feed
from tests.study import DOCUMENT

INFUSED = {"at": "2026-03-02T10:00:00+08:00", "dose_level": "DL1", "number": 1}
LONG = "9" * 64


class Weighed(Feed):
    """A feed that weighs every decision."""

    heaviest = 0
    first: Entry

    def _feed(self, entry: Entry) -> list[bytes]:
        if entry.index == 0:
            self.first = entry
        made = super()._feed(entry)
        self.heaviest = max([self.heaviest, *map(len, made)])
        return made


@pytest.fixture
def feed() -> Weighed:
    made = Weighed()
    made.say("screening.registered", {"sex": "female"})
    return made


def event(ae: str, **data: Any) -> dict[str, Any]:
    said = {"ae": ae, "term": "Nausea", "onset": "2026-03-05", "grade": 3, "causality": "definite", "serious": []}
    return said | data


@pytest.mark.parametrize("at", ["1880-01-01T00:00+14:00", "2199-12-31T23:59-12:00"])
def test_a_moment_that_a_time_zone_moves_past_the_allowed_years_is_decided_on(feed: Weighed, at: str) -> None:
    feed.say("treatment.infused", INFUSED | {"at": at})
    feed.say("safety.event_reported", event("1", serious=["disability"], onset=at))
    assessed = {"ae": "1", "aware": at, "determined": at, "why": "As stated."}
    feed.say("safety.event_assessed", assessed, source="sponsor/medical")
    assert feed.assessed().window is not None


def test_two_events_with_the_longest_numbers_are_asked_about_as_twins(feed: Weighed) -> None:
    for ae in (LONG, LONG[:-1] + "8"):
        feed.say("safety.event_reported", event(ae))
    asked = [answer.content["query"] for answer in feed.assessed().answers if " like " in answer.question]
    assert len(asked) == 1
    assert len(asked[0]) <= 120


def test_a_decision_always_fits_into_an_event_however_much_there_is_to_say(feed: Weighed) -> None:
    feed.say("treatment.infused", INFUSED)
    for number in range(70):
        term = f"{number:02}" + "症" * 115
        feed.say("safety.event_reported", event(f"{LONG[:60]}{number:02}", term=term, system_organ_class=term))
    assert feed.assessed().window is not None
    assert 20_000 < feed.heaviest < MAX_EVENT_BYTES


def test_a_decision_is_weighed_in_bytes_and_not_in_characters(feed: Weighed) -> None:
    """Twenty sentences in Chinese: 38,000 characters, and three times as many bytes."""
    rules, cause = Rules.of(Trial(document=DOCUMENT, digest="0" * 64)), read_event(feed.first)
    assert rules is not None
    assert cause is not None
    content = {"dose_level": "DL1", "state": "open", "first_day": "2026-03-02", "last_day": "2026-03-30"}
    answer = Answer("window", "safety.window_decided", content | {"toxicities": []}, ["症" * 1900] * 20)
    made = draft(answer, ParticipantId("701-001"), cause, rules).data
    assert 5_000 < len(made.model_dump_json().encode()) < MAX_EVENT_BYTES


def test_many_cytopenias_and_no_counts_are_decided_on(feed: Weighed) -> None:
    feed.say("treatment.infused", INFUSED)
    for number in range(30):
        said = event(f"{LONG[:50]}{number:02}", term="Neutrophil count decreased", causality="not_related")
        feed.say("safety.event_reported", said)
    for item in ("platelets", "anc"):
        value = {"item": item, "value": 0.1, "unit": "10*3/uL", "collected": "2026-03-30", "reference": {"low": 2}}
        feed.say("safety.observed", value)
    assert feed.assessed().window is not None


def test_many_who_are_not_evaluable_are_decided_on(feed: Weighed) -> None:
    common = {"engine": "screening/1", "protocol": "1.0", "protocol_digest": "0" * 64, "places": 24, "evidence": []}
    for number in range(45):
        code = f"{'p' * 58}-{number:03}"
        feed.say("screening.registered", {"sex": "male"}, of=code)
        cause = {"index": 0, "leaf": "0" * 64}
        enrolled = common | {"cause": cause, "place": number + 1, "dose_level": "DL1"}
        feed.say("screening.enrolled", enrolled, of=code, source="service/screening")
        feed.say("treatment.infused", INFUSED, of=code)
        feed.say("screening.withdrawn", {"on": "2026-03-05"}, of=code)
    assert feed.heaviest < MAX_EVENT_BYTES


@pytest.mark.parametrize("tail", ["a: !!bool maybe", "a: !!timestamp foo", "a: !!int ''", "a: !!float x"])
def test_a_protocol_that_cannot_be_read_leaves_the_one_in_force(feed: Weighed, tail: str) -> None:
    document = f"{DOCUMENT}\n{tail}\n"
    feed.say("protocol.adopted", {"document": document, "digest": "0" * 64}, of=None, source="admin/root")
    feed.say("treatment.infused", INFUSED)
    assert feed.assessed().window is not None


def test_a_trial_that_gives_up_its_safety_part_is_decided_on_no_more_and_stops_nothing(feed: Weighed) -> None:
    feed.say("treatment.infused", INFUSED)
    made = len(feed.decisions)
    document = DOCUMENT[: DOCUMENT.index("\nsafety:")] + DOCUMENT[DOCUMENT.index("\nassumptions:") :]
    feed.say("protocol.adopted", {"document": document, "digest": "0" * 64}, of=None, source="admin/root")
    feed.say("safety.event_reported", event("1"))
    assert len(feed.decisions) == made
