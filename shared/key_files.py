"""A person's key as a file that a user id and a passphrase open together (21 CFR 11.200(a)(1)).

Text in, text out, no clock and no disk; shared.person_keys keeps such files and counts who tries them.

The file is JSON with two spaces' indentation, its fields in the order of :class:`KeyFile`. scrypt (RFC 7914) makes
32 bytes of the passphrase; AES-256-GCM encrypts the private key's 32 bytes with them. The associated data is the
file itself without ``sealed``: whoever changes the user, the public key, the expiry or the cost gets a file that
nothing opens.
"""

import base64
import os
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from shared.attempts import AccessError
from shared.events.base import Name
from shared.events.identity import UserId
from shared.moments import add_years, stamp
from shared.passphrases import check_passphrase, normalised
from shared.signing import SigningKey, base64_bytes, key_id
from shared.words import KeyId, RefusedError, TrailError


def _base64(length: int) -> AfterValidator:
    def check(text: str) -> str:
        if len(base64_bytes(text)) != length:
            raise ValueError(f"must be {length} bytes")
        return text

    return AfterValidator(check)


class Cost(BaseModel):
    """What one guess costs: scrypt's parameters. Memory is 128 * n * r bytes, time goes with n * r * p."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    n: Annotated[int, Field(ge=2, le=1 << 20)]  # a gibibyte at r = 8; more would only stop the machine
    r: Annotated[int, Field(ge=1, le=8)] = 8
    p: Annotated[int, Field(ge=1, le=16)] = 1

    def covers(self, least: "Cost") -> bool:
        """Whether a guess costs at least as much memory and as much time."""
        return self.n * self.r >= least.n * least.r and self.n * self.r * self.p >= least.n * least.r * least.p


USUAL: Final = Cost(n=1 << 17)
"""128 MiB and about half a second a guess; what OWASP's Password Storage Cheat Sheet asks of scrypt."""
LEAST: Final = Cost(n=1 << 16)
"""A file that makes guessing cheaper is not opened: somebody may have written it to catch a passphrase."""


class KeyFile(BaseModel):
    """The fields of a key file.

    ``made_at`` is when its passphrase was set, ``expires`` the last day (UTC) on which that passphrase opens it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["trailkey/1"] = "trailkey/1"
    user: UserId
    holder: Name
    public_key: Annotated[str, _base64(32)]
    made_at: str
    expires: date
    scrypt: Cost
    salt: Annotated[str, _base64(32)]
    nonce: Annotated[str, _base64(12)]
    sealed: Annotated[str, _base64(48)]

    @property
    def id(self) -> KeyId:
        """The key's id."""
        return key_id(base64_bytes(self.public_key))

    def text(self) -> str:
        """The file's one and only text."""
        return self.model_dump_json(indent=2) + "\n"

    def expired(self, now: datetime) -> bool:
        """Whether the passphrase should have been changed before now (21 CFR 11.300(b))."""
        return now.astimezone(UTC).date() > self.expires


def seal(
    key: SigningKey,
    user: str,
    holder: str,
    passphrase: str,
    now: datetime,
    *,
    expires: date | None = None,
    cost: Cost = USUAL,
) -> KeyFile:
    """Encrypt a person's key; the passphrase is good until ``expires``, a year from now where it is left out.

    Salt and nonce are drawn anew each time. Raises RefusedError when the passphrase is too weak or the user id
    cannot be one.
    """
    check_passphrase(passphrase, user, holder)
    salt, nonce = os.urandom(32), os.urandom(12)
    try:
        unsealed = KeyFile(
            user=user,
            holder=holder,
            public_key=_text(key.public),
            made_at=stamp(now),
            expires=expires or add_years(now.astimezone(UTC).date(), 1),
            scrypt=cost,
            salt=_text(salt),
            nonce=_text(nonce),
            sealed=_text(bytes(48)),
        )
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        raise RefusedError(
            f"the {field} of the key cannot be {error.errors()[0]['input']!r}; a user id has 2 to 32 small "
            "letters, digits, dots, dashes and underscores, a holder is a printed name"
        ) from None
    sealed = AESGCM(_derived(passphrase, unsealed)).encrypt(nonce, key.seed, _bound(unsealed))
    return unsealed.model_copy(update={"sealed": _text(sealed)})


def read_key_file(text: bytes, name: str) -> KeyFile:
    """Read a key file, byte for byte as :meth:`KeyFile.text` writes it; ``name`` is what an error calls it.

    Raises TrailError when it is anything else.
    """
    try:
        known = KeyFile.model_validate_json(text)
        if known.text().encode() == text:
            return known
    except ValidationError:
        pass
    raise TrailError(f"{name} is not a person's key file, or was changed; restore it from its back-up")


def unseal(known: KeyFile, user: str, passphrase: str, *, least: Cost = LEAST) -> SigningKey:
    """Open a key file with both components, whether it is expired or not.

    Nobody counts here; shared.person_keys does. ``least`` is the cheapest guess that is accepted: tests, whose
    keys guard nothing, say so themselves. Raises AccessError when the passphrase is wrong, TrailError when the file
    is not this user's or makes guessing too cheap.
    """
    if known.user != user:
        raise TrailError(f"this key file is not that of {user}; give the user id that it was made for")
    if not known.scrypt.covers(least):
        raise TrailError(
            f"the key file of {user} makes guessing too cheap (scrypt n={known.scrypt.n}); do not type your "
            "passphrase for it: restore it from its back-up, or have another key granted"
        )
    try:
        seed = AESGCM(_derived(passphrase, known)).decrypt(
            base64_bytes(known.nonce), base64_bytes(known.sealed), _bound(known)
        )
    except (InvalidTag, RefusedError):
        raise AccessError("the passphrase is wrong, or the key file was changed") from None
    key = SigningKey.from_seed(seed)
    if key.public != base64_bytes(known.public_key):
        raise TrailError(
            f"the key file of {user} names another public key than it holds; it was never made by trail"
        )
    return key


def _derived(passphrase: str, known: KeyFile) -> bytes:
    cost = known.scrypt
    kdf = Scrypt(salt=base64_bytes(known.salt), length=32, n=cost.n, r=cost.r, p=cost.p)
    return kdf.derive(normalised(passphrase))


def _bound(known: KeyFile) -> bytes:
    return known.model_dump_json(exclude={"sealed"}).encode()


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
