"""Cytokine release syndrome and neurotoxicity of immune effector cells by ASTCT 2019 (Lee et al., BBMT 25:625).

The worst finding decides. Grade 5 is death and never proposed; CTCAE has a cytokine release syndrome of its own,
which this one is never mixed with. Pure.
"""

from decimal import Decimal
from functools import partial

from services.safety.grading.proposal import Proposal
from shared.events.safety import CrsAssessed, IcansAssessed

CRS = "Cytokine release syndrome"
ICANS = "Immune effector cell-associated neurotoxicity syndrome"

Finding = tuple[int, str]
"""The grade that one component gives, and the component in words."""

_FEVER = Decimal("38.0")
_PRESSORS = {
    "none": (2, "hypotension without vasopressors"),
    "one": (3, "one vasopressor"),
    "multiple": (4, "multiple vasopressors"),
}
_OXYGEN = {
    "none": (2, "hypoxia, no oxygen recorded"),
    "low_flow": (2, "low-flow oxygen"),
    "high_flow": (3, "high-flow oxygen"),
    "positive_pressure": (4, "positive pressure ventilation"),
}
_CONSCIOUSNESS = {
    "awake": (0, "awake"),
    "voice": (2, "awakens to voice"),
    "tactile": (3, "awakens only to tactile stimulus"),
    "unarousable": (4, "unarousable, or only by vigorous stimuli"),
}
_SEIZURE = {
    "none": (0, "no seizure"),
    "rapidly_resolving": (3, "a seizure that resolved rapidly"),
    "prolonged_or_repetitive": (4, "a prolonged seizure, or repetitive ones"),
}
_MOTOR = {"none": (0, "no motor finding"), "deep_focal_weakness": (4, "deep focal motor weakness")}
_OEDEMA = {
    "none": (0, "no cerebral oedema"),
    "focal": (3, "focal cerebral oedema"),
    "diffuse": (4, "diffuse cerebral oedema or raised intracranial pressure"),
}


def crs(components: CrsAssessed) -> Proposal:
    """The grade of cytokine release syndrome at one time (table 2).

    It needs a fever of 38.0 degrees Celsius, unless antipyretics, steroids or anticytokine therapy could hide it;
    then hypotension and hypoxia alone decide. Vasopressors and oxygen count even where they have made hypotension
    or hypoxia disappear; positive pressure without hypoxia does not, since an airway is also secured for other
    reasons. That nothing else explains a finding is the investigator's judgement.
    """
    temperature = components.temperature
    findings: list[Finding] = [(0, "no hypotension"), (0, "no hypoxia")]
    if components.hypotension or components.vasopressors != "none":
        findings[0] = _PRESSORS[components.vasopressors]
    if components.hypoxia or components.oxygen in ("low_flow", "high_flow"):
        findings[1] = _OXYGEN[components.oxygen]
    elif components.oxygen == "positive_pressure":
        findings[1] = (0, "positive pressure ventilation without hypoxia, which does not count")
    worst = max(grade for grade, _ in findings)
    if temperature is None:
        fever: bool | None = None
        first = "temperature not recorded"
    else:
        fever = temperature >= _FEVER
        first = f"temperature {temperature:f} Cel, {'at least' if fever else 'below'} {_FEVER}"
    if components.antipyretics:
        first += ", under antipyretics, steroids or anticytokine therapy"
    grade: int | None
    if fever:
        grade = max(worst, 1)
    elif components.antipyretics and worst:
        grade = worst
    elif fever is None:
        grade = None
    else:
        grade = 0
    ask = f"send the temperature, with fever it is grade {max(worst, 1)}"
    return _proposal(CRS, grade, [(int(bool(fever)), first), *findings], ask)


def icans(components: IcansAssessed) -> Proposal:
    """The grade of neurotoxicity at one time (table 5, adults).

    An ICE score of 0 is grade 3 in a participant who can be aroused, and grade 4 with one who cannot. Without a
    score the grade stands only where it could not change it.
    """
    ice = components.ice
    findings = [
        _CONSCIOUSNESS[components.consciousness],
        _SEIZURE[components.seizure],
        _MOTOR[components.motor],
        _OEDEMA[components.oedema],
    ]
    worst = max(grade for grade, _ in findings)
    if ice is None:
        # The lowest score alone is grade 3.
        grade = worst if worst >= 3 else None
        scored = (0, "ICE score not given")
    else:
        scored = (0 if ice == 10 else 1 if ice >= 7 else 2 if ice >= 3 else 3, f"ICE score {ice}")
        grade = max(worst, scored[0])
    ask = f"{f'at least {worst}, ' if worst else ''}send the ICE score, 0 for who is awake but cannot answer"
    return _proposal(ICANS, grade, [scored, *findings], ask)


def _proposal(term: str, grade: int | None, findings: list[Finding], ask: str) -> Proposal:
    explain = partial(_sentence, grade, findings, ask)
    return Proposal(term, grade, "ASTCT 2019", "ASTCT 2019", clinical=False, explain=explain)


def _sentence(grade: int | None, findings: list[Finding], ask: str) -> str:
    said = "; ".join(text for _, text in findings)
    if grade is None:
        return f"{said}: the grade cannot be told: {ask} (ASTCT 2019)"
    if not grade:
        return f"{said}: no grade (ASTCT 2019)"
    deciding = " and ".join(text for of, text in findings if of == grade)
    return f"{said}: grade {grade}, decided by {deciding} (ASTCT 2019)"
