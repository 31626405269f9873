"""A study's SDTM tables (SAS transport files) as the events its sites would have posted during screening.

Two rules hold throughout. A value goes over as the site recorded it, original result and unit, or not at all;
what does not go over is counted with its reason (``Unmapped``). And an event's time is when the row says that
it was collected: midday UTC of the day, or of the last day a partial date could mean, where no time is given.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Final

from shared.drafts import Draft
from shared.envelope import is_token
from shared.moments import UTC_ZONE, Span, span, stamp
from shared.words import RefusedError, TrailError

TRIAL: Final = "NCT06027853"
SAS_RECORD_BYTES: Final = 80  # a transport file is a whole number of these (SAS TS-140)

Table = Mapping[str, Sequence[str | float | None]]
"""One domain: column name to its cells, row by row."""

_REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "DM": ("USUBJID", "SITEID", "SEX", "AGE", "DMDTC", "RFXSTDTC"),
    "VS": ("USUBJID", "VSTESTCD", "VSORRES", "VSORRESU", "VSDTC"),
    "LB": ("USUBJID", "LBTESTCD", "LBORRES", "LBORRESU", "LBORNRLO", "LBORNRHI", "LBDTC"),
    "EG": ("USUBJID", "EGTESTCD", "EGORRES", "EGORRESU", "EGDTC"),
    "MH": ("USUBJID", "MHTERM", "MHDTC"),
    "DS": ("USUBJID", "DSDECOD", "DSDTC"),
}
_OPTIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "DM": ("BRTHDTC", "RFICDTC", "AGEU"),
    "VS": ("VSSTAT",),
    "LB": ("LBSTAT", "LBCAT", "LBSPEC"),
    "EG": ("EGSTAT", "EGTPT"),
    "MH": ("MHCAT", "MHBODSYS", "MHSTDTC", "MHENDTC", "MHOCCUR", "MHSTAT"),
    "DS": (),
}
# Test codes of the SDTM terminology: the item each one is, and for QTc the formula that its code stands for.
_ITEMS: Final[Mapping[tuple[str, str], tuple[str, str]]] = {
    ("VS", "WEIGHT"): ("weight", ""),
    ("LB", "CREAT"): ("creatinine", ""),
    ("LB", "BILI"): ("bilirubin", ""),
    ("LB", "ALT"): ("alt", ""),
    ("LB", "AST"): ("ast", ""),
    ("LB", "INR"): ("inr", ""),
    ("LB", "APTT"): ("aptt", ""),
    ("EG", "HR"): ("heart_rate", ""),
    ("EG", "QTCFAG"): ("qtc", "Fridericia"),
    ("EG", "QTCBAG"): ("qtc", "Bazett"),
    ("EG", "ECGINT"): ("ecg_interpretation", ""),
}
_UCUM: Final = {
    "LB": "[lb_av]",
    "KG": "kg",
    "BEATS/MIN": "{beats}/min",
    "MSEC": "ms",
    "SEC": "s",
    "RATIO": "1",
}
_SEX: Final = {"F": "female", "M": "male"}


@dataclass(frozen=True, slots=True)
class Unmapped:
    """Rows that became no event: in which domain, what they hold, why, how many, and a few of them."""

    domain: str
    what: str
    why: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """A study's screening as events, in the order to post them, and an account of every row left out.

    ``later`` counts the rows collected after a participant's first exposure, which are not about screening.
    """

    drafts: list[Draft]
    participants: int
    sites: list[str]
    unmapped: list[Unmapped]
    later: int


def read_study(directory: Path) -> Study:
    """Read a study's tables from a directory of ``.xpt`` files and map them.

    Raises TrailError, naming the file and the column, when the directory or ``dm.xpt`` is missing, a file is
    no SAS transport file or is cut short, or a table lacks a column that the mapping needs.
    """
    if not directory.is_dir():
        raise TrailError(f"{directory} is not a directory; name the one that holds the study's .xpt files")
    files = {path.name.lower(): path for path in sorted(directory.iterdir())}
    if "dm.xpt" not in files:
        raise TrailError(f"{directory} holds no dm.xpt (the participants); name a directory of SDTM tables")
    return map_study(
        {domain: _read_table(files[name]) for domain in _REQUIRED if (name := f"{domain.lower()}.xpt") in files}
    )


def map_study(tables: Mapping[str, Table]) -> Study:
    """Map a study's tables, by domain, to events. DM must be there.

    Raises TrailError when a table lacks a column that the mapping needs.
    """
    study = _Mapping()
    for row in _rows("DM", tables["DM"]):
        study.participant(row)
    for domain in ("VS", "LB", "EG"):
        for row in _rows(domain, tables.get(domain, {})):
            study.finding(domain, row)
    for row in _rows("MH", tables.get("MH", {})):
        study.condition(row)
    for row in _rows("DS", tables.get("DS", {})):
        study.disposition(row)
    for domain in _REQUIRED.keys() - tables.keys():
        study.leave(domain, "the whole table", f"the file {domain.lower()}.xpt is not there", domain)
    return study.result()


def _read_table(path: Path) -> Table:
    import pyreadstat

    if path.stat().st_size % SAS_RECORD_BYTES:
        # ReadStat returns the rows before the cut without a word.
        raise TrailError(f"{path} is no SAS transport file or is cut short; copy it again from its source")
    try:
        table, _ = pyreadstat.read_xport(path, output_format="dict", disable_datetime_conversion=True)
    except (pyreadstat.ReadstatError, pyreadstat.PyreadstatError, OSError, ValueError) as error:
        raise TrailError(f"{path} cannot be read as a SAS transport file ({error}); export it again") from None
    return dict(table)


def _rows(domain: str, table: Table) -> Iterator[dict[str, str]]:
    """Yield a table's rows as text, with every column the mapping knows; an absent optional one is blank."""
    if not table:
        return
    for column in _REQUIRED[domain]:
        if column not in table:
            raise TrailError(
                f"{domain.lower()}.xpt has no column {column}, which the import needs; "
                f"export {domain} with its SDTM columns"
            )
    columns = [name for name in (*_REQUIRED[domain], *_OPTIONAL[domain]) if name in table]
    absent = dict.fromkeys(_OPTIONAL[domain], "")
    for cells in zip(*(table[name] for name in columns), strict=True):
        yield absent | dict(zip(columns, map(_text, cells), strict=True))


def _text(cell: str | float | None) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell.strip()
    return str(int(cell)) if float(cell).is_integer() else repr(cell)


@dataclass
class _Participant:
    """What the mapping knows about a participant while it reads."""

    code: str
    site: str
    registered_at: str
    exposure: str
    drafts: list[Draft] = field(default_factory=list)
    days: set[str] = field(default_factory=set)


class _Mapping:
    """The mapping as it goes: participants by code, and the tally of what was left out."""

    def __init__(self) -> None:
        self._people: dict[str, _Participant] = {}
        self._left: dict[tuple[str, str, str], tuple[int, tuple[str, ...]]] = {}
        self._later = 0

    def leave(self, domain: str, what: str, why: str, example: str) -> None:
        """Count something that becomes no event."""
        count, examples = self._left.get((domain, what, why), (0, ()))
        shown = examples if len(examples) == 3 else (*examples, example)
        self._left[domain, what, why] = (count + 1, shown)

    def participant(self, row: Mapping[str, str]) -> None:
        """Register a participant of DM, and record the consent where its date is given."""
        code, site = row["USUBJID"], row["SITEID"]
        known = row["DMDTC"] or row["RFICDTC"] or row["RFXSTDTC"]
        if not (is_token(code) and is_token(site)):
            why = "the code is not letters, digits, - and _ (at most 64)"
            self.leave("DM", "participant", why, f"{code} of site {site}")
            return
        if code in self._people:
            self.leave("DM", "participant", "the participant stands in DM twice", code)
            return
        if problem := _date_problem(known) or _date_problem(row["RFXSTDTC"] or known):
            self.leave("DM", "participant", f"DMDTC or RFXSTDTC {problem}", code)
            return
        person = _Participant(code, site, known, row["RFXSTDTC"], days={known[:10]})
        data: dict[str, Any] = {"sex": _SEX.get(row["SEX"].upper(), "unknown")}
        if row["BRTHDTC"]:
            data["birth_date"] = row["BRTHDTC"]
        elif row["AGE"].isdigit() and row["AGEU"] in ("", "YEARS"):
            data["age"] = {"years": int(row["AGE"]), "on": known}
        else:
            age = f"{code}: {row['AGE']} {row['AGEU']}"
            self.leave("DM", "age", "neither a birth date nor an age in whole years", age)
        registered = self._draft(person, "registered", known, data, ("DM", "participant"))
        if registered is None:
            return
        self._people[code] = person
        person.drafts.append(registered)
        if row["RFICDTC"]:
            consent = {"form_version": "not recorded in SDTM", "signed": row["RFICDTC"]}
            self._add(person, "consented", row["RFICDTC"], consent, ("DM", "consent"))

    def finding(self, domain: str, row: Mapping[str, str]) -> None:
        """Map a row of VS, LB or EG: one measured or coded result."""
        cells = {name.removeprefix(domain): text for name, text in row.items()}
        test, when = cells["TESTCD"], cells["DTC"]
        example = f"{cells['USUBJID']} {when}: {cells['ORRES']} {cells['ORRESU']}".strip()
        person = self._in_scope(domain, test, cells["USUBJID"], when, example)
        if person is None:
            return
        try:
            data = _observation(domain, cells)
        except RefusedError as error:
            self.leave(domain, test, str(error), example)
        else:
            self._add(person, "observed", when, data, (domain, test))

    def condition(self, row: Mapping[str, str]) -> None:
        """Map a row of MH; a condition that was asked for and did not occur is none."""
        example = f"{row['USUBJID']}: {row['MHTERM']}"
        when = row["MHDTC"]
        if not when and row["USUBJID"] in self._people:
            when = self._people[row["USUBJID"]].registered_at
        person = self._in_scope("MH", "condition", row["USUBJID"], when, example)
        if person is None:
            return
        if row["MHSTAT"] or row["MHOCCUR"] == "N":
            why = row["MHSTAT"].lower() or "asked for and did not occur (MHOCCUR is N)"
            self.leave("MH", "condition", why, example)
            return
        data = {
            "term": row["MHTERM"],
            "category": row["MHCAT"],
            "body_system": row["MHBODSYS"],
            "started": row["MHSTDTC"],
            "ended": row["MHENDTC"],
        }
        filled = {name: text for name, text in data.items() if text}
        self._add(person, "condition_recorded", when, filled, ("MH", "condition"))

    def disposition(self, row: Mapping[str, str]) -> None:
        """Account for a row of DS: no criterion rests on one."""
        what, example = row["DSDECOD"], f"{row['USUBJID']} {row['DSDTC']}"
        if self._in_scope("DS", what, row["USUBJID"], row["DSDTC"], example) is not None:
            self.leave("DS", what, "no criterion of the protocol uses it", example)

    def result(self) -> Study:
        """Close every participant's screening and put the events in order."""
        drafts: list[Draft] = []
        people = sorted(self._people.values(), key=lambda person: (person.site, person.code))
        for person in people:
            registered, *evidence = person.drafts
            drafts += [registered, *sorted(evidence, key=lambda draft: draft.time)]
            drafts += self._closing(person)
        unmapped = [Unmapped(*key, *tally) for key, tally in sorted(self._left.items())]
        return Study(drafts, len(people), sorted({person.site for person in people}), unmapped, self._later)

    def _closing(self, person: _Participant) -> Iterator[Draft]:
        exposed = person.exposure[:10]
        on = min(max(person.days), exposed or "9999")
        planned = [("infusion_planned", {"first": exposed})] if exposed else []
        for verb, data in [*planned, ("completed", {"on": on})]:
            draft = self._draft(person, verb, on, data, ("DM", verb.replace("_", " ")))
            if draft is not None:
                yield draft

    def _in_scope(self, domain: str, what: str, code: str, when: str, example: str) -> _Participant | None:
        """Find the participant of a row that belongs to screening; account for any other row."""
        person = self._people.get(code)
        if person is None:
            self.leave(domain, what, "its participant is not among those read from dm.xpt", example)
            return None
        if problem := _date_problem(when):
            self.leave(domain, what, f"its date {problem}", example)
            return None
        if not person.exposure:
            return person
        collected, exposed = span(when, UTC_ZONE), span(person.exposure, UTC_ZONE)
        if collected.first >= exposed.end:
            self._later += 1
            return None
        if collected.days(UTC_ZONE)[1] > exposed.days(UTC_ZONE)[1]:
            self.leave(domain, what, "its date is partial and may lie after the first exposure", example)
            return None
        return person

    def _add(self, person: _Participant, verb: str, when: str, data: dict[str, Any], row: tuple[str, str]) -> None:
        draft = self._draft(person, verb, when, data, row)
        if draft is not None:
            person.drafts.append(draft)
            person.days.add(when[:10])

    def _draft(
        self, person: _Participant, verb: str, when: str, data: dict[str, Any], row: tuple[str, str]
    ) -> Draft | None:
        """Make the event; when its model refuses it, count it with the model's sentence."""
        try:
            draft = Draft(
                source=f"site/{person.site}",
                type=f"screening.{verb}",
                subject=person.code,
                time=_recorded(span(when, UTC_ZONE)),
                data=data,
            )
            draft.check(TRIAL)
        except (RefusedError, ValueError) as error:
            self.leave(*row, str(error), f"{person.code} {when}")
            return None
        return draft


def _observation(domain: str, cells: Mapping[str, str]) -> dict[str, Any]:
    """Make the data of an observation of one result.

    Raises RefusedError with the reason when no criterion can use the result.
    """
    test, found, unit = cells["TESTCD"], cells["ORRES"], cells["ORRESU"]
    ucum = _UCUM.get(unit.upper(), unit)
    if not found or cells.get("STAT"):
        raise RefusedError("no result" + (f" ({cells['STAT']})" if cells.get("STAT") else ""))
    if domain == "EG" and test in ("QT", "RR") and ucum not in ("ms", "s"):
        raise RefusedError(f"its unit {unit or '(blank)'} is no unit of time")
    if (domain, test) not in _ITEMS:
        raise RefusedError("no criterion of the protocol uses it")
    if "URIN" in (cells.get("SPEC", "") + cells.get("CAT", "")).upper():
        raise RefusedError("it was measured in urine")
    item, formula = _ITEMS[domain, test]
    data: dict[str, Any] = {"item": item, "collected": cells["DTC"]}
    if item == "ecg_interpretation":
        return data | {"result": found.lower()}
    if (number := _number(found)) is None:
        raise RefusedError("the result is not a number")
    comparator, data["value"] = number
    if comparator:
        data["comparator"] = comparator
    if ucum:
        data["unit"] = ucum
    # Readings at several timepoints of one visit are told apart as the study does.
    if qualifier := formula or cells.get("TPT"):
        data["qualifier"] = qualifier
    limits = {"low": _number(cells.get("ORNRLO", "")), "high": _number(cells.get("ORNRHI", ""))}
    if reference := {name: limit[1] for name, limit in limits.items() if limit and not limit[0]}:
        data["reference"] = reference
    return data


def _number(text: str) -> tuple[str, Decimal] | None:
    """Read a result such as ``0.9`` or ``<0.2``: its comparator ("" for none) and its exact number."""
    digits = text.lstrip("<>=")
    comparator = text.removesuffix(digits)
    try:
        value = Decimal(digits.strip())
    except InvalidOperation:
        return None
    return (comparator, value) if value.is_finite() and comparator in ("", "<", "<=", ">", ">=") else None


def _date_problem(text: str) -> str | None:
    if not text:
        return "is blank"
    try:
        span(text, UTC_ZONE)
    except ValueError as error:
        return str(error)
    return None


def _recorded(when: Span) -> str:
    """Give the event time of a row collected then (see the module's docstring)."""
    whole_days = when.end - when.first >= timedelta(days=1)
    return stamp(when.end - timedelta(hours=12) if whole_days else when.first)
