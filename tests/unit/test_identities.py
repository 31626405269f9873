"""Who may speak, and from when to when: granted, changed, suspended, reinstated, given another key, revoked."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from services.audit.register_rows import read_register, register_rows
from shared.entry import Entry
from shared.moments import stamp
from shared.signing import SigningKey
from tests.notary import (
    ADMINISTRATOR,
    INVESTIGATOR,
    OBSERVED,
    PERSON,
    ROOT,
    SITE,
    STRANGER,
    TRIAL,
    Office,
    grant,
    seeded_key,
    text_key,
)

NURSE, NEW = seeded_key("nurse"), seeded_key("the nurse's next key")
NURSE_SOURCE = "site/nurse"


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    """Site 701 with a participant and a coordinator whom the investigator lets record data."""
    office = Office.founded(tmp_path)
    office.register()
    assert office.post("identity.granted", nurse(), key=ROOT).admitted
    assert trained(office).admitted
    assert delegated(office).admitted
    yield office
    assert office.verify().faults == []
    office.notary.close()


def nurse(**changes: Any) -> dict[str, Any]:
    return grant(NURSE, NURSE_SOURCE, "coordinator") | {"user": "wang.f", "sites": ["701"]} | changes


def trained(office: Office, **changes: Any) -> Entry:
    data = {"user": "wang.f", "task": "data_entry", "course": "GCP", "on": "2026-03-01"}
    return office.post("identity.trained", data | changes, key=ADMINISTRATOR)


def delegated(office: Office, key: SigningKey = INVESTIGATOR, **changes: Any) -> Entry:
    data = {"user": "wang.f", "task": "data_entry", "site": "701", "starts": "2026-03-04T00:00:00Z"}
    return office.post("identity.delegated", data | changes, key=key)


def weigh(office: Office, key: SigningKey = NURSE, subject: str = PERSON, **changes: Any) -> Entry:
    return office.post("screening.observed", OBSERVED, key=key, source=NURSE_SOURCE, subject=subject, **changes)


def about(office: Office, verb: str, by: SigningKey = ROOT, **data: Any) -> Entry:
    return office.post(f"identity.{verb}", {"key": NURSE.id, "why": "as agreed"} | data, key=by)


@pytest.mark.part11("11.100(a)", "11.300(a)")
def test_a_user_id_is_never_given_to_anybody_else_not_even_after_a_revocation(office: Office) -> None:
    assert about(office, "revoked").admitted
    entry = office.post("identity.granted", nurse(public_key=text_key(NEW), holder="Another Wang"), key=ROOT)
    assert entry.header.reason == (
        "the user id wang.f was given before and is never given again: use identity.changed or "
        "identity.key_replaced for the same person, another id for another"
    )


@pytest.mark.parametrize("user", ["Wang.F", "wang f", "w", "wang.f\u202e", "wàng", "-wang", "w" * 33])
@pytest.mark.part11("11.300(a)")
def test_user_ids_that_could_be_taken_for_another_are_refused(office: Office, user: str) -> None:
    entry = office.post("identity.granted", nurse(public_key=text_key(NEW), user=user), key=ROOT)
    assert entry.header.reason.startswith("data.user")


def test_a_person_has_a_user_id_and_a_system_has_none(office: Office) -> None:
    person = {name: value for name, value in nurse(public_key=text_key(NEW)).items() if name != "user"}
    entry = office.post("identity.granted", person, key=ROOT)
    assert "the role coordinator is a person's: give user" in entry.header.reason
    system = grant(NEW, "site/704", "site_system") | {"user": "robot"}
    entry = office.post("identity.granted", system, key=ROOT)
    assert "the role site_system is a system's: leave user out" in entry.header.reason


@pytest.mark.part11("11.300(c)")
def test_a_suspended_key_is_refused_until_it_is_reinstated(office: Office) -> None:
    suspended = about(office, "suspended")
    assert weigh(office).header.reason == (
        f"the key {NURSE.id} is suspended since entry {suspended.index}: an administrator must reinstate it"
    )
    again = about(office, "suspended")
    assert again.header.reason == f"the key {NURSE.id} is already suspended, by entry {suspended.index}"
    assert about(office, "reinstated").admitted
    assert weigh(office).admitted
    assert about(office, "reinstated").header.reason == f"the key {NURSE.id} is not suspended"


def test_a_key_speaks_until_it_expires_and_not_an_instant_longer(office: Office) -> None:
    office.now += timedelta(hours=1)
    until = office.now + timedelta(seconds=1, milliseconds=500)
    changed = {"roles": ["coordinator"], "sites": ["701"], "until": stamp(until)}
    assert about(office, "changed", **changed).admitted
    assert weigh(office).admitted
    assert weigh(office).header.reason == (
        f"the key {NURSE.id} expired at {stamp(until)}: an administrator must replace it"
    )


@pytest.mark.part11("11.300(c)")
def test_a_replaced_key_goes_on_as_the_same_person_and_the_old_one_never_comes_back(office: Office) -> None:
    assert about(office, "suspended").admitted
    replaced = about(office, "key_replaced", public_key=text_key(NEW))
    assert replaced.admitted
    assert confirmed(office, ADMINISTRATOR).admitted
    assert weigh(office, NEW).admitted, "name, roles, sites and delegations stay; a suspension ends with the key"
    assert weigh(office, NURSE).header.reason == f"the key {NURSE.id} was revoked by entry {replaced.index}"
    back = office.post(
        "identity.key_replaced", {"key": NEW.id, "public_key": text_key(NURSE), "why": "found it"}, key=ROOT
    )
    assert "was already granted by entry" in back.header.reason
    assert about(office, "reinstated").header.reason == f"there is no active key {NURSE.id}"


def confirmed(office: Office, key: SigningKey) -> Entry:
    return office.post("identity.reinstated", {"key": NEW.id, "why": "it is hers"}, key=key)


@pytest.mark.part11("11.200(a)(3)")
@pytest.mark.parametrize(("gives", "confirms"), [(ROOT, ADMINISTRATOR), (ADMINISTRATOR, ROOT)])
def test_a_key_that_somebody_gave_a_person_speaks_when_somebody_else_has_confirmed_it(
    office: Office, gives: SigningKey, confirms: SigningKey
) -> None:
    given = office.post(
        "identity.key_replaced", {"key": NURSE.id, "public_key": text_key(NEW), "why": "lost"}, key=gives
    )
    waits = f"the key {NEW.id} was given to wang.f by entry {given.index}, and waits until somebody else"
    assert weigh(office, NEW).header.reason.startswith(waits)
    again = {"key": NEW.id, "roles": ["coordinator"], "sites": ["701"], "why": "try"}
    assert office.post("identity.changed", again, key=gives).admitted
    assert weigh(office, NEW).header.reason.startswith(waits), "other rights confirm nothing"
    assert confirmed(office, gives).header.reason == (
        f"the key {NEW.id} was given to wang.f by you: somebody else must confirm that with identity.reinstated"
    )
    assert weigh(office, NEW).header.reason.startswith(waits)
    assert confirmed(office, confirms).admitted
    assert weigh(office, NEW).admitted
    assert about(office, "suspended", key=NEW.id).admitted
    assert confirmed(office, gives).admitted, "confirmed is confirmed: a later suspension is like any other"


def test_an_administrators_next_key_is_the_roots_word_alone(office: Office) -> None:
    """There may be no other administrator, and one signs no records."""
    data = {"key": ADMINISTRATOR.id, "public_key": text_key(NEW), "why": "yearly"}
    assert office.post("identity.key_replaced", data, key=ROOT).admitted
    data = {"key": NURSE.id, "why": "on leave"}
    assert office.post("identity.suspended", data, key=NEW, source="admin/office").admitted


def test_changed_rights_count_from_the_entry_on_that_changes_them(office: Office) -> None:
    assert weigh(office).admitted
    assert about(office, "changed", roles=["coordinator"], sites=["702"]).admitted
    assert weigh(office).header.reason == f"participant {PERSON} belongs to another site"
    entry = about(office, "changed", roles=["screening"])
    assert entry.header.reason == "data: the role screening cannot be granted to the source site/nurse"


def test_nobody_gives_themselves_rights(office: Office) -> None:
    """An administrator changes no administrator, and what a person may do at a site is another person's word."""
    mine = {"key": ADMINISTRATOR.id, "roles": ["administrator", "inspector"], "why": "handy"}
    entry = office.post("identity.changed", mine, key=ADMINISTRATOR)
    assert entry.header.reason == "an administrator is changed by the root key alone"
    friend = grant(NEW, "admin/friend", "administrator")
    assert office.post("identity.granted", friend, key=ADMINISTRATOR).header.reason == (
        "only the root key may grant the role administrator"
    )
    for type_ in ("identity.granted", "identity.changed"):
        entry = office.post(type_, nurse(public_key=text_key(NEW), user="me"), key=INVESTIGATOR)
        assert "may be submitted by administrator or root, not by investigator" in entry.header.reason
    own = office.notary.log.register(TRIAL).identities[INVESTIGATOR.id]
    entry = delegated(office, user=own.user, task="eligibility")
    assert entry.header.reason == "data.user: nobody records or delegates for themselves"


@pytest.mark.parametrize("verb", ["changed", "suspended", "revoked", "key_replaced"])
def test_the_roots_and_the_logs_keys_are_nobodys_to_touch(office: Office, verb: str) -> None:
    more = {"changed": {"roles": ["monitor"]}, "key_replaced": {"public_key": text_key(NEW)}}
    entry = about(office, verb, ADMINISTRATOR, key=ROOT.id, **more.get(verb, {}))
    assert "the root key and the log's key cannot be" in entry.header.reason


@pytest.mark.part11("11.10(i)")
def test_what_is_delegated_needs_training_that_covers_it(office: Office) -> None:
    assert delegated(office, task="safety").header.reason == (
        "wang.f is not trained for safety: send identity.trained first"
    )
    assert trained(office, task="safety", until="2026-06-01T00:00:00Z").admitted
    assert "training for safety ends before the delegation would" in delegated(office, task="safety").header.reason
    assert "training for safety ends before" in (
        delegated(office, task="safety", ends="2026-06-01T00:00:01Z").header.reason
    )
    assert delegated(office, task="safety", ends="2026-06-01T00:00:00Z").admitted


@pytest.mark.part11("11.10(i)")
def test_a_delegation_taken_back_counts_no_longer(office: Office) -> None:
    assert weigh(office).admitted
    ended = {"user": "wang.f", "task": "data_entry", "site": "701", "why": "moved"}
    assert office.post("identity.delegation_ended", ended, key=INVESTIGATOR).admitted
    assert "data_entry at site 701 is not delegated to wang.f at" in weigh(office).header.reason
    entry = office.post("identity.delegation_ended", ended, key=INVESTIGATOR)
    assert entry.header.reason == "data_entry at site 701 is not delegated to wang.f"


def test_an_investigator_delegates_at_their_own_site_alone(office: Office) -> None:
    other = grant(NEW, "site/lu", "investigator") | {"user": "lu", "sites": ["702"]}
    assert office.post("identity.granted", other, key=ROOT).admitted
    data = {"user": "wang.f", "task": "data_entry", "site": "701", "starts": "2026-03-04T00:00:00Z"}
    entry = office.post("identity.delegated", data, key=NEW, source="site/lu")
    assert entry.header.reason == f"the key {NEW.id} is for site 702, not for site 701"
    entry = office.post("identity.delegated", data | {"site": "702"}, key=NEW, source="site/lu")
    assert entry.header.reason == "data.user: wang.f belongs to none of your sites"


def failed(office: Office, key: SigningKey = SITE, *, locked: bool, of: SigningKey = NURSE) -> Entry:
    at = stamp(office.now)
    data = {"key": of.id, "failures": 5, "first": at, "last": at, "locked": locked}
    return office.post("identity.access_failed", data, key=key)


@pytest.mark.part11("11.300(d)")
def test_failed_attempts_are_sealed_and_a_locked_key_is_suspended(office: Office) -> None:
    assert failed(office, locked=False).admitted
    assert weigh(office).admitted
    locked = failed(office, locked=True)
    assert locked.admitted
    assert f"is suspended since entry {locked.index}" in weigh(office).header.reason
    assert about(office, "reinstated", ADMINISTRATOR).admitted
    assert weigh(office).admitted


def test_a_site_locks_nobody_of_another_site_out(office: Office) -> None:
    other = grant(NEW, "site/lu", "investigator") | {"user": "lu", "sites": ["701", "702"]}
    assert office.post("identity.granted", other, key=ROOT).admitted
    entry = failed(office, locked=True, of=NEW)
    assert entry.header.reason == f"data.key: {NEW.id} belongs to none of your sites alone"
    entry = failed(office, locked=True, of=SITE)
    assert entry.header.reason == f"data.key: {SITE.id} is not a person's key"
    assert failed(office, locked=True, of=STRANGER).header.reason == f"there is no active key {STRANGER.id}"


def test_all_that_is_known_of_people_outlives_a_restart(office: Office) -> None:
    assert about(office, "suspended").admitted
    assert delegated(office, ends="2026-09-01T00:00:00Z").admitted
    before = office.notary.log.register(TRIAL)
    office.reopen()
    after = office.notary.log.register(TRIAL)
    assert (after.people, after.identities) == (before.people, before.identities)
    assert len(after.people["wang.f"].delegations) == 2
    assert "is suspended since entry" in weigh(office).header.reason


def test_a_register_saved_before_there_were_persons_is_read_and_verifies(office: Office) -> None:
    newer = ("user", "sites", "until", "broker", "suspended")
    with office.notary.log.engine.begin() as connection:
        rows = connection.execute(text("SELECT key, value FROM register WHERE key LIKE 'identity:%'")).all()
        for key, value in rows:
            if json.loads(value)["user"] is None:
                old = {name: one for name, one in json.loads(value).items() if name not in newer}
                connection.execute(
                    text("UPDATE register SET value = :value WHERE key = :key"),
                    {"value": json.dumps(old), "key": key},
                )
    office.reopen()
    assert office.verify().faults == []
    assert office.notary.log.register(TRIAL).identities[SITE.id].sites == {"701"}
    assert office.post("screening.observed", OBSERVED, subject=PERSON).admitted


def test_the_register_is_read_back_as_it_was_written(office: Office) -> None:
    assert trained(office, task="consent", until="2027-01-01T00:00:00+08:00").admitted
    register = office.notary.log.register(TRIAL)
    register.touched = {("person", one) for one in register.people}
    register.touched |= {("identity", one) for one in register.identities}
    again = read_register(TRIAL, json.loads(json.dumps(register_rows(register))))
    assert (again.people, again.identities) == (register.people, register.identities)
