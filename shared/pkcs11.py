"""A key inside a PKCS#11 token (smart card, HSM, SoftHSM): it signs there and never leaves it.

The key is addressed by a URI (RFC 7512), and signs by CKM_EDDSA (PKCS#11 v3.0 section 2.3.14), Ed25519 without
parameters. ``python-pkcs11``, the extra ``pkcs11``, is imported only when such a key is asked for.
"""

import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, unquote_to_bytes

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from shared.secrets import read_secret
from shared.signing import Signer, SignerError
from shared.words import TrailError

SCHEME: Final = "pkcs11:"
_EXAMPLE: Final = "pkcs11:token=trial;object=log?module-path=/usr/lib/softhsm/libsofthsm2.so"
_OCTET_STRING: Final = b"\x04\x20"
"""DER's tag and length before a 32-byte point; some tokens leave them out."""
_PROBE: Final = b"trialtrail: does this token's private key belong to its public key?"
_TURN: Final = threading.Lock()
"""One thread at a time, over all keys: python-pkcs11 tells modules that there is one (C_Initialize without
CKF_OS_LOCKING_OK), and lets go of Python's own lock while they work. SoftHSM2 crashes where two meet."""


@dataclass(frozen=True, slots=True)
class TokenAddress:
    """Where a key is: a token by label or serial number, and a key in it by label or id (CKA_ID)."""

    path: str
    module: str
    token: str | None
    serial: bytes | None
    object: str | None
    id: bytes | None
    pin_source: Path | None

    @classmethod
    def parse(cls, uri: str) -> "TokenAddress":
        """Read a URI.

        Raises TrailError, which never repeats what stands behind the ``?``: a PIN may stand there, though it must
        not.
        """
        path, _, query = uri.removeprefix(SCHEME).partition("?")
        named = f"the key address {SCHEME}{path}"
        if "pin-value" in query:
            raise TrailError(
                f"{named} holds a PIN, which would be in every list of processes; change that PIN, and put the new "
                "one into TRAIL_KEY_PIN or a file that pin-source names"
            )
        where, how = _attributes(path, ";", named), _attributes(query, "&", named)
        if where.pop("type", "private") != "private" or where.keys() - {"token", "serial", "object", "id"}:
            raise TrailError(
                f"{named} may give token, serial, object, id and type=private; write it like {_EXAMPLE}"
            )
        if how.keys() - {"module-path", "pin-source"}:
            raise TrailError(f"{named} may give module-path and pin-source after its ?; write it like {_EXAMPLE}")
        if (
            "module-path" not in how
            or not where.keys() & {"token", "serial"}
            or not where.keys() & {"object", "id"}
        ):
            raise TrailError(f"{named} must give token, object and module-path; write it like {_EXAMPLE}")
        raw = {name: unquote_to_bytes(text) for name, text in where.items()}
        source = how.get("pin-source")
        return cls(
            f"{SCHEME}{path}",
            unquote(how["module-path"]),
            unquote(where["token"]) if "token" in where else None,
            raw.get("serial"),
            unquote(where["object"]) if "object" in where else None,
            raw.get("id"),
            None if source is None else Path(unquote(source).removeprefix("file:")),
        )

    def __str__(self) -> str:
        return self.path


class TokenKey(Signer):
    """A key in a token, with a session that is open as long as the process runs."""

    def __init__(self, address: TokenAddress, pin: str) -> None:
        self.address = address
        self._pin = pin
        self._refused: SignerError | None = None
        with _TURN:
            self._session, self._key, self._public = self._open()

    @classmethod
    def at(cls, uri: str, pin: str | None = None) -> "TokenKey":
        """Log in to the token of a URI; where that names a ``pin-source``, the PIN is the one in that file.

        Raises TrailError with a sentence when the address, the PIN, the token or the key is not as it should be.
        """
        address = TokenAddress.parse(uri)
        if address.pin_source is not None:
            pin = read_secret(address.pin_source).decode("utf-8", "replace")
        if not pin:
            raise TrailError(
                f"{address} needs its PIN: put it into TRAIL_KEY_PIN, or name its file with pin-source=file:/... "
                "behind the ? of the address"
            )
        return cls(address, pin)

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""
        return self._public

    def sign(self, message: bytes) -> bytes:
        """The token's Ed25519 signature over exactly these bytes, 64 bytes.

        A session that broke off, because the token was pulled out or its server restarted, is begun again once.
        Raises SignerError when the token does not answer, or is another one by now.
        """
        errors = _library().exceptions
        with _TURN:
            try:
                return self._signed(self._key, message)
            except errors.PKCS11Error:
                with suppress(errors.PKCS11Error):
                    self._session.close()
            session, key, public = self._open()
            if public != self._public:
                raise SignerError(f"{self.address} holds another key than before; put back the token")
            self._session, self._key = session, key
            try:
                return self._signed(key, message)
            except errors.PKCS11Error as error:
                raise SignerError(f"{self.address} does not sign ({type(error).__name__})") from None

    def _open(self) -> tuple[Any, Any, bytes]:
        """A session, the private key in it, and its public key.

        Raises SignerError with a sentence.
        """
        if self._refused is not None:  # each further try would bring the token nearer to locking itself
            raise self._refused
        errors = _library().exceptions
        try:
            session = self._login()
            try:
                return (session, *self._pair(session))
            except BaseException:
                session.close()
                raise
        except (errors.PinIncorrect, errors.PinLocked, errors.PinLenRange, errors.PinInvalid) as error:
            self._refused = SignerError(
                f"the token of {self.address} refuses the PIN ({type(error).__name__}); correct it before you "
                "start this again: tokens lock themselves after a few wrong ones"
            )
            raise self._refused from None
        except errors.NoSuchToken:
            raise SignerError(
                f"{self.address}: no such token is present; plug it in, or start its server"
            ) from None
        except (InvalidSignature, ValueError):
            raise SignerError(
                f"{self.address}: the token's private and public key do not belong together; give the pair a label "
                "or id that no other key has"
            ) from None
        except errors.PKCS11Error as error:
            raise SignerError(
                f"{self.address} cannot be used: {str(error) or type(error).__name__} "
                f"(module {self.address.module})"
            ) from None

    def _pair(self, session: Any) -> tuple[Any, bytes]:
        """The private key, and the public key that it was seen to belong to."""
        pkcs11 = _library()
        key = self._only(session, pkcs11.ObjectClass.PRIVATE_KEY, "private")
        point = self._only(session, pkcs11.ObjectClass.PUBLIC_KEY, "public")[pkcs11.Attribute.EC_POINT]
        public = bytes(point.removeprefix(_OCTET_STRING) if len(point) == 34 else point)
        Ed25519PublicKey.from_public_bytes(public).verify(self._signed(key, _PROBE), _PROBE)
        return key, public

    def _only(self, session: Any, class_: Any, word: str) -> Any:
        pkcs11 = _library()
        names = {pkcs11.Attribute.LABEL: self.address.object, pkcs11.Attribute.ID: self.address.id}
        wanted = {name: value for name, value in names.items() if value is not None}
        kind = {pkcs11.Attribute.CLASS: class_, pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.EC_EDWARDS}
        found = list(session.get_objects(kind | wanted))
        if len(found) != 1:
            raise SignerError(
                f"{self.address}: the token has {len(found)} {word} Ed25519 keys of that name, and must have one; "
                "`pkcs11-tool --list-objects --login` shows what it has"
            )
        return found[0]

    def _login(self) -> Any:
        pkcs11 = _library()
        tokens = pkcs11.lib(self.address.module).get_tokens(
            token_label=self.address.token, token_serial=self.address.serial
        )
        found = list(tokens)
        if not found:
            raise pkcs11.exceptions.NoSuchToken
        if len(found) > 1:
            raise SignerError(
                f"{self.address}: {len(found)} tokens are of that name; add the serial number of the right one"
            )
        try:
            return found[0].open(user_pin=self._pin)
        except pkcs11.exceptions.UserAlreadyLoggedIn:  # by another key of this process: a login is the process's
            return found[0].open()

    @staticmethod
    def _signed(key: Any, message: bytes) -> bytes:
        return bytes(key.sign(message, mechanism=_library().Mechanism.EDDSA))


def _attributes(text: str, separator: str, named: str) -> dict[str, str]:
    """The attributes of one part of a URI, still percent-encoded."""
    pairs = [one.partition("=") for one in text.split(separator) if one]
    known = {name: value for name, _, value in pairs}
    if len(known) != len(pairs) or not all(known.values()):
        raise TrailError(f"{named} gives something twice or empty; write it like {_EXAMPLE}")
    return known


def _library() -> Any:
    try:
        import pkcs11  # noqa: PLC0415
    except ImportError:
        raise TrailError(
            "keys in tokens need python-pkcs11, which is not installed: pip install 'trialtrail[pkcs11]'"
        ) from None
    return pkcs11
