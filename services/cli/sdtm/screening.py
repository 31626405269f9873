"""Who was screened (DM) and what their medical history was (MH)."""

from typing import Any

from services.cli.sdtm.codes import SEX
from services.cli.sdtm.people import Participant, People, date_problem, period, recorded
from services.cli.sdtm.tables import Row
from shared.drafts import Draft
from shared.envelope import is_token
from shared.words import RefusedError


def register(people: People, row: Row) -> None:
    """Register a participant of DM, and record the consent where its date is given.

    Raises RefusedError with the reason when the participant cannot be registered.
    """
    code, site = row["USUBJID"], row["SITEID"]
    known = row["DMDTC"] or row["RFICDTC"] or row["RFXSTDTC"]
    if not (is_token(code) and is_token(site)):
        raise RefusedError("the code is not letters, digits, - and _ (at most 64)")
    if code in people.known:
        raise RefusedError("the participant stands in DM twice")
    if problem := date_problem(known) or date_problem(row["RFXSTDTC"] or known):
        raise RefusedError(f"DMDTC or RFXSTDTC {problem}")
    arm = row["ACTARMCD"] or row["ARMCD"]
    person = Participant(code, site, known, row["RFXSTDTC"], row["ARMCD"], arm)
    person.dead, person.died = row["DTHFL"] == "Y" or bool(row["DTHDTC"]), row["DTHDTC"]
    data: dict[str, Any] = {"sex": SEX.get(row["SEX"].upper(), "unknown")}
    if row["BRTHDTC"]:
        data["birth_date"] = row["BRTHDTC"]
    elif row["AGE"].isdigit() and row["AGEU"] in ("", "YEARS"):
        data["age"] = {"years": int(row["AGE"]), "on": known}
    else:
        age = f"{code}: {row['AGE']} {row['AGEU']}"
        people.parts.leave("DM", "age", "neither a birth date nor an age in whole years", age)
    person.drafts.append(people.draft(person, "screening.registered", recorded(known), data))
    person.days.add(known[:10])
    people.known[code] = person
    if row["RFICDTC"]:
        consent = {"form_version": "not recorded in SDTM", "signed": row["RFICDTC"]}
        made = people.part(person, "screening.consented", [row["RFICDTC"]], consent, "consent")
        person.drafts += made
        person.days |= {row["RFICDTC"][:10] for _ in made}


def condition(people: People, row: Row) -> None:
    """Record a condition of MH.

    Raises RefusedError with the reason when it is later than screening or did not occur.
    """
    person = people.find(row["USUBJID"])
    when = row["MHDTC"] or person.registered_at
    expect_screening(people, person, when)
    if row["MHSTAT"] or row["MHOCCUR"] == "N":
        raise RefusedError(row["MHSTAT"].lower() or "asked for and did not occur (MHOCCUR is N)")
    data = {
        "term": row["MHTERM"],
        "category": row["MHCAT"],
        "body_system": row["MHBODSYS"],
        "started": row["MHSTDTC"],
        "ended": row["MHENDTC"],
    }
    filled = {name: text for name, text in data.items() if text}
    people.screened(person, "condition_recorded", when, filled)


def expect_screening(people: People, person: Participant, when: str) -> None:
    """Raise RefusedError with the reason when something was not surely collected during screening."""
    found = period(person, when)
    if found == "treatment":
        people.expect_followed(person)
        raise RefusedError("it is later than screening, and is no evidence about safety")
    if found == "unclear":
        raise RefusedError("its date is partial and may lie after the first exposure")


def closing(people: People, person: Participant) -> list[Draft]:
    """Close a participant's screening: the day of the first exposure as planned, if there was one; completion."""
    exposed = person.exposure[:10]
    on = min(max(person.days), exposed or "9999")
    planned = [("infusion_planned", {"first": exposed})] if exposed else []
    drafts: list[Draft] = []
    for verb, data in [*planned, ("completed", {"on": on})]:
        drafts += people.part(person, f"screening.{verb}", [on], data, verb.replace("_", " "))
    return drafts
