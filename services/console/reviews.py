"""Reviews of the audit trail, and the queries that came of them, as they stand after some entries. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from shared.decider import SealedEvent, read_event
from shared.entry import Entry
from shared.events import SiteData
from shared.events.identity import AccessFailed
from shared.events.log import GapDetected
from shared.events.signatures import ReviewQueryAnswered, ReviewQueryClosed, ReviewQueryRaised, ReviewRecorded
from shared.moments import instant
from shared.words import LogIndex

LATE: Final = timedelta(hours=72)
"""What was recorded longer than this before it was sealed is worth a look."""


@dataclass(frozen=True, slots=True)
class Said:
    """One step of a query: the entry, whose key sealed it, and what it says."""

    index: LogIndex
    source: str
    sealed_at: str
    text: str


@dataclass(frozen=True, slots=True)
class Query:
    """A question to a site about sealed entries, with its answers and how it was closed."""

    name: str
    site: str
    subject: str | None
    records: tuple[LogIndex, ...]
    asked: Said
    answers: tuple[Said, ...] = ()
    closed: Said | None = None

    @property
    def standing(self) -> str:
        """Whose turn it is: ``open`` the site's, ``answered`` the monitor's, or ``closed``."""
        if self.closed is not None:
            return "closed"
        return "answered" if self.answers else "open"


@dataclass(frozen=True, slots=True)
class Review:
    """What somebody looked at, and found."""

    index: LogIndex
    source: str
    sealed_at: str
    subject: str | None
    first: LogIndex
    as_of: LogIndex
    found: str
    queries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notable:
    """An entry that a reviewer should look at, and why."""

    index: LogIndex
    subject: str | None
    why: str


@dataclass
class Trail:
    """The audit trail as a reviewer meets it."""

    reviews: list[Review] = field(default_factory=list)
    queries: dict[str, Query] = field(default_factory=dict)
    notable: list[Notable] = field(default_factory=list)

    def unreviewed(self, subject: str | None = None) -> Iterator[Notable]:
        """What is notable and was looked at in no review: of a participant, or of the whole log."""
        for one in self.notable:
            if subject in {None, one.subject} and not any(_covers(review, one) for review in self.reviews):
                yield one


def trail(entries: Iterable[Entry]) -> Trail:
    """Read the log from its first entry on."""
    made = Trail()
    for entry in entries:
        event = read_event(entry)
        if event is None:
            made.notable.append(Notable(entry.index, None, f"refused: {entry.header.reason}"))
            continue
        _take(made, event)
        made.notable += [Notable(entry.index, event.envelope.subject, why) for why in _why(event)]
    return made


def _take(made: Trail, event: SealedEvent) -> None:
    index, data, subject = event.entry.index, event.data, event.envelope.subject
    match data:
        case ReviewRecorded():
            review = Review(
                index=index,
                source=event.envelope.source,
                sealed_at=event.entry.header.sealed_at,
                subject=subject,
                first=LogIndex(data.first),
                as_of=LogIndex(data.as_of),
                found=data.found,
                queries=tuple(data.queries),
            )
            made.reviews.append(review)
        case ReviewQueryRaised():
            records = tuple(LogIndex(record.index) for record in data.records)
            made.queries[data.query] = Query(data.query, data.site, subject, records, _said(event, data.text))
        case ReviewQueryAnswered():
            known = made.queries[data.query]
            answers = (*known.answers, _said(event, data.text))
            made.queries[data.query] = _with(known, answers, None)
        case ReviewQueryClosed():
            known = made.queries[data.query]
            made.queries[data.query] = _with(known, known.answers, _said(event, data.text))
        case _:
            pass


def _with(query: Query, answers: tuple[Said, ...], closed: Said | None) -> Query:
    return Query(query.name, query.site, query.subject, query.records, query.asked, answers, closed)


def _said(event: SealedEvent, text: str) -> Said:
    return Said(event.entry.index, event.envelope.source, event.entry.header.sealed_at, text)


def _why(event: SealedEvent) -> Iterator[str]:
    """What makes an entry worth a reviewer's look (ICH E6(R3) 4.2.3: what changed, by whom, when, why)."""
    data = event.data
    if isinstance(data, SiteData) and data.corrects is not None:
        yield f"{event.type} corrects or takes back an earlier record: {data.reason}"
    if event.type.endswith(".deviation_raised"):
        yield f"protocol deviation: {getattr(data, 'text', '')}"
    if isinstance(data, GapDetected):
        yield f"{data.source} skipped its numbers {data.first_missing} to {data.last_missing}"
    if isinstance(data, AccessFailed):
        yield f"{data.failures} failed attempts at key {data.key}" + (", locked" if data.locked else "")
    late = instant(event.entry.header.sealed_at) - event.envelope.time
    if late > LATE and isinstance(data, SiteData):
        yield f"recorded {late.days} days before it was sealed"


def _covers(review: Review, one: Notable) -> bool:
    within = review.first <= one.index <= review.as_of
    return within and review.subject in {None, one.subject}
