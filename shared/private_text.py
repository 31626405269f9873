"""Private text: an encrypted value that stands wherever an event has free text, and that losing one key erases.

``private:1:<key id>:<commitment>:<body>``, at most 2000 characters, so that no event's model knows of it:

- key id: 32 hexadecimal digits, drawn at random, so that it tells nothing about the participant;
- commitment: SHA-256(salt ‖ text) in hexadecimal. The salt (32 bytes, fresh) lies inside the ciphertext: whoever
  has the key can prove text and salt to anybody, and once the key is gone the salt is gone, so that a short text
  cannot be found by trying texts against the commitment;
- body: base64 of nonce (12 bytes) ‖ AES-256-GCM ciphertext and tag (NIST SP 800-38D) of salt ‖ text ‖ zero bytes up
  to a multiple of 64, because a length alone can tell "yes" from "no". The associated data is trial, participant
  and key id: a ciphertext cannot be passed off as another participant's.

Pure: randomness comes in as an argument.
"""

import base64
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import TypeAdapter, ValidationError

from shared.events.base import MAX_TEXT, Text
from shared.words import EvidenceError, RefusedError

PREFIX: Final = "private:"
KEY_BYTES: Final = 32
ID_BYTES: Final = 16
SALT_BYTES: Final = 32
NONCE_BYTES: Final = 12
RANDOM_BYTES: Final = SALT_BYTES + NONCE_BYTES
"""How many random bytes :func:`encrypt` needs, never used before."""

_TAG_BYTES: Final = 16
_BLOCK: Final = 64
_FORM: Final = re.compile(r"private:1:([0-9a-f]{32}):([0-9a-f]{64}):([A-Za-z0-9+/]+={0,2})")
_HEAD: Final = len(PREFIX) + len("1:") + 2 * ID_BYTES + len(":") + 2 * hashlib.sha256().digest_size + len(":")
_MOST_BODY: Final = (MAX_TEXT - _HEAD) // 4 * 3  # bytes that fit as base64
_MOST_PLAIN: Final = (_MOST_BODY - NONCE_BYTES - _TAG_BYTES) // _BLOCK * _BLOCK
MOST_TEXT: Final = _MOST_PLAIN - SALT_BYTES
"""The longest text that can be private, in bytes of UTF-8 (1312)."""

_TEXT: Final = TypeAdapter[str](Text)


@dataclass(frozen=True, slots=True, repr=False)
class PrivacyKey:
    """A participant's key: 32 secret bytes and the random name that ciphertexts know it by."""

    id: str
    secret: bytes

    @classmethod
    def of(cls, random: bytes) -> Self:
        """Make a key of 48 random bytes: 16 for its id, 32 for its secret."""
        return cls(random[:ID_BYTES].hex(), random[ID_BYTES : ID_BYTES + KEY_BYTES])

    def __repr__(self) -> str:
        return f"PrivacyKey({self.id})"  # never the secret: a traceback would write it into a log

    def fingerprint(self, content: bytes) -> str:
        """A name for a content (64 hexadecimal digits) that nobody can find by trying contents without this key."""
        purpose = hmac.digest(self.secret, b"trialtrail fingerprint v1", "sha256")
        return hmac.digest(purpose, content, "sha256").hex()


@dataclass(frozen=True, slots=True)
class PrivateText:
    """A private text as it is sealed. ``commitment``: 32 bytes; ``body``: nonce ‖ ciphertext ‖ tag."""

    key: str
    commitment: bytes
    body: bytes

    @classmethod
    def parse(cls, value: str) -> Self:
        """Read a sealed value.

        Raises RefusedError when it is not of the form, in its one canonical spelling.
        """
        match = _FORM.fullmatch(value)
        try:
            if match is None or len(value) > MAX_TEXT:
                raise ValueError
            made = cls(match[1], bytes.fromhex(match[2]), base64.b64decode(match[3], validate=True))
        except ValueError:
            made = None
        if made is None or made.value() != value:
            raise RefusedError(
                f"a text that begins with {PREFIX} must be a whole private text "
                "(private:1:<key id>:<commitment>:<body>); begin a readable one with other words"
            )
        return made

    def value(self) -> str:
        """The text value that is sealed."""
        return f"{PREFIX}1:{self.key}:{self.commitment.hex()}:{base64.b64encode(self.body).decode()}"


@dataclass(frozen=True, slots=True)
class Opened:
    """What a private text says, and the salt that proves it against the commitment."""

    text: str
    salt: bytes


def is_private(value: str) -> bool:
    """Whether a text value claims to be a private one."""
    return value.startswith(PREFIX)


def check_length(text: str) -> None:
    """Raise RefusedError when a text is too long to be private."""
    length = len(text.encode())
    if length > MOST_TEXT:
        raise RefusedError(
            f"is {length} bytes long; a text that is encrypted may have at most {MOST_TEXT}: shorten it, or send "
            "the rest as another event"
        )


def encrypt(text: str, key: PrivacyKey, trial: str, participant: str, random: bytes) -> PrivateText:
    """Encrypt a text for a participant; ``random``: RANDOM_BYTES bytes that were never used before.

    Raises RefusedError when it is too long.
    """
    check_length(text)
    salt, nonce = random[:SALT_BYTES], random[SALT_BYTES:RANDOM_BYTES]
    plain = salt + text.encode()
    plain += bytes(-len(plain) % _BLOCK)
    body = nonce + AESGCM(key.secret).encrypt(nonce, plain, _bound_to(trial, participant, key.id))
    return PrivateText(key.id, commitment(text, salt), body)


def decrypt(sealed: PrivateText, key: PrivacyKey, trial: str, participant: str) -> Opened:
    """Read a private text.

    Raises EvidenceError when it is of another key, trial or participant, was changed, or is not what it commits to.
    """
    nonce, ciphertext = sealed.body[:NONCE_BYTES], sealed.body[NONCE_BYTES:]
    try:
        plain = AESGCM(key.secret).decrypt(nonce, ciphertext, _bound_to(trial, participant, sealed.key))
        # A text holds no NUL (see Text), so the padding is told apart from it.
        text = _TEXT.validate_python(plain[SALT_BYTES:].rstrip(b"\0").decode())
    except (InvalidTag, ValidationError, ValueError):
        raise EvidenceError(
            f"a private text of participant {participant} does not open with key {key.id}: it was changed, or was "
            "encrypted for somebody else"
        ) from None
    opened = Opened(text, plain[:SALT_BYTES])
    if not proves(opened, sealed):
        raise EvidenceError(f"a private text of participant {participant} says something else than it commits to")
    return opened


def commitment(text: str, salt: bytes) -> bytes:
    """What binds a text without telling it: SHA-256(salt ‖ text), 32 bytes."""
    return hashlib.sha256(salt + text.encode()).digest()


def proves(opened: Opened, sealed: PrivateText) -> bool:
    """Whether a text and its salt are what a sealed private text commits to; needs no key."""
    return len(opened.salt) == SALT_BYTES and commitment(opened.text, opened.salt) == sealed.commitment


def _bound_to(trial: str, participant: str, key: str) -> bytes:
    return f"trialtrail private text v1\n{trial}\n{participant}\n{key}".encode()
