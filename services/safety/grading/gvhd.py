"""Acute graft-versus-host disease in adults: organ stages and overall grade by Harris 2016 (MAGIC, BBMT 22:4).

The upper bounds of the stages are inclusive, so that 3.05 mg/dL of bilirubin is beyond 3. Pure.
"""

from decimal import Decimal
from functools import partial
from typing import NamedTuple

from services.safety.grading.proposal import Proposal
from shared.events.safety import GvhdAssessed
from shared.protocol.items import items
from shared.protocol.units import convert

GVHD = "Acute graft versus host disease"  # as MedDRA spells it

_ROMAN = ("0", "I", "II", "III", "IV")
# The bilirubin at which each stage of the liver ends, mg/dL; stage 0 ends before 2.
_LIVER = (Decimal(3), Decimal(6), Decimal(15))


class Stages(NamedTuple):
    """The stage of each organ: skin, liver and lower gut 0 to 4, upper gut 0 or 1."""

    skin: int
    liver: int
    upper_gi: int
    lower_gi: int


def gvhd(components: GvhdAssessed) -> Proposal:
    """The overall grade at one time, 0 to 4 for 0 to IV."""
    stages = organ_stages(components)
    grade = overall(stages)
    explain = partial(_sentence, components, stages, grade)
    return Proposal(GVHD, grade, "Harris 2016", "Harris 2016", clinical=False, explain=explain)


def organ_stages(components: GvhdAssessed) -> Stages:
    """The stage of each organ (table 1, adults)."""
    bilirubin = _bilirubin(components)
    stool = components.stool_ml
    if components.skin_percent > 50:
        skin = 4 if components.bullae else 3
    elif components.skin_percent >= 25:
        skin = 2
    else:
        skin = 1 if components.skin_percent > 0 else 0
    liver = 0 if bilirubin < 2 else 1 + sum(bilirubin > end for end in _LIVER)
    if components.lower_gi_severe:
        lower = 4
    else:
        lower = 0 if stool < 500 else 1 if stool < 1000 else 2 if stool <= 1500 else 3
    return Stages(skin, liver, int(components.upper_gi == "persistent"), lower)


def overall(stages: Stages) -> int:
    """The grade by the organ that is worst off."""
    if 4 in (stages.skin, stages.liver, stages.lower_gi):
        return 4
    if max(stages.liver, stages.lower_gi) >= 2:
        return 3
    if stages.skin == 3 or stages.liver or stages.upper_gi or stages.lower_gi:
        return 2
    return 1 if stages.skin else 0


def _bilirubin(components: GvhdAssessed) -> Decimal:
    molar = items().quantities["bilirubin"].molar
    return convert(components.bilirubin, components.bilirubin_unit, "mg/dL", molar)


def _sentence(components: GvhdAssessed, stages: Stages, grade: int) -> str:
    bullae = ", with bullae" if components.bullae else ""
    severe = ", severe pain, ileus or gross blood" if components.lower_gi_severe else ""
    organs = (
        f"skin {components.skin_percent:f} % of body surface{bullae}, stage {stages.skin}",
        f"bilirubin {components.bilirubin:f} {components.bilirubin_unit}, liver stage {stages.liver}",
        f"upper gut {components.upper_gi}, stage {stages.upper_gi}",
        f"stool {components.stool_ml} mL a day{severe}, lower gut stage {stages.lower_gi}",
    )
    by = [
        name
        for name, alone in (
            ("skin", Stages(stages.skin, 0, 0, 0)),
            ("liver", Stages(0, stages.liver, 0, 0)),
            ("upper gut", Stages(0, 0, stages.upper_gi, 0)),
            ("lower gut", Stages(0, 0, 0, stages.lower_gi)),
        )
        if grade and overall(alone) == grade
    ]
    decided = f", decided by {' and '.join(by)}" if by else ""
    return f"{'; '.join(organs)}: grade {_ROMAN[grade]}{decided} (Harris 2016)"
