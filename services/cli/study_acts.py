"""What people do in the synthetic study, as data; whoever plays the study (the driver) does it."""

from dataclasses import dataclass
from typing import Literal

from shared.drafts import Draft

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


Act = Post | PostBroken | SignEligibility | RequestEnrolment | DecideCohort
