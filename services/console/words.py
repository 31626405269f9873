"""Sealed events as sentences, for people who review a trial."""

from services.console.private import Reader
from services.console.safety_words import ruled_on_safety, said_of_safety
from shared.decider import SealedEvent
from shared.events import SiteData, decisions, identity, log, screening, signatures
from shared.protocol.items import items


def in_words(event: SealedEvent, reader: Reader) -> str:
    """One sentence that says what an event says, as far as ``reader`` may see it."""
    data = reader.shown(event).data
    text = (
        _said(data)
        or _ruled(data)
        or said_of_safety(data)
        or ruled_on_safety(data)
        or event.type.replace(".", " ").replace("_", " ")
    )
    if isinstance(data, SiteData) and data.corrects is not None:
        text += f"; corrects {data.corrects}: {data.reason}"
    return text


def _said(data: object) -> str | None:  # noqa: PLR0912 - one line an event type
    match data:
        case screening.Registered():
            born = f"born {data.birth_date}" if data.birth_date else ""
            age = f"aged {data.age.years} on {data.age.on}" if data.age else ""
            text = ", ".join(part for part in ("registered", data.sex, born or age) if part)
        case screening.Consented():
            text = f"signed consent form {data.form_version} on {data.signed}"
        case screening.Withdrawn():
            text = f"withdrew from the trial on {data.on}" + (f": {data.why}" if data.why else "")
        case screening.Started():
            text = f"first study procedure on {data.on}"
        case screening.Observed():
            text = _observed(data)
        case screening.Attested():
            text = f"{items().title(data.topic)}: {data.answer}, as of {data.on}"
            text += f" (on {', '.join(data.occurred)})" if data.occurred else ""
        case screening.HistoryListed():
            listed = "; ".join(_entry(entry) for entry in data.entries) or "none"
            text = f"{items().title(data.history)}, as of {data.on}: {listed}"
        case screening.ConditionRecorded():
            text = f"medical history: {data.term}"
        case screening.InfusionPlanned():
            text = f"first infusion planned for {data.first}"
        case screening.Completed():
            text = f"screening completed on {data.on}"
        case screening.ScreenFailed():
            text = f"closed as a screen failure on {data.on}" + (f": {data.why}" if data.why else "")
        case screening.Judged():
            text = f"investigator's judgement: {'interferes' if data.interferes else 'nothing interferes'}"
            text += f" ({data.statement})"
        case screening.EnrolmentRequested():
            text = f"place requested at {data.dose_level}"
        case screening.Retracted():
            text = "an earlier record was retracted"
        case screening.Infused():
            text = f"infusion {data.number} at {data.dose_level}, {data.at}"
        case signatures.RecordSigned():
            signed = ", ".join(str(record.index) for record in data.records)
            text = f"{data.name} signed entry {signed}, meaning: {data.meaning}"
        case signatures.ErasureOrdered():
            text = f"ordered that the participant's personal detail be erased: {data.why}"
        case signatures.Erased():
            text = f"personal detail erased: key {data.key} was destroyed, as entry {data.ordered} orders"
        case _:
            return None
    return text


def _ruled(data: object) -> str | None:
    match data:
        case decisions.Decided():
            because = f": {', '.join(data.failed)}" if data.failed else ""
            if data.blockers:
                because = f": {len(data.blockers)} things are missing, first {data.blockers[0].item}"
            return f"decided {data.standing}{because} (judged on {data.judged_on}, {data.basis})"
        case decisions.Enrolled():
            return f"enrolled in place {data.place} of {data.places}, at {data.dose_level}"
        case decisions.EnrolmentRefused():
            return f"no place: {'; '.join(data.reasons)}"
        case decisions.DeviationRaised():
            return f"protocol deviation {data.rule}: {data.text}"
        case identity.GrantedToKey():
            return f"key granted to {data.holder} ({data.source}, {', '.join(data.roles)})"
        case log.GapDetected():
            return f"{data.source} skipped its numbers {data.first_missing} to {data.last_missing}"
        case log.ProtocolAmended():
            again = "; asks for consent again" if data.reconsent else ""
            return f"protocol amended, version {data.digest[:12]}: {data.summary}{again}"
        case log.ProtocolActivated():
            return (
                f"protocol version {data.digest[:12]} in force at site {data.site} from {data.effective} on "
                f"({data.committee}, {data.reference}, approved {data.approved})"
            )
        case log.Opened():
            return f"log opened: {data.origin}, {data.clock} clock"
        case _:
            return None


def _observed(data: screening.Observed) -> str:
    value = data.result or ""
    if data.value is not None:
        number = f"{data.comparator or ''}{data.value:f}"
        value = f"{value} {number}".strip() + (f" {data.unit}" if data.unit else " (no unit)")
    limits = ""
    if data.reference is not None and data.reference.high is not None:
        limits = f", upper limit of normal {data.reference.high:f}"
    qualifier = f" ({data.qualifier})" if data.qualifier else ""
    return f"{items().title(data.item)}{qualifier} {value}{limits}, collected {data.collected}"


def _entry(entry: screening.HistoryEntry) -> str:
    parts = [
        entry.agent or entry.term or "",
        f"last {entry.last}" if entry.last else "",
        "ongoing" if entry.ongoing else "",
        f"planned {entry.planned}" if entry.planned else "",
        f"grade {entry.grade}" if entry.grade is not None else "",
        f"complete remission since {entry.remission}" if entry.remission else "",
        f"exempt: {entry.exempt}" if entry.exempt else "",
    ]
    return ", ".join(part for part in parts if part) or "recorded without detail"
