"""The CloudEvents 1.0 envelope, JSON structured mode, read strictly (DESIGN.md section 5).

A byte string either is one envelope with one meaning or is refused: duplicate keys, numbers that two parsers
read differently, lone surrogates and deep nesting are all refused, because a later reader in another language
must see the event that was judged.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

import msgspec

from shared.moments import instant
from shared.words import ParticipantId, RefusedError, SourceId

CONTENT_TYPE: Final = "application/cloudevents+json"
MAX_EVENT_BYTES: Final = 60_000
MAX_DEPTH: Final = 32
MAX_INTEGER: Final = 2**53 - 1  # the largest integer every JSON reader holds exactly
MAX_SEQUENCE: Final = MAX_INTEGER
TYPE_PREFIX: Final = "trialtrail."

KINDS: Final = ("admin", "service", "site", "sponsor")
_TOKEN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_TYPE: Final = re.compile(r"trialtrail\.([a-z]+)\.([a-z_]+)\.v([1-9][0-9]?)")
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SEQUENCE: Final = re.compile(r"[1-9][0-9]{0,15}")
# Possessive, and a string that never ends is one too: no input makes this look at a byte twice.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_REQUIRED: Final = frozenset({"specversion", "id", "source", "type", "time", "sequence", "trial", "data"})
_FIELDS: Final = _REQUIRED | {"subject", "datacontenttype"}


class Envelope(NamedTuple):
    """One event as its source wrote it; ``data`` is not yet judged against the catalogue."""

    id: str
    source: SourceId
    type: str
    subject: ParticipantId | None
    time: datetime
    time_text: str
    sequence: int
    trial: str
    data: Mapping[str, Any]

    @property
    def route(self) -> str:
        """The ``<domain>.<verb>`` part of the type, as it stands in broker subjects."""
        match = _TYPE.fullmatch(self.type)
        assert match is not None
        return f"{match[1]}.{match[2]}"


def is_token(text: str) -> bool:
    """Whether the text may stand as one token of a broker subject (trial, source id, participant)."""
    return _TOKEN.fullmatch(text) is not None


def read_json(payload: bytes) -> Any:
    """Parse strict JSON; fractions become Decimal.

    Raises RefusedError with a sentence that does not depend on the Python version.
    """
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RefusedError(f"the event is not UTF-8: byte {error.start} cannot be read") from None
    if payload.count(b"[") + payload.count(b"{") > MAX_DEPTH and _depth(payload) > MAX_DEPTH:
        raise RefusedError(f"the event nests deeper than {MAX_DEPTH} levels")
    try:
        value = _DECODER.decode(text)
    except RefusedError:
        raise
    except ValueError:
        raise RefusedError("the event is not valid JSON") from None
    if _SURROGATE.search(payload):
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise RefusedError("the event holds half of a surrogate pair, which is no character") from None
    return value


def read_envelope(payload: bytes) -> Envelope:
    """Read and check the envelope.

    Raises RefusedError with the reason as a sentence for the sender.
    """
    if len(payload) > MAX_EVENT_BYTES:
        raise RefusedError(
            f"the event is {len(payload)} bytes long; at most {MAX_EVENT_BYTES} are allowed: send it in parts"
        )
    document = read_json(payload)
    if not isinstance(document, dict):
        raise RefusedError("the event is not a JSON object")
    if not document.keys() >= _REQUIRED:
        raise RefusedError(f"the event lacks {', '.join(sorted(_REQUIRED - document.keys()))}")
    if not document.keys() <= _FIELDS:
        unknown = min(document.keys() - _FIELDS)
        raise RefusedError(f"the event has a field that is not known: {_shown(unknown)}")
    for name, value in document.items():
        if name != "data" and not isinstance(value, str):
            raise RefusedError(f"{name} must be a string")
    return _checked(document)


def _checked(document: Mapping[str, Any]) -> Envelope:
    if document["specversion"] != "1.0":
        raise RefusedError("specversion must be 1.0")
    if document.get("datacontenttype", "application/json") != "application/json":
        raise RefusedError("datacontenttype must be application/json")
    if _UUID.fullmatch(document["id"]) is None:
        raise RefusedError("id must be a UUID in lower case, like 0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50")
    kind, _, name = document["source"].partition("/")
    if kind not in KINDS or not is_token(name):
        raise RefusedError("source must be <kind>/<id> with kind site, service, sponsor or admin")
    if _TYPE.fullmatch(document["type"]) is None:
        raise RefusedError("type must be trialtrail.<domain>.<verb>.v<version>")
    if not is_token(document["trial"]):
        raise RefusedError("trial must be the registry number, like NCT06027853")
    subject = document.get("subject")
    if subject is not None and not is_token(subject):
        raise RefusedError("subject must be a participant's code: letters, digits, - and _, at most 64")
    sequence = document["sequence"]
    if _SEQUENCE.fullmatch(sequence) is None or int(sequence) > MAX_SEQUENCE:
        raise RefusedError(f'sequence must be a whole number from "1" to "{MAX_SEQUENCE}", as a string')
    try:
        time = instant(document["time"])
    except ValueError as error:
        raise RefusedError(f"time {error}") from None
    if not isinstance(document["data"], dict):
        raise RefusedError("data must be a JSON object")
    return Envelope(
        id=document["id"],
        source=SourceId(document["source"]),
        type=document["type"],
        subject=None if subject is None else ParticipantId(subject),
        time=time,
        time_text=document["time"],
        sequence=int(sequence),
        trial=document["trial"],
        data=document["data"],
    )


def write_envelope(
    *,
    event_id: str,
    source: str,
    type_: str,
    subject: str | None,
    time: str,
    sequence: int,
    trial: str,
    data: Mapping[str, Any],
) -> bytes:
    """Write an event's bytes, keys sorted, no spaces: what is signed, hashed and exported from then on."""
    document: dict[str, Any] = {
        "specversion": "1.0",
        "id": event_id,
        "source": source,
        "type": type_,
        "time": time,
        "sequence": str(sequence),
        "trial": trial,
        "data": data,
    }
    if subject is not None:
        document["subject"] = subject
    return write_json(document)


def write_json(document: Any) -> bytes:
    """Write JSON the one way this project does: keys sorted, no spaces, UTF-8, Decimals as exact numbers."""
    return _ENCODER.encode(document)


_ENCODER: Final = msgspec.json.Encoder(order="sorted", decimal_format="number")


def _shown(text: str) -> str:
    """A piece of somebody's input, cut and made printable, to stand in a sentence."""
    return ascii(text[:40])


def _depth(payload: bytes) -> int:
    depth = deepest = 0
    for byte in _STRING.sub(b"", payload):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif byte in b"]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise RefusedError(f"the event names a field twice: {_shown(twice)}")
    return made


def _integer(text: str) -> int:
    number = int(text) if len(text) <= 17 else MAX_INTEGER + 1
    if abs(number) > MAX_INTEGER:
        raise RefusedError(f"the event holds a whole number beyond {MAX_INTEGER}")
    return number


def _fraction(text: str) -> Decimal:
    try:
        number = Decimal(text) if len(text) <= 40 else Decimal("NaN")
    except InvalidOperation:  # an exponent beyond even Decimal's
        number = Decimal("NaN")
    exponent = number.as_tuple().exponent
    if not isinstance(exponent, int) or not -20 <= exponent <= 20:
        raise RefusedError("the event holds a number with too many digits or too large an exponent")
    return number


def _constant(text: str) -> Any:
    raise RefusedError(f"the event holds {text}, which is no JSON number")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
