"""The command ``trail asyncapi``: what goes over the broker, as AsyncAPI 3.0, for whoever writes a client.

FastStream could describe its own subscribers, but those take raw bytes: who signs an event must see its very bytes
again. So this is made from what admission judges by: the catalogue of events, the authority table, the headers.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from shared.broker import CHECKPOINT_HEADER, KEY_HEADER, SIGNATURE_HEADER, Topology
from shared.entry import ADMITTED, FORMAT_VERSION, REFUSED
from shared.envelope import CONTENT_TYPE, KINDS, MAX_EVENT_BYTES, MAX_SEQUENCE
from shared.events import CATALOGUE, EventType, short_type
from shared.events.identity import KINDS_OF_ROLE
from shared.events.log import Opened
from shared.tracing import TRACEPARENT

Json = dict[str, Any]
_SCHEMAS: Final = "#/components/schemas/"
_MESSAGES: Final = "#/components/messages/"
_PLAIN: Final = "[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_BASE64: Final = "[A-Za-z0-9+/]"
_ABOUT: Final = """\
Trialtrail seals signed events in a log. A site's system publishes each event to the intake and keeps it until the
receipt has come: a broker's acknowledgement does not say that it is sealed. docs/sites.md goes through it step by
step, docs/formats.md has every format to the byte.

The payload is signed as it is: never print the JSON anew after signing. JSON is read strictly: no name twice, no
NaN, no whole number beyond 2^53, no nesting beyond 32 levels.

The schemas say of what form an event is. Admission judges more: who may say it (`x-roles`, each with the entry
format from which it may), whether it fits what is sealed, whether dates are possible. A refusal is sealed, and
answered with a receipt that says why."""
_PAE: Final = "`DSSEv1 28 application/cloudevents+json <length> <payload>`, length in bytes"
_EXAMPLE: Final[Json] = {
    "specversion": "1.0",
    "id": "0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50",
    "source": "site/701",
    "type": "trialtrail.screening.observed.v1",
    "subject": "701-001",
    "time": "2026-03-02T10:14:06.881+01:00",
    "sequence": "2",
    "trial": "NCT06027853",
    "data": {
        "item": "creatinine",
        "collected": "2026-03-02",
        "value": 0.9,
        "unit": "mg/dL",
        "reference": {"high": 1.2},
    },
}


def as_yaml() -> str:
    """The document as it is committed; the same bytes for the same catalogue."""
    return yaml.dump(document(), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=116)


def document() -> Json:
    """The AsyncAPI document, of a client's side: what it sends and what it receives."""
    # The genesis entry and the log's own statements never come through the intake.
    taken = [event for event in CATALOGUE.values() if event.roles != {"log"} and event.model is not Opened]
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Trialtrail",
            "version": f"entry format {FORMAT_VERSION}",
            "description": _ABOUT,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {
            "broker": {
                "host": "127.0.0.1:4222",
                "protocol": "nats",
                "description": "NATS with JetStream. A guarded broker asks for TLS and a user key: docs/broker.md.",
            }
        },
        "channels": _channels(taken),
        "operations": _operations(),
        "components": {
            "messages": {
                **{short_type(event.name): _message(event) for event in CATALOGUE.values()},
                "receipt": _RECEIPT,
                "entry": _ENTRY,
            },
            "schemas": {
                "Headers": _HEADERS,
                "Envelope": _ENVELOPE,
                "EntryHeader": _ENTRY_HEADER,
                **_data_schemas(),
            },
        },
    }


def _channels(taken: list[EventType]) -> Json:
    trial = {"description": "The trial's registry number, like NCT06027853."}
    kind = {"description": "What kind of source it is.", "enum": list(KINDS)}
    source = {"description": "The source's own name among those of its kind, like 701."}
    of_source = {"trial": trial, "kind": kind, "source": source}
    domains = sorted({short_type(event.name).partition(".")[0] for event in taken})
    named = of_source | {
        "domain": {"description": "The first part of the event's type.", "enum": domains},
        "verb": {"description": "The second part of the event's type."},
    }
    topology = Topology("{trial}")
    place = "{kind}.{source}.{domain}.{verb}"
    return {
        "intake": {
            "address": topology.intake_subjects.replace(">", place),
            "title": "Events, before they are sealed",
            "description": "The stream INTAKE_<trial>. A source may publish only under its own kind and name.",
            "parameters": named,
            "messages": {short_type(event.name): _ref(_MESSAGES, short_type(event.name)) for event in taken},
        },
        "receipt": {
            "address": topology.receipts.replace(">", "{kind}.{source}"),
            "title": "Receipts of one source",
            "description": "Stored by nobody: listen before you publish. Whoever missed one sends the event again.",
            "parameters": of_source,
            "messages": {"receipt": _ref(_MESSAGES, "receipt")},
        },
        "log": {
            "address": topology.log_subjects.replace(">", place),
            "title": "Sealed entries",
            "description": (
                "The stream LOG_<trial>; a message's sequence is its entry's index and one. What came in on a "
                "subject that no source has appears on log.<trial>.refused. A guarded broker lets read who may."
            ),
            "parameters": named,
            "messages": {"entry": _ref(_MESSAGES, "entry")},
        },
    }


def _operations() -> Json:
    return {
        "postEvent": {
            "action": "send",
            "channel": _ref("#/channels/", "intake"),
            "summary": "Post an event, with JetStream's acknowledgement.",
            "description": (
                "Its receipt comes on the source's own subject. After a few seconds without one the same bytes are "
                "sent again, with another Nats-Msg-Id: an event that is sealed already is not sealed twice."
            ),
            "reply": {"channel": _ref("#/channels/", "receipt")},
        },
        "hearReceipt": {
            "action": "receive",
            "channel": _ref("#/channels/", "receipt"),
            "summary": "Take the receipt of an event, check it, and keep it.",
        },
        "readEntry": {
            "action": "receive",
            "channel": _ref("#/channels/", "log"),
            "summary": "Read what is sealed.",
        },
    }


def _message(event: EventType) -> Json:
    """One event type; its payload's schema is the envelope with this type and its data."""
    name, about = short_type(event.name), _doc(event)
    specific: Json = {"type": {"const": event.name}, "data": _ref(_SCHEMAS, event.model.__name__)}
    payload: Json = {"allOf": [_ref(_SCHEMAS, "Envelope"), {"properties": specific}]}
    if event.about_participant and not event.may_be_about_the_trial(FORMAT_VERSION):
        payload["allOf"].append({"required": ["subject"]})
    elif not event.about_participant:
        specific["subject"] = False
    kinds = sorted(
        {kind for role in event.roles for kind in KINDS_OF_ROLE.get(role, ("admin",) if role == "root" else ())}
    )
    made: Json = {
        "name": event.name,
        "title": name,
        "summary": about.partition("\n")[0],
        "contentType": CONTENT_TYPE,
        "tags": [{"name": kind} for kind in kinds or ["notary"]],
        "headers": _ref(_SCHEMAS, "Headers"),
        "payload": payload,
        "x-roles": dict(sorted(event.allowed.items())),
        "x-since": event.since,
    }
    if event.name == _EXAMPLE["type"]:
        made["examples"] = [{"name": "creatinine", "payload": _EXAMPLE}]
    return made


def _doc(event: EventType) -> str:
    return _markdown(event.model.__doc__ or "")


def _markdown(text: str) -> str:
    """A docstring as CommonMark: one pair of backticks, lines as they are."""
    return "\n".join(line.strip() for line in text.strip().splitlines()).replace("``", "`")


def _ref(where: str, name: str) -> dict[str, str]:
    return {"$ref": where + name}


class _Schemas(GenerateJsonSchema):
    """pydantic's JSON schemas, as admission reads JSON: an exact number is a number, and never a string."""

    def decimal_schema(self, schema: core_schema.DecimalSchema) -> JsonSchemaValue:
        made: JsonSchemaValue = {"type": "number"}
        self.update_with_validations(made, schema, self.ValidationsMapping.numeric)
        return made

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - every name is its own title here
        return False


def _data_schemas() -> Json:
    models = list(dict.fromkeys(event.model for event in CATALOGUE.values()))
    _, made = models_json_schema(
        [(model, "validation") for model in models], ref_template=_SCHEMAS + "{model}", schema_generator=_Schemas
    )
    schemas: Mapping[str, Any] = made["$defs"]
    return {name: _tidy(schemas[name]) for name in sorted(schemas)}


def _tidy(part: Any) -> Any:
    """Leave out what says nothing in JSON, and write descriptions as CommonMark."""
    if isinstance(part, list):
        return [_tidy(one) for one in part]
    if not isinstance(part, dict):
        return part
    return dict(_tidied(part))


def _tidied(part: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in part.items():
        if name in {"max_digits", "allow_inf_nan"} or (name == "default" and value is None):
            continue
        yield name, _markdown(value) if name == "description" and isinstance(value, str) else _tidy(value)


class _Plain(yaml.SafeDumper):
    """YAML for people: no aliases, texts of several lines as blocks."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _text(dumper: _Plain, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Plain.add_representer(str, _text)

_HEADERS: Final[Json] = {
    "type": "object",
    "required": [KEY_HEADER, SIGNATURE_HEADER],
    "properties": {
        "Nats-Msg-Id": {
            "type": "string",
            "description": "The event's id, with a suffix when it is sent again: else the broker swallows it.",
        },
        "Content-Type": {"const": CONTENT_TYPE},
        KEY_HEADER: {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "The first 16 bytes of the SHA-256 of the raw Ed25519 public key, in hexadecimal.",
        },
        SIGNATURE_HEADER: {
            "type": "string",
            "pattern": f"^{_BASE64}{{86}}==$",
            "description": f"Base64 of the Ed25519 signature over {_PAE}.",
        },
        TRACEPARENT: {
            "type": "string",
            "description": "W3C Trace Context, where you trace; it is carried on and never sealed.",
        },
    },
}

_ENVELOPE: Final[Json] = {
    "type": "object",
    "description": f"CloudEvents 1.0, JSON, structured mode, UTF-8, at most {MAX_EVENT_BYTES} bytes.",
    "additionalProperties": False,
    "required": ["specversion", "id", "source", "type", "time", "sequence", "trial", "data"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "pattern": f"^{_UUID}$", "description": "A UUID; version 7 sorts by time."},
        "source": {"type": "string", "pattern": f"^({'|'.join(KINDS)})/{_PLAIN}$"},
        "type": {"type": "string", "pattern": "^trialtrail\\.[a-z]+\\.[a-z_]+\\.v[1-9][0-9]?$"},
        "subject": {"type": "string", "pattern": f"^{_PLAIN}$", "description": "The participant's code."},
        "time": {"type": "string", "description": "RFC 3339, with an offset."},
        "sequence": {
            "type": "string",
            "pattern": "^[1-9][0-9]{0,15}$",
            "description": f'The source\'s own counter without gaps, from "1" to "{MAX_SEQUENCE}".',
        },
        "trial": {"type": "string", "pattern": f"^{_PLAIN}$"},
        "data": {"type": "object"},
        "datacontenttype": {"const": "application/json"},
    },
}

_ENTRY_HEADER: Final[Json] = {
    "type": "object",
    "description": "What the log puts before an event's bytes: one line of JSON, keys sorted, no spaces.",
    "additionalProperties": False,
    "required": ["index", "intake", "key", "prev", "sealed_at", "sig", "subject", "v", "verdict"],
    "properties": {
        "index": {"type": "integer", "minimum": 0, "description": "Position in the log."},
        "intake": {
            "type": "integer",
            "minimum": 0,
            "description": "Sequence in the intake's stream; 0 for the log's own statements.",
        },
        "key": {"type": "string", "description": f"The message's {KEY_HEADER}."},
        "prev": {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": "Leaf hash of the entry before."},
        "reason": {"type": "string", "description": "Why it was refused; only then."},
        "sealed_at": {"type": "string", "description": "UTC, six decimals, Z."},
        "sig": {"type": "string", "description": f"The message's {SIGNATURE_HEADER}."},
        "subject": {"type": "string", "description": "Where the message was published."},
        "v": {"type": "integer", "minimum": 1, "maximum": FORMAT_VERSION, "description": "The entry format."},
        "verdict": {"enum": [ADMITTED, REFUSED]},
    },
}

_RECEIPT: Final[Json] = {
    "name": "receipt",
    "title": "Receipt",
    "summary": "Proves at which index an event is sealed, and how it was ruled.",
    "description": (
        "A C2SP tlog-proof (https://c2sp.org/tlog-proof). Its extra line is, in base64, the EntryHeader; header, "
        "line feed and the event's own bytes are the leaf that the proof is about."
    ),
    "contentType": "text/plain",
    "payload": {"type": "string", "pattern": "^c2sp\\.org/tlog-proof@v1\\n"},
}

_ENTRY: Final[Json] = {
    "name": "entry",
    "title": "Entry",
    "summary": "A sealed entry: its header, a line feed, the event's bytes as they came.",
    "description": (
        "The first line is an EntryHeader. Behind it stand the event's bytes, even where they are no event; of a "
        f"payload over {MAX_EVENT_BYTES} bytes, its length and SHA-256. The last entry that a checkpoint covers "
        f"carries it in {CHECKPOINT_HEADER}."
    ),
    "contentType": "application/octet-stream",
    "headers": {
        "type": "object",
        "properties": {
            CHECKPOINT_HEADER: {
                "type": "string",
                "description": "Base64 of a C2SP tlog-checkpoint, signed by the log's key.",
            }
        },
    },
    "payload": {"type": "string", "format": "binary", "x-header": _ref(_SCHEMAS, "EntryHeader")},
}
