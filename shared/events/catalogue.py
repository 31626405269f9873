"""Every event type there is: its model, who may submit it, and whether it is about a participant."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from shared.entry import FORMAT_VERSION
from shared.envelope import TYPE_PREFIX
from shared.events import decisions, identity, log, safety, safety_decisions, screening, signatures
from shared.events.authority import authority
from shared.events.base import Data, Role
from shared.events.identity import Task
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
    """One row of the catalogue. ``allowed`` is its row of the authority table: role -> entry format it may from.

    ``since`` is the entry format that brought it: to entries of an older format it does not exist. ``older`` are
    models that entries up to a format are judged by. From format ``or_trial_since`` on it may be about the trial as
    a whole instead of a participant. ``task``: what must be delegated to those who act by delegation.
    """

    name: str
    model: type[Data]
    allowed: Mapping[Role, int]
    about_participant: bool
    since: int = 1
    or_trial_since: int | None = None
    older: tuple[tuple[int, type[Data]], ...] = ()
    task: Task | None = None

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that may submit it now."""
        return frozenset(self.allowed)

    def may_come_from(self, role: Role, format_: int) -> bool:
        """Whether this role may submit it in an entry of this format."""
        since = self.allowed.get(role)
        return since is not None and since <= format_

    def roles_at(self, format_: int) -> frozenset[Role]:
        """The roles that might submit it in an entry of this format."""
        return frozenset(role for role, since in self.allowed.items() if since <= format_)

    def model_at(self, format_: int) -> type[Data]:
        """The model by which an entry of this format is judged."""
        return next((model for last, model in self.older if format_ <= last), self.model)

    def may_be_about_the_trial(self, format_: int) -> bool:
        """Whether an entry of this format may leave the participant out."""
        return not self.about_participant or (self.or_trial_since is not None and self.or_trial_since <= format_)


def _row(
    name: str,
    model: type[Data],
    *,
    participant: bool = True,
    since: int = 1,
    or_trial_since: int | None = None,
    older: tuple[tuple[int, type[Data]], ...] = (),
) -> tuple[str, EventType]:
    full = f"{TYPE_PREFIX}{name}.v1"
    table = authority()
    task = table.task_of(name)
    return full, EventType(full, model, table.events[name], participant, since, or_trial_since, older, task)


CATALOGUE: Final[Mapping[str, EventType]] = dict(
    [
        _row("log.opened", log.Opened, participant=False),
        _row("log.ticked", log.Ticked, participant=False),
        _row("log.gap_detected", log.GapDetected, participant=False),
        _row("log.intake_lost", log.IntakeLost, participant=False),
        _row("log.clock_moved", log.ClockMoved, participant=False),
        _row("log.key_rotated", log.KeyRotated, participant=False, since=2),
        _row("protocol.adopted", log.ProtocolAdopted, participant=False),
        _row(
            "identity.granted",
            identity.Granted,
            participant=False,
            older=((2, identity.GrantedBeforeSafety), (3, identity.GrantedBeforePersons)),
        ),
        _row("identity.revoked", identity.Revoked, participant=False),
        _row("screening.registered", screening.Registered),
        _row("screening.consented", screening.Consented),
        _row("screening.withdrawn", screening.Withdrawn),
        _row("screening.started", screening.Started),
        _row("screening.observed", screening.Observed),
        _row("screening.attested", screening.Attested),
        _row("screening.history_listed", screening.HistoryListed),
        _row("screening.condition_recorded", screening.ConditionRecorded),
        _row("screening.infusion_planned", screening.InfusionPlanned),
        _row("screening.completed", screening.Completed),
        _row("screening.screen_failed", screening.ScreenFailed),
        _row("screening.judged", screening.Judged),
        _row("screening.enrolment_requested", screening.EnrolmentRequested),
        _row("screening.retracted", screening.Retracted),
        _row("treatment.infused", screening.Infused),
        _row(
            "record.signed", signatures.PersonSigned, or_trial_since=4, older=((3, signatures.EligibilitySigned),)
        ),
        _row("screening.decided", decisions.Decided),
        _row("screening.enrolled", decisions.Enrolled),
        _row("screening.enrolment_refused", decisions.EnrolmentRefused),
        _row("screening.deviation_raised", decisions.DeviationRaised, or_trial_since=4),
        _row("treatment.arm_assigned", safety.ArmAssigned, since=3),
        _row("treatment.exposed", safety.Exposed, since=3),
        _row("safety.event_reported", safety.EventReported, since=3),
        _row("safety.event_updated", safety.EventUpdated, since=3),
        _row("safety.event_resolved", safety.EventResolved, since=3),
        _row("safety.observed", safety.Measured, since=3),
        _row("safety.crs_assessed", safety.CrsAssessed, since=3),
        _row("safety.icans_assessed", safety.IcansAssessed, since=3),
        _row("safety.gvhd_assessed", safety.GvhdAssessed, since=3),
        _row("safety.died", safety.Died, since=3),
        _row("safety.medication_given", safety.MedicationGiven, since=3),
        _row("safety.disposition_recorded", safety.DispositionRecorded, since=3),
        _row("safety.event_assessed", safety.EventAssessed, since=3),
        _row("safety.reference_adopted", safety.ReferenceAdopted, participant=False, since=3),
        _row("safety.report_sent", safety.ReportSent, since=3),
        _row("safety.cohort_decided", safety.CohortDecided, participant=False, since=3),
        _row("safety.retracted", safety.SafetyRetracted, since=3),
        _row("safety.grade_proposed", safety_decisions.GradeProposed, since=3),
        _row("safety.grade_disputed", safety_decisions.GradeDisputed, since=3),
        _row("safety.dispute_settled", safety_decisions.DisputeSettled, since=3),
        _row("safety.event_classified", safety_decisions.EventClassified, since=3),
        _row("safety.report_due", safety_decisions.ReportDue, since=3),
        _row("safety.report_overdue", safety_decisions.ReportOverdue, since=3),
        _row("safety.report_closed", safety_decisions.ReportClosed, since=3),
        _row("safety.window_decided", safety_decisions.WindowDecided, since=3),
        _row("safety.cohort_recommended", safety_decisions.CohortRecommended, participant=False, since=3),
        _row("safety.slots_decided", safety_decisions.SlotsDecided, participant=False, since=3),
        _row("safety.departure_noted", safety_decisions.DepartureNoted, participant=False, since=3),
        _row("safety.query_raised", safety_decisions.QueryRaised, since=3),
        _row("safety.query_closed", safety_decisions.QueryClosed, since=3),
        _row("safety.deviation_raised", decisions.DeviationRaised, since=3),
        _row("identity.changed", identity.Changed, participant=False, since=4),
        _row("identity.suspended", identity.Suspended, participant=False, since=4),
        _row("identity.reinstated", identity.Reinstated, participant=False, since=4),
        _row("identity.key_replaced", identity.KeyReplaced, participant=False, since=4),
        _row("identity.trained", identity.Trained, participant=False, since=4),
        _row("identity.delegated", identity.Delegated, participant=False, since=4),
        _row("identity.delegation_ended", identity.DelegationEnded, participant=False, since=4),
        _row("identity.access_failed", identity.AccessFailed, participant=False, since=4),
        _row("broker.configured", identity.BrokerConfigured, participant=False, since=4),
        _row("protocol.amended", log.ProtocolAmended, participant=False, since=4),
        _row("protocol.activated", log.ProtocolActivated, participant=False, since=4),
        _row("review.recorded", signatures.ReviewRecorded, since=4, or_trial_since=4),
        _row("review.query_raised", signatures.ReviewQueryRaised, since=4, or_trial_since=4),
        _row("review.query_answered", signatures.ReviewQueryAnswered, since=4, or_trial_since=4),
        _row("review.query_closed", signatures.ReviewQueryClosed, since=4, or_trial_since=4),
        _row("privacy.erasure_ordered", signatures.ErasureOrdered, since=4),
        _row("privacy.erased", signatures.Erased, since=4),
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
