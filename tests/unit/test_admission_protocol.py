"""A version of the protocol comes into force only signed, approved, and from a day to come; the rest is refused."""

import hashlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from services.audit.register_rows import read_register
from shared.entry import Entry
from shared.signing import SigningKey
from tests.notary import ROOT, TRIAL, Office, grant, seeded_key

FIRST, SECOND, THIRD = "version: 1\n", "version: 2\n", "version: 3\n"
SPONSOR, PI, AWAY = seeded_key("sponsor"), seeded_key("principal"), seeded_key("principal 702")
MONITORS = (seeded_key("monitor one"), seeded_key("monitor two"))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Sponsor(Office):
    """An office with a sponsor, two persons who sign, and an investigator at each of two sites."""

    def say(self, type_: str, data: dict[str, Any], key: SigningKey, source: str) -> Entry:
        return self.post(type_, data, key=key, source=source)

    def amend(self, text: str, replaces: str = FIRST, **more: Any) -> Entry:
        data = {"document": text, "digest": digest(text), "replaces": digest(replaces)}
        data |= {"reconsent": False, "summary": "a change"}
        return self.say("protocol.amended", data | more, SPONSOR, "sponsor/office")

    def sign(self, version: Entry, *keys: SigningKey) -> None:
        for key in keys or MONITORS:
            name = "one" if key is MONITORS[0] else "two"
            data = {
                "meaning": "protocol",
                "name": f"holder of sponsor/{name}",
                "user": f"medical_monitor.{name}",
                "role": "medical_monitor",
                "records": [{"index": version.index, "leaf": version.leaf.hex()}],
            }
            entry = self.say("record.signed", data, key, f"sponsor/{name}")
            assert entry.admitted, entry.header.reason

    def activate(self, text: str, effective: str, *, by: SigningKey = SPONSOR, **more: str) -> Entry:
        source = {SPONSOR: "sponsor/office", PI: "site/701", AWAY: "site/702"}[by]
        data = {"digest": digest(text), "site": "701", "effective": effective, "approved": "2026-03-01"}
        data |= {"committee": "Ethics committee", "reference": "EC-1"}
        return self.say("protocol.activated", data | more, by, source)

    def signed(self, text: str, replaces: str = FIRST) -> Entry:
        version = self.amend(text, replaces)
        assert version.admitted, version.header.reason
        self.sign(version)
        return version


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Sponsor]:
    office = Sponsor.founded(tmp_path)
    assert isinstance(office, Sponsor)
    for key, source, role in (
        (SPONSOR, "sponsor/office", "sponsor"),
        (MONITORS[0], "sponsor/one", "medical_monitor"),
        (MONITORS[1], "sponsor/two", "medical_monitor"),
        (PI, "site/701", "investigator"),
        (AWAY, "site/702", "investigator"),
    ):
        data = grant(key, source, role)
        if key is PI:
            data["user"] = "principal.701"
        if role == "sponsor":
            data.pop("user", None)
        entry = office.post("identity.granted", data, key=ROOT)
        assert entry.admitted, entry.header.reason
    adopted = {"document": FIRST, "digest": digest(FIRST)}
    assert office.post("protocol.adopted", adopted, key=ROOT).admitted
    yield office
    office.notary.close()


def refused(entry: Entry, sentence: str) -> None:
    assert not entry.admitted
    assert sentence in entry.header.reason


@pytest.mark.part11("11.10(f)", "11.10(g)")
@pytest.mark.parametrize("by", ["root", "sponsor"])
def test_a_second_adoption_cannot_pass_the_signatures_by(office: Sponsor, by: str) -> None:
    data = {"document": SECOND, "digest": digest(SECOND)}
    key, source = (ROOT, "admin/root") if by == "root" else (SPONSOR, "sponsor/office")
    refused(
        office.say("protocol.adopted", data, key, source), "send protocol.amended, have it signed, and activate it"
    )
    data = {"document": FIRST, "digest": digest(FIRST)}
    refused(office.say("protocol.adopted", data, key, source), "a protocol is in force")
    assert office.verify().good


@pytest.mark.part11("11.10(g)", "E6(R3) 4.3.5")
def test_a_version_is_activated_only_once_two_persons_have_signed_it(office: Sponsor) -> None:
    version = office.amend(SECOND)
    refused(office.activate(SECOND, "2026-03-10"), "is signed by 0 of 2 persons: `trail sign` first")
    office.sign(version, MONITORS[0])
    office.sign(version, MONITORS[0])
    refused(office.activate(SECOND, "2026-03-10"), "is signed by 1 of 2 persons")
    office.sign(version, MONITORS[1])
    assert office.activate(SECOND, "2026-03-10").admitted
    assert office.verify().good


def test_an_amendment_is_of_a_sealed_version_and_new(office: Sponsor) -> None:
    refused(office.amend(SECOND, THIRD), f"data.replaces: no version {digest(THIRD)} of the protocol is sealed")
    refused(office.amend(FIRST), "this version is sealed already, by entry")
    refused(office.amend(SECOND, digest="0" * 64), "data.digest is not the SHA-256 of data.document")
    refused(
        office.activate(THIRD, "2026-03-10"), f"data.digest: no version {digest(THIRD)} of the protocol is sealed"
    )


@pytest.mark.parametrize(
    ("effective", "approved", "sentence"),
    [
        ("2026-03-10", "2026-03-11", "data.approved: 2026-03-11 lies in the future"),
        (
            "2026-03-04",
            "2026-03-05",
            "data.effective: 2026-03-04 lies before 2026-03-05: nothing is in force before",
        ),
        ("2026-03-03", "2026-03-01", "data.effective: 2026-03-03 was over at 2026-03-04T"),
        ("2027-03-20", "2026-03-01", "data.effective: 2027-03-20 lies more than a year ahead; check the year"),
    ],
)
def test_a_version_is_in_force_from_its_approval_on_and_never_before_it_is_activated(
    office: Sponsor, effective: str, approved: str, sentence: str
) -> None:
    office.now += timedelta(hours=6)  # 15:00 UTC on 4 March, when 5 March has begun in the far east
    office.signed(SECOND)
    refused(office.activate(SECOND, effective, approved=approved), sentence)


@pytest.mark.parametrize(("hour", "admitted"), [(11, True), (13, False)])
def test_a_day_can_be_named_until_it_is_over_everywhere(office: Sponsor, hour: int, admitted: bool) -> None:
    """3 March ends on Baker Island at 12:00 UTC on 4 March."""
    office.signed(SECOND)
    office.now = office.now.replace(hour=hour)
    assert office.activate(SECOND, "2026-03-03").admitted == admitted


@pytest.mark.part11("11.10(d)", "11.10(g)")
def test_an_investigator_activates_at_their_own_site_alone(office: Sponsor) -> None:
    office.signed(SECOND)
    refused(office.activate(SECOND, "2026-03-10", by=AWAY), "is for site 702, not for site 701")
    assert office.activate(SECOND, "2026-03-10", by=PI).admitted
    refused(office.activate(SECOND, "2026-03-10", site="107"), "data.site: nobody was granted for site 107")
    assert office.activate(SECOND, "2026-03-10", site="702").admitted


def test_two_activations_of_a_site_are_never_for_the_same_day(office: Sponsor) -> None:
    office.signed(SECOND)
    office.signed(THIRD, SECOND)
    first = office.activate(SECOND, "2026-03-10")
    for text in (SECOND, THIRD):
        sentence = (
            f"entry {first.index} activates a version at site 701 from 2026-03-10 on already; name another day"
        )
        refused(office.activate(text, "2026-03-10"), sentence)
    assert office.activate(THIRD, "2026-03-10", site="702").admitted


@pytest.mark.part11("11.10(f)")
def test_a_site_goes_on_to_a_newer_version_and_never_back(office: Sponsor) -> None:
    office.signed(SECOND)
    office.signed(THIRD, SECOND)
    office.sign(office.entries()[next(e.index for e in office.entries() if e.header.subject.endswith(".adopted"))])
    assert office.activate(THIRD, "2026-03-05").admitted
    office.now += timedelta(days=3)
    refused(office.activate(SECOND, "2026-03-10"), "is older than that of entry")
    refused(office.activate(FIRST, "2026-03-10"), "to go back, send the older text as a new version")
    refused(office.activate(THIRD, "2026-03-10"), "this version is in force at site 701 since 2026-03-05")
    assert office.verify().good


def test_a_day_named_by_mistake_is_named_again_before_it_has_begun(office: Sponsor) -> None:
    office.signed(SECOND)
    assert office.activate(SECOND, "2027-03-01").admitted
    assert office.activate(SECOND, "2026-03-10").admitted
    office.now += timedelta(days=7)
    refused(office.activate(SECOND, "2026-03-20"), "this version is in force at site 701 since 2026-03-10")
    [one] = office.notary.log.register(TRIAL).activations["701"]
    assert one.effective == "2026-03-10"


def test_what_is_known_of_activations_outlives_a_restart(office: Sponsor) -> None:
    office.signed(SECOND)
    office.activate(SECOND, "2026-03-10")
    before = office.notary.log.register(TRIAL)
    office.reopen()
    assert office.notary.log.register(TRIAL).activations == before.activations != {}
    assert read_register(TRIAL, office.notary.log.register_rows()).activations == before.activations
    refused(office.activate(SECOND, "2026-03-10"), "name another day")
    assert office.verify().good
