"""Every event type there is: its model, who may submit it, and whether it is about a participant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from shared.entry import FORMAT_VERSION
from shared.envelope import TYPE_PREFIX
from shared.events import decisions, log, safety, safety_decisions, screening
from shared.events.base import Data, Role
from shared.words import RefusedError

# Sentences for pydantic's error types. Its own wording may change between releases; a sealed reason must not.
_PHRASES = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this event",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "is_instance_of": "must be a number",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "string_too_short": "is empty",
    "string_too_long": "is too long",
    "too_long": "has too many entries",
    "too_short": "has too few entries",
    "decimal_max_digits": "has too many digits",
    "finite_number": "must be finite",
}


@dataclass(frozen=True, slots=True)
class EventType:
    """One row of the catalogue. ``roles`` is the authority table of this event type.

    ``since`` is the entry format that brought it: to entries of an older format it does not exist. ``older`` are
    models that entries up to a format are judged by.
    """

    name: str
    model: type[Data]
    roles: frozenset[Role]
    about_participant: bool
    since: int = 1
    older: tuple[tuple[int, type[Data]], ...] = ()

    def model_at(self, format_: int) -> type[Data]:
        """The model by which an entry of this format is judged."""
        return next((model for last, model in self.older if format_ <= last), self.model)


def _row(
    name: str,
    model: type[Data],
    *roles: Role,
    participant: bool = True,
    since: int = 1,
    older: tuple[tuple[int, type[Data]], ...] = (),
) -> tuple[str, EventType]:
    full = f"{TYPE_PREFIX}{name}.v1"
    return full, EventType(full, model, frozenset(roles), participant, since, older)


def _safety(name: str, model: type[Data], *roles: Role, participant: bool = True) -> tuple[str, EventType]:
    return _row(name, model, *roles, participant=participant, since=3)


CATALOGUE: Mapping[str, EventType] = dict(
    [
        _row("log.opened", log.Opened, "root", participant=False),
        _row("log.ticked", log.Ticked, "log", participant=False),
        _row("log.gap_detected", log.GapDetected, "log", participant=False),
        _row("log.intake_lost", log.IntakeLost, "log", participant=False),
        _row("log.clock_moved", log.ClockMoved, "root", participant=False),
        _row("log.key_rotated", log.KeyRotated, "root", participant=False, since=2),
        _row("protocol.adopted", log.ProtocolAdopted, "root", "sponsor", participant=False),
        _row(
            "identity.granted",
            log.Granted,
            "root",
            "administrator",
            participant=False,
            older=((2, log.GrantedBeforeSafety),),
        ),
        _row("identity.revoked", log.Revoked, "root", "administrator", participant=False),
        _row("screening.registered", screening.Registered, "site_system"),
        _row("screening.consented", screening.Consented, "site_system"),
        _row("screening.withdrawn", screening.Withdrawn, "site_system"),
        _row("screening.started", screening.Started, "site_system"),
        _row("screening.observed", screening.Observed, "site_system"),
        _row("screening.attested", screening.Attested, "site_system"),
        _row("screening.history_listed", screening.HistoryListed, "site_system"),
        _row("screening.condition_recorded", screening.ConditionRecorded, "site_system"),
        _row("screening.infusion_planned", screening.InfusionPlanned, "site_system"),
        _row("screening.completed", screening.Completed, "site_system"),
        _row("screening.screen_failed", screening.ScreenFailed, "site_system"),
        _row("screening.judged", screening.Judged, "investigator"),
        _row("screening.enrolment_requested", screening.EnrolmentRequested, "site_system"),
        _row("screening.retracted", screening.Retracted, "site_system", "investigator"),
        _row("treatment.infused", screening.Infused, "site_system"),
        _row("record.signed", screening.RecordSigned, "investigator"),
        _row("screening.decided", decisions.Decided, "screening"),
        _row("screening.enrolled", decisions.Enrolled, "screening"),
        _row("screening.enrolment_refused", decisions.EnrolmentRefused, "screening"),
        _row("screening.deviation_raised", decisions.DeviationRaised, "screening"),
        _safety("treatment.arm_assigned", safety.ArmAssigned, "site_system", "sponsor"),
        _safety("treatment.exposed", safety.Exposed, "site_system"),
        _safety("safety.event_reported", safety.EventReported, "site_system", "investigator"),
        _safety("safety.event_updated", safety.EventUpdated, "site_system", "investigator"),
        _safety("safety.event_resolved", safety.EventResolved, "site_system", "investigator"),
        _safety("safety.observed", safety.Measured, "site_system"),
        _safety("safety.crs_assessed", safety.CrsAssessed, "site_system", "investigator"),
        _safety("safety.icans_assessed", safety.IcansAssessed, "site_system", "investigator"),
        _safety("safety.gvhd_assessed", safety.GvhdAssessed, "site_system", "investigator"),
        _safety("safety.died", safety.Died, "site_system", "investigator"),
        _safety("safety.medication_given", safety.MedicationGiven, "site_system"),
        _safety("safety.disposition_recorded", safety.DispositionRecorded, "site_system"),
        _safety("safety.event_assessed", safety.EventAssessed, "medical_monitor"),
        _safety("safety.reference_adopted", safety.ReferenceAdopted, "medical_monitor", participant=False),
        _safety("safety.report_sent", safety.ReportSent, "medical_monitor"),
        _safety("safety.cohort_decided", safety.CohortDecided, "cohort_committee", participant=False),
        _safety(
            "safety.retracted",
            safety.SafetyRetracted,
            "site_system",
            "investigator",
            "medical_monitor",
        ),
        _safety("safety.grade_proposed", safety_decisions.GradeProposed, "safety"),
        _safety("safety.grade_disputed", safety_decisions.GradeDisputed, "safety"),
        _safety("safety.dispute_settled", safety_decisions.DisputeSettled, "safety"),
        _safety("safety.event_classified", safety_decisions.EventClassified, "safety"),
        _safety("safety.report_due", safety_decisions.ReportDue, "safety"),
        _safety("safety.report_overdue", safety_decisions.ReportOverdue, "safety"),
        _safety("safety.report_closed", safety_decisions.ReportClosed, "safety"),
        _safety("safety.window_decided", safety_decisions.WindowDecided, "safety"),
        _safety("safety.cohort_recommended", safety_decisions.CohortRecommended, "safety", participant=False),
        _safety("safety.slots_decided", safety_decisions.SlotsDecided, "safety", participant=False),
        _safety("safety.departure_noted", safety_decisions.DepartureNoted, "safety", participant=False),
        _safety("safety.query_raised", safety_decisions.QueryRaised, "safety"),
        _safety("safety.query_closed", safety_decisions.QueryClosed, "safety"),
        _safety("safety.deviation_raised", decisions.DeviationRaised, "safety"),
    ]
)


def short_type(name: str) -> str:
    """``trialtrail.screening.observed.v1`` as people say it: ``screening.observed``."""
    return name.removeprefix(TYPE_PREFIX).rpartition(".v")[0]


def read_data(event: EventType, data: Mapping[str, Any], format_: int = FORMAT_VERSION) -> Data:
    """Judge an event's data by its model, as it was in this entry format.

    Raises RefusedError naming the first field that is wrong and how.
    """
    try:
        return event.model_at(format_).model_validate(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise RefusedError(_sentence(first["type"], first["loc"], first.get("ctx", {}))) from None


def _sentence(kind: str, location: tuple[int | str, ...], context: Mapping[str, Any]) -> str:
    where = "data" + "".join(f"[{part}]" if isinstance(part, int) else f".{part[:60]}" for part in location)
    if not where.isprintable():
        where = ascii(where)
    if kind == "value_error":
        return f"{where}: {context['error']}"
    if kind == "literal_error":
        return f"{where} must be one of {context['expected']}"
    if kind in {"greater_than_equal", "less_than_equal", "greater_than", "less_than"}:
        limits = {"ge": "at least", "le": "at most", "gt": "more than", "lt": "less than"}
        name, limit = next((limits[key], context[key]) for key in limits if key in context)
        return f"{where} must be {name} {limit}"
    if kind == "string_pattern_mismatch":
        return f"{where} is not of the form this field needs"
    return f"{where} {_PHRASES.get(kind, 'is not of the kind this field needs')}"
