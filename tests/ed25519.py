"""Ed25519 where it is hard: RFC 8032's vectors, and what a careless implementation takes for a signature."""

import hashlib
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from services.console.bundle import verify
from services.console.bundle.verify import ORDER, P

LONG_MESSAGE = bytes.fromhex(
    "08b8b2b733424243760fe426a4b54908632110a66c2f6591eabd3345e3e4eb98fa6e264bf09efe12ee50f8f54e9f77b1e355"
    "f6c50544e23fb1433ddf73be84d879de7c0046dc4996d9e773f4bc9efe5738829adb26c81b37c93a1b270b20329d658675fc"
    "6ea534e0810a4432826bf58c941efb65d57a338bbd2e26640f89ffbc1a858efcb8550ee3a5e1998bd177e93a7363c344fe6b"
    "199ee5d02e82d522c4feba15452f80288a821a579116ec6dad2b3b310da903401aa62100ab5d1a36553e06203b33890cc9b8"
    "32f79ef80560ccb9a39ce767967ed628c6ad573cb116dbefefd75499da96bd68a8a97b928a8bbc103b6621fcde2beca1231d"
    "206be6cd9ec7aff6f6c94fcd7204ed3455c68c83f4a41da4af2b74ef5c53f1d8ac70bdcb7ed185ce81bd84359d44254d9562"
    "9e9855a94a7c1958d1f8ada5d0532ed8a5aa3fb2d17ba70eb6248e594e1a2297acbbb39d502f1a8c6eb6f1ce22b3de1a1f40"
    "cc24554119a831a9aad6079cad88425de6bde1a9187ebb6092cf67bf2b13fd65f27088d78b7e883c8759d2c4f5c65adb7553"
    "878ad575f9fad878e80a0c9ba63bcbcc2732e69485bbc9c90bfbd62481d9089beccf80cfe2df16a2cf65bd92dd597b0707e0"
    "917af48bbb75fed413d238f5555a7a569d80c3414a8d0859dc65a46128bab27af87a71314f318c782b23ebfe808b82b0ce26"
    "401d2e22f04d83d1255dc51addd3b75a2b1ae0784504df543af8969be3ea7082ff7fc9888c144da2af58429ec96031dbcad3"
    "dad9af0dcbaaaf268cb8fcffead94f3c7ca495e056a9b47acdb751fb73e666c6c655ade8297297d07ad1ba5e43f1bca32301"
    "651339e22904cc8c42f58c30c04aafdb038dda0847dd988dcda6f3bfd15c4b4c4525004aa06eeff8ca61783aacec57fb3d1f"
    "92b0fe2fd1a85f6724517b65e614ad6808d6f6ee34dff7310fdc82aebfd904b01e1dc54b2927094b2db68d6f903b68401ade"
    "bf5a7e08d78ff4ef5d63653a65040cf9bfd4aca7984a74d37145986780fc0b16ac451649de6188a7dbdf191f64b5fc5e2ab4"
    "7b57f7f7276cd419c17a3ca8e1b939ae49e488acba6b965610b5480109c8b17b80e1b7b750dfc7598d5d5011fd2dcc5600a3"
    "2ef5b52a1ecc820e308aa342721aac0943bf6686b64b2579376504ccc493d97e6aed3fb0f9cd71a43dd497f01f17c0e2cb37"
    "97aa2a2f256656168e6c496afc5fb93246f6b1116398a346f1a641f3b041e989f7914f90cc2c7fff357876e506b50d334ba7"
    "7c225bc307ba537152f3f1610e4eafe595f6d9d90d11faa933a15ef1369546868a7f3a45a96768d40fd9d03412c091c6315c"
    "f4fde7cb68606937380db2eaaa707b4c4185c32eddcdd306705e4dc1ffc872eeee475a64dfac86aba41c0618983f8741c5ef"
    "68d3a101e8a3b8cac60c905c15fc910840b94c00a0b9d0"
)
# RFC 8032 section 7.1: (name, public key, message, signature).
RFC_8032 = [
    (
        "TEST 1",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        b"",
        (
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595b"
            "be24655141438e7a100b"
        ),
    ),
    (
        "TEST 2",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        b"\x72",
        (
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb430"
            "2aeeb00d291612bb0c00"
        ),
    ),
    (
        "TEST 3",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        b"\xaf\x82",
        (
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716e"
            "d28dc027beceea1ec40a"
        ),
    ),
    (
        "TEST 1024",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        LONG_MESSAGE,
        (
            "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e"
            "30a6ac00a9704a188a03"
        ),
    ),
    (
        "TEST SHA(abc)",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").digest(),
        (
            "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138a"
            "c17ad9bef1177331a704"
        ),
    ),
]
NEUTRAL_KEY = (1).to_bytes(32, "little")
ORDER_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"
SMALL = [
    NEUTRAL_KEY,
    bytes(32),
    bytes(31) + b"\x80",
    (P - 1).to_bytes(32, "little"),
    *(bytes.fromhex(ORDER_8[:-2] + end) for end in ("7a", "fa")),
    *(
        (P - int.from_bytes(bytes.fromhex(ORDER_8), "little") | sign << 255).to_bytes(32, "little")
        for sign in (0, 1)
    ),
]


def second_opinion(public: bytes, signature: bytes, message: bytes) -> bool:
    """What OpenSSL says."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def integer(data: bytes) -> int:
    return int.from_bytes(data, "little")


def hashed(*parts: bytes) -> int:
    return integer(hashlib.sha512(b"".join(parts)).digest()) % ORDER


def times(scalar: int, point: Any = None) -> Any:
    rows = verify.base_point() if point is None else verify.multiples(point, 4)
    return verify.add_multiple(verify.NEUTRAL, scalar, rows)


def forged_with_small_key(key: bytes) -> tuple[bytes, bytes]:
    """(signature, message) that fit a key of small order: R = [S]B wherever h times the key is neutral."""
    r = verify.encode_point(times(7))
    message = next(text for n in range(200) if hashed(r, key, text := b"%d" % n) % 8 == 0)
    return r + (7).to_bytes(32, "little"), message


def tilted() -> list[tuple[bytes, bytes, bytes]]:
    """(key, signature, message) whose key has a part of small order: a check without cofactor takes some."""
    tilt = verify.decode_point(bytes.fromhex(ORDER_8))
    assert tilt is not None
    secret, nonce = 12345678901234567890, 9876543210987654321
    key, r = verify.encode_point(verify.add(times(secret), tilt)), verify.encode_point(times(nonce))
    messages = [b"%d" % n for n in range(40)]
    return [(key, r + scalar(nonce + hashed(r, key, text) * secret), text) for text in messages]


def tilted_r() -> tuple[bytes, bytes, bytes]:
    """(key, signature, message) whose R has a part of small order: only a check with cofactor takes it."""
    tilt = verify.decode_point(bytes.fromhex(ORDER_8))
    assert tilt is not None
    key, r = verify.encode_point(times(4711)), verify.encode_point(verify.add(times(815), tilt))
    return key, r + scalar(815 + hashed(r, key, b"tilted") * 4711), b"tilted"


def without_nonce() -> tuple[bytes, bytes, bytes]:
    """(key, signature, message) with a neutral R, which gives the secret away."""
    key = verify.encode_point(times(4711))
    return key, NEUTRAL_KEY + scalar(hashed(NEUTRAL_KEY, key, b"no nonce") * 4711), b"no nonce"


def scalar(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


def hard_cases() -> list[tuple[bytes, bytes, bytes]]:
    """All of this, as (key, signature, message)."""
    vectors = [(bytes.fromhex(key), bytes.fromhex(signature), message) for _, key, message, signature in RFC_8032]
    key, signature, message = vectors[1]
    larger = signature[:32] + (integer(signature[32:]) + ORDER).to_bytes(32, "little")
    small = [(one, *forged_with_small_key(one)) for one in SMALL]
    more = [(key, larger, message), (key, signature[:-1], message), (key[:-1], signature, message)]
    return [*vectors, *more, *small, *tilted(), tilted_r(), without_nonce()]
