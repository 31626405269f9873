"""Which signatures hold, what ended the others, and what still waits: told by the sealed entries alone."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.cli.installation import user_of
from services.console.signature_words import (
    manifestation,
    record_in_words,
    signature_as_data,
    statement,
    what_waits,
)
from services.console.signatures import Book, signed
from services.console.signers import role_for, waits_for
from shared.entry import Entry
from shared.envelope import read_envelope
from shared.identities import Identity, Person
from shared.moments import instant
from shared.words import KeyId, LogIndex, SourceId, TrailError
from tests.safety_site import MEMBERS, PERSON, SITE, SafetySite
from tests.site import SIGNER, Site

NOW = instant("2026-03-04T09:00:00Z")


@dataclass(frozen=True)
class Story:
    """A log, and what happened in it, by entry."""

    entries: list[Entry]
    at: dict[str, int]

    def book(self, until: str | int | None = None) -> Book:
        last = self.at[until] if isinstance(until, str) else until
        return signed(one for one in self.entries if last is None or one.index <= last)


@pytest.fixture(scope="module")
def eligibility(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """Signed, its evidence corrected, signed again, and taken back."""
    site = Site(tmp_path_factory.mktemp("eligibility"))
    site.screen()
    at = {"decided": _decision(site)}
    at["signed"] = site.sign()[0].index
    wrong = next(read_envelope(one.body) for one in site.log() if b'"creatinine"' in one.body)
    corrected = {**wrong.data, "value": 1.0, "corrects": wrong.id, "reason": "digits swapped"}
    at["corrected"] = site.say("screening.observed", corrected)[0].index
    at["decided anew"] = _decision(site)
    again = site.sign()[0]
    at["signed again"] = again.index
    at["taken back"] = site.retract(again, "investigator")[0].index
    site.notary.close()
    return Story(site.log(), at)


@pytest.fixture(scope="module")
def safety(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """An adverse event whose causality is stated anew, and a committee's decision."""
    site = SafetySite(tmp_path_factory.mktemp("safety"))
    at = {"reported": site.report()[0].entry.index}
    for meaning in ("causality", "grade"):
        record = site.log()[at["reported"]]
        data = {
            "meaning": meaning,
            "name": f"investigator of {SITE}",
            "user": user_of(SITE, "investigator"),
            "role": "investigator",
            "records": [{"index": record.index, "leaf": record.leaf.hex()}],
        }
        at[meaning] = site.say("record.signed", data, role="investigator")[0].entry.index
    update = {"ae": "1", "on": "2026-03-08", "causality": "not_related"}
    at["stated anew"] = site.say("safety.event_updated", update)[0].entry.index
    held = {"dose_level": "DL1", "decision": "hold", "why": "As discussed."}
    decided = site.say("safety.cohort_decided", held)[0]
    at["cohort"] = decided.entry.index
    at["one"] = site.endorse(decided, MEMBERS[0])[0].entry.index
    at["two"] = site.endorse(decided, MEMBERS[1])[0].entry.index
    site.notary.close()
    return Story(site.log(), at)


def _decision(site: Site) -> int:
    decision = site.person.decision
    assert decision is not None
    assert decision.entry is not None
    return decision.entry


def waiting(book: Book) -> set[tuple[int, str]]:
    """What waits about anybody; the protocol that these logs begin with is nobody's to sign in them."""
    return {(one.index, one.meaning) for one in book.waiting() if one.meaning != "protocol"}


def test_an_eligible_decision_waits_until_it_is_signed_and_then_the_signature_holds(eligibility: Story) -> None:
    at = eligibility.at
    assert waiting(eligibility.book("decided")) == {(at["decided"], "eligibility")}
    book = eligibility.book("signed")
    assert waiting(book) == set()
    (one,) = book.on(at["decided"])
    assert (one.status, one.name, one.user, one.role) == ("valid", SIGNER["name"], SIGNER["user"], "investigator")


def test_a_change_of_what_was_signed_supersedes_the_signature_and_says_by_what_and_why(eligibility: Story) -> None:
    at = eligibility.at
    book = eligibility.book("decided anew")
    (one,) = book.on(at["decided"])
    assert (one.status, one.again) == ("superseded", (at["decided anew"],))
    assert [change.by for change in one.changes] == [at["corrected"], at["decided anew"]]
    assert "digits swapped" in one.changes[0].why
    assert f"entry {at['decided anew']} replaced entry {at['decided']}" in one.changes[1].why
    assert (at["decided anew"], "eligibility") in waiting(book)
    told = "\n".join(manifestation(one))
    assert "SUPERSEDED" in told
    assert "digits swapped" in told
    assert signature_as_data(one)["changes"][0]["by"] == at["corrected"]


def test_signed_anew_nothing_is_left_to_sign_and_the_old_signature_stays_superseded(eligibility: Story) -> None:
    at = eligibility.at
    book = eligibility.book("signed again")
    assert [one.status for one in book.signatures.values()] == ["superseded", "valid"]
    assert book.signatures[LogIndex(at["signed"])].again == ()
    assert (at["decided anew"], "eligibility") not in waiting(book)


def test_what_a_site_system_corrected_waits_for_the_investigator(eligibility: Story) -> None:
    (one,) = [one for one in eligibility.book().waiting() if one.meaning == "correction"]
    assert (one.index, one.roles) == (eligibility.at["corrected"], {"investigator", "sub_investigator"})
    assert f"entry {one.index} about participant 701-001 waits for correction" in what_waits(one)


def test_a_signature_that_was_taken_back_holds_nothing_and_says_why(eligibility: Story) -> None:
    at = eligibility.at
    book = eligibility.book()
    one = book.signatures[LogIndex(at["signed again"])]
    assert (one.status, one.changes[0].by, one.changes[0].why) == ("taken_back", at["taken back"], "a slip")
    assert (at["decided anew"], "eligibility") in waiting(book)
    assert "TAKEN BACK" in "\n".join(manifestation(one))


def test_a_causality_stated_anew_supersedes_its_signature_and_not_that_of_the_grade(safety: Story) -> None:
    at = safety.at
    book = safety.book()
    found = {one.meaning: one for one in book.on(at["reported"])}
    assert (found["causality"].status, found["causality"].again) == ("superseded", (at["stated anew"],))
    assert "the causality is stated as not related" in found["causality"].changes[0].why
    assert found["grade"].status == "valid"
    assert (at["stated anew"], "causality") in waiting(book)
    assert [one.index for one in book.on_event(PERSON, "1")] == [at["causality"], at["grade"]]


def test_a_committees_decision_waits_for_two_different_persons(safety: Story) -> None:
    at = safety.at
    for until, signers in (("cohort", ()), ("one", ("cohort_committee.committee",))):
        (one,) = [one for one in safety.book(until).waiting() if one.meaning == "cohort"]
        assert (one.index, one.persons, one.signed_by) == (at["cohort"], 2, signers)
    assert (at["cohort"], "cohort") not in waiting(safety.book("two"))


def test_what_is_signed_is_shown_whole(eligibility: Story) -> None:
    index = eligibility.at["decided"]
    book = eligibility.book()
    event = book.event(index)
    assert event is not None
    told = "\n".join(record_in_words(event, book.author(index), book.reader))
    assert f"Entry {index}, screening.decided" in told
    assert "with the key of screening of service/screening" in told
    assert "I5.1: met; creatinine 0.9 mg/dL" in told
    assert f"leaf hash {event.entry.leaf.hex()}" in told
    said = statement("Anna Ivanova", "sub_investigator", "eligibility")
    assert said == "By signing, I, Anna Ivanova, sub investigator, state that the decision on eligibility is right."


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.data())
def test_in_whatever_order_entries_are_read_the_signatures_are_the_same(
    eligibility: Story, safety: Story, random: object, data: st.DataObject
) -> None:
    story = data.draw(st.sampled_from([eligibility, safety]))
    until = data.draw(st.integers(0, len(story.entries)))
    entries = story.entries[:until]
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = signed(entries), signed(shuffled)
    assert one.signatures == other.signatures
    assert one.waiting() == other.waiting()


def test_a_signature_that_ceased_to_hold_never_holds_again(eligibility: Story, safety: Story) -> None:
    rank = {"valid": 0, "superseded": 1, "taken_back": 2}
    for story in (eligibility, safety):
        before: dict[int, int] = {}
        for until in range(min(story.at.values()), len(story.entries)):
            now = {index: rank[one.status] for index, one in story.book(until).signatures.items()}
            assert all(now[index] >= known for index, known in before.items())
            before |= now


def person(role: str, site: str = "701", user: str = "anna") -> tuple[Identity, Person]:
    kind = "sponsor" if role in {"cohort_committee", "medical_monitor"} else "site"
    sites = frozenset({site}) if kind == "site" else None
    source, roles = SourceId(f"{kind}/{site}"), frozenset({role})
    me = Identity(KeyId("0" * 32), b"", "Anna", source, roles, LogIndex(1), user=user, sites=sites)  # type: ignore[arg-type]
    return me, Person(user, me.key)


@pytest.mark.parametrize(
    ("role", "site", "user", "sees"),
    [
        ("investigator", "701", "anna", True),
        ("investigator", "702", "anna", False),
        ("sub_investigator", "701", "anna", False),  # nothing is delegated to her
        ("medical_monitor", "701", "anna", False),
        ("cohort_committee", "701", "anna", False),
    ],
)
def test_each_sees_what_is_theirs_to_sign(eligibility: Story, role: str, site: str, user: str, sees: bool) -> None:
    book = eligibility.book("decided")
    found = [one.meaning for one in waits_for(book, *person(role, site, user), NOW) if one.subject is not None]
    assert found == (["eligibility"] if sees else [])


def test_who_has_signed_is_not_asked_again_and_another_is(safety: Story) -> None:
    book = safety.book("one")
    for user, sees in (("cohort_committee.committee", False), ("another", True)):
        found = waits_for(book, *person("cohort_committee", user=user), NOW)
        assert bool(found) == sees
    with pytest.raises(TrailError, match="cohort is signed by cohort_committee, and anna is investigator"):
        role_for(person("investigator")[0], "cohort")
