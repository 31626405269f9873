"""Which version of the protocol a participant is judged by, and whether consent has to be given again. Pure.

It is the version in force at the participant's site on the day that is judged, in the site's own calendar; the
version that the log began with where the site has activated none. What is activated after a participant was
infused, or closed, changes nothing for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pydantic import BaseModel

from services.screening.eligibility import Rules
from services.screening.enrolment import Trial
from services.screening.participant import Participant, judged_on, local_day
from shared.events.screening import Consented, Infused
from shared.moments import span
from shared.protocol.activations import Activation
from shared.protocol.model import load_protocol
from shared.protocol.versions import text_of


@dataclass(frozen=True, slots=True)
class OwedConsent:
    """A participant has to consent again, because of this activation of a version called so."""

    activation: Activation
    version: str

    def told(self, source: str) -> str:
        """The sentence for whoever has to see to it."""
        return (
            f"protocol {self.version} is in force at {source} since {self.activation.effective} "
            f"(entry {self.activation.entry}) and asks everybody to consent again, which is not recorded"
        )


def adopted_rules(trial: Trial) -> Rules | None:
    """The version that the log began with; None while there is none."""
    return Rules(load_protocol(trial.document), trial.digest) if trial.document else None


def rules_for(
    state: Mapping[str, BaseModel], trial: Trial, participant: Participant, now: str, *, enrolling: bool = False
) -> Rules | None:
    """The version by which a participant is judged at a sealed time; None while there is none.

    Each version says itself in which time zone the site's days are meant. ``enrolling``: for an infusion that can
    be no earlier than today.
    """
    for activation in reversed(trial.versions.at(participant.source)):
        if participant.settled_before(activation.entry):
            continue
        rules = activated_rules(state, trial, activation)
        zone = rules.protocol.zone(participant.source)
        day = judged_on(participant, now, zone).reference.day
        if (max(day, local_day(now, zone)) if enrolling else day) >= activation.day:
            return rules
    return adopted_rules(trial)


def activated_rules(state: Mapping[str, BaseModel], trial: Trial, activation: Activation) -> Rules:
    """The version that an activation is of."""
    document = trial.document if activation.digest == trial.digest else text_of(state, activation.digest)
    return Rules(load_protocol(document), activation.digest)


def owed_consent(participant: Participant, trial: Trial, rules: Rules, day: date) -> OwedConsent | None:
    """Whether the participant has to consent again, as of a day at the site; None: not, or it was done.

    Who certainly consented first on the version's own day or later has nothing to renew. Renewed is a consent that
    certainly was signed then, on another form than any before; which form that is, is the site's to say.
    """
    source, versions = participant.source, trial.versions
    asking = [one for one in versions.at(source) if versions.reconsents(one) and one.day <= day]
    if not asking:
        return None
    newest, zone = asking[-1], rules.protocol.zone(source)
    consents = [
        (span(record.data.signed, zone).days(zone)[0] >= newest.day, record.data)
        for record in participant.live()
        if isinstance(record.data, Consented) and span(record.data.signed, zone).days(zone)[0] <= day
    ]
    before = {said.form_version for later, said in consents if not later}
    if not before or any(later and said.form_version not in before for later, said in consents):
        return None
    return OwedConsent(newest, versions.known[newest.digest].name)


def owed_at_infusion(participant: Participant, trial: Trial, rules: Rules, infused: Infused) -> OwedConsent | None:
    """The consent that was owed on the day of an infusion."""
    zone = rules.protocol.zone(participant.source)
    return owed_consent(participant, trial, rules, span(infused.at, zone).days(zone)[1])
