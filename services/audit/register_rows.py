"""The register as the notary saves it beside the log: one JSON value for each thing it remembers."""

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.audit.register import Counter, Erasure, ProtocolVersion, Register, ReviewQuery
from shared.events.log import Opened
from shared.identities import Delegation, Identity, Person, Training
from shared.moments import instant, stamp
from shared.protocol.activations import Activation
from shared.words import KeyId, LogIndex, ParticipantId, SourceId


def register_rows(register: Register) -> dict[str, Any]:
    """What changed since the last call, by key."""
    rows: dict[str, Any] = {}
    for kind, name in sorted(register.touched):
        match kind:
            case "source":
                counter = register.sources[SourceId(name)]
                rows[f"source:{name}"] = {"last": counter.last, "missing": [list(gap) for gap in counter.missing]}
            case "participant":
                rows[f"participant:{name}"] = register.participants[ParticipantId(name)]
            case "identity":
                rows[f"identity:{name}"] = _identity_row(register.identities[KeyId(name)])
            case "person":
                rows[f"person:{name}"] = _person_row(register.people[name])
            case "protocol":
                version = register.protocols[name]
                rows[f"protocol:{name}"] = {"entry": version.entry, "signed_by": list(version.signed_by)}
            case "activations":
                rows[f"activations:{name}"] = [one.model_dump() for one in register.activations[name]]
            case "query":
                query = register.queries[name]
                rows[f"query:{name}"] = [query.entry, query.site, query.subject, query.closed]
            case "erasure":
                rows[f"erasure:{name}"] = _erasure_row(register.erasures[LogIndex(int(name))])
            case "log":
                assert register.opened is not None
                assert register.clock is not None
                assert register.ticked is not None
                rows["log"] = {
                    "trial": register.trial,
                    "opened": register.opened.model_dump(mode="json"),
                    "clock": stamp(register.clock),
                    "ticked": stamp(register.ticked),
                    "intake": register.intake,
                    "signed": register.signed,
                }
    register.touched.clear()
    return rows


def read_register(trial: str, rows: Mapping[str, Any]) -> Register:
    """Build the register back from its saved rows."""
    register = Register(trial)
    for key, value in rows.items():
        kind, _, name = key.partition(":")
        match kind:
            case "source":
                missing = tuple((low, high) for low, high in value["missing"])
                register.sources[SourceId(name)] = Counter(value["last"], missing)
            case "participant":
                register.participants[ParticipantId(name)] = SourceId(value)
            case "identity":
                register.identities[KeyId(name)] = _read_identity(KeyId(name), value)
            case "person":
                register.people[name] = _read_person(name, value)
            case "protocol":
                register.protocols[name] = ProtocolVersion(value["entry"], tuple(value["signed_by"]))
            case "activations":
                register.activations[name] = tuple(Activation.model_validate(one) for one in value)
            case "query":
                register.queries[name] = ReviewQuery(*value)
            case "erasure":
                register.erasures[LogIndex(int(name))] = _read_erasure(value)
            case "log":
                register.trial = value["trial"]
                register.opened = Opened.model_validate(value["opened"])
                register.clock = instant(value["clock"])
                register.ticked = instant(value["ticked"])
                register.intake = value["intake"]
                register.signed = value.get("signed", 0)
    return register


def complete_rows(saved: Mapping[str, Any]) -> dict[str, Any]:
    """Saved rows as they would be saved today: what older ones leave out is said."""
    return {key: _completed(key, value) for key, value in saved.items()}


def _completed(key: str, value: Any) -> Any:
    kind, _, name = key.partition(":")
    if kind != "identity" or not isinstance(value, dict) or "sites" in value:
        return value
    return _identity_row(_read_identity(KeyId(name), value))


def _identity_row(identity: Identity) -> dict[str, Any]:
    return {
        "public": base64.b64encode(identity.public).decode(),
        "holder": identity.holder,
        "source": identity.source,
        "roles": sorted(identity.roles),
        "granted": identity.granted,
        "revoked": identity.revoked,
        "user": identity.user,
        "sites": None if identity.sites is None else sorted(identity.sites),
        "until": _written(identity.until),
        "broker": identity.broker,
        "suspended": identity.suspended,
        "given_by": identity.given_by,
    }


def _read_identity(key: KeyId, value: Mapping[str, Any]) -> Identity:
    # Rows of before format 4 have neither sites nor what comes behind them: a site's source then had its own site.
    kind, _, own = value["source"].partition("/")
    sites = value.get("sites", [own] if kind == "site" else None)
    return Identity(
        key=key,
        public=base64.b64decode(value["public"]),
        holder=value["holder"],
        source=SourceId(value["source"]),
        roles=frozenset(value["roles"]),
        granted=value["granted"],
        revoked=value["revoked"],
        user=value.get("user"),
        sites=None if sites is None else frozenset(sites),
        until=_read(value.get("until")),
        broker=value.get("broker"),
        suspended=value.get("suspended"),
        given_by=value.get("given_by"),
    )


def _person_row(person: Person) -> dict[str, Any]:
    return {
        "key": person.key,
        "trainings": [[one.task, _written(one.until)] for one in person.trainings],
        "delegations": [
            [one.task, one.site, _written(one.starts), _written(one.ends)] for one in person.delegations
        ],
    }


def _read_person(user: str, value: Mapping[str, Any]) -> Person:
    delegations = []
    for task, site, starts, ends in value["delegations"]:
        delegations.append(Delegation(task, site, instant(starts), _read(ends)))
    return Person(
        user,
        KeyId(value["key"]),
        tuple(Training(task, _read(until)) for task, until in value["trainings"]),
        tuple(delegations),
    )


def _erasure_row(erasure: Erasure) -> dict[str, Any]:
    return {
        "participant": erasure.participant,
        "said": list(erasure.said),
        "withdrawn": erasure.withdrawn,
        "signed_by": [[user, *said] for user, said in erasure.signed_by],
        "keys": [list(one) for one in erasure.keys],
    }


def _read_erasure(value: Mapping[str, Any]) -> Erasure:
    source, id_ = value["said"]
    return Erasure(
        ParticipantId(value["participant"]),
        (source, id_),
        value["withdrawn"],
        tuple((user, (by, signature)) for user, by, signature in value["signed_by"]),
        tuple((key, entry) for key, entry in value["keys"]),
    )


def _written(moment: datetime | None) -> str | None:
    return None if moment is None else stamp(moment)


def _read(text: str | None) -> datetime | None:
    return None if text is None else instant(text)
