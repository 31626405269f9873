"""Ed25519 signers and DSSE signatures over an event's exact bytes.

Whatever signs is a :class:`Signer`; where its private key is, in a file, a token or another company's machine, is
its own affair. :class:`SigningKey` is the one whose key was read from a PEM file.

A signature covers ``PAE("application/cloudevents+json", payload)`` (DSSE v1), never the bare payload, so it
can not be taken for a signature over anything else, a checkpoint included.
"""

import base64
import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared.envelope import CONTENT_TYPE
from shared.words import KeyId, TrailError

_PREFIX: Final = f"DSSEv1 {len(CONTENT_TYPE)} {CONTENT_TYPE} ".encode()


def base64_bytes(text: str) -> bytes:
    """Decode standard base64 in its one canonical form (RFC 4648 section 3.5).

    A text that decodes to the same bytes as another would let a stranger change what we match by its text.
    Raises ValueError.
    """
    decoded = base64.b64decode(text, validate=True)
    if base64.b64encode(decoded).decode() != text:
        raise ValueError("not canonical base64")
    return decoded


def pae(payload: bytes) -> bytes:
    """DSSE v1 pre-authentication encoding of an event."""
    return b"%s%d %s" % (_PREFIX, len(payload), payload)


def key_id(public: bytes) -> KeyId:
    """Name a raw 32-byte Ed25519 public key by its hash."""
    return KeyId(hashlib.sha256(public).hexdigest()[:32])


class Signer(Protocol):
    """Something that signs with one Ed25519 key.

    To let a cloud's key management or another token sign, subclass this and give it ``public`` and ``sign``; the
    rest follows from them (docs/keys.md).
    """

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        ...

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over exactly these bytes, 64 bytes (RFC 8032, pure: neither prehash nor context).

        Raises :class:`SignerError` when it cannot sign now.
        """
        ...

    @property
    def id(self) -> KeyId:
        """The key's id, as it stands in ``Trail-Key``."""
        return key_id(self.public)

    def sign_event(self, payload: bytes) -> str:
        """Sign an event's bytes; the base64 text of ``Trail-Signature``."""
        return base64.b64encode(self.sign(pae(payload))).decode()


class SignerError(TrailError, OSError):
    """A signer does not answer now. An OSError as well: a service tries again, as it does with a full disk."""


@dataclass(frozen=True)
class SigningKey(Signer):
    """A private Ed25519 key that is in this process's memory, read from a file or a secret."""

    private: Ed25519PrivateKey

    @classmethod
    def generate(cls) -> "SigningKey":
        """Make a new key from the operating system's randomness."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_seed(cls, seed: bytes) -> "SigningKey":
        """Make the key of a 32-byte seed; for synthetic studies and tests, whose keys guard nothing."""
        return cls(Ed25519PrivateKey.from_private_bytes(seed))

    @classmethod
    def load(cls, path: Path, passphrase: bytes | None = None) -> "SigningKey":
        """Read a PKCS #8 PEM file.

        Raises TrailError with a sentence when it is absent, locked or no Ed25519 key.
        """
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            raise TrailError(f"there is no key at {path}; restore it from its back-up") from None
        return cls.from_pem(text, f"the key at {path}", passphrase)

    @classmethod
    def from_pem(cls, text: bytes, name: str, passphrase: bytes | None = None) -> "SigningKey":
        """Read the text of a PKCS #8 PEM file; ``name`` is what an error calls it.

        Raises TrailError with a sentence when it is locked or no Ed25519 key.
        """
        try:
            private = load_pem_private_key(text, passphrase)
        except (ValueError, TypeError) as error:
            raise TrailError(f"{name} cannot be opened: {error}") from None
        if not isinstance(private, Ed25519PrivateKey):
            raise TrailError(f"{name} is not an Ed25519 key")
        return cls(private)

    def save(self, path: Path, passphrase: bytes | None = None) -> None:
        """Write a PKCS #8 PEM file that only its owner may read; never over an existing one.

        Raises TrailError when there is one.
        """
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        text = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Whole or not at all: half a key file would be in the way of every later start.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(draft)
        except FileExistsError:
            raise TrailError(f"there is already a key at {path}; move it away first, it may guard a log") from None
        finally:
            draft.unlink()

    @cached_property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @cached_property
    def id(self) -> KeyId:
        """The key's id, as it stands in ``Trail-Key``."""
        return key_id(self.public)

    @property
    def seed(self) -> bytes:
        """The private key itself, 32 bytes; to be encrypted before it leaves this process."""
        return self.private.private_bytes_raw()

    def sign(self, message: bytes) -> bytes:
        """The Ed25519 signature over exactly these bytes, 64 bytes."""
        return self.private.sign(message)


class Keyring:
    """What a notary may have to sign with: its present key, and the next one when the key is rotated.

    ``beside`` is the present key's file, where there is one: later keys are looked for next to it, as
    ``<its stem>-*.pem``, when they are asked for, under the same passphrase or none.
    """

    def __init__(self, *keys: Signer, beside: Path | None = None, passphrase: bytes | None = None) -> None:
        self._keys = {key.public: key for key in keys}
        self._beside = beside
        self._passphrase = passphrase

    @classmethod
    def at(cls, path: Path, passphrase: bytes | None = None) -> "Keyring":
        """The key at a path, and those beside it.

        Raises TrailError when there is no key at the path, or it cannot be opened.
        """
        return cls(SigningKey.load(path, passphrase), beside=path, passphrase=passphrase)

    def get(self, public: bytes) -> Signer:
        """What signs for a public key.

        Raises TrailError when it is not here.
        """
        if public not in self._keys and self._beside is not None:
            self._look_beside(self._beside)
        if public not in self._keys:
            raise TrailError(
                f"this log is signed with key {key_id(public)}, and that private key is not here: "
                + (
                    "name it in TRAIL_KEY_NEXT, and start the notary again"
                    if self._beside is None
                    else f"put it beside {self._beside}, under a name like log-2.pem, and start the notary again"
                )
            )
        return self._keys[public]

    def _look_beside(self, present: Path) -> None:
        for path in sorted(present.parent.glob(f"{present.stem}-*.pem")):
            for passphrase in {self._passphrase, None}:
                with suppress(TrailError):  # one that cannot be opened is not the one that is asked for
                    key = SigningKey.load(path, passphrase)
                    self._keys[key.public] = key


def verify_event(public: bytes, signature: bytes, payload: bytes) -> bool:
    """Whether ``signature`` (64 bytes) is that of ``public`` (raw, 32 bytes) over the event's bytes."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, pae(payload))
    except (InvalidSignature, ValueError):
        return False
    return True
