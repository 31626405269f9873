"""A synthetic study of the trial, for demonstrations and tests: three sites, 24 places, twelve months.

Nothing in it comes from a person or a hospital, and nothing in it happens by itself: it is a script of what sites,
the sponsor's medical monitor and the cohort committee do on which day, and whoever runs it (the driver) numbers,
signs and posts, and seals each day at its end.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from itertools import groupby
from typing import Final

from services.cli.study_acts import Act, DecideCohort, Post, PostBroken, RequestEnrolment, SignEligibility
from services.cli.study_cases import CASES
from services.cli.study_course import LOCAL
from services.cli.study_safety import sponsor_acts

__all__ = [
    "INVESTIGATORS",
    "SITES",
    "Act",
    "Day",
    "DecideCohort",
    "Post",
    "PostBroken",
    "RequestEnrolment",
    "SignEligibility",
    "synthetic_study",
]

SITES: Final = {
    "101": "Site 101, Hangzhou (synthetic)",
    "102": "Site 102, Ningbo (synthetic)",
    "103": "Site 103, Wenzhou (synthetic)",
}
INVESTIGATORS: Final = {site: f"Investigator {site}-A (synthetic)" for site in SITES}
_EVENING: Final = time(18)


@dataclass(frozen=True, slots=True)
class Day:
    """What is done on one day, in order; ``at`` (UTC) is its evening, when all of it has happened."""

    at: datetime
    acts: list[Act]


def synthetic_study(seed: int = 6027853) -> list[Day]:
    """Make the study: every day on which something happens. The same seed makes the same study."""
    timed = sponsor_acts() + [happening for case in CASES for happening in case.course(seed).acts()]
    timed.sort(key=lambda happening: happening[0])
    return [
        Day(datetime.combine(day, _EVENING, LOCAL).astimezone(UTC), [act for _, act in acts])
        for day, acts in groupby(timed, key=lambda happening: happening[0].date())
    ]
