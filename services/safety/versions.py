"""Which version of the protocol safety goes by. Pure.

The trial as a whole (cohorts, reports, everybody not exposed yet) goes by the newest version whose first day has
begun at any site. What is counted from a participant's first exposure on (what is treatment-emergent and related,
what limits the dose) goes by the version in force at the site on that day: a window keeps the definition that it
was opened by.
"""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel

from services.safety.participant import Participant
from services.safety.trial import Rules, Trial
from shared.decider import SealedEvent
from shared.events.log import ProtocolAmended
from shared.protocol.activations import Activation
from shared.protocol.model import Protocol, load_protocol
from shared.protocol.versions import VersionText, text_key, text_of
from shared.words import TrailError


def rules_for(state: Mapping[str, BaseModel], trial: Trial, participant: Participant) -> Rules | None:
    """The rules for a participant: the trial's, with the windows of the version at the first exposure."""
    rules = Rules.of(trial)
    if rules is None or participant.exposed is None or not trial.versions.sites:
        return rules
    digest = _at_exposure(state, trial, participant, rules.protocol)
    own = _protocol(state, trial, digest)
    if digest == rules.digest or own is None or own.safety is None:
        return rules
    theirs = own.safety
    plan = rules.plan.model_copy(
        update={
            "emergence": theirs.emergence,
            "related_from": theirs.related_from,
            "dose_limits": theirs.dose_limits,
        }
    )
    return replace(rules, plan=plan, windows=Rules(own, theirs, digest))


def _at_exposure(state: Mapping[str, BaseModel], trial: Trial, participant: Participant, trials: Protocol) -> str:
    """The digest of the version at the site on the day of the first exposure, as was known when that was sealed."""
    assert participant.exposed is not None
    known_by = participant.exposed.versions()[0].index
    for activation in reversed(trial.versions.at(participant.source)):
        protocol = _protocol(state, trial, activation.digest) or trials
        zone = protocol.zone(participant.source)
        exposure = participant.exposure(zone)
        if exposure is not None and activation.entry < known_by and exposure[1].days(zone)[0] >= activation.day:
            return activation.digest
    return trial.began_with


def with_version(
    state: Mapping[str, BaseModel], trial: Trial, event: SealedEvent
) -> tuple[Trial, dict[str, VersionText]]:
    """The trial after an amendment or an activation, and the documents that are new in the state.

    Nobody is judged by a version before its day. One that cannot be used changes nothing; screening says why.
    """
    try:
        if not isinstance(event.data, ProtocolAmended):
            versions = trial.versions.activated(event, trial.began_with)
            return trial.model_copy(update={"versions": versions}), {}
        began_with = document_of(state, trial, trial.began_with)
        versions = trial.versions.amended(event, began_with)
    except TrailError:
        return trial, {}
    # What the log began with is kept as well, for when the trial goes by another version.
    texts = {trial.began_with: began_with, event.data.digest: event.data.document}
    kept = {text_key(digest): VersionText(document=text) for digest, text in texts.items()}
    return trial.model_copy(update={"versions": versions}), kept


def gone_on(state: Mapping[str, BaseModel], trial: Trial, now: datetime) -> Trial | None:
    """The trial by the newest version whose day has begun at a site; None: it goes by that one already."""
    newest = _newest_begun(state, trial, now)
    if newest is None:
        return None
    document = document_of(state, trial, newest.digest)
    return trial.model_copy(update={"document": document, "digest": newest.digest, "adopted": trial.began_with})


def _newest_begun(state: Mapping[str, BaseModel], trial: Trial, now: datetime) -> Activation | None:
    entry, found = _entry(trial, trial.digest), None
    for site, activations in sorted(trial.versions.sites.items()):
        for activation in activations:
            protocol = _protocol(state, trial, activation.digest)
            if protocol is None or _entry(trial, activation.digest) <= entry:
                continue
            if now.astimezone(protocol.zone(f"site/{site}")).date() >= activation.day:
                entry, found = _entry(trial, activation.digest), activation
    return found


def document_of(state: Mapping[str, BaseModel], trial: Trial, digest: str) -> str:
    """A version's document; empty where there is none."""
    return trial.document if digest == trial.digest else text_of(state, digest)


def _protocol(state: Mapping[str, BaseModel], trial: Trial, digest: str) -> Protocol | None:
    document = document_of(state, trial, digest)
    return load_protocol(document) if document else None


def _entry(trial: Trial, digest: str) -> int:
    """The entry that brought a version; before all others the one that the log began with."""
    known = trial.versions.known.get(digest)
    return -1 if known is None else known.entry
