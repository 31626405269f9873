"""Only who the log names may speak, for their own source and in their own role; the rest is sealed as refused."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.entry import Entry
from shared.moments import stamp
from shared.signing import SigningKey
from tests.notary import (
    ADMINISTRATOR,
    INVESTIGATOR,
    LOG,
    OBSERVED,
    OTHER_SITE,
    PERSON,
    REGISTERED,
    ROOT,
    SCREENING,
    SITE,
    STRANGER,
    Office,
    grant,
    opened,
    seeded_key,
    text_key,
)

NEW = seeded_key("new")
JUDGED = {"interferes": False, "statement": "Nothing interferes.", "on": "2026-03-03"}
REFUSED_PLACE = {
    "cause": {"index": 0, "leaf": "0" * 64},
    "engine": "1",
    "protocol": "1",
    "protocol_digest": "0" * 64,
    "reasons": ["no place is left"],
    "evidence": [],
}


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path)
    office.register()
    yield office
    office.notary.close()


def observed(office: Office) -> bytes:
    return office.event("screening.observed", OBSERVED, subject=PERSON)


def assert_sealed_as_refused(office: Office, entry: Entry, sentence: str) -> None:
    assert entry.header.verdict == "refused"
    assert sentence in entry.header.reason
    assert office.entries()[entry.index] == entry
    assert office.send(observed(office)).admitted
    assert office.verify().good


@pytest.mark.parametrize(
    ("headers", "sentence"),
    [
        ({"signature": ""}, "the event is not signed: Trail-Key and Trail-Signature are both needed"),
        ({"trail_key": ""}, "the event is not signed"),
        ({"trail_key": "k" * 10_000}, "Trail-Key or Trail-Signature is malformed"),
        ({"trail_key": SITE.id.upper()}, "Trail-Key or Trail-Signature is malformed"),
        ({"signature": "A" * 10_000}, "Trail-Key or Trail-Signature is malformed"),
        ({"signature": "A" * 86 + "=="}, f"the signature is not that of key {SITE.id} over these bytes"),
        ({"signature": "ü" * 88}, "Trail-Key or Trail-Signature is malformed"),
        ({"trail_key": "0" * 32}, f"the key {'0' * 32} has not been granted in this log"),
        ({"trail_key": OTHER_SITE.id}, f"the signature is not that of key {OTHER_SITE.id} over these bytes"),
    ],
)
@pytest.mark.part11("11.10(h)")
def test_a_message_without_its_sources_signature_is_refused(
    office: Office, headers: dict[str, Any], sentence: str
) -> None:
    entry = office.send(observed(office), **headers)
    assert_sealed_as_refused(office, entry, sentence)


def test_huge_headers_take_no_room_in_the_log(office: Office) -> None:
    payload = b"{" * 60_000
    entry = office.send(payload, trail_key="k" * 1_000_000, signature="s" * 1_000_000, route="r" * 1_000_000)
    assert entry.body == payload
    assert (entry.header.key, entry.header.signature, len(entry.header.subject)) == ("?", "?", 512)


@pytest.mark.parametrize("other", ["spaced", "unused bits"])
def test_a_signature_in_another_spelling_does_not_take_the_genuine_events_place(office: Office, other: str) -> None:
    payload = observed(office)
    genuine = SITE.sign_event(payload)
    # The last character before the padding carries four bits that decoding ignores.
    respelled = genuine[:-3] + chr(ord(genuine[-3]) + 1) + "==" if other == "unused bits" else genuine + "\n"
    assert not office.send(payload, signature=respelled).admitted
    entry = office.send(payload)
    assert (entry.admitted, entry.header.signature) == (True, genuine)


def test_a_strangers_key_is_refused(office: Office) -> None:
    entry = office.send(observed(office), STRANGER)
    assert_sealed_as_refused(office, entry, f"the key {STRANGER.id} has not been granted in this log")


@pytest.mark.part11("11.10(h)")
def test_a_site_cannot_speak_for_another(office: Office) -> None:
    entry = office.send(observed(office), OTHER_SITE)
    assert_sealed_as_refused(office, entry, f"the key {OTHER_SITE.id} speaks for site/702, not for site/701")


@pytest.mark.parametrize(
    ("key", "type_", "data", "sentence"),
    [
        (
            SITE,
            "screening.judged",
            JUDGED,
            "may be submitted by investigator or sub_investigator, not by site_system",
        ),
        (SITE, "screening.enrolment_refused", REFUSED_PLACE, "may be submitted by screening, not by site_system"),
        (INVESTIGATOR, "screening.registered", REGISTERED, "by coordinator or site_system, not by investigator"),
        (SITE, "record.signed", {}, "or sponsor or sub_investigator, not by site_system"),
        (SCREENING, "screening.registered", REGISTERED, "by coordinator or site_system, not by screening"),
        (ROOT, "screening.registered", REGISTERED, "by coordinator or site_system, not by root"),
    ],
)
@pytest.mark.part11("11.10(g)")
def test_a_role_may_submit_only_what_the_authority_table_gives_it(
    office: Office, key: SigningKey, type_: str, data: dict[str, Any], sentence: str
) -> None:
    entry = office.post(type_, data, key=key, subject=PERSON)
    assert_sealed_as_refused(office, entry, sentence)


@pytest.mark.parametrize("key", [SITE, INVESTIGATOR, SCREENING])
@pytest.mark.part11("11.10(g)")
def test_only_root_and_administrators_grant_and_revoke(office: Office, key: SigningKey) -> None:
    sentence = "may be submitted by administrator or root"
    entry = office.post("identity.granted", grant(NEW, "site/703", "site_system"), key=key)
    assert sentence in entry.header.reason
    entry = office.post("identity.revoked", {"key": SITE.id, "why": "mine now"}, key=key)
    assert_sealed_as_refused(office, entry, sentence)


def test_a_granted_key_speaks_from_the_next_entry_on_even_within_a_batch(office: Office) -> None:
    granting = office.event("identity.granted", grant(NEW, "site/703", "site_system"), key=ADMINISTRATOR)
    first = office.event("screening.registered", REGISTERED, subject="703-001", key=NEW, source="site/703")
    sealed = office.seal([office.arrival(granting, ADMINISTRATOR), office.arrival(first, NEW)])
    assert [entry.admitted for entry in sealed.entries] == [True, True]
    assert office.verify().good


@pytest.mark.part11("11.10(g)", "11.300(c)")
def test_a_key_speaks_no_more_once_it_is_revoked_and_what_it_said_stays(office: Office) -> None:
    office.register("702-001", OTHER_SITE)
    before = office.entries()[-1]
    revoked = office.post("identity.revoked", {"key": OTHER_SITE.id, "why": "laptop stolen"}, key=ADMINISTRATOR)
    assert revoked.admitted
    entry = office.post("screening.observed", OBSERVED, subject="702-001", key=OTHER_SITE)
    assert_sealed_as_refused(office, entry, f"the key {OTHER_SITE.id} was revoked by entry {revoked.index}")
    assert office.entries()[before.index].admitted


@pytest.mark.part11("11.100(a)")
def test_a_key_is_granted_once_for_all_time(office: Office) -> None:
    again = grant(SITE, "site/702", "site_system")
    entry = office.post("identity.granted", again, key=ROOT)
    assert_sealed_as_refused(office, entry, f"the key {SITE.id} was already granted by entry 1")
    office.post("identity.revoked", {"key": OTHER_SITE.id, "why": "lost"}, key=ROOT)
    entry = office.post("identity.granted", grant(OTHER_SITE, "site/702", "site_system"), key=ROOT)
    assert not entry.admitted


def test_an_administrator_makes_and_ends_no_administrators(office: Office) -> None:
    entry = office.post("identity.granted", grant(NEW, "admin/friend", "administrator"), key=ADMINISTRATOR)
    assert_sealed_as_refused(office, entry, "only the root key may grant the role administrator")
    assert office.post("identity.granted", grant(NEW, "admin/friend", "administrator"), key=ROOT).admitted
    entry = office.post("identity.revoked", {"key": NEW.id, "why": "rival"}, key=ADMINISTRATOR)
    assert_sealed_as_refused(office, entry, "only the root key may revoke an administrator")


@pytest.mark.parametrize("key", [ROOT, LOG])
def test_the_founding_keys_cannot_be_revoked(office: Office, key: SigningKey) -> None:
    entry = office.post("identity.revoked", {"key": key.id, "why": "coup"}, key=ROOT)
    assert_sealed_as_refused(office, entry, "the root key and the log's key cannot be revoked")


@pytest.mark.parametrize("victim", [STRANGER, OTHER_SITE])
def test_only_an_active_key_can_be_revoked(office: Office, victim: SigningKey) -> None:
    office.post("identity.revoked", {"key": OTHER_SITE.id, "why": "lost"}, key=ROOT)
    entry = office.post("identity.revoked", {"key": victim.id, "why": "lost"}, key=ROOT)
    assert_sealed_as_refused(office, entry, f"there is no active key {victim.id} to revoke")


@pytest.mark.parametrize(
    ("source", "role"),
    [
        ("site/703", "administrator"),
        ("site/703", "screening"),
        ("sponsor/x", "investigator"),
        ("admin/x", "root"),
        ("service/audit2", "log"),
    ],
)
def test_a_role_goes_only_with_its_kind_of_source(office: Office, source: str, role: str) -> None:
    entry = office.post("identity.granted", grant(NEW, source, role), key=ROOT)
    assert_sealed_as_refused(office, entry, f"the role {role} cannot be granted to the source {source}")


def test_a_key_that_is_no_ed25519_key_is_refused(office: Office) -> None:
    data = grant(NEW, "site/703", "site_system") | {"public_key": text_key(NEW)[:-4]}
    entry = office.post("identity.granted", data, key=ROOT)
    assert_sealed_as_refused(office, entry, "data.public_key is not of the form this field needs")


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        ("log.ticked", {}),
        ("log.intake_lost", {"first_missing": 1, "last_missing": 2**52}),
        ("log.gap_detected", {"source": "site/701", "first_missing": 1, "last_missing": 2, "noticed_at": 1}),
    ],
)
def test_the_logs_own_statements_never_come_through_the_intake_even_with_its_key(
    office: Office, type_: str, data: dict[str, Any]
) -> None:
    entry = office.post(type_, data, key=LOG)
    assert_sealed_as_refused(office, entry, "the log's own statements do not come through the intake")
    entry = office.post(type_, data, key=ROOT)
    assert_sealed_as_refused(office, entry, "may be submitted by log, not by root")


def test_a_log_is_opened_once(office: Office) -> None:
    entry = office.post("log.opened", opened(), key=ROOT)
    assert_sealed_as_refused(office, entry, "the log is already open")


def test_a_strangers_copy_of_an_event_does_not_block_the_genuine_one(office: Office) -> None:
    payload = observed(office)
    copies = [
        office.arrival(payload, signature=STRANGER.sign_event(payload)),
        office.arrival(payload, signature=""),
        office.arrival(payload, STRANGER),
        office.arrival(payload, source="site/702"),
        office.arrival(payload),
    ]
    sealed = office.seal(copies)
    assert [entry.admitted for entry in sealed.entries] == [False, False, False, False, True]
    assert office.verify().good


@pytest.mark.part11("11.10(k)(2)")
def test_a_protocol_is_adopted_only_with_its_own_digest(office: Office) -> None:
    data = {"document": "rules: []", "digest": "0" * 64}
    entry = office.post("protocol.adopted", data, key=ROOT)
    assert_sealed_as_refused(office, entry, "data.digest is not the SHA-256 of data.document")


def test_real_time_cannot_be_moved(office: Office) -> None:
    entry = office.post("log.clock_moved", {"to": stamp(office.now)}, key=ROOT)
    assert_sealed_as_refused(office, entry, "this log keeps real time; only a simulated log's clock can be moved")
