"""Laws of the safety decider: order, corrections and restarts change nothing that they should not."""

from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from services.safety.grades import COMPONENTS, regraded
from shared.protocol.model import load_protocol
from tests.feed import Feed
from tests.study import DOCUMENT

ZONE = load_protocol(DOCUMENT).zone("site/701")

Statement = tuple[str, dict[str, Any]]

INFUSED: Statement = (
    "treatment.infused",
    {"at": "2026-03-04T10:00:00+08:00", "dose_level": "DL1", "number": 1},
)
_ITEMS = {
    "alt": ("U/L", ["20", "90", "150", "300", "900"], {"high": 40}),
    "platelets": ("10*3/uL", ["20", "40", "70", "100", "200"], {"low": 150}),
    "calcium": ("mg/dL", ["7.5", "9.5", "11.8"], {"low": 8.5, "high": 10.5}),
    "albumin": ("g/dL", ["1.8", "2.5", "4.0"], {"low": 3.5}),
    "systolic": ("mm[Hg]", ["110", "145", "170"], None),
    "qtc": ("ms", ["430", "470", "510"], None),
}


@st.composite
def measurement(draw: st.DrawFn) -> Statement:
    """A laboratory value from before, on or after the day of the infusion."""
    item = draw(st.sampled_from(sorted(_ITEMS)))
    unit, values, reference = _ITEMS[item]
    day = draw(st.sampled_from(_DAYS))
    hour = draw(st.sampled_from(["", "", "T09:00", "T15:00"])) if len(day) > 7 else ""
    data: dict[str, Any] = {"item": item, "value": float(draw(st.sampled_from(values))), "collected": day + hour}
    if draw(st.integers(0, 9)):
        data["unit"] = unit
    if reference is not None:
        data["reference"] = reference
    if item == "qtc":
        data["qualifier"] = draw(st.sampled_from(["Fridericia", "Bazett"]))
    return "safety.observed", data


@st.composite
def event(draw: st.DrawFn, number: int) -> Statement:
    """An adverse event, some of them serious, some named like a measured term."""
    term = draw(
        st.sampled_from(["Nausea", "Platelet count decreased", "Cytokine release syndrome", "Hypertension"])
    )
    data: dict[str, Any] = {"ae": str(number), "term": term, "onset": draw(_ONSETS), "causality": draw(_VIEWS)}
    if draw(st.booleans()):
        data["grade"] = draw(st.integers(1, 4))
    data["serious"] = draw(st.sampled_from([[], ["hospitalisation"], ["life_threatening"]]))
    return "safety.event_reported", data


_DAYS = ["2026-03-01", "2026-03-04", "2026-03-05", "2026-03-09", "2026-03", "2026-04-01", "2026-04-02"]
_ONSETS = st.sampled_from(["2026-02-20", "2026-03-04", "2026-03", "2026-03-20", "2026-04-10"])
_VIEWS = st.sampled_from(["not_related", "possible", "definite"])
_CRS: Statement = (
    "safety.crs_assessed",
    {
        "at": "2026-03-06T08:00",
        "temperature": 39,
        "antipyretics": False,
        "hypotension": False,
        "vasopressors": "none",
        "oxygen": "none",
        "hypoxia": False,
    },
)


@st.composite
def history(draw: st.DrawFn) -> list[Statement]:
    """Independent statements about one participant, the infusion among them."""
    count = draw(st.integers(0, 3))
    told = [draw(event(number)) for number in range(1, count + 1)]
    told += draw(st.lists(measurement(), max_size=8, unique_by=repr))
    told += [INFUSED] + ([_CRS] if draw(st.booleans()) else [])
    return told


def said(feed: Feed, statements: list[Statement]) -> Feed:
    """Register the participant, then say all that in this order."""
    feed.say("screening.registered", {"sex": "female"})
    for type_, data in statements:
        feed.say(type_, data)
    return feed


def essence(feed: Feed) -> dict[str, Any]:
    """All that is decided of the participant now, whatever the entries' positions."""
    assessed = feed.assessed()
    return {answer.question: (answer.type, answer.content) for answer in assessed.answers}


def issued(feed: Feed) -> dict[str, str]:
    """What was issued last on each question."""
    return {question: one.fingerprint for question, one in feed.participant().issued.items()}


@settings(max_examples=40, deadline=None)
@given(statements=history(), data=st.data())
def test_the_order_in_which_independent_statements_arrive_changes_no_decision(
    statements: list[Statement], data: st.DataObject
) -> None:
    other = data.draw(st.permutations(statements))
    first, second = said(Feed(), statements), said(Feed(), other)
    assert essence(first) == essence(second)
    assert issued(first) == issued(second)


@settings(max_examples=40, deadline=None)
@given(statements=history())
def test_what_was_issued_is_what_there_is_to_say(statements: list[Statement]) -> None:
    """Nothing is forgotten: asked again from nothing, every question has the answer that was issued last."""
    feed = said(Feed(), statements)
    assert issued(feed) == {answer.question: answer.fingerprint for answer in feed.assessed().answers}


@settings(max_examples=40, deadline=None)
@given(statements=history())
def test_grades_folded_value_by_value_are_those_graded_anew(statements: list[Statement]) -> None:
    participant = said(Feed(), statements).participant()
    anew = regraded(participant, {*participant.measurements, COMPONENTS}, ZONE)
    assert anew == participant


@settings(max_examples=25, deadline=None)
@given(statements=history(), data=st.data())
def test_a_restart_at_any_point_changes_no_decision(statements: list[Statement], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(statements)))
    whole, broken = said(Feed(), statements), Feed()
    broken.say("screening.registered", {"sex": "female"})
    for number, (type_, told) in enumerate(statements):
        if number == at:
            broken.reload()
        broken.say(type_, told)
    assert broken.decisions == whole.decisions


@settings(max_examples=40, deadline=None)
@given(statements=history(), extra=st.one_of(measurement(), event(9)))
def test_a_statement_taken_back_leaves_everything_as_it_was(statements: list[Statement], extra: Statement) -> None:
    assume(extra not in statements)  # it would have the id of the one that stays
    without = said(Feed(), statements)
    feed = said(Feed(), statements)
    event_id = feed.say(*extra)
    feed.say("screening.retracted", {"corrects": event_id, "reason": "wrong participant"})
    assert quiet(essence(feed)) == quiet(essence(without))


@settings(max_examples=40, deadline=None)
@given(statements=history(), data=st.data())
def test_a_correction_and_its_reversal_leave_everything_as_it_was(
    statements: list[Statement], data: st.DataObject
) -> None:
    without = said(Feed(), statements)
    feed = Feed()
    feed.say("screening.registered", {"sex": "female"})
    ids = [feed.say(type_, told) for type_, told in statements]
    at = data.draw(st.integers(0, len(statements) - 1))
    type_, told = statements[at]
    other = dict(told)
    if type_ == "safety.observed":
        other["value"] = told["value"] * 1.25
    elif type_ == "safety.event_reported":
        other |= {"grade": 4, "serious": ["disability"], "causality": "definite"}
    elif type_ == "treatment.infused":
        other["at"] = "2026-03-08T10:00:00+08:00"
    else:
        other["oxygen"] = "high_flow"
    first = feed.say(type_, other | {"corrects": ids[at], "reason": "a slip"})
    feed.say(type_, told | {"corrects": first, "reason": "it was right"})
    assert quiet(essence(feed)) == quiet(essence(without))


def quiet(answers: dict[str, Any]) -> dict[str, Any]:
    """Without the clocks: they remember, so that none ever runs longer than it did."""
    return {question: told for question, told in answers.items() if not question.startswith("clock ")}


@settings(max_examples=30, deadline=None)
@given(mine=history(), theirs=history(), data=st.data())
def test_what_is_said_of_another_participant_changes_nothing(
    mine: list[Statement], theirs: list[Statement], data: st.DataObject
) -> None:
    alone = said(Feed(), mine)
    feed = Feed()
    for code in ("701-001", "701-002"):
        feed.say("screening.registered", {"sex": "female"}, of=code)
    told = [("701-001", one) for one in mine] + [("701-002", one) for one in theirs]
    order = data.draw(st.permutations(range(len(told))))
    mixed = iter([told[at][1] for at in sorted(order) if told[at][0] == "701-001"])
    for at in order:
        code, statement = told[at]
        type_, content = next(mixed) if code == "701-001" else statement
        feed.say(type_, content, of=code)
    assert essence(feed) == essence(alone)
