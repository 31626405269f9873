"""The broker's certificate, and the private authority that vouches for it: made once, kept, renewed in time."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from services.cli.installation import Installation
from shared.words import TrailError

SERVER: Final = "server.pem"
SERVER_KEY: Final = "server-key.pem"
LOCAL: Final = ("localhost", "127.0.0.1", "::1")
_AUTHORITY_LIFE: Final = timedelta(days=3650)
_SERVER_LIFE: Final = timedelta(days=397)
_RENEW_BEFORE: Final = timedelta(days=30)
_SLACK: Final = timedelta(days=1)  # for a client whose clock is behind


def ensure_certificate(home: Installation, names: Sequence[str] = ()) -> None:
    """Have a valid certificate for the broker, under these names (DNS or IP addresses) besides this machine's own.

    The authority is made once: every client holds it. Names of an earlier certificate stay.
    """
    folder = home.broker_access_path
    authority, key = _authority(home)
    wanted = dict.fromkeys([*LOCAL, *_names_in(folder / SERVER), *names])
    if not _serves(folder / SERVER, wanted):
        _issue(folder, authority, key, list(wanted))


def _authority(home: Installation) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    # P-256 and not Ed25519: every TLS library of every language a site may use takes it.
    path = home.directory / "keys" / "broker-ca.pem"
    if path.exists() and home.broker_ca_path.exists():
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise TrailError(f"the key at {path} is not the broker authority's; restore it from a back-up")
        return x509.load_pem_x509_certificate(home.broker_ca_path.read_bytes()), key
    if path.exists() or home.broker_ca_path.exists():
        raise TrailError(
            f"of the broker's authority only one of {path} and {home.broker_ca_path} is here: restore the other, "
            "or move this one away, and hand out the new ca.pem to everybody"
        )
    made = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Broker authority of {home.trial}")])
    certificate = (
        _begun(name, name, made.public_key(), made.public_key(), _AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(certificates=True), critical=True)
        .sign(made, SHA256())
    )
    _write(path, _pem(made), 0o600)
    _write(home.broker_ca_path, certificate.public_bytes(Encoding.PEM), 0o644)
    return certificate, made


def _issue(folder: Path, authority: x509.Certificate, signer: EllipticCurvePrivateKey, names: list[str]) -> None:
    made = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Trialtrail broker")])
    certificate = (
        _begun(name, authority.subject, made.public_key(), signer.public_key(), _SERVER_LIFE)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general(one) for one in names]), critical=False)
        .sign(signer, SHA256())
    )
    # The key first: a certificate without its key would be taken for a good one the next time.
    (folder / SERVER).unlink(missing_ok=True)
    _write(folder / SERVER_KEY, _pem(made), 0o600)
    _write(folder / SERVER, certificate.public_bytes(Encoding.PEM), 0o644)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: EllipticCurvePublicKey,
    signer: EllipticCurvePublicKey,
    life: timedelta,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SLACK)
        .not_valid_after(now + life)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=certificates,
        crl_sign=certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _names_in(path: Path) -> list[str]:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return []
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return [str(one.value) for one in names]


def _serves(path: Path, names: dict[str, None]) -> bool:
    """Whether a certificate has all these names and some time to go."""
    if not set(names) <= set(_names_in(path)):
        return False
    ends = x509.load_pem_x509_certificate(path.read_bytes()).not_valid_after_utc
    return ends - datetime.now(UTC) > _RENEW_BEFORE


def _pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
