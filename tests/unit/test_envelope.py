"""One byte string, one meaning: what two readers could read differently is refused, in a sentence."""

import json
import string
import time
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.envelope import MAX_EVENT_BYTES, MAX_SEQUENCE, read_envelope, read_json, write_envelope, write_json
from shared.moments import instant
from shared.words import RefusedError

EVENT_ID = "0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50"
EVENT: dict[str, Any] = {
    "event_id": EVENT_ID,
    "source": "site/701",
    "type_": "trialtrail.screening.observed.v1",
    "subject": "701-001",
    "time": "2026-03-04T09:12:00+08:00",
    "sequence": 42,
    "trial": "NCT06027853",
    "data": {"item": "creatinine", "value": Decimal("0.90")},
}
GOLDEN = (
    b'{"data":{"item":"creatinine","value":0.90},"id":"0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50","sequence":"42",'
    b'"source":"site/701","specversion":"1.0","subject":"701-001","time":"2026-03-04T09:12:00+08:00",'
    b'"trial":"NCT06027853","type":"trialtrail.screening.observed.v1"}'
)


def document(**changes: Any) -> bytes:
    """The golden event with fields replaced; None leaves one out."""
    made = json.loads(GOLDEN) | changes
    return json.dumps({name: value for name, value in made.items() if value is not None}).encode()


def refusal(payload: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        read_envelope(payload)
    sentence = str(caught.value)
    assert sentence.isprintable()
    assert len(sentence) < 300
    return sentence


def test_an_event_is_written_with_sorted_keys_and_no_spaces_always_the_same() -> None:
    assert write_envelope(**EVENT) == GOLDEN
    shuffled = dict(reversed(EVENT.items())) | {"data": dict(reversed(EVENT["data"].items()))}
    assert write_envelope(**shuffled) == GOLDEN


def test_an_envelope_reads_back_as_it_was_written() -> None:
    envelope = read_envelope(GOLDEN)
    assert (envelope.id, envelope.source, envelope.type) == (EVENT_ID, "site/701", EVENT["type_"])
    assert (envelope.subject, envelope.sequence, envelope.trial) == ("701-001", 42, "NCT06027853")
    assert (envelope.time, envelope.time_text) == (instant("2026-03-04T01:12:00Z"), EVENT["time"])
    assert (envelope.data, envelope.route) == (EVENT["data"], "screening.observed")


def test_other_peoples_spacing_and_key_order_mean_the_same() -> None:
    spaced = json.dumps(dict(reversed(json.loads(GOLDEN).items())), indent=4).encode()
    assert read_envelope(spaced).id == EVENT_ID
    assert read_envelope(document(datacontenttype="application/json")).id == EVENT_ID


NOT_JSON = [
    b"",
    b" ",
    b"weight 70",
    b"{",
    b"{}x",
    b"{'id':1}",
    b'{"a":1,}',
    b'{"a":01}',
    b'{"a":+1}',
    b'{"a":.5}',
    b'{"a":0x10}',
    b'{"a":True}',
    b'{"a":"\t"}',
    b'{"a":"\\x41"}',
    b'"never ends',
    b"\xef\xbb\xbf" + GOLDEN,
]


@pytest.mark.parametrize("payload", NOT_JSON)
def test_what_is_not_json_is_refused(payload: bytes) -> None:
    assert refusal(payload) == "the event is not valid JSON"


@pytest.mark.parametrize("payload", [b"[]", b"[1,2]", b'"text"', b"7", b"null", b"true", b"[%s]" % GOLDEN])
def test_only_an_object_is_an_event(payload: bytes) -> None:
    assert refusal(payload) == "the event is not a JSON object"


@pytest.mark.parametrize(
    ("payload", "at"),
    [(b"\xff\xfe{}", 0), (GOLDEN[:-1] + b"\x80}", len(GOLDEN) - 1), (GOLDEN.decode().encode("utf-32"), 0)],
)
def test_invalid_utf_8_is_refused_with_its_place(payload: bytes, at: int) -> None:
    assert refusal(payload) == f"the event is not UTF-8: byte {at} cannot be read"


def test_utf_16_is_refused() -> None:
    assert refusal(GOLDEN.decode().encode("utf-16")).startswith("the event is not UTF-8")
    assert refusal(GOLDEN.decode().encode("utf-16-le")) == "the event is not valid JSON"


@pytest.mark.parametrize("half", ["\\ud800", "\\uDFFF", "\\ud83d\\ud83d", "\\ude00\\ud83d"])
@pytest.mark.parametrize("where", ['{"data":{"a":"%s"}}', '{"data":{"%s":1}}', '{"%s":1}', '["%s"]'])
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(half: str, where: str) -> None:
    sentence = refusal((where % half).encode())
    assert sentence == "the event holds half of a surrogate pair, which is no character"


def test_a_whole_surrogate_pair_is_the_character_it_stands_for() -> None:
    assert read_json(b'"\\ud83d\\ude00"') == "😀"
    assert read_json(b'"\\\\ud800"') == "\\ud800"


@pytest.mark.parametrize("bracket", [b"[", b"{", b'{"a":', b'{"a":[', b'[{"":'])
@pytest.mark.parametrize("times", [33, 5_000])
def test_deep_nesting_is_refused_before_it_is_parsed(bracket: bytes, times: int) -> None:
    assert refusal(bracket * times) == "the event nests deeper than 32 levels"


def test_brackets_inside_strings_do_not_nest() -> None:
    text = '[{"' * 1000
    assert read_json(json.dumps([text, {text: "\\"}]).encode()) == [text, {text: "\\"}]


def test_brackets_hidden_behind_escaped_quotes_are_counted() -> None:
    assert refusal(rb'["\\",' * 33) == "the event nests deeper than 32 levels"
    assert refusal(rb'["\"",' * 33) == "the event nests deeper than 32 levels"


def test_32_levels_are_allowed() -> None:
    assert read_json(b"[" * 32 + b"]" * 32) is not None
    assert refusal(b"[" * 33 + b"]" * 33) == "the event nests deeper than 32 levels"


@pytest.mark.parametrize(
    "payload",
    [
        b"{" * 33 + b'"' + b'\\"' * 29_000,
        b"{" * 33 + b'"\\' * 19_000,
        b"[" * 59_000,
        b'{"a":' + b"9" * 59_000,
        b'{"a":0.' + b"9" * 59_000,
        b"{" + b",".join(b'"%d":1' % at for at in range(6000)) + b',"5":1}',
    ],
)
def test_no_60000_bytes_keep_the_reader_busy(payload: bytes) -> None:
    before = time.process_time()
    refusal(payload)
    assert time.process_time() - before < 0.5


@pytest.mark.parametrize(
    "payload",
    [
        b'{"id":1,"id":1}',
        GOLDEN[:-1] + b',"id":"x"}',
        b'{"data":{"id":1,"id":2}}',
        b'{"a":[{"b":{"id":1,"c":2,"id":3}}]}',
        b'{"id":1,"\\u0069d":2}',
    ],
)
def test_a_field_named_twice_is_refused_at_any_depth(payload: bytes) -> None:
    assert refusal(payload) == "the event names a field twice: 'id'"


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_no_json_number_is_refused_by_name(number: str) -> None:
    sentence = refusal(b'{"data":{"value":%s}}' % number.encode())
    assert sentence == f"the event holds {number}, which is no JSON number"


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, str(2**53), str(-(2**53)), "9007199254740993"])
def test_a_whole_number_that_other_readers_would_round_is_refused(number: str) -> None:
    assert refusal(b"[%s]" % number.encode()) == "the event holds a whole number beyond 9007199254740991"


@pytest.mark.parametrize(
    "number", ["1e400", "-1e400", "1e-400", "1E+21", "1e99999999999999999999", "0." + "1" * 40]
)
def test_a_fraction_that_other_readers_would_lose_is_refused(number: str) -> None:
    sentence = refusal(b"[%s]" % number.encode())
    assert sentence == "the event holds a number with too many digits or too large an exponent"


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**15), max_value=10**15, places=4))
def test_a_number_keeps_its_digits(number: Decimal) -> None:
    written = write_json([number])
    read = read_json(written)[0]
    assert (read, str(read)) == (number, str(number))
    assert write_json([read]) == written


def test_trailing_zeros_are_digits_too() -> None:
    assert str(read_json(b"[0.900]")[0]) == "0.900"
    assert read_json(b"[9007199254740991, -9007199254740991, 0]") == [MAX_SEQUENCE, -MAX_SEQUENCE, 0]


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "time", "sequence", "trial", "data"])
def test_a_missing_field_is_named(name: str) -> None:
    assert refusal(document(**{name: None})) == f"the event lacks {name}"


def test_subject_may_be_left_out() -> None:
    assert read_envelope(document(subject=None)).subject is None


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "subject", "time", "sequence", "trial"])
@pytest.mark.parametrize("value", [7, True, [], {}, 1.5])
def test_a_field_of_the_wrong_type_is_named(name: str, value: object) -> None:
    assert refusal(document(**{name: value})) == f"{name} must be a string"


@pytest.mark.parametrize("value", ["{}", 1, [], True])
def test_data_is_an_object(value: object) -> None:
    assert refusal(document(data=value)) == "data must be a JSON object"


def test_null_is_not_a_way_to_leave_a_field_out() -> None:
    assert refusal(GOLDEN.replace(b'"701-001"', b"null")) == "subject must be a string"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("colour", "'colour'"),
        ("Id", "'Id'"),
        ("data_base64", "'data_base64'"),
        ("\u202edetimda\x1b[2J", r"'\u202edetimda\x1b[2J'"),
        ("x" * 500, "'" + "x" * 40 + "'"),
    ],
)
def test_an_unknown_field_is_named_harmlessly(name: str, shown: str) -> None:
    assert refusal(document(**{name: "x"})) == f"the event has a field that is not known: {shown}"


UUID = "id must be a UUID in lower case, like 0198c5a0-7d5b-7c3e-8a43-1f0c2d3e4f50"
SOURCE = "source must be <kind>/<id> with kind site, service, sponsor or admin"
TYPE = "type must be trialtrail.<domain>.<verb>.v<version>"
SUBJECT = "subject must be a participant's code: letters, digits, - and _, at most 64"
SEQUENCE = f'sequence must be a whole number from "1" to "{MAX_SEQUENCE}", as a string'
TRIAL = "trial must be the registry number, like NCT06027853"
NO_TIME = "time must be an RFC 3339 time with an offset, like 2026-03-04T09:12:00+08:00"
NO_DAY = "time names a day or a time of day that does not exist"

BAD = (
    [("specversion", value, "specversion must be 1.0") for value in ("1", "1.0.0", "0.3", "")]
    + [("datacontenttype", "text/plain", "datacontenttype must be application/json")]
    + [
        ("id", value, UUID)
        for value in (
            EVENT_ID.upper(),
            EVENT_ID.replace("-", ""),
            f"{{{EVENT_ID}}}",
            f"urn:uuid:{EVENT_ID}",
            "",
            "7",
        )
    ]
    + [
        ("source", value, SOURCE)
        for value in ("site", "site/", "/701", "Site/701", "root/701", "site/7 01", "site/7.01", "site/*", "site/>")
    ]
    + [("source", value, SOURCE) for value in ("site/701/x", "site//701", "site/-1", "site/ü", "site/" + "7" * 65)]
    + [
        ("type", value, TYPE)
        for value in (
            "screening.observed",
            "trialtrail.screening.observed",
            "trialtrail.screening.observed.v0",
            "trialtrail.screening.observed.v01",
            "trialtrail.Screening.observed.v1",
            "trialtrail.screening.*.v1",
            "trialtrail.screening.observed.v1\n",
        )
    ]
    + [("subject", value, SUBJECT) for value in ("", "701 001", "701.001", "*", ">", "-701", "7" * 65, "701\n")]
    + [("trial", value, TRIAL) for value in ("", "NCT.1", "NCT 1", ">", "*")]
    + [("sequence", value, SEQUENCE) for value in ("0", "01", "-1", "+1", "1.0", "1e3", "", " 1", "1_0", "٣")]
    + [("sequence", value, SEQUENCE) for value in (str(2**53), "9" * 5000)]
    + [
        ("time", value, NO_TIME)
        for value in ("2026-03-04T09:12:00", "2026-03-04", "2026-03-04 09:12:00Z", "now", "", "2026-03-04T09:12Z")
    ]
    + [
        ("time", value, NO_TIME)
        for value in ("2026-03-04T24:00:00Z", "2026-03-04T09:12:00+08:60", "٢٠٢٦-03-04T09:12:00Z")
    ]
    + [
        ("time", value, NO_DAY)
        for value in (
            "2026-02-29T09:12:00Z",
            "2026-13-01T09:12:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+08:00",
            "2026-06-30T23:59:60Z",
            "2026-03-04T09:60:00Z",
        )
    ]
)


@pytest.mark.parametrize(("name", "value", "sentence"), BAD)
def test_a_field_that_is_not_of_its_form_is_refused_in_a_sentence_that_names_it(
    name: str, value: str, sentence: str
) -> None:
    assert refusal(document(**{name: value})) == sentence


@pytest.mark.parametrize("sequence", ["1", "10", str(MAX_SEQUENCE)])
def test_sequences_run_from_1_to_what_every_reader_holds_exactly(sequence: str) -> None:
    assert read_envelope(document(sequence=sequence)).sequence == int(sequence)


def test_an_event_is_at_most_60000_bytes_long() -> None:
    room = MAX_EVENT_BYTES - len(GOLDEN)
    assert read_envelope(GOLDEN + b" " * room).id == EVENT_ID
    assert refusal(GOLDEN + b" " * (room + 1)) == (
        "the event is 60001 bytes long; at most 60000 are allowed: send it in parts"
    )


@given(st.binary(max_size=300))
def test_no_bytes_raise_anything_but_a_refusal(payload: bytes) -> None:
    with pytest.raises(RefusedError):
        read_envelope(payload)


@given(st.text(alphabet='{}[]":,\\u0d8eE+-.19 tfn', max_size=200))
def test_nothing_that_looks_like_json_raises_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(RefusedError):
        read_envelope(text.encode())


@given(st.binary(min_size=1, max_size=4), st.integers(0, len(GOLDEN)))
def test_no_damage_to_an_event_raises_anything_but_a_refusal(bytes_: bytes, at: int) -> None:
    payload = GOLDEN[:at] + bytes_ + GOLDEN[at + len(bytes_) :]
    try:
        envelope = read_envelope(payload)
    except RefusedError:
        return
    assert read_envelope(payload) == envelope


TOKENS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBERS = st.integers(-MAX_SEQUENCE, MAX_SEQUENCE) | st.decimals(
    min_value=-1000, max_value=1000, places=3, allow_nan=False
)
VALUES = st.recursive(
    st.none() | st.booleans() | TEXTS | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(
    source=st.tuples(st.sampled_from(["site", "service", "sponsor", "admin"]), TOKENS).map("/".join),
    verb=st.text(string.ascii_lowercase + "_", min_size=1, max_size=20),
    subject=st.none() | TOKENS,
    sequence=st.integers(1, MAX_SEQUENCE),
    event_id=st.uuids().map(str),
    data=st.dictionaries(TEXTS, VALUES, max_size=4),
)
def test_every_event_we_can_write_reads_back_equal(
    source: str, verb: str, subject: str | None, sequence: int, event_id: str, data: dict[str, Any]
) -> None:
    fields: dict[str, Any] = {
        "event_id": event_id,
        "source": source,
        "type_": f"trialtrail.screening.{verb}.v1",
        "subject": subject,
        "time": "2026-03-04T09:12:00Z",
        "sequence": sequence,
        "trial": "NCT06027853",
        "data": data,
    }
    payload = write_envelope(**fields)
    read = read_envelope(payload)
    assert (read.id, read.source, read.subject, read.sequence) == (event_id, source, subject, sequence)
    assert read.data == data
    assert write_envelope(**fields | {"data": read.data}) == payload
