"""A signature covers the event's bytes as DSSE encodes them, and a private key stays its owner's."""

import base64
import hashlib
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from shared.signing import SigningKey, base64_bytes, key_id, pae, verify_event
from shared.words import TrailError

KEY = SigningKey.from_seed(bytes(range(32)))
OTHER = SigningKey.from_seed(b"o" * 32)
PAYLOAD = b'{"id":"0198c5a0"}'
PHRASE = b"correct horse"


def dsse(kind: bytes, payload: bytes) -> bytes:
    """DSSE v1.0.0, protocol.md: "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body."""
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def test_the_encoding_is_the_dsse_specifications() -> None:
    assert dsse(b"http://example.com/HelloWorld", b"hello world") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae(b"hello world") == b"DSSEv1 28 application/cloudevents+json 11 hello world"
    assert pae(b"") == b"DSSEv1 28 application/cloudevents+json 0 "
    assert pae("ü".encode()) == b"DSSEv1 28 application/cloudevents+json 2 \xc3\xbc"


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_no_two_payloads_have_one_encoding(one: bytes, other: bytes) -> None:
    assert pae(one) == dsse(b"application/cloudevents+json", one)
    assert (pae(one) == pae(other)) == (one == other)


def test_a_signature_verifies_with_plain_ed25519_over_the_encoding() -> None:
    raw = base64.b64decode(KEY.sign_event(PAYLOAD))
    Ed25519PublicKey.from_public_bytes(KEY.public).verify(raw, pae(PAYLOAD))
    assert verify_event(KEY.public, raw, PAYLOAD)


def test_a_signature_over_the_bare_payload_is_none() -> None:
    assert not verify_event(KEY.public, KEY.sign(PAYLOAD), PAYLOAD)


@given(st.integers(0, len(PAYLOAD) * 8 - 1), st.integers(0, 511))
def test_one_changed_bit_of_payload_or_signature_breaks_it(payload_bit: int, signature_bit: int) -> None:
    raw = base64.b64decode(KEY.sign_event(PAYLOAD))
    assert not verify_event(KEY.public, raw, flipped(PAYLOAD, payload_bit))
    assert not verify_event(KEY.public, flipped(raw, signature_bit), PAYLOAD)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("public", [OTHER.public, bytes(32), b"\xff" * 32, b"short", b""])
def test_another_or_an_impossible_key_does_not_verify(public: bytes) -> None:
    assert not verify_event(public, base64.b64decode(KEY.sign_event(PAYLOAD)), PAYLOAD)


def test_a_key_is_named_by_the_first_half_of_its_hash() -> None:
    assert KEY.id == key_id(KEY.public) == hashlib.sha256(KEY.public).hexdigest()[:32]
    # RFC 8032's first secret key, so that the name is pinned to the algorithm and not to this library.
    known = SigningKey.from_seed(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert known.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert known.id == "21fe31dfa154a261626bf854046fd227"


def test_two_generated_keys_differ() -> None:
    assert SigningKey.generate().public != SigningKey.generate().public


def test_a_key_file_belongs_to_its_owner_alone_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "site.pem"
    KEY.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).public == KEY.public
    assert path.read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----\n")


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "site.pem"
    KEY.save(path)
    with pytest.raises(TrailError, match=r"there is already a key at .*site\.pem"):
        OTHER.save(path)
    assert SigningKey.load(path).public == KEY.public


def test_an_encrypted_key_file_opens_with_its_passphrase_only(tmp_path: Path) -> None:
    path = tmp_path / "person.pem"
    KEY.save(path, PHRASE)
    assert path.read_bytes().startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n")
    assert SigningKey.load(path, PHRASE).public == KEY.public
    for wrong in (None, b"", b"Correct horse"):
        with pytest.raises(TrailError, match=r"the key at .*person\.pem cannot be opened"):
            SigningKey.load(path, wrong)


def test_a_passphrase_for_a_key_that_has_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "open.pem"
    KEY.save(path)
    with pytest.raises(TrailError, match="cannot be opened"):
        SigningKey.load(path, PHRASE)


def test_a_lost_key_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TrailError, match=r"there is no key at .*; restore it from its back-up"):
        SigningKey.load(tmp_path / "lost.pem")


@pytest.mark.parametrize(
    "content", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.pem"
    path.write_bytes(content)
    with pytest.raises(TrailError, match="cannot be opened"):
        SigningKey.load(path)


def test_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ec.pem"
    private = generate_private_key(SECP256R1())
    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(TrailError, match="is not an Ed25519 key"):
        SigningKey.load(path)


@given(st.binary(max_size=70))
def test_base64_has_one_spelling(raw: bytes) -> None:
    text = base64.b64encode(raw).decode()
    assert base64_bytes(text) == raw
    for other in (text + "\n", text + "=", " " + text, text.rstrip("=") if text.endswith("=") else text[:-1] + "é"):
        if other:
            with pytest.raises(ValueError, match=r".+"):
                base64_bytes(other)


@pytest.mark.parametrize("text", ["AB==", "AAB=", "AA=A", "AA", "A===", "-_-_"])
def test_base64_with_bits_that_decoding_would_drop_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        base64_bytes(text)
