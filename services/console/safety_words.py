"""What is sealed about safety, as sentences for people who review a trial."""

from shared.events import safety, safety_decisions


def said_of_safety(data: object) -> str | None:
    """A site's or sponsor's statement about safety in words; None for any other."""
    match data:
        case safety.EventReported():
            parts = [
                f"adverse event {data.ae}: {data.preferred_term or data.term}",
                _graded(data.grade, data.severity),
                f"from {data.onset}" if data.onset else "onset not known",
                f"to {data.ended}" if data.ended else "",
                _serious(data.serious),
                _cause(data.causality),
                data.outcome.replace("_", " ") if data.outcome else "",
            ]
            return ", ".join(part for part in parts if part)
        case safety.EventUpdated():
            parts = [_graded(data.grade, data.severity), _serious(data.serious), _cause(data.causality)]
            parts.append(f"treated: {data.treated}" if data.treated else "")
            return f"adverse event {data.ae} from {data.on}: " + ", ".join(part for part in parts if part)
        case safety.EventResolved():
            return f"adverse event {data.ae}: {data.outcome.replace('_', ' ')} on {data.on}"
        case safety.CrsAssessed():
            fever = "no temperature" if data.temperature is None else f"{data.temperature:f} °C"
            return (
                f"CRS components at {data.at}: {fever}, hypotension {_yes(data.hypotension)}, vasopressors "
                f"{data.vasopressors}, hypoxia {_yes(data.hypoxia)}, oxygen {data.oxygen.replace('_', ' ')}"
            )
        case safety.IcansAssessed():
            ice = "not testable" if data.ice is None else str(data.ice)
            return (
                f"ICANS components at {data.at}: ICE {ice}, {data.consciousness}, seizure "
                f"{data.seizure.replace('_', ' ')}, motor {data.motor.replace('_', ' ')}, oedema {data.oedema}"
            )
        case safety.GvhdAssessed():
            return (
                f"acute GvHD components at {data.at}: skin {data.skin_percent:f} %, bilirubin "
                f"{data.bilirubin:f} {data.bilirubin_unit}, stool {data.stool_ml} mL a day"
            )
        case safety.Died():
            return f"died on {data.on}: {data.cause}" + (f" (adverse event {data.ae})" if data.ae else "")
        case safety.MedicationGiven():
            purpose = data.indication or (f"adverse event {data.ae}" if data.ae else "")
            return f"{data.agent} given from {data.started}" + (f" for {purpose}" if purpose else "")
        case safety.DispositionRecorded():
            return f"{data.phase} ended on {data.on}: {data.status.replace('_', ' ')}"
        case safety.ArmAssigned():
            return f"assigned to {data.planned}"
        case safety.Exposed():
            until = f" to {data.ended}" if data.ended else ""
            return f"{data.treatment} {data.dose:f} {data.unit} ({data.arm}) from {data.started}{until}"
        case _:
            return _sponsor(data)


def _sponsor(data: object) -> str | None:
    match data:
        case safety.EventAssessed():
            expected = f"expected: {data.expected}" if data.expected else ""
            parts = [_cause(data.causality), _serious(data.serious), expected]
            views = ", ".join(part for part in parts if part) or "no view yet"
            return f"the sponsor on adverse event {data.ae}: {views} ({data.why})"
        case safety.ReferenceAdopted():
            count = len(data.reactions)
            return f"reference safety information {data.version}, {count} reactions, from {data.effective}"
        case safety.ReportSent():
            kind = data.kind.replace("_", " ")
            return f"{kind} report {data.number} of adverse event {data.ae} sent to {data.profile} at {data.at}"
        case safety.CohortDecided():
            opened = f", {data.slots} more at {data.opens}" if data.opens else ""
            return (
                f"the cohort committee on {data.dose_level}: {data.decision.replace('_', '-')}{opened} ({data.why})"
            )
        case safety.SafetyRetracted():
            return "an earlier statement was retracted"
        case _:
            return None


def ruled_on_safety(data: object) -> str | None:  # noqa: PLR0912 - one line an event type
    """A decision of the safety service in words; None for any other."""
    match data:
        case safety_decisions.GradeProposed():
            return f"{data.term}: grade {data.grade} by {data.scale} at {data.at} (worst {data.worst}){_why(data)}"
        case safety_decisions.GradeDisputed():
            return (
                f"{data.term}: the investigator says grade {data.investigator}, the measurements come to "
                f"{data.proposed}; the investigator's stands"
            )
        case safety_decisions.DisputeSettled():
            return f"{data.term}: the investigator's grade and the measured one agree now"
        case safety_decisions.EventClassified():
            return _classified(data)
        case safety_decisions.ReportOverdue():
            return f"OVERDUE since {data.due}: {data.kind} report of adverse event {data.ae} to {data.profile}"
        case safety_decisions.ReportClosed():
            result = data.result.replace("_", " ")
            return f"{data.kind} report of adverse event {data.ae} to {data.profile}: {result} (due {data.due})"
        case safety_decisions.ReportDue():
            return (
                f"{data.kind} report of adverse event {data.ae} to {data.profile} is due by {data.due}: "
                f"{data.days} days from {data.day_zero}"
            )
        case safety_decisions.WindowDecided():
            named = f": {', '.join(data.toxicities)}" if data.toxicities else ""
            state = {"dlt": "dose-limiting toxicity", "not_evaluable": "not evaluable"}.get(data.state, data.state)
            return (
                f"DLT window {data.first_day} to {data.last_day} at {data.dose_level}: {state}{named}{_why(data)}"
            )
        case safety_decisions.CohortRecommended():
            goal = f" to {data.to}" if data.to else ""
            return (
                f"recommended for {data.dose_level}: {data.action.replace('_', '-')}{goal} ({data.dlts} DLT of "
                f"{data.evaluable} evaluable, {data.pending} pending){_why(data)}"
            )
        case safety_decisions.SlotsDecided():
            open_ = ", ".join(f"{level} up to {number}" for level, number in sorted(data.up_to.items()))
            return ("enrolment is held" if data.held else f"places: {open_}") + _why(data)
        case safety_decisions.DepartureNoted():
            departed = f"the committee's {data.decision} at {data.dose_level}; recommended was {data.recommended}"
            return departed + _why(data)
        case safety_decisions.QueryRaised():
            return f"query to {data.to}: {data.text}"
        case safety_decisions.QueryClosed():
            return f"query closed: {data.query}"
        case _:
            return None


def _classified(data: safety_decisions.EventClassified) -> str:
    if data.retracted:
        return f"adverse event {data.ae} ({data.term}) was retracted and counts nowhere"
    emergent = "treatment-emergent" if data.emergent else "not treatment-emergent"
    if not data.certain:
        emergent += " (a date could go either way)"
    parts = [
        emergent,
        "serious" if data.serious else "",
        "related" if data.related else "",
        {"yes": "expected", "no": "unexpected", "unknown": "expectedness unknown"}[data.expected],
        "SUSAR" if data.susar else "",
    ]
    return f"adverse event {data.ae} ({data.term}): " + ", ".join(part for part in parts if part)


def _why(data: object) -> str:
    lines = getattr(data, "arithmetic", [])
    return f"; {lines[-1]}" if lines else ""


def _graded(grade: int | None, severity: str | None) -> str:
    return f"grade {grade}" if grade is not None else severity or ""


def _serious(criteria: list[safety.Seriousness] | None) -> str:
    if criteria is None:
        return ""
    return "serious: " + ", ".join(name.replace("_", " ") for name in criteria) if criteria else "not serious"


def _cause(causality: safety.Causality | None) -> str:
    return "" if causality is None else f"causality {causality.replace('_', ' ')}"


def _yes(truth: bool) -> str:  # noqa: FBT001 - a finding, told
    return "yes" if truth else "no"
