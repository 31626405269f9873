"""What safety goes by when the protocol is amended: the trial by the newest in force, a window by its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.console.replay import check
from services.safety.decide import SafetyDecider
from services.safety.outcomes import outcomes
from shared.decider import Machine
from shared.protocol.model import protocol_digest
from tests.amending import put_in_force
from tests.safety_site import SafetySite
from tests.study import DOCUMENT

LONGER = DOCUMENT.replace('version: "1.0"', 'version: "1.1"')
_LIMITS = LONGER.index("  dose_limits:")
LONGER = LONGER[:_LIMITS] + LONGER[_LIMITS:].replace("last_day: 28", "last_day: 42", 1).replace(
    "first_slots: 3 ", "first_slots: 5 "
)
"""A version whose windows close after day 42, and that opens five places at first."""

OLD, NEW = protocol_digest(DOCUMENT), protocol_digest(LONGER)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[SafetySite]:
    site = SafetySite(tmp_path)
    yield site
    site.notary.close()


def infuse_another(site: SafetySite, at: str, of: str = "701-002") -> None:
    site.say("screening.registered", {"sex": "male", "birth_date": "1980"}, of=of)
    site.say("treatment.infused", {"at": at, "dose_level": "DL1", "number": 1}, of=of)


def windows(site: SafetySite) -> dict[str, tuple[str, str]]:
    """Every participant's newest window decision: its last day, and the version it names."""
    made = site.decided("window_decided")
    return {str(one.envelope.subject): (one.data.last_day, one.data.protocol_digest) for one in made}  # type: ignore[attr-defined]


def test_an_open_window_keeps_the_definition_it_was_opened_by_and_a_later_one_has_the_new(site: SafetySite) -> None:
    put_in_force(site, LONGER, "2026-03-12")
    site.report(term="Vomiting", onset="2026-03-06", grade=3)
    infuse_another(site, "2026-03-12T10:00:00+08:00")
    assert windows(site) == {"701-001": ("2026-03-30", OLD), "701-002": ("2026-04-23", NEW)}
    assert check(site.log()).differences == []


def test_an_infusion_reported_late_opens_the_window_of_its_own_day(site: SafetySite) -> None:
    put_in_force(site, LONGER, "2026-03-12")
    site.wait(2)
    infuse_another(site, "2026-03-11T10:00:00+08:00")
    assert windows(site)["701-002"] == ("2026-04-08", OLD)


def test_what_was_infused_before_the_activation_was_known_keeps_its_window(site: SafetySite) -> None:
    infuse_another(site, "2026-03-12T09:00:00+08:00")
    put_in_force(site, LONGER, "2026-03-12")
    site.report(term="Vomiting", onset="2026-03-06", grade=3)
    assert windows(site)["701-002"] == ("2026-04-09", OLD)


def test_the_trial_goes_by_a_version_from_the_first_tick_of_its_day_at_the_first_site(site: SafetySite) -> None:
    put_in_force(site, LONGER, "2026-03-14")
    assert (site.trial.digest, site.last("slots_decided").up_to["DL1"]) == (OLD, 3)
    site.wait(1)
    assert site.trial.digest == OLD
    site.wait(1)
    assert (site.trial.digest, site.last("slots_decided").up_to["DL1"]) == (NEW, 5)
    assert site.last("slots_decided").protocol_digest == NEW
    assert site.trial.began_with == OLD
    assert check(site.log()).differences == []


def test_a_site_without_an_activation_opens_windows_by_the_version_that_the_log_began_with(
    site: SafetySite,
) -> None:
    site.grant("site/702", "site_system")  # type: ignore[arg-type]
    put_in_force(site, LONGER, "2026-03-12")
    said = {"sex": "male", "birth_date": "1980"}
    given = {"at": "2026-03-12T10:00:00+08:00", "dose_level": "DL1", "number": 1}
    site.say("screening.registered", said, of="702-001", source="site/702")
    site.say("treatment.infused", given, of="702-001", source="site/702")
    assert site.trial.digest == NEW
    assert windows(site)["702-001"] == ("2026-04-09", OLD)
    assert outcomes(site.safety.state).protocol_digest == NEW


def test_a_restart_after_an_amendment_changes_no_decision(site: SafetySite) -> None:
    put_in_force(site, LONGER, "2026-03-14")
    infuse_another(site, "2026-03-12T10:00:00+08:00")
    site.wait(3)
    infuse_another(site, "2026-03-15T10:00:00+08:00", "701-003")
    decider = SafetyDecider()
    whole, cut = Machine(decider), Machine(decider)
    for entry in site.log():
        expected = whole.feed(entry)
        stored = {
            key: decider.document_type(key).model_validate(json.loads(value.model_dump_json()))
            for key, value in cut.state.items()
        }
        cut = Machine(decider, stored, cut.sequence)
        assert cut.feed(entry) == expected
    assert windows(site)["701-003"] == ("2026-04-26", NEW)
