"""From what a setting says to what signs: a file, the text of one, or a key in a token."""

from pathlib import Path

from shared.pkcs11 import SCHEME, TokenKey
from shared.signing import Keyring, Signer, SigningKey


def load_signer(reference: str, *, passphrase: bytes | None = None, pin: str | None = None) -> Signer:
    r"""What signs for a service or a site.

    ``reference`` is the path of a PKCS #8 PEM file, the text of one (a line feed may be written ``\n``, because a
    file of environment variables can not hold any), or the ``pkcs11:`` URI of a key in a token. ``passphrase``
    opens a file or text that is encrypted, ``pin`` a token. Raises TrailError; its sentence never holds a
    secret.
    """
    if reference.startswith(SCHEME):
        return TokenKey.at(reference, pin)
    if _is_pem(reference):
        text = reference.replace("\\n", "\n").encode()
        return SigningKey.from_pem(text, "the key that is given as text", passphrase)
    return SigningKey.load(Path(reference), passphrase)


def load_keyring(
    reference: str, following: str | None = None, *, passphrase: bytes | None = None, pin: str | None = None
) -> Keyring:
    """What signs for a log: its key, and the one it is rotated to.

    That one is named by ``following``, or stands beside the first where both are files (shared.signing.Keyring).
    Raises as :func:`load_signer` does.
    """
    keys = [load_signer(one, passphrase=passphrase, pin=pin) for one in (reference, following) if one is not None]
    beside = Path(reference) if isinstance(keys[0], SigningKey) and not _is_pem(reference) else None
    return Keyring(*keys, beside=beside, passphrase=passphrase)


def _is_pem(reference: str) -> bool:
    return reference.lstrip().startswith("-----BEGIN")
