"""docs/asyncapi.yaml is what this code makes, is AsyncAPI, and says of events what the notary itself says."""

import gzip
import json
import re
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

from services.cli.asyncapi import as_yaml
from shared.broker import KEY_HEADER, SIGNATURE_HEADER, Topology
from shared.drafts import read_draft
from shared.entry import FORMAT_VERSION
from shared.envelope import read_envelope, write_json
from shared.events import CATALOGUE, read_data, short_type
from shared.words import RefusedError, SourceId
from tests.notary import SITE

ROOT = Path(__file__).parents[2]
PLACE = ROOT / "docs" / "asyncapi.yaml"
GOLDEN = ROOT / "tests" / "golden" / "screening-1+safety-1.ndjson.gz"
DOCUMENT: dict[str, Any] = yaml.safe_load(PLACE.read_text("utf-8"))
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]
REGISTRY: Registry[Any] = Registry().with_resource("urn:d", DRAFT7.create_resource(DOCUMENT))
EXAMPLE: dict[str, Any] = MESSAGES["screening.observed"]["examples"][0]["payload"]
T = "NCT06027853"


@cache
def validator(*place: str) -> Draft7Validator:
    """Of the schema at a place below components."""
    return Draft7Validator({"$ref": "urn:d#/components/" + "/".join(place)}, registry=REGISTRY)


def faults(document: dict[str, Any]) -> list[str]:
    """What the message of its type has against an event."""
    check = validator("messages", short_type(document["type"]), "payload")
    return [error.message for error in check.iter_errors(document)]


def drafts() -> Iterator[str]:
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        for line in page.read_text("utf-8").splitlines():
            if line.startswith('{"source"') and "<" not in line:
                yield line


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield part["$ref"]
        part = list(part.values())
    for one in part if isinstance(part, list) else []:
        yield from references(one)


def judge(payload: bytes) -> None:
    """Read an event as the notary does; RefusedError when it does not fit."""
    envelope = read_envelope(payload)
    read_data(CATALOGUE[envelope.type], envelope.data)


def test_the_committed_document_is_what_this_code_makes() -> None:
    assert PLACE.read_text("utf-8") == as_yaml(), "run `trail asyncapi > docs/asyncapi.yaml`"


def test_it_has_the_structure_of_asyncapi_3_and_every_reference_leads_somewhere() -> None:
    document = deepcopy(DOCUMENT)
    document["servers"]["broker"]["pathname"] = ""  # FastStream's model asks for it; the specification does not
    assert ApplicationSchema.model_validate(document).asyncapi == "3.0.0"
    found = set(references(DOCUMENT))
    assert len(found) > 150
    for reference in found:
        part: Any = DOCUMENT
        for name in reference.removeprefix("#/").split("/"):
            part = part[name]
    schemas = {reference.rpartition("/")[2] for reference in found if "/schemas/" in reference}
    assert schemas == DOCUMENT["components"]["schemas"].keys(), "a schema that nothing uses"


def test_it_has_every_event_of_the_catalogue_with_who_may_submit_it() -> None:
    assert MESSAGES.keys() - {"receipt", "entry"} == {short_type(name) for name in CATALOGUE}
    for name, event in CATALOGUE.items():
        message = MESSAGES[short_type(name)]
        assert message["x-roles"] == dict(event.allowed)
        assert message["summary"]
    taken = DOCUMENT["channels"]["intake"]["messages"].keys()
    notary = {"log.opened", "log.ticked", "log.gap_detected", "log.intake_lost"}
    assert taken == MESSAGES.keys() - {"receipt", "entry"} - notary


@pytest.mark.parametrize(
    ("channel", "subject"),
    [
        ("intake", Topology(T).intake_subject(SourceId("site/701"), "screening.observed")),
        ("log", Topology(T).log_subject(f"intake.{T}.site.701.screening.observed")),
        ("receipt", Topology(T).receipt_subject(SourceId("site/701"))),
    ],
)
def test_its_addresses_are_the_brokers_subjects(channel: str, subject: str) -> None:
    found = DOCUMENT["channels"][channel]
    given = {"trial": T, "kind": "site", "source": "701", "domain": "screening", "verb": "observed"}
    assert found["address"].format(**given) == subject
    assert set(re.findall(r"{(\w+)}", found["address"])) == found["parameters"].keys()
    for name, parameter in found["parameters"].items():
        assert given[name] in parameter.get("enum", [given[name]])


def test_everything_that_the_golden_log_admitted_fits() -> None:
    fitted = set()
    with gzip.open(GOLDEN, "rt", encoding="utf-8") as lines:
        for line in lines:
            header, _, body = json.loads(line)["entry"].partition("\n")
            about = json.loads(header)
            assert validator("schemas", "EntryHeader").is_valid(about), header
            if about["verdict"] != "admitted":
                continue
            wire = {KEY_HEADER: about["key"], SIGNATURE_HEADER: about["sig"]}
            assert validator("schemas", "Headers").is_valid(wire), wire
            event = json.loads(body)
            row = CATALOGUE[event["type"]]
            if row.model_at(about["v"]) is row.model:  # the document is of today's events
                assert faults(event) == [], body
                fitted.add(event["type"])
    assert len(fitted) > 30


@pytest.mark.parametrize("line", sorted(set(drafts())))
def test_every_draft_in_the_documents_fits(line: str) -> None:
    draft = read_draft(line.encode())
    payload = draft.payload(T, EXAMPLE["id"], 1)
    assert faults(json.loads(payload)) == []


def test_its_example_is_an_event_and_its_headers_are_ours() -> None:
    payload = write_json(EXAMPLE)
    judge(payload)
    assert faults(EXAMPLE) == []
    wire = {KEY_HEADER: SITE.id, SIGNATURE_HEADER: SITE.sign_event(payload), "Nats-Msg-Id": EXAMPLE["id"]}
    assert validator("schemas", "Headers").is_valid(wire)
    assert not validator("schemas", "Headers").is_valid(wire | {KEY_HEADER: SITE.id.upper()})


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("specversion",), "1.1"),
        (("id",), EXAMPLE["id"].upper()),
        (("source",), "clinic/701"),
        (("type",), "screening.observed"),
        (("subject",), "Jane Doe"),
        (("sequence",), 2),
        (("sequence",), "0"),
        (("trial",), ""),
        (("data",), []),
        (("signature",), "x"),
        (("datacontenttype",), "text/json"),
        (("data", "item"), None),
        (("data", "value"), "0.90"),
        (("data", "value"), True),
        (("data", "comparator"), "=="),
        (("data", "unit"), ""),
        (("data", "unit"), "x" * 41),
        (("data", "weight"), 70),
        (("data", "reference", "high"), "1.2"),
        (("data", "corrects"), "the first one"),
        *((("data", name), ...) for name in ("item", "collected")),
        *(((name,), ...) for name in ("specversion", "id", "source", "type", "time", "sequence", "trial", "data")),
    ],
)
def test_what_does_not_fit_is_refused_by_the_notary_as_well(place: tuple[str, ...], value: Any) -> None:
    event = deepcopy(EXAMPLE)
    part = event
    for name in place[:-1]:
        part = part[name]
    if value is ...:
        del part[place[-1]]
    else:
        part[place[-1]] = value
    check = validator("messages", "screening.observed", "payload")
    assert not check.is_valid(event)
    with pytest.raises(RefusedError):
        judge(write_json(event))


@pytest.mark.parametrize("type_", sorted(map(short_type, CATALOGUE)))
def test_an_event_names_its_participant_where_it_has_one_and_only_there(type_: str) -> None:
    row = CATALOGUE[f"trialtrail.{type_}.v1"]
    event = {name: value for name, value in EXAMPLE.items() if name != "subject"} | {"type": row.name}
    needed = any("'subject' is a required property" in fault for fault in faults(event))
    allowed = not any(fault.startswith("False schema") for fault in faults(event | {"subject": "701-001"}))
    assert needed == (not row.may_be_about_the_trial(FORMAT_VERSION))
    assert allowed == row.about_participant
