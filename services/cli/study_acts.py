"""What people do in the synthetic study, as data; whoever plays the study (the driver) does it."""

from dataclasses import dataclass
from typing import Literal

from services.cli.installation import user_of
from shared.drafts import Draft
from shared.words import SourceId

Damage = Literal["none", "stray_key", "tampered", "cut_off"]


@dataclass(frozen=True, slots=True)
class Post:
    """A site, or the sponsor's medical monitor, posts an event; it must be admitted."""

    draft: Draft


@dataclass(frozen=True, slots=True)
class PostBroken:
    """A site posts something that must be refused. ``damage`` is what happens to it on its way.

    none: nothing, the draft itself is wrong; stray_key: signed with a key that nobody granted; tampered: a byte
    changed after signing; cut_off: only the first half arrives, which is no JSON.
    """

    draft: Draft
    what: str
    damage: Damage = "none"


@dataclass(frozen=True, slots=True)
class SignEligibility:
    """The site's investigator signs the participant's current decision, if it is ``eligible``."""

    participant: str
    site: str


@dataclass(frozen=True, slots=True)
class RequestEnrolment:
    """The site asks for a place at a dose level."""

    participant: str
    site: str
    dose_level: str


@dataclass(frozen=True, slots=True)
class DecideCohort:
    """The cohort committee decides, with the newest sealed recommendation before it.

    ``draft`` is its ``safety.cohort_decided`` without that recommendation: ``decided`` fills it in.
    """

    draft: Draft

    def decided(self, index: int, leaf: str) -> Draft:
        """The committee's event, naming the recommendation's entry and its leaf hash (hex)."""
        data = self.draft.data | {"recommendation": index, "recommendation_leaf": leaf}
        return self.draft.model_copy(update={"data": data})

    def signed(self, source: str, holder: str, index: int, leaf: str, time: str) -> Draft:
        """A member's signature over the sealed decision."""
        data = {
            "meaning": "cohort",
            "name": holder,
            "user": user_of(SourceId(source), "cohort_committee"),
            "role": "cohort_committee",
            "records": [{"index": index, "leaf": leaf}],
        }
        return Draft(source=source, type="record.signed", time=time, data=data, role="cohort_committee")


Act = Post | PostBroken | SignEligibility | RequestEnrolment | DecideCohort
