"""Which of a participant's records count on a reference day, and what is wrong when none does."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Generic, TypeVar
from zoneinfo import ZoneInfo

from services.screening.findings import Finding, Why, unknown
from services.screening.logic import Range, Truth
from shared.events.base import Data
from shared.events.screening import Attested, Consented, HistoryListed, Judged, Observed, Registered, Started
from shared.moments import Span, span
from shared.protocol.items import AgeClass, items
from shared.protocol.model import Protocol
from shared.protocol.units import EXACT, UnitError, convert
from shared.words import LogIndex

D = TypeVar("D", bound=Data)

# Conversion factors hold twelve digits: ten of a converted number are true, so that 84 d is 12 wk and no less.
_TRUE_DIGITS = Context(prec=10, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Record:
    """A sealed event about a participant: where it stands in the log, and what it says."""

    index: LogIndex
    leaf: str
    event_id: str
    type: str
    data: Data


@dataclass(frozen=True, slots=True)
class Reference:
    """The first infusion that evidence is judged against.

    ``day`` is its date in ``zone``, the site's. ``instant`` is set for an actual infusion whose time is known.
    ``last_planned`` is the day of the last planned infusion, where it is not the first.
    """

    day: date
    instant: datetime | None
    zone: ZoneInfo
    last_planned: date | None


@dataclass(frozen=True, slots=True)
class Dated(Generic[D]):
    """A record with the moment it speaks of, as written and as the interval it could mean."""

    index: LogIndex
    data: D
    moment: str
    span: Span


@dataclass(frozen=True, slots=True)
class Chosen(Generic[D]):
    """The record that counts, and the last day on which it is fresh (None: it never goes stale)."""

    record: Dated[D]
    fresh_until: date | None


@dataclass(frozen=True, slots=True)
class Measure:
    """A measured value in one unit, as a range, with the words that show where it came from."""

    range: Range
    text: str
    observed: Observed
    record: Dated[Observed]
    fresh_until: date | None


class Case:
    """A participant's live records, set against a reference; order of the records does not matter."""

    def __init__(self, protocol: Protocol, records: Iterable[Record], reference: Reference) -> None:
        self.protocol = protocol
        self.reference = reference
        self._records: dict[tuple[type[Data], str], list[Record]] = {}
        for record in sorted(records, key=lambda record: record.index):
            self._records.setdefault((type(record.data), _key(record.data)), []).append(record)

    def live(self, kind: type[D], key: str = "") -> list[Dated[D]]:
        """Every live record of an item, topic or history, in log order, whenever it was."""
        return [
            Dated(record.index, record.data, moment, span(moment, self.reference.zone))
            for record in self._records.get((kind, key), ())
            if isinstance(record.data, kind)
            for moment in (_moment(record.data),)
        ]

    def usable(self, kind: type[D], key: str = "") -> list[Dated[D]]:
        """The live records that are not definitely from after the reference."""
        return [record for record in self.live(kind, key) if not self.is_after(record.span)]

    def registrations(self) -> list[tuple[LogIndex, Registered]]:
        """The live registrations, in log order; more than one only when a site repeats itself."""
        return [
            (record.index, record.data)
            for record in self._records.get((Registered, ""), ())
            if isinstance(record.data, Registered)
        ]

    def is_after(self, when: Span) -> bool:
        """Whether a moment is definitely after the reference."""
        if self.reference.instant is not None:
            return when.first > self.reference.instant
        return when.days(self.reference.zone)[0] > self.reference.day

    def only_later(self, said: Dated[D], when: str | None) -> bool:
        """Whether a record from after the actual infusion tells only of what was after it too.

        None stands for what holds when the record is made, and is not dated otherwise.
        """
        if self.reference.instant is None or not self.is_after(said.span):
            return False
        return when is None or self.is_after(span(when, self.reference.zone))

    def oldest(self, ages: AgeClass) -> date | None:
        """The first day whose evidence still counts; None: any day's does."""
        days = self.protocol.validity_days[ages]
        return None if days is None else self.reference.day - timedelta(days=days)

    def freshness(self, when: Span, ages: AgeClass) -> tuple[Truth, date | None]:
        """Whether evidence of a moment counts by its age, and the last day on which it will."""
        oldest = self.oldest(ages)
        if oldest is None:
            return True, None
        first, last = when.days(self.reference.zone)
        if last < oldest:
            return False, None
        if first < oldest or last > self.reference.day:
            return None, None
        return True, first + (self.reference.day - oldest)

    def latest(
        self, records: Sequence[Dated[D]], item: str, ages: AgeClass, value: Callable[[D], Hashable]
    ) -> Chosen[D] | Finding:
        """The latest of the records, if it is fresh and if all that could be the latest agree.

        Otherwise the finding that nothing is known, with the gap to close.
        """
        if not records:
            return self.open(item, "missing", ages)
        last_begin = max(record.span.first for record in records)
        rivals = [record for record in records if record.span.end > last_begin]  # any of them could be the latest
        latest = min(
            (record for record in rivals if record.span.first == last_begin),
            key=lambda record: (record.span.end, -record.index),
        )
        fresh, until = self.freshness(latest.span, ages)
        if fresh is False:
            return self.open(item, "stale", ages, [latest])
        if len({value(record.data) for record in rivals}) > 1:
            return self.open(item, "conflicting", ages, rivals)
        if fresh is None:
            return self.open(item, "partial_date", ages, [latest])
        return Chosen(latest, until)

    def measure(self, record: Dated[Observed], unit: str, fresh_until: date | None) -> Measure | Finding:
        """A record's value in ``unit``, or the finding that its unit leaves it unknown."""
        observed = record.data
        converted = in_unit(observed, observed.value, unit)
        if observed.value is None or observed.unit is None or converted is None:
            return self.open(observed.item, "unit", items().quantities[observed.item].ages, [record])
        sign = f"{observed.comparator} " if observed.comparator else ""
        what = f" ({observed.qualifier})" if observed.qualifier else ""
        text = f"{named(observed.item)}{what} {sign}{amount(observed.value, observed.unit)}"
        if observed.unit != unit and converted != observed.value:
            text += f" = {sign}{amount(rounded(converted), unit)}"
        return Measure(possible(converted, observed.comparator), text, observed, record, fresh_until)

    def latest_measure(self, item: str, unit: str) -> Measure | Finding:
        """The latest value of a quantity in ``unit``, or the finding that it is not known."""
        chosen = self.latest(self.usable(Observed, item), item, items().quantities[item].ages, _comparable)
        if isinstance(chosen, Finding):
            return chosen
        return self.measure(chosen.record, unit, chosen.fresh_until)

    def open(self, item: str, why: Why, ages: AgeClass, records: Sequence[Dated[D]] = ()) -> Finding:
        """The finding that nothing is known about an item yet, with the sentence that tells what to send."""
        send = self.request(item, ages)
        name = named(item)
        of = f"{name} of {' and '.join(sorted({record.moment for record in records})[:3])}"
        detail = {
            "missing": send,
            "stale": f"{of} is older than {self.protocol.validity_days[ages]} days; {send}",
            "conflicting": f"{of} has several values for what could be the same time; correct the wrong one",
            "unit": f"{of} has no unit that fits; correct it, or {send}",
            "partial_date": f"{of} may be too old or too late to count; correct its date, or {send}",
            "unknown": f"{of} is not known; find out and {send}",
        }[why]
        return unknown(item, why, detail, (record.index for record in records))

    def request(self, item: str, ages: AgeClass) -> str:
        """What to ask a site for, with the earliest day that would do."""
        name, oldest = named(item), self.oldest(ages)
        what, verb = name, "stated"
        if item in items().topics:
            what = f"the answer on {name}"
        elif item in items().quantities:
            what, verb = f"{name} with its unit", "collected"
        elif item in items().codes:
            verb = "collected"
        elif item in items().histories:
            what, verb = f"the list of {name} (empty if none)", "complete"
        return f"send {what}" + ("" if oldest is None else f", {verb} on or after {oldest}")


def named(item: str) -> str:
    """What people call an item, inside a sentence."""
    title = items().title(item)
    return title if title[1:2].isupper() or not title[1:2].isalpha() else title[0].lower() + title[1:]


def amount(value: Decimal | str, unit: str) -> str:
    """A number with its unit; a pure number has none."""
    text = value if isinstance(value, str) else format(value, "f")
    return text if unit == "1" else f"{text} {unit}"


def rounded(value: Decimal, limit: Decimal | None = None) -> str:
    """A worked-out number for people, in as many places as show on which side of ``limit`` it lies."""
    with localcontext(EXACT):
        for places in (2, 4, 8):
            text = format(value, f".{places}f")
            if limit is None or value == limit or Decimal(text) != limit:
                return text
        return format(value, "f")


def in_unit(observed: Observed, number: Decimal | None, unit: str) -> Decimal | None:
    """A number in the value's own unit, in another one; None when there is no number or no way to convert it."""
    if number is None or observed.unit is None:
        return None
    if observed.unit == unit:
        return number
    try:
        made = convert(number, observed.unit, unit, items().quantities[observed.item].molar)
    except UnitError:
        return None
    return _TRUE_DIGITS.plus(made)


def possible(value: Decimal, comparator: str | None) -> Range:
    """The numbers that a value with its comparator could be; none of them is negative."""
    if comparator in ("<", "<="):
        return Range(Decimal(0), value, high_open=comparator == "<")
    if comparator in (">", ">="):
        return Range(value, None, low_open=comparator == ">")
    return Range(value, value)


def _comparable(observed: Observed) -> Hashable:
    unit = items().quantities[observed.item].unit
    limits = observed.reference
    numbers = (observed.value, limits.low if limits else None, limits.high if limits else None)
    converted = tuple(in_unit(observed, number, unit) for number in numbers)
    # Where the unit does not convert, only the same number in the same unit is the same value.
    return (observed.comparator, converted) if converted[0] is not None else (observed.unit, numbers)


def _key(data: Data) -> str:
    match data:
        case Observed():
            return data.item
        case Attested():
            return data.topic
        case HistoryListed():
            return data.history
    return ""


def _moment(data: Data) -> str:
    match data:
        case Observed():
            return data.collected
        case Consented():
            return data.signed
        case Attested() | HistoryListed() | Judged() | Started():
            return data.on
    raise TypeError(f"{type(data).__name__} says nothing about a moment")
