"""A participant is judged by the version in force at their site on the day that is judged."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.replay import check
from services.screening.decide import ScreeningDecider
from shared.decider import Machine, SealedEvent, read_event
from shared.drafts import Draft
from shared.entry import Entry
from shared.events.decisions import Decided, DeviationRaised, EnrolmentRefused
from shared.moments import instant, stamp
from shared.protocol.model import protocol_digest
from shared.words import SourceId
from tests.amending import STRICTER, activate, amend, put_in_force, sign, with_people
from tests.site import Site
from tests.study import DOCUMENT, eligible, sealed

OLD, NEW = protocol_digest(DOCUMENT), protocol_digest(STRICTER)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.notary.close()


def events(entries: list[Entry]) -> list[SealedEvent]:
    assert not [entry.header.reason for entry in entries if not entry.admitted]
    return [event for event in map(read_event, entries) if event is not None]


def decided(entries: list[Entry]) -> list[str]:
    return [event.data.protocol_digest for event in events(entries) if isinstance(event.data, Decided)]


def deviations(entries: list[Entry]) -> list[str]:
    return [event.data.rule for event in events(entries) if isinstance(event.data, DeviationRaised)]


def since(site: Site, index: int) -> list[Entry]:
    return site.log()[index:]


def screened_without_plan(site: Site) -> None:
    """Judged on the day itself, because nobody has planned an infusion."""
    for record in sealed(eligible()):
        site.say(record.type, record.data.model_dump(exclude_unset=True))
    site.say("screening.completed", {"on": "2026-03-02"})


def at(site: Site, moment: str) -> list[Entry]:
    """Let a simulated log's time come to a moment; everything that was sealed because of it."""
    before = len(site.log())
    site.root("log.clock_moved", {"to": stamp(instant(moment))})
    site.now = instant(moment)
    return since(site, before)


@pytest.mark.part11("11.10(k)(2)", "E6(R3) 4.3.5")
def test_nobody_is_judged_by_a_version_that_is_not_activated(site: Site) -> None:
    site.screen()
    with_people(site)
    [amended] = amend(site, STRICTER)
    assert decided(sign(site, amended)) == []
    assert site.person.decision is not None
    assert site.person.decision.digest == OLD


def test_who_is_planned_before_the_effective_day_keeps_the_old_version(site: Site) -> None:
    site.screen()  # planned for 4 March
    assert decided(put_in_force(site, STRICTER, "2026-03-05")) == []
    assert decided(site.say("screening.infusion_planned", {"first": "2026-03-05"})) == [NEW]
    assert decided(site.say("screening.infusion_planned", {"first": "2026-03-04"})) == [OLD]


def test_an_activation_is_effective_at_midnight_of_the_site_and_not_of_the_world(tmp_path: Path) -> None:
    """4 March begins in Hangzhou at 16:00 UTC on 3 March; ticks come in UTC."""
    site = Site(tmp_path)
    screened_without_plan(site)
    put_in_force(site, STRICTER, "2026-03-04")
    assert NEW not in decided(at(site, "2026-03-03T15:59:00Z"))
    assert site.person.decision is not None
    assert site.person.decision.digest == OLD
    before = len(site.log())
    site.now = instant("2026-03-03T16:01:00Z")
    site.root("log.clock_moved", {"to": stamp(site.now)})
    site.seal([], tick=True)
    assert decided(since(site, before)) == [NEW]
    assert check(site.log()).differences == []
    site.notary.close()


def test_a_site_without_an_activation_keeps_the_version_that_the_log_began_with(site: Site) -> None:
    site.screen()
    other = SourceId("site/702")
    site.grant(other, "site_system")
    with_people(site)
    [amended] = amend(site, STRICTER)
    sign(site, amended)
    assert decided(activate(site, STRICTER, "2026-03-03", site="702")) == []
    said = {"sex": "female", "birth_date": "1970-01-01"}
    for type_, data in (("screening.registered", said), ("screening.completed", {"on": "2026-03-02"})):
        draft = Draft(source=other, type=type_, subject="702-001", time=stamp(site.now), data=data)
        last = site.post([draft])
    assert decided(last) == [OLD]
    at(site, "2026-03-03T05:00:00Z")
    assert site.machine.state["participant:702-001"].decision.digest == NEW  # type: ignore[attr-defined]
    assert site.person.decision is not None
    assert site.person.decision.digest == OLD


def test_who_was_infused_keeps_the_version_of_that_day_whatever_is_activated_or_said_later(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse()
    put_in_force(site, STRICTER, "2026-03-04")  # of the same day, but after the infusion was known
    made = site.say("screening.attested", {"topic": "pregnant", "answer": "no", "on": "2026-03-03"})
    assert set(decided(made)) <= {OLD}
    assert site.person.decision is not None
    assert site.person.decision.digest == OLD


@pytest.mark.parametrize("known_first", ["activation", "infusion"])
def test_an_infusion_reported_late_is_judged_by_the_version_of_its_day(site: Site, known_first: str) -> None:
    """In whichever order the site's infusion of 4 March and the activation from 5 March come."""
    site.screen()
    with_people(site)
    [amended] = amend(site, STRICTER)
    sign(site, amended)
    if known_first == "activation":
        activate(site, STRICTER, "2026-03-05")
    at(site, "2026-03-05T04:00:00Z")
    site.say("treatment.infused", {"at": "2026-03-04T10:00:00+08:00", "dose_level": "DL1", "number": 1})
    if known_first == "infusion":
        activate(site, STRICTER, "2026-03-05")
    assert site.person.decision is not None
    assert (site.person.decision.basis, site.person.decision.digest) == ("actual", OLD)


def test_an_activation_named_again_before_its_day_takes_the_first_ones_place(site: Site) -> None:
    site.screen()
    put_in_force(site, STRICTER, "2026-03-04")
    assert site.person.decision is not None
    assert site.person.decision.digest == NEW
    assert decided(activate(site, STRICTER, "2026-03-20")) == [OLD]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ("rules: [", "cannot be read"),
        (STRICTER.replace("trial: NCT06027853", "trial: NCT00000000"), "is of trial NCT00000000"),
        (DOCUMENT + "\n# the same version in other words\n", "there is another protocol 1.0"),
        (STRICTER + '\n"\\a\\u202e' + "x" * 900 + '": 1\n', "the protocol document is wrong:   xxx"),
    ],
)
@pytest.mark.part11("11.10(f)")
def test_a_version_that_cannot_be_used_is_said_to_be_so_and_changes_nothing(
    site: Site, document: str, why: str
) -> None:
    site.screen()
    made = put_in_force(site, document, "2026-03-02")
    assert deviations(made) == ["protocol_version_unusable"] * 2
    texts = [event.data.text for event in events(made) if isinstance(event.data, DeviationRaised)]
    assert why in texts[0]
    assert "was said when it was sealed" in texts[1]
    assert decided(made) == []
    assert check(site.log()).differences == []


def again(site: Site, form: str, signed: str) -> list[Entry]:
    return site.say("screening.consented", {"form_version": form, "signed": signed})


def test_a_place_needs_the_consent_that_an_amendment_asks_for(site: Site) -> None:
    milder = DOCUMENT.replace('version: "1.0"', 'version: "1.1"')
    site.screen()
    put_in_force(site, milder, "2026-03-02", reconsent=True)
    site.sign()
    [refused] = [event.data for event in events(site.enrol()) if isinstance(event.data, EnrolmentRefused)]
    [reason] = refused.reasons
    assert reason == (
        f"protocol 1.1 is in force at site/701 since 2026-03-02 (entry {_activation(site)}) and asks everybody to "
        "consent again, which is not recorded"
    )
    again(site, "2.0", "2026-03-02")
    site.sign()
    assert not [event for event in events(site.enrol()) if isinstance(event.data, EnrolmentRefused)]


def _activation(site: Site) -> int:
    return next(entry.index for entry in site.log() if entry.header.subject.endswith(".protocol.activated"))


@pytest.mark.parametrize(
    ("form", "signed", "owed"),
    [
        (None, None, True),
        ("2.0", "2026-03-06", False),
        ("2.0", "2026-03-05", False),
        ("2.0", "2026-03-04", True),  # before the version's day
        ("2.0", "2026-03", True),  # perhaps before it
        ("2.0", "2026-03-08", True),  # after the infusion
        ("2.1", "2026-03-06", True),  # on the old form
    ],
)
@pytest.mark.part11("11.10(f)")
def test_an_infusion_without_consenting_again_is_a_deviation(
    site: Site, form: str | None, signed: str | None, owed: bool
) -> None:
    site.screen()
    site.sign()
    site.enrol()
    site.infuse()
    put_in_force(site, STRICTER, "2026-03-05", reconsent=True)
    at(site, "2026-03-09T04:00:00Z")
    if form is not None and signed is not None:
        again(site, form, signed)
    made = site.infuse("2026-03-07T10:00:00+08:00", number=2)
    assert deviations(made) == (["infused_without_reconsent"] if owed else [])


def test_no_consent_is_owed_before_the_day_or_where_the_amendment_asks_for_none(site: Site) -> None:
    site.screen()
    site.sign()
    site.enrol()
    put_in_force(site, STRICTER, "2026-03-05")
    after = STRICTER.replace('version: "1.1"', 'version: "1.2"')
    amended = amend(site, after, replaces=STRICTER, reconsent=True)
    sign(site, amended[0])
    activate(site, after, "2026-03-10")
    assert "infused_without_reconsent" not in deviations(site.infuse())
    assert "infused_without_reconsent" not in deviations(site.infuse("2026-03-06T10:00:00+08:00", number=2))
    assert "infused_without_reconsent" in deviations(site.infuse("2026-03-10T00:00:00+08:00", number=3))


def test_a_restart_between_amendment_and_effective_day_changes_no_decision(site: Site) -> None:
    screened_without_plan(site)
    put_in_force(site, STRICTER, "2026-03-03", reconsent=True)
    at(site, "2026-03-05T04:00:00Z")
    log, decider = site.log(), ScreeningDecider()
    whole, cut = Machine(decider), Machine(decider)
    for entry in log:
        expected = whole.feed(entry)
        state = {
            key: decider.document_type(key).model_validate(json.loads(value.model_dump_json()))
            for key, value in cut.state.items()
        }
        cut = Machine(decider, state, cut.sequence)
        assert cut.feed(entry) == expected
    assert site.person.decision is not None
    assert site.person.decision.digest == NEW
    assert check(log).differences == []
