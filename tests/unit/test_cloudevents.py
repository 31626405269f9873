"""Our events are CloudEvents 1.0: the specification's own SDK reads them, and we read what it writes."""

import json
from decimal import Decimal

from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from cloudevents.v1.http import from_json

from shared.envelope import read_envelope, write_envelope
from shared.moments import instant
from tests.unit.test_envelope import EVENT, EVENT_ID, GOLDEN


def test_the_cloudevents_sdk_reads_the_same_attributes() -> None:
    event = JSONFormat().read(CloudEvent, write_envelope(**EVENT))
    assert (event.get_id(), event.get_source(), event.get_type()) == (EVENT_ID, "site/701", EVENT["type_"])
    assert (event.get_specversion(), event.get_subject(), event.get_time()) == (
        "1.0",
        "701-001",
        instant("2026-03-04T01:12:00Z"),
    )
    assert (event.get_extension("sequence"), event.get_extension("trial")) == ("42", "NCT06027853")
    assert event.get_data() == {"item": "creatinine", "value": 0.9}


def test_the_cloudevents_sdks_older_reader_agrees() -> None:
    event = from_json(write_envelope(**EVENT))
    assert {name: event[name] for name in ("id", "source", "subject", "sequence", "trial", "time")} == {
        name: value for name, value in json.loads(GOLDEN).items() if name not in {"data", "type", "specversion"}
    }
    assert event.data == {"item": "creatinine", "value": 0.9}


def test_what_the_cloudevents_sdk_writes_is_an_event_here() -> None:
    attributes = {name: value for name, value in json.loads(GOLDEN).items() if name != "data"}
    event = CloudEvent(attributes | {"time": instant(EVENT["time"])}, {"item": "creatinine", "value": 0.9})
    read = read_envelope(JSONFormat().write(event))
    assert (read.id, read.data) == (EVENT_ID, {"item": "creatinine", "value": Decimal("0.9")})
