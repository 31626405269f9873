"""Electronic signatures, reviews of the audit trail, and erasure (21 CFR 11.10(e), 11.50, 11.70)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from shared.events.base import Data, Hash, Index, Name, Role, SiteData, Text, Token
from shared.events.identity import UserId

Meaning = Literal[
    "eligibility",  # the eligibility decision is right
    "causality",  # the adverse event's relation to the treatment
    "grade",  # the grade of an adverse event or measurement
    "correction",  # what was corrected, and why
    "dlt",  # the decision on a dose-limiting toxicity window
    "cohort",  # the committee's decision on a dose level
    "protocol",  # a version of the protocol
    "assumption",  # assumptions of the protocol's register, confirmed
    "review",  # a review of the audit trail
    "erasure",  # that personal detail is to be erased
]
"""What a signature says (21 CFR 11.50(a)(3))."""


class SignedRecord(Data):
    """An entry that a signature binds, by position and content."""

    index: Index
    leaf: Hash


class RecordSigned(SiteData):
    """An electronic signature: whose name, meaning what, over which entries."""

    meaning: Meaning
    name: Name
    records: Annotated[list[SignedRecord], Field(min_length=1, max_length=50)]


class EligibilitySigned(RecordSigned):
    """A signature in an entry of format 3 or less: an investigator's, over eligibility alone."""

    meaning: Literal["eligibility"]


class PersonSigned(RecordSigned):
    """A signature of a person known by a user id, in one of that person's roles.

    ``name`` and ``role`` are as granted: the manifestation needs no look-up. ``assumptions``: which ones, where the
    meaning is ``assumption``.
    """

    user: UserId
    role: Role
    assumptions: Annotated[list[Token], Field(min_length=1, max_length=100)] | None = None

    @model_validator(mode="after")
    def _assumptions_where_meant(self) -> Self:
        if (self.assumptions is not None) != (self.meaning == "assumption"):
            raise ValueError("assumptions go with the meaning assumption, and that one needs them")
        return self


class ReviewRecorded(SiteData):
    """What a monitor looked at, and found: a participant's entries, or a range of the log, as of ``as_of``.

    About a participant when the event is; else about the entries ``first`` to ``as_of``.
    """

    first: Index
    as_of: Index
    queries: Annotated[list[Token], Field(max_length=100)] = []
    found: Text

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.as_of < self.first:
            raise ValueError("as_of lies before first")
        return self


class ReviewQueryRaised(SiteData):
    """A monitor's question to a site about sealed entries; ``query`` names it for good."""

    query: Token
    site: Token
    records: Annotated[list[SignedRecord], Field(min_length=1, max_length=50)]
    text: Text


class ReviewQueryAnswered(SiteData):
    """The site's answer; a correction, where one is due, is an event of its own."""

    query: Token
    text: Text


class ReviewQueryClosed(SiteData):
    """The monitor is satisfied, or withdraws the question, and why."""

    query: Token
    text: Text


class ErasureOrdered(SiteData):
    """The participant's personal detail is to be erased: its key is destroyed once two persons have signed this."""

    why: Text


class Erased(SiteData):
    """The participant's key was destroyed here; ``ordered`` is the entry that orders it."""

    ordered: Index
    key: Token
