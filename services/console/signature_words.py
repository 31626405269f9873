"""Signatures in words and as data: the one place where a manifestation is written (21 CFR 11.50). Pure."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from services.console.private import Reader
from services.console.signatures import Author, Signature, Waiting
from services.console.words import in_words
from shared.decider import SealedEvent
from shared.events.base import Role
from shared.events.decisions import Decided
from shared.events.log import ProtocolAdopted, ProtocolAmended
from shared.events.safety import CohortDecided
from shared.events.signatures import Meaning, ReviewRecorded

MEANINGS: Final[Mapping[Meaning, str]] = {
    "eligibility": "the decision on eligibility is right",
    "causality": "the relation of the adverse event to the treatment is as stated",
    "grade": "the grade is as stated",
    "correction": "what was corrected is right now, and was corrected for the reason given",
    "dlt": "the decision on the window for dose-limiting toxicity is right",
    "cohort": "the cohort committee decided so",
    "protocol": "this version of the protocol is approved",
    "assumption": "the named assumptions of the protocol's register are confirmed",
    "review": "the audit trail was reviewed as recorded",
    "erasure": "the participant's personal detail is to be erased",
}
"""What a signature states, after "By signing, I state that" or by itself."""

STANDINGS: Final = {"valid": "valid", "superseded": "SUPERSEDED", "taken_back": "TAKEN BACK"}


def role_in_words(role: Role | None) -> str:
    """A role as people say it."""
    return (role or "investigator").replace("_", " ")


def manifestation(one: Signature) -> list[str]:
    """Who signed, when, meaning what, over which entries, and how the signature stands; a line each."""
    who = one.name + (f" ({one.user})" if one.user else "")
    meant = MEANINGS[one.meaning] + (f": {', '.join(one.assumptions)}" if one.assumptions else "")
    lines = [
        f"signed by {who}, {role_in_words(one.role)}, meaning {one.meaning}: {meant}",
        (
            f"signed at {one.signed_at}, sealed at {one.sealed_at} (entry {one.index}), "
            f"over {_entries(one.records)}: {STANDINGS[one.status]}"
        ),
    ]
    if one.status == "taken_back":
        lines += [f"taken back by entry {change.by}: {change.why}" for change in one.changes]
    if one.status == "superseded":
        lines += [f"superseded: {change.why}" for change in one.changes]
    if one.again:
        lines.append(f"to be signed again over {_entries(one.again)}")
    return lines


def statement(name: str, role: Role, meaning: Meaning, assumptions: Iterable[str] = ()) -> str:
    """The sentence that a person signs."""
    named = ", ".join(assumptions)
    return f"By signing, I, {name}, {role_in_words(role)}, state that {MEANINGS[meaning]}" + (
        f": {named}." if named else "."
    )


def what_waits(one: Waiting) -> str:
    """What an entry waits for, in a line."""
    about = f" about participant {one.subject}" if one.subject is not None else ""
    missing = one.persons - len(one.signed_by)
    text = f"entry {one.index}{about} waits for {one.meaning}: {' or '.join(map(role_in_words, sorted(one.roles)))}"
    if one.persons > 1:
        signed = f", signed by {', '.join(one.signed_by)}" if one.signed_by else ""
        text += f", {missing} of {one.persons} persons to go{signed}"
    return text


def record_in_words(event: SealedEvent, author: Author, reader: Reader) -> list[str]:
    """The exact record that is signed: which entry, whose, about whom, what it says and by which arithmetic.

    Private texts are shown as far as ``reader`` may see them.
    """
    event = reader.shown(event)
    about = f", about participant {event.envelope.subject}" if event.envelope.subject is not None else ""
    roles = f" ({', '.join(sorted(map(role_in_words, author.roles)))})" if author.roles else ""
    return [
        f"Entry {event.entry.index}, {event.type}, sealed at {event.entry.header.sealed_at}{about}",
        f"from {event.envelope.source}, with the key of {author.holder}{roles}",
        in_words(event, reader),
        *_detail(event),
        f"leaf hash {event.entry.leaf.hex()}",
    ]


def signature_as_data(one: Signature) -> dict[str, Any]:
    """A signature for a program."""
    return {
        "entry": one.index,
        "participant": one.subject,
        "meaning": one.meaning,
        "states": MEANINGS[one.meaning],
        "name": one.name,
        "user": one.user,
        "role": one.role,
        "records": list(one.records),
        "assumptions": list(one.assumptions),
        "signed_at": one.signed_at,
        "sealed_at": one.sealed_at,
        "status": one.status,
        "changes": [{"record": change.record, "by": change.by, "why": change.why} for change in one.changes],
        "sign_again": list(one.again),
    }


def waiting_as_data(one: Waiting) -> dict[str, Any]:
    """What waits, for a program."""
    return {
        "entry": one.index,
        "meaning": one.meaning,
        "participant": one.subject,
        "roles": sorted(one.roles),
        "persons": one.persons,
        "signed_by": list(one.signed_by),
    }


def _detail(event: SealedEvent) -> Iterator[str]:
    data = event.data
    match data:
        case Decided():
            for row in data.criteria:
                found = [*row.arithmetic, *(f"{gap.item}: {gap.why.replace('_', ' ')}" for gap in row.gaps)]
                rests = f" [entries {', '.join(map(str, row.evidence))}]" if row.evidence else ""
                yield f"{row.id}: {row.verdict.replace('_', ' ')}; {'; '.join(found)}{rests}"
        case CohortDecided() if data.recommendation is not None:
            yield f"with the recommendation of entry {data.recommendation} before it"
        case ProtocolAdopted():
            yield f"SHA-256 of the document: {data.digest}"
        case ProtocolAmended():
            yield f"SHA-256 of the document: {data.digest}, in place of {data.replaces}"
            yield f"{data.summary} (consent again: {'yes' if data.reconsent else 'no'})"
        case ReviewRecorded():
            yield f"entries {data.first} to {data.as_of}: {data.found}"
        case _:
            yield from getattr(data, "arithmetic", [])
    cited = getattr(data, "evidence", [])
    if cited:
        yield f"rests on entries {', '.join(str(one.index) for one in cited)}"


def _entries(indices: Iterable[int]) -> str:
    named = [str(index) for index in indices]
    return ("entry " if len(named) == 1 else "entries ") + ", ".join(named)
