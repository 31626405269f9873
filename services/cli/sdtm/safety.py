"""What befell the exposed: the arm (DM), exposure (EX), adverse events (AE), deaths (DM, DS), disposition (DS)."""

from collections.abc import Mapping
from typing import Any, Final

from services.cli.sdtm.codes import CAUSALITY, DISPOSITION, NO_CRITERION, OUTCOME, SERIOUS, SEVERITY
from services.cli.sdtm.people import Participant, People, recorded
from services.cli.sdtm.tables import Row, number
from shared.drafts import Draft
from shared.words import RefusedError

_TERMS: Final[tuple[tuple[str, str, Mapping[str, str]], ...]] = (
    ("AEOUT", "outcome", OUTCOME),
    ("AESEV", "severity", SEVERITY),
    ("AEREL", "causality", CAUSALITY),
)


def assignment(people: People, person: Participant) -> list[Draft]:
    """State the planned arm of a participant of DM, which the tables do not date: as of the first exposure."""
    if not person.planned_arm:
        return []
    if person.planned_arm not in people.arms:
        why = f"the trial's file has no dose level {person.planned_arm}"
        people.parts.leave("DM", "planned arm", why, person.code)
        return []
    when = person.exposure or person.registered_at
    return people.part(person, "treatment.arm_assigned", [when], {"planned": person.planned_arm}, "planned arm")


def exposure(people: People, row: Row) -> None:
    """Map a row of EX: a period of treatment in the participant's actual arm.

    Raises RefusedError with the reason when it is none, or of no participant who is followed.
    """
    person = people.find(row["USUBJID"])
    people.expect_followed(person)
    if row["EXOCCUR"] == "N":
        raise RefusedError("it did not take place (EXOCCUR is N)")
    dose = number(row["EXDOSE"])
    if dose is None or dose[0]:
        raise RefusedError("the dose is not a number")
    data: dict[str, Any] = {
        "treatment": row["EXTRT"],
        "arm": person.arm,
        "dose": dose[1],
        "unit": row["EXDOSU"],
        "started": row["EXSTDTC"],
    }
    if row["EXENDTC"]:
        data["ended"] = row["EXENDTC"]
    time = recorded(row["EXSTDTC"], row["EXENDTC"])
    person.drafts.append(people.draft(person, "treatment.exposed", time, data))


def adverse_event(people: People, row: Row) -> None:
    """Map a row of AE.

    Raises RefusedError with the reason when it is of no participant who is followed, or could not be admitted.
    """
    person = people.find(row["USUBJID"])
    people.expect_followed(person)
    named = {
        "ae": row["AESEQ"],
        "term": row["AETERM"],
        "preferred_term": row["AEDECOD"],
        "system_organ_class": row["AEBODSYS"],
        "onset": row["AESTDTC"],
        "ended": row["AEENDTC"],
    }
    data: dict[str, Any] = {name: text for name, text in named.items() if text}
    without: list[tuple[str, str]] = []
    for column, name, words in _TERMS:
        said = row[column].upper()
        if said in words:
            data[name] = words[said]
        elif said:
            without.append((column, f"{row[column]} is no term that the import knows"))
    met = [criterion for column, criterion in SERIOUS.items() if row[column] == "Y"]
    if met or row["AESER"] in ("Y", "N"):
        data["serious"] = met or (["unspecified"] if row["AESER"] == "Y" else [])
    if met and row["AESER"] == "N":
        without.append(("AESER", "it says N although criteria of seriousness are met, and these went over"))
    for column, meaning in NO_CRITERION.items():
        if row[column] == "Y":
            without.append((column, f"that it {meaning} is no criterion of seriousness here"))
    time = recorded(_collected(row), row["AESTDTC"], row["AEENDTC"])
    person.drafts.append(people.draft(person, "safety.event_reported", time, data))
    for what, why in without:
        people.parts.leave("AE", what, why, f"{person.code} {row['AESEQ']}: {row['AETERM']}")
    if "death" in met or data.get("outcome") == "fatal":
        person.fatal.append(row)


def disposition(people: People, row: Row) -> None:
    """Map a row of DS: how a participant's time in the study, or on treatment, ended.

    Raises RefusedError with the reason when it is something else, or of no participant who is followed.
    """
    person = people.find(row["USUBJID"])
    people.expect_followed(person)
    status = DISPOSITION.get(row["DSDECOD"].upper())
    if row["DSCAT"] != "DISPOSITION EVENT" and (row["DSCAT"] or status is None):
        raise RefusedError("it is no disposition event" + (f" ({row['DSCAT']})" if row["DSCAT"] else ""))
    on = row["DSSTDTC"] or row["DSDTC"]
    data = {
        "phase": "treatment" if "TREATMENT" in row["DSSCAT"].upper() else "study",
        "status": status or "other",
        "on": on,
        "why": row["DSTERM"] or row["DSDECOD"],
    }
    time = recorded(row["DSDTC"], on)
    person.drafts.append(people.draft(person, "safety.disposition_recorded", time, data))
    if status == "death":
        person.dead, person.died = True, person.died or on


def death(people: People, person: Participant) -> list[Draft]:
    """State a death that DM or DS tells of; its cause where one adverse event, and no more, was fatal."""
    if not person.dead:
        return []
    try:
        people.expect_followed(person)
    except RefusedError as error:
        people.parts.leave("DM", "death", str(error), person.code)
        return []
    data = {"on": person.died, "cause": "not recorded in SDTM"}
    moments = [person.died]
    if len(person.fatal) == 1:
        (event,) = person.fatal
        data |= {"cause": event["AETERM"], "ae": event["AESEQ"]}
        moments += [_collected(event), event["AESTDTC"], event["AEENDTC"]]
    return people.part(person, "safety.died", moments, data, "death")


def _collected(event: Row) -> str:
    return event["AEDTC"] or event["AESTDTC"] or event["AEENDTC"]
