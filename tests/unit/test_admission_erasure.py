"""privacy.erased is admitted only for an order that stands, about the same participant, signed by two persons."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.entry import Entry
from shared.envelope import read_envelope
from shared.signing import SigningKey
from tests.notary import INVESTIGATOR, PERSON, ROOT, SITE, Office, grant, seeded_key

MONITOR, SPONSOR, SECOND = seeded_key("monitor"), seeded_key("sponsor"), seeded_key("second investigator")
OTHER = "701-002"
KEY = "0" * 32
WHO: dict[str, tuple[SigningKey, str, dict[str, str]]] = {
    "investigator": (
        INVESTIGATOR,
        "site/701",
        {"user": "investigator.701", "name": "holder of site/701", "role": "investigator"},
    ),
    "monitor": (
        MONITOR,
        "sponsor/safety",
        {"user": "medical_monitor.safety", "name": "holder of sponsor/safety", "role": "medical_monitor"},
    ),
    "second": (SECOND, "site/701", {"user": "second.701", "name": "Second", "role": "investigator"}),
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    for key, source, role in ((MONITOR, "sponsor/safety", "medical_monitor"), (SPONSOR, "sponsor/main", "sponsor")):
        assert office.post("identity.granted", grant(key, source, role), key=ROOT).admitted
    second = grant(SECOND, "site/701", "investigator") | {"user": "second.701", "holder": "Second"}
    assert office.post("identity.granted", second, key=ROOT).admitted
    office.register()
    office.register(OTHER)
    yield office
    assert office.verify().faults == [], "the saved register is what the log comes to"
    office.notary.close()


def ordered(office: Office, subject: str = PERSON, **more: Any) -> Entry:
    entry = office.post(
        "privacy.erasure_ordered",
        {"why": "the participant asked for it"} | more,
        key=INVESTIGATOR,
        subject=subject,
        source="site/701",
    )
    assert entry.admitted, entry.header.reason
    return entry


def sign(office: Office, order: Entry, who: str, subject: str = PERSON) -> Entry:
    key, source, told = WHO[who]
    data = {"meaning": "erasure", "records": [{"index": order.index, "leaf": order.leaf.hex()}]} | told
    entry = office.post("record.signed", data, key=key, subject=subject, source=source)
    assert entry.admitted, entry.header.reason
    return entry


def erased(office: Office, order: int, subject: str = PERSON, key: SigningKey = SITE, **more: Any) -> Entry:
    data = {"ordered": order, "key": KEY} | more
    source = "site/701" if key is SITE else "sponsor/main"
    return office.post("privacy.erased", data, key=key, subject=subject, source=source)


@pytest.mark.parametrize("key", [SITE, SPONSOR])
def test_an_order_that_two_persons_signed_is_carried_out_by_site_and_sponsor(
    office: Office, key: SigningKey
) -> None:
    order = ordered(office)
    sign(office, order, "investigator")
    office.reopen()  # what was signed so far is remembered beside the log
    sign(office, order, "monitor")
    entry = erased(office, order.index, key=key)
    assert entry.admitted, entry.header.reason
    known = office.notary.log.register("NCT06027853").erasures[order.index]
    assert (known.participant, known.signers) == (PERSON, ("investigator.701", "medical_monitor.safety"))
    assert known.keys == ((KEY, entry.index),)


@pytest.mark.parametrize(
    ("signers", "sentence"),
    [
        ([], "is signed by 0 of 2 persons"),
        (["investigator"], "is signed by 1 of 2 persons"),
        (["investigator", "investigator"], "is signed by 1 of 2 persons"),
    ],
)
@pytest.mark.part11("11.200(a)(3)", "E6(R3) 3.16.1(t)")
def test_one_person_alone_erases_nothing(office: Office, signers: list[str], sentence: str) -> None:
    order = ordered(office)
    for who in signers:
        sign(office, order, who)
    assert sentence in erased(office, order.index).header.reason


def test_two_investigators_of_a_site_are_two_persons(office: Office) -> None:
    order = ordered(office)
    sign(office, order, "investigator")
    sign(office, order, "second")
    assert erased(office, order.index).admitted


def test_a_key_is_destroyed_only_for_an_order_about_the_same_participant(office: Office) -> None:
    order = ordered(office)
    for who in ("investigator", "monitor"):
        sign(office, order, who)
    assert "is about another participant" in erased(office, order.index, OTHER).header.reason
    for elsewhere in (0, order.index + 1, 2**53 - 1):
        reason = erased(office, elsewhere).header.reason
        assert f"entry {elsewhere} is no admitted privacy.erasure_ordered" in reason


def test_a_refused_order_orders_nothing(office: Office) -> None:
    order = office.post("privacy.erasure_ordered", {"why": "mine"}, subject=PERSON)  # by the site's system
    assert not order.admitted
    assert "no admitted privacy.erasure_ordered" in erased(office, order.index).header.reason


def test_a_signature_that_is_taken_back_does_not_count(office: Office) -> None:
    order = ordered(office)
    taken = sign(office, order, "investigator")
    sign(office, order, "monitor")
    back = {"corrects": read_envelope(taken.body).id, "reason": "the participant changed their mind"}
    entry = office.post("screening.retracted", back, key=INVESTIGATOR, subject=PERSON, source="site/701")
    assert entry.admitted, entry.header.reason
    assert "is signed by 1 of 2 persons" in erased(office, order.index).header.reason
    sign(office, order, "second")
    assert erased(office, order.index).admitted


@pytest.mark.parametrize("type_", ["screening.retracted", "privacy.erasure_ordered"])
def test_an_order_that_is_taken_back_or_corrected_is_not_carried_out(office: Office, type_: str) -> None:
    order = ordered(office)
    for who in ("investigator", "monitor"):
        sign(office, order, who)
    back = {"corrects": read_envelope(order.body).id, "reason": "another participant was meant"}
    back |= {"why": "asked for"} if type_ == "privacy.erasure_ordered" else {}
    entry = office.post(type_, back, key=INVESTIGATOR, subject=PERSON, source="site/701")
    assert entry.admitted, entry.header.reason
    assert f"the order of entry {order.index} was taken back" in erased(office, order.index).header.reason


def test_somebody_elses_event_of_the_same_id_takes_nothing_back(office: Office) -> None:
    """An id is its source's own: the sponsor's retraction of its own event leaves the site's order alone."""
    order = ordered(office)
    for who in ("investigator", "monitor"):
        sign(office, order, who)
    same = read_envelope(order.body).id
    own = office.event(
        "privacy.erasure_ordered",
        {"why": "x"},
        key=SPONSOR,
        subject=PERSON,
        source="sponsor/main",
        event_id=same,
    )
    assert office.send(own, SPONSOR).admitted
    back = {"corrects": same, "reason": "a slip", "why": "y"}
    corrected = office.post("privacy.erasure_ordered", back, key=SPONSOR, subject=PERSON, source="sponsor/main")
    assert corrected.admitted, corrected.header.reason
    assert erased(office, order.index).admitted
