"""RFC 3161 timestamps over checkpoints: how they are kept, and what it takes to believe one.

What is stamped is a checkpoint's text, its three lines, without the signatures under it: witnesses add theirs
later, and that must not change what was stamped. A token is kept as the authority sent it (a DER
TimeStampResp), so that ``openssl ts -verify -data TEXT -in TOKEN -CAfile ROOTS`` checks it without us.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from cryptography.x509 import Certificate
from rfc3161_client import TimeStampResponse, VerifierBuilder, decode_timestamp_response
from sqlalchemy import Engine, Select, insert, inspect, select
from sqlalchemy.exc import DatabaseError

from services.audit.authorities import Timestamping
from services.audit.checkpoint_tables import TIMESTAMPS
from shared.moments import instant, stamp
from shared.words import EvidenceError

_ALL: Final = select(TIMESTAMPS)

_CHECKPOINT_TEXT: Final = re.compile(r"[^\n]+\n(0|[1-9][0-9]{0,17})\n[^\n]+\n")
# The DER of id-aa-signingCertificate and id-aa-signingCertificateV2 (RFC 5035).
_NAMES_ITS_CERTIFICATE: Final = tuple(bytes.fromhex(f"060b2a864886f70d01091002{end}") for end in ("0c", "2f"))
_CERTIFICATES: Final = 0xA0  # certificates [0] IMPLICIT
_OPENSSL_REASON: Final = re.compile(r'(?:reason: "|data: "Verify error: )([^"]+)"')


@dataclass(frozen=True, slots=True)
class Timestamp:
    """An authority's word that a checkpoint's ``text`` over ``size`` entries existed at ``time``.

    ``time`` is written as the log writes times; only ``token`` proves anything: see :func:`check`.
    """

    authority: str
    size: int
    text: str
    time: str
    token: bytes


def stamped_size(text: str) -> int:
    """The number of entries that a checkpoint's text speaks of.

    Raises EvidenceError when it is not a checkpoint's three lines.
    """
    match = _CHECKPOINT_TEXT.fullmatch(text)
    if match is None:
        raise EvidenceError("what is stamped is not a checkpoint's text")
    return int(match[1])


def check(timestamp: Timestamp, roots: Sequence[Certificate]) -> datetime:
    """Verify a stored timestamp against its authority's roots; the time (aware, whole seconds) it proves.

    That its text is this log's checkpoint is for the caller to compare. Raises EvidenceError with what does
    not hold, whatever the token's bytes.
    """
    try:
        if stamped_size(timestamp.text) != timestamp.size:
            raise EvidenceError("it is kept under another size than it stamps")
        time = verify_token(timestamp.token, timestamp.text, roots)
        if timestamp.time != stamp(time):
            raise EvidenceError(f"it is kept as of {timestamp.time} but stamps {stamp(time)}")
    except EvidenceError as error:
        raise EvidenceError(
            f"the timestamp of {timestamp.authority} over {timestamp.size} entries does not hold: {error}"
        ) from None
    return time


def verify_token(token: bytes, text: str, roots: Sequence[Certificate], nonce: int | None = None) -> datetime:
    """Verify a DER TimeStampResp over ``text`` (RFC 3161 section 2.4.2); the time it states.

    rfc3161-client has OpenSSL verify the signature and the certificates in the token up to one of ``roots``,
    all as of the token's own time, so evidence outlives certificates (``openssl ts -verify`` needs ``-attime``
    for that); the signer's certificate must be for timestamping, critically, and for nothing else.
    Raises EvidenceError with what does not hold.
    """
    try:
        response = decode_timestamp_response(_certificates_sorted(token))
        if response.status != 0:
            raise EvidenceError(f"it is a refusal: {_refusal(response)}")
        info = response.tst_info
        if nonce is not None and info.nonce != nonce:
            raise EvidenceError("it answers another request")
        if info.message_imprint.message != hashlib.sha256(text.encode()).digest():
            raise EvidenceError("it stamps something else than this checkpoint")
        # The library does not ask for this attribute; openssl does, so an inspector would be left with nothing.
        if not any(mark in token for mark in _NAMES_ITS_CERTIFICATE):
            raise EvidenceError("it does not name its signer's certificate as RFC 3161 section 2.4.1 demands")
        VerifierBuilder(roots=list(roots)).build().verify_message(response, text.encode())
    except EvidenceError:
        raise
    except Exception as error:  # foreign bytes in a foreign parser: whatever it raises, this is no timestamp
        reasons = _OPENSSL_REASON.findall(str(error))
        raise EvidenceError(reasons[-1] if reasons else str(error)) from None
    return info.gen_time


def _certificates_sorted(token: bytes) -> bytes:
    """The token with its certificates in the order that DER asks of a SET OF; other bytes as they are.

    OpenSSL's authority sends them signer first, and rfc3161-client refuses that. They are not part of what is
    signed, and sorting them moves nothing else. SignedData: RFC 5652 section 5.1.
    """
    try:
        _, at, _ = _element(token, 0)  # TimeStampResp
        _, _, at = _element(token, at)  # over its status
        _, at, _ = _element(token, at)  # ContentInfo
        _, _, at = _element(token, at)  # over its type
        _, at, _ = _element(token, at)  # [0]
        _, at, _ = _element(token, at)  # SignedData
        for _ in ("version", "digestAlgorithms", "encapContentInfo"):
            _, _, at = _element(token, at)
        tag, start, end = _element(token, at)
        certificates, at = list[bytes](), start
        while tag == _CERTIFICATES and at < end:
            before, (_, _, at) = at, _element(token, at)
            certificates.append(token[before:at])
    except IndexError:
        return token
    return token[:start] + b"".join(sorted(certificates)) + token[at:]


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Tag, start of the content and end of the DER element that begins at ``at``; IndexError when cut short."""
    tag, length, start = der[at], der[at + 1], at + 2
    if length > 0x7F:
        start += length & 0x7F
        length = int.from_bytes(der[at + 2 : start])
    return tag, start, start + length


def _refusal(response: TimeStampResponse) -> str:
    return ", ".join([f"status {response.status}", *response.status_string])


class Timestamps:
    """The timestamps of a log, kept beside its checkpoints; ``engine`` is the checkpoints' own.

    A file from before there were any holds none, and can be read all the same.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def add(self, timestamp: Timestamp) -> None:
        """Keep a timestamp; one for each authority and size.

        Raises SQLAlchemy's errors when the database cannot take it.
        """
        with self._engine.begin() as connection:
            connection.execute(insert(TIMESTAMPS), asdict(timestamp))

    def latest(self, authority: str) -> Timestamp | None:
        """The authority's timestamp over the most entries.

        Raises EvidenceError when the timestamps cannot be read.
        """
        newest = _ALL.where(TIMESTAMPS.c.authority == authority).order_by(TIMESTAMPS.c.size.desc()).limit(1)
        return next(iter(self._read(newest)), None)

    def all(self) -> list[Timestamp]:
        """Every timestamp, by size.

        Raises EvidenceError when they cannot be read.
        """
        return self._read(_ALL.order_by(TIMESTAMPS.c.size, TIMESTAMPS.c.authority))

    def _read(self, statement: Select[Any]) -> list[Timestamp]:
        try:
            with self._engine.connect() as connection:
                if not inspect(connection).has_table(TIMESTAMPS.name):
                    return []
                rows = connection.execute(statement).all()
        except DatabaseError as error:
            raise EvidenceError(f"the timestamps cannot be read: {error.orig}") from error
        return [_timestamp(row) for row in rows]


def _timestamp(row: Any) -> Timestamp:
    """A row as it was added; SQLite would hold anything in any column."""
    try:
        if [type(value) for value in row] != [str, int, str, str, bytes]:
            raise TypeError
        instant(row.time)
    except (TypeError, ValueError):
        raise EvidenceError("a timestamp is not stored as one: the timestamps were changed") from None
    return Timestamp(*row)


def overdue(store: Timestamps, timestamping: Timestamping, size: int, now: datetime) -> Iterator[str]:
    """A sentence for each authority that lags behind a log of ``size`` entries by more than two intervals."""
    for authority in timestamping.asked:
        last = store.latest(authority.name)
        if last is None:
            yield f"{authority.name} ({authority.url}) has not stamped any checkpoint yet"
        elif last.size < size and now - instant(last.time) > 2 * timestamping.every:
            yield (
                f"{authority.name} ({authority.url}) has not stamped a checkpoint since {last.time}, "
                f"{size - last.size} entries ago"
            )
