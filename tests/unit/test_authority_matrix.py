"""Every event type and meaning of a signature with every role: exactly what this file's table allows is admitted.

Each in and out of its scope, and at every turn of a key's life.

The table here is written apart from shared/events/authority.yaml; a change of who may do what is a change in both.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any, get_args

import pytest

from services.audit.admission import Ruling, arrival_of, read_arrival, rule
from services.audit.register import Counter, Register
from shared.decider import read_event
from shared.entry import ADMITTED, NO_LEAF, REFUSED, Entry, Header, seal
from shared.envelope import read_envelope, write_envelope
from shared.events import CATALOGUE, Role, short_type
from shared.events.authority import authority
from shared.events.identity import KINDS_OF_ROLE, SYSTEM_ROLES, Task
from shared.events.signatures import Meaning
from shared.moments import instant, stamp
from shared.protocol.model import protocol_digest
from shared.signing import SigningKey, verify_event
from shared.words import LogIndex, SourceId
from tests.golden.record import golden_path, read_golden

TRIAL = "NCT06027853"
START = instant("2027-03-04T09:00:00Z")
HERE, AWAY = "701-001", "702-001"
"""A participant of site 701, for which everybody's key is, and one of site 702."""

ROLES = [*KINDS_OF_ROLE, "root"]
PEOPLE_AT_A_SITE = "coordinator investigator sub_investigator"

# Who may submit what. "site" is a site's own system.
TABLE = {
    "log.opened log.clock_moved log.key_rotated": "root",
    "log.ticked log.gap_detected log.intake_lost": "",  # the log's own statements come from nobody outside
    "protocol.adopted": "root sponsor",
    "protocol.amended": "sponsor",
    "protocol.activated": "investigator sponsor",
    "identity.granted identity.changed identity.suspended identity.reinstated identity.revoked "
    "identity.key_replaced": "root administrator",
    "identity.trained": "root administrator sponsor investigator",
    "identity.delegated identity.delegation_ended": "investigator",
    "identity.access_failed": "site_system sponsor administrator root",
    "broker.configured": "root administrator",
    "screening.registered": "site_system",  # a coordinator may, through the site's own source; see below
    "screening.consented screening.withdrawn screening.started screening.observed screening.attested "
    "screening.history_listed screening.condition_recorded screening.infusion_planned screening.completed "
    "screening.screen_failed screening.enrolment_requested screening.retracted treatment.infused treatment.exposed "
    "safety.event_reported safety.event_updated safety.event_resolved safety.observed safety.crs_assessed "
    "safety.icans_assessed safety.gvhd_assessed safety.died safety.medication_given safety.disposition_recorded "
    "review.query_answered": f"site_system {PEOPLE_AT_A_SITE}",
    "screening.judged": "investigator sub_investigator",
    "screening.decided screening.enrolled screening.enrolment_refused screening.deviation_raised": "screening",
    "treatment.arm_assigned": "site_system sponsor",
    "safety.retracted": f"site_system {PEOPLE_AT_A_SITE} medical_monitor safety_physician",
    "safety.event_assessed safety.reference_adopted safety.report_sent": "medical_monitor safety_physician",
    "safety.cohort_decided": "cohort_committee",
    "safety.grade_proposed safety.grade_disputed safety.dispute_settled safety.event_classified safety.report_due "
    "safety.report_overdue safety.report_closed safety.window_decided safety.cohort_recommended "
    "safety.slots_decided safety.departure_noted safety.query_raised safety.query_closed "
    "safety.deviation_raised": "safety",
    "review.recorded review.query_raised review.query_closed": "monitor medical_monitor",
    "privacy.erasure_ordered": "investigator sponsor",
    "privacy.erased": "site_system sponsor",
}
MAY = {type_: set(roles.split()) for types, roles in TABLE.items() for type_ in types.split()}

# Who may sign with which meaning, and over what in this test.
MEANINGS: dict[str, tuple[str, str]] = {
    "eligibility": ("screening.decided", "investigator sub_investigator"),
    "causality": ("safety.event_reported", "investigator sub_investigator medical_monitor safety_physician"),
    "grade": ("safety.grade_proposed", "investigator sub_investigator"),
    "correction": ("correction", "investigator sub_investigator medical_monitor safety_physician"),
    "dlt": ("safety.window_decided", "investigator medical_monitor safety_physician"),
    "cohort": ("safety.cohort_decided", "cohort_committee"),
    "protocol": ("protocol.adopted", "sponsor medical_monitor"),
    "assumption": ("protocol.adopted", "sponsor medical_monitor"),
    "review": ("review.recorded", "monitor medical_monitor"),
    "erasure": ("privacy.erasure_ordered", "investigator sponsor medical_monitor"),
}
MAY_SIGN = {meaning: set(roles.split()) for meaning, (_, roles) in MEANINGS.items()}

BY_HAND: dict[str, dict[str, Any]] = {
    "log.gap_detected": {"source": "site/701", "first_missing": 900, "last_missing": 901, "noticed_at": 1},
    "log.intake_lost": {"first_missing": 1, "last_missing": 2},
    "protocol.activated": {
        "site": "701",
        "effective": "2027-03-10",
        "committee": "Ethics committee",
        "reference": "EC-1",
        "approved": "2027-03-01",
    },
    "identity.trained": {"user": "apprentice", "task": "consent", "course": "GCP", "on": "2026-03-01"},
    "identity.delegated": {"user": "helper", "task": "consent", "site": "701", "starts": "2027-03-04T00:00:00Z"},
    "identity.delegation_ended": {"user": "helper", "task": "safety", "site": "701", "why": "left"},
    "screening.condition_recorded": {"term": "Asthma"},
    "treatment.arm_assigned": {"planned": "A"},
    "treatment.exposed": {"treatment": "X", "arm": "A", "dose": 1, "unit": "mg", "started": "2026-03-03"},
    "review.recorded": {"first": 0, "as_of": 3, "found": "in order"},
    "review.query_raised": {"query": "Q9", "site": "701", "text": "which arm?"},
    "review.query_answered": {"query": "Q1", "text": "the left one"},
    "review.query_closed": {"query": "Q1", "text": "answered"},
    "privacy.erasure_ordered": {"why": "asked for"},
    "privacy.erased": {"key": "k1"},
    "broker.configured": {"as_of": 3, "digest": "0" * 64, "notary": "U" + "A" * 55, "root": "U" + "B" * 55},
}


OF_ANOTHER_LOG = {"corrects", "reason", "recommendation", "recommendation_leaf"}


def key(name: str) -> SigningKey:
    """A key that guards nothing."""
    return SigningKey.from_seed(hashlib.sha256(f"trialtrail authority matrix {name}".encode()).digest())


def public(name: str) -> str:
    return base64.b64encode(key(name).public).decode()


def source_of(role: str) -> str:
    if role in {"root", "site_system"}:
        return {"root": "admin/root", "site_system": "site/701"}[role]
    return f"{KINDS_OF_ROLE[role][0]}/{role.replace('_', '-')}"


def grant(role: str, name: str | None = None) -> dict[str, Any]:
    """A grant of one role, for site 701 alone where the role can be limited to a site."""
    data: dict[str, Any] = {
        "public_key": public(name or role),
        "holder": f"Holder of {name or role}",
        "source": source_of(role),
        "roles": [role],
    }
    if role not in SYSTEM_ROLES:
        data["user"] = name or role.replace("_", "-")
    if not source_of(role).startswith("service/"):
        data["sites"] = ["701"]
    return data


@dataclass
class World:
    """A log in memory, ruled on by the real admission: the register, and the entries that admission may ask for."""

    register: Register
    entries: list[Entry] = field(default_factory=list)
    known: dict[tuple[SourceId, str], Entry] = field(default_factory=dict)
    now: datetime = START

    def fork(self) -> "World":
        return World(self.register.copy(), list(self.entries), dict(self.known), self.now)

    def admitted(self, source: SourceId, event_id: str) -> Entry | None:
        return self.known.get((source, event_id))

    def at(self, index: int) -> Entry | None:
        return self.entries[index] if index < len(self.entries) else None

    def try_(
        self, type_: str, data: Mapping[str, Any], by: str, *, subject: str | None = None, **more: Any
    ) -> Ruling:
        """Rule on an event of a key; the world changes as admission says."""
        source = more.get("source") or source_of(more.get("role", by))
        number = self.register.sources.get(SourceId(source), Counter()).last + 1
        seed = hashlib.md5(f"{source} {number}".encode(), usedforsecurity=False).hexdigest()
        event_id = f"{seed[:8]}-{seed[8:12]}-{seed[12:16]}-{seed[16:20]}-{seed[20:]}"
        payload = write_envelope(
            event_id=event_id,
            source=source,
            type_=f"trialtrail.{type_}.v1",
            subject=subject,
            time=more.get("time") or stamp(self.now),
            sequence=number,
            trial=TRIAL,
            data=data,
        )
        signer = key(by)
        address = f"intake.{TRIAL}.{source.replace('/', '.')}.{type_}"
        index = LogIndex(len(self.entries))
        intake = 0 if index == 0 else index
        arrival = arrival_of(intake, address, signer.id, signer.sign_event(payload), payload)
        ruling = rule(self.register, read_arrival(arrival), index, self.now, self, verify_event)
        verdict = REFUSED if ruling.reason else ADMITTED
        before = self.entries[-1].leaf if self.entries else NO_LEAF
        at, sig = stamp(self.now), arrival.signature
        header = Header(index, intake, signer.id, before, ruling.reason, at, sig, address, verdict)
        self.entries.append(seal(header, payload))
        if not ruling.reason:
            self.known[SourceId(source), event_id] = self.entries[-1]
        return ruling

    def post(self, type_: str, data: Mapping[str, Any], by: str, **more: Any) -> Entry:
        ruling = self.try_(type_, data, by, **more)
        assert ruling.reason == "", (type_, by, ruling.reason)
        return self.entries[-1]

    def record(self, type_: str) -> dict[str, Any]:
        """The newest entry of a type about site 701's participant, or about nobody, as a signature names it."""
        for entry in reversed(self.entries):
            event = read_envelope(entry.body)
            wanted = "corrects" in event.data if type_ == "correction" else short_type(event.type) == type_
            if entry.admitted and wanted and event.subject in {HERE, None}:
                return {"index": entry.index, "leaf": entry.leaf.hex()}
        raise AssertionError(type_)


@cache
def examples() -> dict[str, dict[str, Any]]:
    """An event's data of every type: as a real study said it, or by hand."""
    found: dict[str, dict[str, Any]] = {}
    for entry, _ in read_golden(golden_path()):
        event = read_event(entry)
        if event is not None and event.type not in found:
            found[event.type] = {k: v for k, v in event.envelope.data.items() if k not in OF_ANOTHER_LOG}
    return found | BY_HAND


@cache
def founded() -> World:
    """Two sites with a participant each, everybody granted, trained and delegated; some of all that is signed."""
    world = World(Register(TRIAL))
    opened = examples()["log.opened"] | {
        "root_key": public("root"),
        "log_key": public("log"),
        "clock": "simulated",
    }
    world.post("log.opened", opened, "root")
    for role in KINDS_OF_ROLE:
        world.post("identity.granted", grant(role), "root")
    other = grant("site_system", "other site") | {"source": "site/702", "sites": ["702"]}
    world.post("identity.granted", other, "root")
    for name, role in (("helper", "coordinator"), ("apprentice", "coordinator"), ("second", "sponsor")):
        world.post("identity.granted", grant(role, name) | {"source": f"{KINDS_OF_ROLE[role][0]}/{name}"}, "root")
    for user in ("coordinator", "sub-investigator", "helper"):
        for task in get_args(Task):
            told = {"user": user, "task": task, "course": "GCP and protocol", "on": "2026-03-01"}
            world.post("identity.trained", told, "administrator")
            said = {"user": user, "task": task, "site": "701", "starts": "2027-03-04T00:00:00Z"}
            world.post("identity.delegated", said, "investigator")
    registered = examples()["screening.registered"]
    world.post("screening.registered", registered, "site_system", subject=HERE)
    world.post(
        "screening.registered", registered, "other site", role="site_system", source="site/702", subject=AWAY
    )
    document = examples()["protocol.adopted"]
    world.post("protocol.adopted", document, "root")
    for type_, by in (
        ("screening.decided", "screening"),
        ("safety.event_reported", "investigator"),
        ("safety.grade_proposed", "safety"),
        ("safety.window_decided", "safety"),
        ("review.recorded", "monitor"),
        ("privacy.erasure_ordered", "investigator"),
    ):
        world.post(type_, examples()[type_], by, subject=HERE)
    world.post("safety.cohort_decided", examples()["safety.cohort_decided"], "cohort_committee")
    for by in ("site_system", "coordinator", "investigator", "sub_investigator"):
        world.post("screening.observed", examples()["screening.observed"], by, subject=HERE)
    weighed = read_envelope(world.entries[-4].body).id
    corrected = examples()["screening.observed"] | {"corrects": weighed, "reason": "a slip"}
    world.post("screening.observed", corrected, "site_system", subject=HERE)
    asked = examples()["review.query_raised"] | {"query": "Q1", "records": [world.record("screening.observed")]}
    world.post("review.query_raised", asked, "monitor", subject=HERE)
    for user in ("sponsor", "medical-monitor"):
        signed = signature(world, "protocol", user.replace("-", "_"))
        world.post("record.signed", signed, user.replace("-", "_"))
    for user in ("investigator", "sponsor"):
        world.post("record.signed", signature(world, "erasure", user), user, subject=HERE)
    world.now += timedelta(minutes=10)
    return world


def signature(world: World, meaning: str, role: str) -> dict[str, Any]:
    """The data of a role's signature, over the newest entry that this meaning is for."""
    data = {
        "meaning": meaning,
        "name": f"Holder of {role}",
        "user": role.replace("_", "-"),
        "role": role,
        "records": [world.record(MEANINGS[meaning][0])],
    }
    return data | ({"assumptions": ["A1"]} if meaning == "assumption" else {})


def event(world: World, type_: str, by: str) -> tuple[dict[str, Any], str | None]:  # noqa: PLR0912
    """An event of a type that nothing speaks against, and whom it is about."""
    data = dict(examples().get(type_, {}))
    match type_:
        case "identity.granted":
            data = grant("monitor", "newcomer") | {"source": "sponsor/newcomer"}
        case "log.clock_moved":
            data = {"to": stamp(world.now + timedelta(days=1))}
        case "log.key_rotated":
            data = {"public_key": public("next log key"), "why": "yearly"}
        case "identity.changed":
            data = {"key": key("helper").id, "roles": ["coordinator"], "sites": ["701"], "why": "moved"}
        case "identity.suspended" | "identity.revoked":
            data = {"key": key("helper").id, "why": "left"}
        case "identity.reinstated":
            world.post("identity.suspended", {"key": key("helper").id, "why": "away"}, "root")
            data = {"key": key("helper").id, "why": "back"}
        case "identity.key_replaced":
            data = {"key": key("helper").id, "public_key": public("another"), "why": "yearly"}
        case "identity.access_failed":
            at = stamp(world.now)
            data = {"key": key("helper").id, "failures": 3, "first": at, "last": at, "locked": False}
        case "protocol.amended":
            text = examples()["protocol.adopted"]["document"] + "\n# amended\n"
            data = {"document": text, "digest": protocol_digest(text), "reconsent": False, "summary": "a comment"}
            data["replaces"] = examples()["protocol.adopted"]["digest"]
        case "protocol.adopted":
            world.register.protocols.clear()  # a log that still waits for its protocol
            text = examples()["protocol.adopted"]["document"] + "\n# another\n"
            data = {"document": text, "digest": protocol_digest(text)}
        case "protocol.activated":
            data["digest"] = examples()["protocol.adopted"]["digest"]
        case "review.query_raised":
            data["records"] = [world.record("screening.observed")]
        case "privacy.erased":
            data["ordered"] = world.record("privacy.erasure_ordered")["index"]
        case "screening.retracted" | "safety.retracted":
            data = {"corrects": _own_event(world, type_, by), "reason": "a slip"}
        case _:
            pass
    if type_ == "screening.registered":
        return data, "701-009"
    return data, HERE if CATALOGUE[f"trialtrail.{type_}.v1"].about_participant else None


def _own_event(world: World, type_: str, by: str) -> str:
    """The id of an event of the source itself, which it may take back."""
    theirs = {"screening.retracted": "screening.observed", "safety.retracted": "safety.event_reported"}[type_]
    if by in {"medical_monitor", "safety_physician"}:
        theirs = "safety.event_assessed"
    ruling = world.try_(theirs, examples()[theirs], by, subject=HERE)
    return ruling.envelope.id if ruling.envelope is not None else ""


TYPES = sorted(short_type(name) for name in CATALOGUE if short_type(name) not in {"log.opened", "record.signed"})
ABOUT_AUTHORITY = (
    "may be submitted by",
    "is not delegated to",
    "has not been granted",
    "was revoked by entry",
    "is suspended since",
    "expired at",
    "belongs to another site",
    "is for site",
    "may be signed by",
    "a signature is a person's",
    "does not have the role",
    "the log's own statements",
    "belongs to none of your sites",
    "is a person's source",
)


def expect(ruling: Ruling, allowed: bool, what: tuple[str, ...]) -> None:
    if allowed:
        assert ruling.reason == "", what
    else:
        assert any(one in ruling.reason for one in ABOUT_AUTHORITY), (what, ruling.reason or "admitted")


@cache
def turns(role: str) -> list[tuple[str, World, bool]]:
    """Every turn in the life of a role's key: the world then, and whether the key may speak. To be forked."""
    active = founded()
    if role == "root":
        return [("active", active, True)]  # the root's key is neither suspended nor revoked
    ours = key(role).id
    suspended, revoked, expired, before = (active.fork() for _ in range(4))
    suspended.post("identity.suspended", {"key": ours, "why": "on leave"}, "root")
    back = suspended.fork()
    back.post("identity.reinstated", {"key": ours, "why": "back"}, "root")
    revoked.post("identity.revoked", {"key": ours, "why": "left"}, "root")
    rights = {name: grant(role)[name] for name in ("roles", "sites") if name in grant(role)}
    until = stamp(expired.now + timedelta(seconds=1))
    expired.post("identity.changed", {"key": ours, **rights, "until": until, "why": "yearly"}, "root")
    expired.now += timedelta(seconds=1)
    del before.register.identities[ours]
    return [
        ("active", active, True),
        ("suspended", suspended, False),
        ("reinstated", back, True),
        ("revoked", revoked, False),
        ("expired", expired, False),
        ("before the grant", before, False),
    ]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("type_", TYPES)
@pytest.mark.part11("11.10(g)")
def test_exactly_the_allowed_events_are_admitted(type_: str, role: str) -> None:
    may = role in MAY[type_]
    for turn, then, speaks in turns(role):
        world = then.fork()
        data, subject = event(world, type_, role)
        expect(world.try_(type_, data, role, subject=subject), may and speaks, (type_, role, turn))


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("meaning", get_args(Meaning))
@pytest.mark.part11("11.10(g)", "11.50(a)(3)")
def test_exactly_the_allowed_signatures_are_admitted(meaning: str, role: str) -> None:
    may = role in MAY_SIGN[meaning]
    about = None if meaning in {"cohort", "protocol", "assumption"} else HERE
    for turn, then, speaks in turns(role):
        world = then.fork()
        data = signature(world, meaning, role)
        expect(world.try_("record.signed", data, role, subject=about), may and speaks, (meaning, role, turn))


OF_A_SITE = sorted({role for role in ROLES if role != "root"} - {"screening", "safety"})
"""Roles that can be limited to a site; the services are for the whole trial."""


ABOUT_A_PARTICIPANT = [
    one for one in TYPES if CATALOGUE[f"trialtrail.{one}.v1"].about_participant and one != "screening.registered"
]


@pytest.mark.parametrize("role", OF_A_SITE)
@pytest.mark.parametrize("type_", ABOUT_A_PARTICIPANT)
def test_nobody_says_anything_about_a_participant_of_a_site_that_is_not_theirs(type_: str, role: str) -> None:
    world = founded().fork()
    data, _ = event(world, type_, role)
    expect(world.try_(type_, data, role, subject=AWAY), allowed=False, what=(type_, role))


@pytest.mark.parametrize("role", OF_A_SITE)
@pytest.mark.parametrize("meaning", sorted(set(get_args(Meaning)) - {"cohort", "protocol", "assumption"}))
def test_nobody_signs_about_a_participant_of_a_site_that_is_not_theirs(meaning: str, role: str) -> None:
    world = founded().fork()
    expect(
        world.try_("record.signed", signature(world, meaning, role), role, subject=AWAY),
        allowed=False,
        what=(meaning, role),
    )


@pytest.mark.parametrize("role", ["coordinator", "sub_investigator"])
@pytest.mark.parametrize("type_", sorted(one for one in MAY if {"sub_investigator"} & MAY[one]))
@pytest.mark.parametrize("turn", ["before", "after", "taken back", "elsewhere"])
@pytest.mark.part11("11.10(i)")
def test_what_must_be_delegated_is_admitted_only_while_it_is(type_: str, role: str, turn: str) -> None:
    world = founded().fork()
    task, user = authority().task_of(type_), role.replace("_", "-")
    assert task is not None, f"{type_} is done by delegation, so it belongs to a task"
    data, subject = event(world, type_, role)
    world.post("identity.delegation_ended", {"user": user, "task": task, "site": "701", "why": "x"}, "investigator")
    if turn != "taken back":
        starts, ends = {
            "before": (timedelta(seconds=1), timedelta(days=9)),
            "after": (-timedelta(days=1), timedelta(0)),
            "elsewhere": (-timedelta(days=1), timedelta(days=9)),
        }[turn]
        site = "702" if turn == "elsewhere" else "701"
        said = {"user": user, "task": task, "site": site, "starts": stamp(world.now + starts)}
        if turn == "elsewhere":
            rights = {"key": key(role).id, "roles": [role], "sites": ["701", "702"], "why": "covers both"}
            world.post("identity.changed", rights, "root")
            there = grant("investigator", "colleague") | {"source": "site/colleague", "sites": ["702"]}
            world.post("identity.granted", there, "root")
            world.post("identity.delegated", said, "colleague", source="site/colleague")
        else:
            world.post("identity.delegated", said | {"ends": stamp(world.now + ends)}, "investigator")
    expect(world.try_(type_, data, role, subject=subject), allowed=False, what=(type_, role, turn))


def test_a_coordinator_registers_through_the_sites_own_source_alone() -> None:
    world = founded().fork()
    data = examples()["screening.registered"]
    refused = world.try_("screening.registered", data, "coordinator", subject="701-009")
    assert "a participant is registered by the site's own" in refused.reason
    through = grant("coordinator", "desk") | {"source": "site/701"}
    world.post("identity.granted", through, "root")
    told = {"user": "desk", "task": "data_entry", "course": "GCP", "on": "2026-03-01"}
    world.post("identity.trained", told, "administrator")
    said = {"user": "desk", "task": "data_entry", "site": "701", "starts": stamp(world.now)}
    world.post("identity.delegated", said, "investigator")
    world.post("screening.registered", data, "desk", source="site/701", subject="701-009")


def test_the_table_here_names_every_event_role_and_meaning() -> None:
    assert MAY.keys() == set(TYPES) | {"log.opened"}
    assert set().union(*MAY.values()) <= set(ROLES)
    assert MAY_SIGN.keys() == set(get_args(Meaning))
    assert set(get_args(Role)) == {*ROLES, "log"}


def test_the_example_of_every_type_is_one_that_its_model_accepts() -> None:
    """Else a refusal for the wrong reason could pass for one about authority."""
    world = founded().fork()
    for type_ in TYPES:
        allowed = sorted(MAY[type_])
        if allowed:
            fork = world.fork()
            data, subject = event(fork, type_, allowed[0])
            assert fork.try_(type_, data, allowed[0], subject=subject).reason == "", type_
