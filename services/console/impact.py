"""What a version of the protocol would change: who has to consent again, who is judged otherwise. Pure."""

from dataclasses import dataclass, field
from datetime import date

from services.console.protocols import Approved, Protocols, SealedVersion
from services.console.replay import Difference, compare, participants, trial_of
from services.safety.participant import Participant as Treated
from services.screening.eligibility import Rules
from services.screening.participant import Participant, local_day
from services.screening.versions import owed_consent
from shared.decider import Machine
from shared.events.screening import Consented
from shared.words import source_name


@dataclass(slots=True)
class SiteImpact:
    """What it comes to at a site. ``activation`` is None where the version is not activated there.

    ``consent_again`` are codes. ``rescreen`` tells whose verdicts would be others, and how; ``kept`` are those who
    were infused or closed, and stay as they were judged.
    """

    site: str
    activation: Approved | None
    consent_again: list[str] = field(default_factory=list)
    rescreen: list[Difference] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Impact:
    """What a version comes to, site by site. ``reconsent`` is None where no amendment has said yet."""

    version: str
    digest: str
    reconsent: bool | None
    sites: list[SiteImpact]


def impact(
    screening: Machine, safety: Machine, known: Protocols, rules: Rules, sealed: SealedVersion | None
) -> Impact:
    """What a version would change for those whom both deciders know, at the last sealed moment.

    ``sealed`` is the version's amendment; None: it is a draft, whose file alone is known, and who would have to
    consent again is told as if it asked for it.
    """
    reconsent = None if sealed is None else sealed.reconsent
    sites: dict[str, SiteImpact] = {}
    for code, participant in participants(screening):
        site = source_name(participant.source)
        here = sites.setdefault(site, SiteImpact(site, None if sealed is None else known.at(sealed, site)))
        if participant.closed() or next(participant.infusions(), None) is not None:
            here.kept.append(code)
        if (
            reconsent is not False
            and not _gone(safety, participant, rules)
            and _has_to_consent(screening, participant, rules, here.activation, known.sealed_at)
        ):
            here.consent_again.append(code)
    differences = {one.subject: one for one in compare(screening, rules, known.sealed_at)}
    for code, participant in participants(screening):
        here = sites[source_name(participant.source)]
        if code in differences and code not in here.kept:
            here.rescreen.append(differences[code])
    return Impact(rules.protocol.version, rules.digest, reconsent, [sites[name] for name in sorted(sites)])


def _has_to_consent(
    screening: Machine, participant: Participant, rules: Rules, activation: Approved | None, now: str
) -> bool:
    """Whether a consent is owed on the version's day, or today if that is past; without a day, by all who have."""
    if activation is None:
        return any(isinstance(record.data, Consented) for record in participant.live())
    today = local_day(now, rules.protocol.zone(participant.source)).isoformat()
    day = date.fromisoformat(max(today, activation.effective))
    return owed_consent(participant, trial_of(screening), rules, day) is not None


def _gone(safety: Machine, participant: Participant, rules: Rules) -> bool:
    """Whether nobody is left to consent: closed, dead, or out of the trial."""
    treated, zone = safety.state.get(f"participant:{participant.code}"), rules.protocol.zone(participant.source)
    left = isinstance(treated, Treated) and (treated.died(zone) or treated.left(zone)) is not None
    return left or bool(participant.closed())
