"""A receipt proves, with the event's bytes and the log's key alone, that it is sealed and how it was ruled."""

import base64
import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.note import NoteKey
from shared.receipt import open_receipt, receipt_signature, write_receipt
from shared.words import EvidenceError, LogIndex
from tests.notary import LOG_KEY, OBSERVED, ORIGIN, PERSON, SITE, STRANGER, Office


class Given(NamedTuple):
    """An office with what it has handed out: events by their bytes, with receipts."""

    office: Office
    admitted: bytes
    receipt: str
    refused: bytes
    refusal: str


@pytest.fixture(scope="module")
def given_out(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Given]:
    office = Office.founded(tmp_path_factory.mktemp("office"))
    office.register()
    last = office.counter("site/701").last
    events = [
        office.event("screening.observed", OBSERVED | {"value": at - 1}, subject=PERSON, sequence=last + at + 1)
        for at in range(5)
    ]
    sealed = office.seal([office.arrival(payload) for payload in events])
    receipts = {arrival.payload: text for arrival, text in sealed.receipts}
    assert [entry.admitted for entry in sealed.entries] == [False, False, False, False, False]
    good = office.event("screening.observed", OBSERVED, subject=PERSON)
    other = office.event("screening.observed", OBSERVED, subject=PERSON, sequence=last + 7)
    more = office.seal([office.arrival(good), office.arrival(other)])
    yield Given(office, good, more.receipts[0][1], events[0], receipts[events[0]])
    office.notary.close()


def test_a_receipt_verifies_with_the_events_bytes_and_the_logs_key(given_out: Given) -> None:
    receipt = open_receipt(given_out.receipt, given_out.admitted, LOG_KEY)
    assert (receipt.entry.admitted, receipt.entry.body) == (True, given_out.admitted)
    assert receipt.entry == given_out.office.entries()[receipt.entry.index]
    assert receipt.size == given_out.office.notary.size


def test_a_refused_events_receipt_tells_the_verdict_and_the_reason(given_out: Given) -> None:
    header = open_receipt(given_out.refusal, given_out.refused, LOG_KEY).entry.header
    assert (header.verdict, header.reason) == ("refused", "data: weight cannot be negative")


def test_a_receipt_says_which_signature_it_is_about(given_out: Given) -> None:
    assert receipt_signature(given_out.receipt) == SITE.sign_event(given_out.admitted)


def test_a_receipt_is_a_c2sp_tlog_proof(given_out: Given) -> None:
    head, note = given_out.receipt.split("\n\n", 1)
    first, extra, index, *path = head.split("\n")
    entry = given_out.office.entries()[-2]
    assert (first, index) == ("c2sp.org/tlog-proof@v1", f"index {entry.index}")
    assert base64.b64decode(extra.removeprefix("extra ")) == entry.header.line()
    assert path
    assert {len(base64.b64decode(node)) for node in path} == {32}
    assert note.startswith(f"{ORIGIN}\n{given_out.office.notary.size}\n")


def test_any_changed_byte_of_the_event_is_refused(given_out: Given) -> None:
    payload = given_out.admitted
    for at in range(len(payload)):
        changed = payload[:at] + bytes([payload[at] ^ 1]) + payload[at + 1 :]
        with pytest.raises(EvidenceError):
            open_receipt(given_out.receipt, changed, LOG_KEY)
    for changed in (payload + b"\n", b" " + payload, payload[:-1], b""):
        with pytest.raises(EvidenceError, match="does not prove that this event is in the log"):
            open_receipt(given_out.receipt, changed, LOG_KEY)


def test_any_changed_character_of_the_receipt_is_refused(given_out: Given) -> None:
    for text, payload in ((given_out.receipt, given_out.admitted), (given_out.refusal, given_out.refused)):
        for at in range(len(text)):
            for other in {chr(ord(text[at]) ^ 1), "A", "\n", " "} - {text[at]}:
                with pytest.raises(EvidenceError):
                    open_receipt(text[:at] + other + text[at + 1 :], payload, LOG_KEY)


def test_any_lost_or_added_line_is_refused(given_out: Given) -> None:
    lines = given_out.receipt.removesuffix("\n").split("\n")
    lost = [[*lines[:at], *lines[at + 1 :]] for at in range(len(lines))]
    # The signature line alone may stand there twice: a note may carry many.
    doubled = [[*lines[:at], lines[at], *lines[at:]] for at in range(len(lines) - 1)]
    for changed in lost + doubled:
        with pytest.raises(EvidenceError):
            open_receipt("\n".join(changed) + "\n", given_out.admitted, LOG_KEY)


@given(st.text(max_size=60))
def test_no_text_raises_anything_but_an_evidence_error(text: str) -> None:
    for made in (text, f"c2sp.org/tlog-proof@v1\nextra {text}\nindex 0\n\n{text}"):
        with pytest.raises(EvidenceError):
            open_receipt(made, b"{}", LOG_KEY)
        with pytest.raises(EvidenceError):
            receipt_signature(made)


def test_a_receipt_of_another_event_is_refused(given_out: Given) -> None:
    with pytest.raises(EvidenceError, match="does not prove"):
        open_receipt(given_out.refusal, given_out.admitted, LOG_KEY)


@pytest.mark.parametrize(
    "key", [NoteKey(ORIGIN, STRANGER.public), NoteKey("other.example/NCT06027853", LOG_KEY.public)]
)
def test_a_receipt_signed_by_another_log_is_refused(given_out: Given, key: NoteKey) -> None:
    with pytest.raises(EvidenceError, match="not signed by"):
        open_receipt(given_out.receipt, given_out.admitted, key)


def test_a_receipt_for_an_admission_that_was_a_refusal_cannot_be_made(given_out: Given) -> None:
    line = given_out.refusal.split("\n")[1].removeprefix("extra ")
    document = json.loads(base64.b64decode(line))
    del document["reason"]
    better = json.dumps(document | {"verdict": "admitted"}, sort_keys=True, separators=(",", ":")).encode()
    forged = given_out.refusal.replace(line, base64.b64encode(better).decode())
    with pytest.raises(EvidenceError, match="does not prove"):
        open_receipt(forged, given_out.refused, LOG_KEY)


def test_a_receipt_of_a_longer_event_does_not_prove_its_end(given_out: Given) -> None:
    # JSON allows space before it: with the line feed moved into the header, the rest would pass for an event.
    office = given_out.office
    whole = b"\n" + office.event("screening.observed", OBSERVED, subject=PERSON)
    text = office.seal([office.arrival(whole)]).receipts[0][1]
    assert open_receipt(text, whole, LOG_KEY).entry.admitted
    line = text.split("\n")[1].removeprefix("extra ")
    forged = text.replace(line, base64.b64encode(base64.b64decode(line) + b"\n").decode())
    with pytest.raises(EvidenceError, match="more than one line"):
        open_receipt(forged, whole[1:], LOG_KEY)


def test_a_too_large_events_receipt_verifies_with_the_events_own_bytes(given_out: Given) -> None:
    office = given_out.office
    payload = b"x" * 70_000
    text = office.seal([office.arrival(payload)]).receipts[0][1]
    receipt = open_receipt(text, payload, LOG_KEY)
    assert receipt.entry.header.reason.startswith("the event is 70000 bytes long")
    with pytest.raises(EvidenceError, match="does not prove"):
        open_receipt(text, payload + b"x", LOG_KEY)


def test_old_entries_have_receipts_too_each_in_the_first_checkpoint_that_covered_it(given_out: Given) -> None:
    entries = given_out.office.entries()
    made = given_out.office.notary.receipts_of([LogIndex(at) for at in range(len(entries))])
    for entry in entries:
        receipt = open_receipt(made[entry.index], entry.body, LOG_KEY)
        assert (receipt.entry, receipt.size > entry.index) == (entry, True)
    assert made[LogIndex(0)].endswith(given_out.office.notary.checkpoints.all()[0][2])


def test_an_index_that_is_not_the_headers_is_refused(given_out: Given) -> None:
    entry = given_out.office.entries()[-1]
    note = given_out.office.notary.checkpoints.latest()
    assert note is not None
    text = write_receipt(entry, [], note[1]).replace(f"index {entry.index}", f"index {entry.index - 1}")
    with pytest.raises(EvidenceError, match="index is not that of its entry"):
        open_receipt(text, entry.body, LOG_KEY)
