"""What a user of the broker holds: an nkey of its own, and the certificate of the broker's authority.

An nkey is an Ed25519 key in NATS's own spelling (github.com/nats-io/nkeys): base32 over prefix, 32 bytes, CRC-16.
It is not the key that signs events, on purpose: ``shared.broker_access`` says why.
"""

import base64
import binascii
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from shared.words import TrailError

_USER: Final = 20 << 3  # the first letter is then U
_SEED: Final = 18 << 3  # the first letters of a user's seed are then SU


def is_user_key(text: str) -> bool:
    """Whether a text is a user's public nkey; nats-server rejects a whole configuration for one that is not."""
    try:
        raw = base64.b32decode(text)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == 35 and raw[0] == _USER and _sealed(raw[:-2]) == raw


def make_seed(path: Path) -> str:
    """Make an nkey, write its seed to a file that only its owner may read, never over another; its public part.

    Raises TrailError when there is a file already.
    """
    key = Ed25519PrivateKey.generate()
    seed = _text(bytes([_SEED | _USER >> 5, (_USER & 31) << 3]) + key.private_bytes_raw())
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise TrailError(f"there is already a broker key at {path}; move it away first") from None
    with os.fdopen(file, "w", encoding="ascii") as opened:
        opened.write(f"{seed}\n")
        opened.flush()
        os.fsync(opened.fileno())
    return public_of(seed)


def public_of(seed: str) -> str:
    """The public part of a seed.

    Raises ValueError when it is no user's seed.
    """
    raw = base64.b32decode(seed + "=" * (-len(seed) % 8))
    if len(raw) != 36 or not seed.startswith("SU") or _sealed(raw[:-2]) != raw:
        raise ValueError
    public = Ed25519PrivateKey.from_private_bytes(raw[2:-2]).public_key()
    return _text(bytes([_USER]) + public.public_bytes(Encoding.Raw, PublicFormat.Raw))


def read_seed(path: Path) -> str:
    """A seed from its file.

    Raises TrailError with a sentence when it is absent or none.
    """
    try:
        seed = path.read_text("ascii").strip()
        public_of(seed)
    except FileNotFoundError:
        raise TrailError(f"there is no broker key at {path}; restore it, or have another granted") from None
    except ValueError:
        raise TrailError(f"{path} holds no NATS user seed, one line beginning with SU") from None
    return seed


@dataclass(frozen=True, slots=True)
class Credentials:
    """How a client gets in: the file of its seed, and the certificate of the broker's authority."""

    key: Path
    ca: Path

    @property
    def seed(self) -> str:
        """The seed.

        Raises TrailError when there is none.
        """
        return read_seed(self.key)

    def tls(self) -> ssl.SSLContext:
        """A context that trusts this one authority and no other.

        Raises TrailError when its certificate cannot be read.
        """
        try:
            return ssl.create_default_context(cafile=str(self.ca))
        except (OSError, ssl.SSLError) as error:
            raise TrailError(
                f"the broker's authority cannot be read from {self.ca} ({error}); ask the sponsor for its ca.pem"
            ) from None


def _sealed(raw: bytes) -> bytes:
    return raw + binascii.crc_hqx(raw, 0).to_bytes(2, "little")


def _text(raw: bytes) -> str:
    return base64.b32encode(_sealed(raw)).decode().rstrip("=")
