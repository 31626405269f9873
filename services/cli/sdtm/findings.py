"""Measured and coded results (VS, LB, EG): evidence of screening, or of safety."""

from collections.abc import Mapping
from typing import Any

from services.cli.sdtm.codes import FORMULA, ITEMS, UCUM, URINE
from services.cli.sdtm.people import People, period, recorded
from services.cli.sdtm.screening import expect_screening
from services.cli.sdtm.tables import Row, number
from shared.protocol.items import items
from shared.words import RefusedError


def finding(people: People, row: Row, domain: str) -> None:
    """Map a row of VS, LB or EG: one result.

    One collected by the day of the first exposure, of an item that screening knows, is screening's; all else is
    about safety. Raises RefusedError with the reason when the result cannot be taken over.
    """
    cells = {name.removeprefix(domain): text for name, text in row.items()}
    person = people.find(cells["USUBJID"])
    when = cells["DTC"]
    screening = period(person, when) == "screening"
    if not people.followed(person):
        expect_screening(people, person, when)
    data = _result(domain, cells)
    known = items()
    if screening and (data["item"] in known.quantities or data["item"] in known.codes):
        people.screened(person, "observed", when, data)
    elif people.followed(person):
        person.drafts.append(people.draft(person, "safety.observed", recorded(when), data))
    else:
        raise RefusedError("no criterion of the protocol uses it")


def _result(domain: str, cells: Mapping[str, str]) -> dict[str, Any]:
    """Make the data of one observed result.

    Raises RefusedError with the reason when it is none, or none that the catalogue of items knows.
    """
    test, found, unit = cells["TESTCD"], cells["ORRES"], cells["ORRESU"]
    ucum = UCUM.get(unit.upper(), unit)
    if not found or cells.get("STAT"):
        raise RefusedError("no result" + (f" ({cells['STAT']})" if cells.get("STAT") else ""))
    if domain == "EG" and test in ("QT", "RR") and ucum not in ("ms", "s"):
        raise RefusedError(f"its unit {unit or '(blank)'} is no unit of time")
    item = _item(domain, test, cells.get("SPEC", "").upper(), cells.get("CAT", "").upper())
    data: dict[str, Any] = {"item": item, "collected": cells["DTC"]}
    if item in items().codes:
        return data | {"result": found.lower()}
    if (read := number(found)) is None:
        raise RefusedError("the result is not a number")
    comparator, data["value"] = read
    if comparator:
        data["comparator"] = comparator
    if ucum:
        data["unit"] = ucum
    # Readings at several timepoints of one visit are told apart as the study does.
    if qualifier := FORMULA.get(test) or cells.get("TPT"):
        data["qualifier"] = qualifier
    limits = {"low": number(cells.get("ORNRLO", "")), "high": number(cells.get("ORNRHI", ""))}
    if reference := {name: limit[1] for name, limit in limits.items() if limit and not limit[0]}:
        data["reference"] = reference
    return data


def _item(domain: str, test: str, specimen: str, category: str) -> str:
    """Find the item that a test is.

    Raises RefusedError when there is none: one of blood does not stand for what was measured elsewhere.
    """
    if "URIN" in specimen + category:
        if domain == "LB" and test in URINE:
            return URINE[test]
        raise RefusedError("it was measured in urine")
    if specimen and not any(one in specimen for one in ("BLOOD", "SERUM", "PLASMA")):
        raise RefusedError(f"it was measured in {specimen.lower()}")
    if test not in ITEMS[domain]:
        raise RefusedError("the catalogue of items does not have it")
    return ITEMS[domain][test]
