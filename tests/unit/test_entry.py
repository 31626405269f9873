"""An entry's bytes are fixed: what is sealed has one form, and nothing else reads as an entry."""

import hashlib
import json
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.entry import (
    FORMAT_VERSION,
    MAX_ENTRY_BYTES,
    NO_LEAF,
    Arrival,
    Entry,
    Header,
    digest_body,
    leaf_hash,
    read_entry,
    seal,
    signature_bytes,
)
from shared.envelope import MAX_EVENT_BYTES
from shared.words import EvidenceError, LeafHash, LogIndex

HEADER = Header(
    index=LogIndex(12),
    intake=13,
    key="00112233445566778899aabbccddeeff",
    prev=LeafHash(bytes(range(32))),
    reason="",
    sealed_at="2026-03-04T01:12:00.000123Z",
    signature="c2lnbmF0dXJl",
    subject="intake.NCT06027853.site.701.screening.observed",
    verdict="admitted",
    format=1,
)
BODY = b'{"id":"0198c5a0"}'
LINE = (
    b'{"index":12,"intake":13,"key":"00112233445566778899aabbccddeeff",'
    b'"prev":"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",'
    b'"sealed_at":"2026-03-04T01:12:00.000123Z","sig":"c2lnbmF0dXJl",'
    b'"subject":"intake.NCT06027853.site.701.screening.observed","v":1,"verdict":"admitted"}'
)
REFUSED_LINE = LINE.replace(b'"sealed_at"', '"reason":"größer als \\"5\\"","sealed_at"'.encode()).replace(
    b"admitted", b"refused"
)
REFUSED_HEADER = replace(HEADER, verdict="refused", reason='größer als "5"')


def test_the_header_is_one_line_of_sorted_json_without_spaces() -> None:
    assert HEADER.line() == LINE
    assert REFUSED_HEADER.line() == REFUSED_LINE


def test_a_new_entry_says_the_present_format_and_an_older_one_keeps_its_own() -> None:
    assert replace(HEADER, format=FORMAT_VERSION).line() == LINE.replace(b'"v":1', b'"v":4')
    assert read_entry(LINE + b"\n").header.format == 1


@pytest.mark.parametrize("version", [-1, 0, 5, 2**70])
def test_an_entry_of_a_format_that_is_not_known_is_refused_with_what_to_do(version: int) -> None:
    with pytest.raises(EvidenceError, match=r"use a newer one|header cannot be read"):
        read_entry(LINE.replace(b'"v":1', b'"v":%d' % version) + b"\n")


def test_an_entry_is_header_line_feed_body_and_nothing_more() -> None:
    entry = seal(HEADER, BODY)
    assert entry.raw == LINE + b"\n" + BODY
    assert entry.leaf == hashlib.sha256(b"\x00" + LINE + b"\n" + BODY).digest()
    assert entry.leaf.hex() == "28082caa1eedeb2a01ff2871826333bae3371c2cee54b94d55ddbe9d5d1b1b1b"


def test_the_leaf_hash_is_rfc_9162s() -> None:
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"


@pytest.mark.parametrize("body", [BODY, b"", b"\n\nx\n", b"\xff\x00", b"{"])
@pytest.mark.parametrize("header", [HEADER, REFUSED_HEADER])
def test_an_entry_reads_back_as_it_was_sealed_whatever_its_body(header: Header, body: bytes) -> None:
    entry = seal(header, body)
    assert read_entry(entry.raw) == entry
    assert entry.arrival == Arrival(13, header.subject, header.key, header.signature, body)
    assert (entry.index, entry.admitted) == (12, header is HEADER)


@pytest.mark.parametrize("line", [LINE, REFUSED_LINE])
def test_every_change_of_one_header_byte_is_refused_or_gives_another_leaf(line: bytes) -> None:
    leaf = leaf_hash(line + b"\n" + BODY)
    read = 0
    for at in range(len(line)):
        for byte in {line[at] ^ 1, line[at] ^ 0x20, ord(" "), ord("\n"), ord("0"), ord('"'), 0, 0xFF} - {line[at]}:
            changed = line[:at] + bytes([byte]) + line[at + 1 :] + b"\n" + BODY
            try:
                entry = read_entry(changed)
            except EvidenceError:
                continue
            read += 1
            assert entry.leaf != leaf
            assert entry.raw == entry.header.line() + b"\n" + entry.body
    assert read


def changed(**fields: object) -> bytes:
    """The golden header with fields replaced, otherwise in canonical form; None leaves one out."""
    document = json.loads(LINE) | fields
    kept = {name: value for name, value in document.items() if value is not None}
    return json.dumps(kept, sort_keys=True, separators=(",", ":")).encode()


NOT_CANONICAL = [
    json.dumps(json.loads(LINE)).encode(),
    json.dumps(json.loads(LINE), separators=(",", ":"), sort_keys=True, indent=0).replace("\n", "\r").encode(),
    b" " + LINE,
    LINE + b" ",
    LINE + b"\r",
    LINE.replace(b"site", b"\\u0073ite"),
    LINE.replace(b'"index":12', b'"index":12,"index":12'),
    LINE.replace(b'"v":1', b'"v":1.0'),
    LINE.replace(b'"index":12', b'"index":1.2e1'),
    changed(index=-1),
    changed(index=True),
    changed(index="12"),
    changed(intake=-1),
    changed(v=None),
    changed(extra="x"),
    changed(reason=""),
    changed(reason="late"),
    changed(verdict="refused"),
    changed(verdict="Admitted"),
    changed(verdict="admitted "),
    changed(prev="00" * 31),
    changed(prev="0A" * 32),
    changed(prev=[0] * 32),
    changed(sealed_at="2026-03-04T01:12:00.000123+00:00"),
    changed(sealed_at="2026-03-04T01:12:00Z"),
    changed(sealed_at="2026-03-04T01:12:00.000123456Z"),
    changed(sealed_at="2026-02-30T01:12:00.000123Z"),
    changed(sealed_at="2026-03-04T24:12:00.000123Z"),
    changed(sealed_at="٢026-03-04T01:12:00.000123Z"),
    changed(subject="\ud800"),
    changed(sig=None),
    changed(key=7),
    b"null",
    b"[]",
    b"",
    b"\xff",
    b"[" * 100_000,
    b"9" * 5000,
]


@pytest.mark.parametrize("line", NOT_CANONICAL, ids=range(len(NOT_CANONICAL)))
def test_a_header_in_any_other_form_is_no_header(line: bytes) -> None:
    with pytest.raises(EvidenceError, match=r"^the entry's "):
        read_entry(line + b"\n" + BODY)


def test_a_header_without_a_line_feed_is_no_entry() -> None:
    with pytest.raises(EvidenceError, match="no header line"):
        read_entry(LINE)


@given(st.binary(max_size=80))
@example(LINE + b"\n")
def test_reading_raises_nothing_but_evidence_errors(raw: bytes) -> None:
    try:
        entry = read_entry(raw)
    except EvidenceError:
        return
    assert entry.raw == raw


TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    st.integers(0, 2**53), TEXT, st.binary(max_size=50), st.datetimes(), st.binary(min_size=32, max_size=32), TEXT
)
def test_any_header_survives_sealing_and_reading(
    index: int, subject: str, body: bytes, when: object, prev: bytes, reason: str
) -> None:
    stamp = f"{when:%Y-%m-%dT%H:%M:%S.%fZ}".rjust(27, "0")
    header = replace(
        REFUSED_HEADER,
        index=LogIndex(index),
        subject=subject,
        sealed_at=stamp,
        prev=LeafHash(prev),
        reason=reason,
    )
    assert read_entry(seal(header, body).raw) == seal(header, body)


def test_an_entry_fits_a_c2sp_bundle_to_the_byte() -> None:
    room = MAX_ENTRY_BYTES - len(LINE) - 1
    assert len(seal(HEADER, b"x" * room).raw) == 65_535
    with pytest.raises(EvidenceError, match="entry 12 would be 65536 bytes, more than 65535"):
        seal(HEADER, b"x" * (room + 1))


@given(subject=st.text(alphabet=st.sampled_from('\x01é😀\\"'), min_size=512, max_size=512))
@example(subject="\x01" * 512)
def test_the_largest_event_fits_under_the_longest_header_that_admission_writes(subject: str) -> None:
    header = replace(
        REFUSED_HEADER,
        index=LogIndex(2**53),
        intake=2**53,
        subject=subject,
        signature="s" * 88,
        reason="the event was published on another subject than its own, " + "x" * 250,
    )
    assert isinstance(seal(header, b"x" * MAX_EVENT_BYTES), Entry)


def test_a_digest_body_names_length_and_sha_256() -> None:
    payload = b"x" * 70_000
    assert digest_body(payload) == (
        b'{"length":70000,"sha256":"%s"}' % hashlib.sha256(payload).hexdigest().encode()
    )


def test_the_first_entry_links_to_32_zero_bytes() -> None:
    assert bytes(32) == NO_LEAF
    assert b'"prev":"' + b"0" * 64 + b'"' in replace(HEADER, prev=NO_LEAF).line()


def test_a_signature_header_is_64_bytes_in_canonical_base64() -> None:
    assert signature_bytes("A" * 86 + "==") == bytes(64)
    for text in ("A" * 85 + "B==", "A" * 86, "A" * 88, "", "=", "A" * 85 + " ==", "-" * 86 + "==", "ä" * 88):
        assert signature_bytes(text) is None
