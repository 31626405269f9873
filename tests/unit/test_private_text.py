"""Private text: readable with one key, provable by its commitment, and nothing at all without them."""

import base64

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared.events.base import MAX_TEXT, Text
from shared.private_text import (
    MOST_TEXT,
    RANDOM_BYTES,
    Opened,
    PrivacyKey,
    PrivateText,
    decrypt,
    encrypt,
    proves,
)
from shared.words import EvidenceError, RefusedError

TRIAL, PERSON = "NCT06027853", "701-001"
KEY = PrivacyKey.of(bytes(range(48)))
OTHER_KEY = PrivacyKey.of(bytes(range(1, 49)))
RANDOM = bytes(range(100, 100 + RANDOM_BYTES))

random = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)
texts = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
                  "\u2066\u2067\u2068\u2069"), min_size=1, max_size=MOST_TEXT
).filter(lambda text: len(text.encode()) <= MOST_TEXT)  # fmt: skip


@given(texts, random)
def test_what_is_encrypted_fits_a_text_field_and_is_read_again(text: str, random: bytes) -> None:
    value = encrypt(text, KEY, TRIAL, PERSON, random).value()
    assert TypeAdapter(Text).validate_python(value) == value
    opened = decrypt(PrivateText.parse(value), KEY, TRIAL, PERSON)
    assert opened == Opened(text, random[:32])
    assert text not in value or len(text) < 4, "short texts may occur in base64 by chance"


def test_the_limit_is_what_fits_a_text_field() -> None:
    longest = encrypt("x" * MOST_TEXT, KEY, TRIAL, PERSON, RANDOM).value()
    assert MAX_TEXT - 88 <= len(longest) <= MAX_TEXT
    with pytest.raises(RefusedError, match="is 1313 bytes long; a text that is encrypted may have at most 1312"):
        encrypt("x" * (MOST_TEXT + 1), KEY, TRIAL, PERSON, RANDOM)
    with pytest.raises(RefusedError, match="is 1314 bytes long"):
        encrypt("重" * 438, KEY, TRIAL, PERSON, RANDOM)


@given(st.data())
def test_any_changed_byte_is_found(data: st.DataObject) -> None:
    sealed = encrypt("Mrs Li called.", KEY, TRIAL, PERSON, RANDOM)
    at = data.draw(st.integers(0, len(sealed.body) - 1))
    flipped = data.draw(st.integers(1, 255))
    body = bytearray(sealed.body)
    body[at] ^= flipped
    with pytest.raises(EvidenceError, match="does not open"):
        decrypt(PrivateText(sealed.key, sealed.commitment, bytes(body)), KEY, TRIAL, PERSON)
    committed = bytearray(sealed.commitment)
    committed[at % 32] ^= flipped
    with pytest.raises(EvidenceError, match="something else than it commits to"):
        decrypt(PrivateText(sealed.key, bytes(committed), sealed.body), KEY, TRIAL, PERSON)


def test_a_ciphertext_is_its_participants_alone() -> None:
    sealed = encrypt("Mrs Li called.", KEY, TRIAL, PERSON, RANDOM)
    renamed = PrivateText(OTHER_KEY.id, sealed.commitment, sealed.body)
    for one, key, trial, person in (
        (sealed, KEY, TRIAL, "701-002"),
        (sealed, KEY, "NCT00000000", PERSON),
        (sealed, OTHER_KEY, TRIAL, PERSON),
        (renamed, KEY, TRIAL, PERSON),
    ):
        with pytest.raises(EvidenceError, match="does not open"):
            decrypt(one, key, trial, person)


@given(texts, texts, random)
def test_text_and_salt_prove_what_was_sealed_and_nothing_else(text: str, other: str, random: bytes) -> None:
    assume(text != other)
    sealed = encrypt(text, KEY, TRIAL, PERSON, random)
    assert proves(Opened(text, random[:32]), sealed)
    assert not proves(Opened(other, random[:32]), sealed)
    # Moving the border between salt and text must not make another proof of the same bytes.
    assert not proves(Opened(text[1:], random[:32] + text[:1].encode()), sealed)


def test_without_its_salt_a_short_text_cannot_be_told_from_another() -> None:
    """Same text, fresh randomness: nothing that is sealed is equal. Texts of one block: lengths are equal."""
    values = [
        encrypt(text, KEY, TRIAL, PERSON, bytes([n]) * RANDOM_BYTES) for n, text in enumerate(("yes", "yes", "no"))
    ]
    assert len({one.commitment for one in values}) == len({one.body for one in values}) == 3
    assert len({len(one.body) for one in values}) == 1


@pytest.mark.parametrize(
    "value",
    [
        "private:",
        "private: his wife called",
        "private:2:" + "0" * 32 + ":" + "0" * 64 + ":AAAA",
        "private:1:" + "0" * 32 + ":" + "0" * 64 + ":AAA",
        "private:1:" + "0" * 32 + ":" + "0" * 64 + ":AAB=",  # decodes like AAA=, so it is another spelling
        "private:1:" + "0" * 32 + ":" + "0" * 64 + ":" + "A" * 2000,
    ],
)
def test_what_only_looks_like_a_private_text_is_refused(value: str) -> None:
    with pytest.raises(RefusedError, match="must be a whole private text"):
        PrivateText.parse(value)


def test_a_key_that_is_printed_does_not_tell_its_secret() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    assert base64.b64encode(KEY.secret).decode() not in str(KEY)
    assert repr(KEY) == f"PrivacyKey({KEY.id})"


def test_a_fingerprint_needs_the_key() -> None:
    assert KEY.fingerprint(b"x") == KEY.fingerprint(b"x")
    assert len({KEY.fingerprint(b"x"), KEY.fingerprint(b"y"), OTHER_KEY.fingerprint(b"x")}) == 3
