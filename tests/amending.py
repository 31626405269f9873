"""Amending a protocol over a sealed log: sealed by the sponsor, signed by two persons, activated at a site."""

from typing import Any

from services.cli.installation import user_of
from shared.drafts import Draft
from shared.entry import Entry
from shared.moments import stamp
from shared.protocol.model import protocol_digest
from shared.words import SourceId
from tests.inprocess import InProcess
from tests.study import DOCUMENT

SPONSOR = SourceId("sponsor/office")
SIGNERS = (SourceId("sponsor/first"), SourceId("sponsor/second"))

STRICTER = DOCUMENT.replace('version: "1.0"', 'version: "1.1"').replace(
    "item: ecog, at_most: 1", "item: ecog, at_most: 0"
)
"""A version that asks for ECOG 0."""


def with_people(log: InProcess) -> None:
    """Grant the sponsor's system, and two persons who sign; who was granted before is left."""
    known = log.notary.log.register(log.trial_name).identities.values()
    if SPONSOR in {one.source for one in known}:
        return
    log.grant(SPONSOR, "sponsor")
    for one in SIGNERS:
        log.grant(one, "medical_monitor")


def amend(log: InProcess, document: str, *, replaces: str = DOCUMENT, reconsent: bool = False) -> list[Entry]:
    """Seal another version; its entry, and what was decided because of it."""
    data = {
        "document": document,
        "digest": protocol_digest(document),
        "replaces": protocol_digest(replaces),
        "reconsent": reconsent,
        "summary": "what the amendment changes",
    }
    return log.post([Draft(source=SPONSOR, type="protocol.amended", time=stamp(log.now), data=data)])


def sign(log: InProcess, version: Entry, meaning: str = "protocol", **more: Any) -> list[Entry]:
    """Let both persons sign a version."""
    return [entry for one in SIGNERS for entry in signed_by(log, one, version, meaning, **more)]


def signed_by(log: InProcess, one: SourceId, version: Entry, meaning: str = "protocol", **more: Any) -> list[Entry]:
    """Let a person sign a version."""
    data = {
        "meaning": meaning,
        "name": f"medical_monitor of {one}",
        "user": user_of(one, "medical_monitor"),
        "role": "medical_monitor",
        "records": [{"index": version.index, "leaf": version.leaf.hex()}],
        **more,
    }
    return log.post(
        [Draft(source=one, type="record.signed", time=stamp(log.now), data=data, role="medical_monitor")]
    )


def activate(log: InProcess, document: str, effective: str, *, site: str = "701", **more: str) -> list[Entry]:
    """Activate a version at a site; the activation's entry, and what was decided because of it."""
    data = {
        "digest": protocol_digest(document),
        "site": site,
        "effective": effective,
        "committee": "Ethics committee of the site",
        "reference": "EC-2026-7",
        "approved": "2026-02-20",
        **more,
    }
    return log.post([Draft(source=SPONSOR, type="protocol.activated", time=stamp(log.now), data=data)])


def put_in_force(
    log: InProcess, document: str, effective: str, *, replaces: str = DOCUMENT, reconsent: bool = False
) -> list[Entry]:
    """Amend, sign and activate: everything that was sealed because of it."""
    with_people(log)
    amended = amend(log, document, replaces=replaces, reconsent=reconsent)
    return [*amended, *sign(log, amended[0]), *activate(log, document, effective)]
