"""What a reader of the tables must know beside the numbers: doubts, gaps, and how they were counted. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from services.safety.classification import Classified
from services.safety.outcomes.chimerism import Curve, measured
from services.safety.outcomes.counting import NO_ARM, Arm, CountedEvent
from services.safety.participant import Participant
from shared.events.safety import EventReported


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence, whom it is about, and the entries it rests on."""

    text: str
    participants: tuple[str, ...]
    entries: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Counted:
    """An adverse event as it is counted, beside all that it was classified as."""

    event: CountedEvent
    classified: Classified


_Kind = tuple[str, Callable[[Counted], bool]]
_OF_EVENTS: Final[tuple[_Kind, ...]] = (
    (
        "a date that could go either way, or a grade that nobody stated, decided that it counts as emergent",
        lambda one: one.event.emergent and not one.event.certain,
    ),
    (
        "a date that is not known, or only in part, decided that it does not count as emergent",
        lambda one: not one.event.emergent and not one.event.certain,
    ),
    ("emergent, without a grade or severity", lambda one: one.event.emergent and one.event.level is None),
    (
        "emergent, and nobody has said whether it is related: it counts as related",
        lambda one: (
            one.event.emergent
            and one.classified.event.investigator.causality is None
            and one.classified.event.sponsor.causality is None
        ),
    ),
    (
        "emergent, and nobody has said whether it is serious: it does not count as serious",
        lambda one: (
            one.event.emergent
            and not one.event.serious
            and one.classified.event.investigator.serious is None
            and one.classified.event.sponsor.serious is None
        ),
    ),
    (
        "emergent, and not coded to a system organ class",
        lambda one: one.event.emergent and one.event.system_organ_class is None,
    ),
)


def notes(
    counted: Sequence[Counted], arms: Sequence[Arm], known: Mapping[str, Participant], curves: Sequence[Curve]
) -> Iterator[Note]:
    """Every note that there is something to say for, in a fixed order."""
    for text, about in _OF_EVENTS:
        found = [one.event for one in counted if about(one)]
        if found:
            yield Note(
                f"{_many(len(found), 'adverse event')}: {text}",
                tuple(sorted({event.participant for event in found})),
                tuple(sorted(event.entry for event in found)),
            )
    yield from _of_reports(counted, known)
    yield from _of_arms(arms, known)
    yield from _of_chimerism(known, curves)


def _of_reports(counted: Sequence[Counted], known: Mapping[str, Participant]) -> Iterator[Note]:
    taken = {one.event.entry for one in counted}
    for exposed, text in (
        (True, "under a number that another report has: counted once, by the first"),
        (False, "of a participant who was not exposed: not counted"),
    ):
        left = [
            (code, record.index)
            for code, participant in known.items()
            if (participant.exposed is not None) == exposed
            for record in participant.of(EventReported)
            if record.index not in taken
        ]
        if left:
            yield _note(f"{_many(len(left), 'report')} {text}", left)


def _of_arms(arms: Sequence[Arm], known: Mapping[str, Participant]) -> Iterator[Note]:
    exposed = {code: one.exposed.index for code, one in known.items() if one.exposed is not None}
    nowhere = [(code, exposed[code]) for arm in arms if arm.id == NO_ARM for code in arm.participants]
    if nowhere:
        yield _note(f"{_many(len(nowhere), 'participant')}: exposed, and assigned to no arm", nowhere)
    otherwise = [
        (code, index)
        for code, index in exposed.items()
        if known[code].planned_arm() not in {None, known[code].actual_arm()}
    ]
    if otherwise:
        yield _note(f"{_many(len(otherwise), 'participant')}: first given another arm than planned", otherwise)


def _of_chimerism(known: Mapping[str, Participant], curves: Sequence[Curve]) -> Iterator[Note]:
    undated = {point.entry for one in curves for point in one.points if point.day is None}
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for code, participant in known.items():
        for index, data in measured(participant):
            if participant.exposed is None:
                found["of a participant who was not exposed: left out"].append((code, index))
            elif data.unit is None:
                found["without a unit: left out"].append((code, index))
            elif index in undated:
                found["with a date that could be several days: on no day of the curve"].append((code, index))
    for text, about in sorted(found.items()):
        yield _note(f"{_many(len(about), 'measurement')} of chimerism {text}", about)


def _note(text: str, about: Sequence[tuple[str, int]]) -> Note:
    return Note(text, tuple(sorted({code for code, _ in about})), tuple(sorted(index for _, index in about)))


def _many(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
