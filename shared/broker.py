"""NATS JetStream as transport: subjects, streams and consumers, declared by one provisioner (DESIGN.md 6)."""

import asyncio
import base64
import json
import logging
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)
from nats.js.errors import NotFoundError

from shared.broker_keys import Credentials
from shared.words import EvidenceError, SourceId, TrailError

KEY_HEADER: Final = "Trail-Key"
SIGNATURE_HEADER: Final = "Trail-Signature"
CHECKPOINT_HEADER: Final = "Trail-Checkpoint"
DEFAULT_PREFIX: Final = "$JS.API"
API: Final = "JS.TRAIL.API"
"""Where a user of a broker that tells its users apart finds JetStream's interface, in place of $JS.API: its account
has no streams of its own. The notary's account has them."""

BATCH: Final = 500
_SUBJECT: Final = re.compile(r"intake(\.[A-Za-z0-9_-]{1,64}){5}")
MAX_MESSAGE_BYTES: Final = 131_072  # above what admission allows, so that a slip is sealed as refused
CONNECT_TIMEOUT: Final = 10.0
_log = structlog.get_logger("broker")


class BrokerError(TrailError):
    """The broker does not take something now; it may later."""


def _build_message(
    self: Client, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
) -> Msg:
    """Build a message whose subject may be no UTF-8.

    The server stores such a subject, nats-py 2.16 fails to decode it, and its reading loop then ends without a
    word while the connection looks healthy: one message of a vandal would make a service deaf for good.
    """
    told, answer = subject.decode(errors="replace"), reply.decode(errors="replace")
    return self.msg_class(subject=told, reply=answer, data=data, headers=headers, _client=self, _sid=sid)


# Over TLS, nats-py's way of ending makes asyncio warn of something that is of no consequence.
logging.getLogger("asyncio").addFilter(lambda record: "eof_received" not in record.getMessage())

Client._build_message = _build_message  # type: ignore[method-assign]


@dataclass(frozen=True, slots=True)
class Topology:
    """The names of one trial on the broker."""

    trial: str

    @property
    def intake(self) -> str:
        """The stream that sources publish to."""
        return f"INTAKE_{self.trial}"

    @property
    def log(self) -> str:
        """The stream that mirrors the log: its sequence is index + 1."""
        return f"LOG_{self.trial}"

    @property
    def intake_subjects(self) -> str:
        """All that sources may publish."""
        return f"intake.{self.trial}.>"

    @property
    def log_subjects(self) -> str:
        """All sealed entries."""
        return f"log.{self.trial}.>"

    @property
    def receipts(self) -> str:
        """All receipts."""
        return f"receipt.{self.trial}.>"

    def intake_prefix(self, source: SourceId) -> str:
        """What every subject begins with that a source may publish on."""
        return f"intake.{self.trial}.{source.replace('/', '.')}"

    def intake_subject(self, source: SourceId, route: str) -> str:
        """Where a source publishes an event of ``<domain>.<verb>``."""
        return f"{self.intake_prefix(source)}.{route}"

    def receipt_subject(self, source: SourceId) -> str:
        """Where a source hears that its events are sealed; not stored, the outbox asks again."""
        return f"receipt.{self.trial}.{source.replace('/', '.')}"

    def receipt_for(self, intake_subject: str) -> str | None:
        """The receipt subject of whoever may publish on an intake subject; None if that is nobody."""
        if not self._is_sound(intake_subject):
            return None
        _, _, kind, name, _, _ = intake_subject.split(".")
        return f"receipt.{self.trial}.{kind}.{name}"

    def log_subject(self, intake_subject: str) -> str:
        """Where the entry that seals a message from this intake subject appears.

        A subject of any other shape (cut, with wildcards, in another script) may be one that nobody can
        publish on; such an entry, refused in any case, appears on ``log.<trial>.refused``.
        """
        if not self._is_sound(intake_subject):
            return f"log.{self.trial}.refused"
        return "log" + intake_subject.removeprefix("intake")

    def _is_sound(self, intake_subject: str) -> bool:
        return _SUBJECT.fullmatch(intake_subject) is not None and intake_subject.split(".")[1] == self.trial

    def streams(self, replicas: int = 1) -> list[StreamConfig]:
        """The two streams, as the provisioner declares them."""
        common: dict[str, Any] = {
            "retention": RetentionPolicy.LIMITS,
            "storage": StorageType.FILE,
            "discard": DiscardPolicy.NEW,
            "max_msg_size": MAX_MESSAGE_BYTES,
            "num_replicas": replicas,
            "deny_delete": True,
            "deny_purge": True,
        }
        return [
            StreamConfig(name=self.intake, subjects=[self.intake_subjects], duplicate_window=120, **common),
            StreamConfig(name=self.log, subjects=[self.log_subjects], allow_atomic=True, **common),
        ]


def encode_note(note: str) -> str:
    """A checkpoint as a header value, which can hold no line feed."""
    return base64.b64encode(note.encode()).decode()


def decode_note(value: str) -> str:
    """Read a checkpoint back from its header.

    Raises EvidenceError when the header is not one.
    """
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        raise EvidenceError(f"the {CHECKPOINT_HEADER} header cannot be read") from None


def consumer(name: str) -> ConsumerConfig:
    """A durable consumer that a service owns; the service's own cursor, not the broker, says what is done."""
    return ConsumerConfig(
        durable_name=name,
        deliver_policy=DeliverPolicy.ALL,
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=30,
        max_ack_pending=4 * BATCH,
    )


def servers(url: str) -> list[str]:
    """The nodes of a cluster, whose URLs stand with commas between them; whichever answers is used."""
    return [one.strip() for one in url.split(",") if one.strip()]


async def connect(url: str, name: str, credentials: Credentials | None = None, **options: Any) -> Client:
    """Connect to the broker, for good: later interruptions are waited out, and only the start is bounded.

    ``credentials`` are needed where the broker tells its users apart. Raises TrailError with a sentence when no
    broker answers, or it does not let us in.
    """
    if credentials is not None:
        options |= {"nkeys_seed_str": credentials.seed, "tls": credentials.tls()}
        # Else whoever is on the way could claim that there is no TLS, and nats-py would believe it.
        options["tls_handshake_first"] = True

    reasons: list[Exception] = []

    async def quiet(error: Exception) -> None:
        """Reconnecting is the client's business; a service notices by its lag."""
        if not reasons or _is_refusal(error):  # a broken connection is often what follows
            reasons[:] = [error]
        note_refusal(error)

    try:
        return await asyncio.wait_for(
            nats.connect(
                servers(url),
                name=name,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                allow_reconnect=True,
                error_cb=options.pop("error_cb", quiet),
                **options,
            ),
            CONNECT_TIMEOUT,
        )
    except (TimeoutError, OSError, NatsError) as error:
        # The client tries until our patience ends; why, it has told on the way.
        raise TrailError(
            f"{told(reasons[0] if reasons else error, url)}; start the stack with `trail up`"
        ) from None


def _is_refusal(error: Exception) -> bool:
    return "authorization" in str(error).lower()


def note_refusal(error: Exception) -> None:
    """Say aloud what the broker does not permit: whoever asked sees no more of it than that no answer comes."""
    if "permissions violation" in str(error):
        _log.error("the broker does not permit this", error=str(error))


def told(error: Exception, url: str) -> str:
    """Say of a failed connection what failed: nobody is there, or somebody who does not let us in."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker at {url} shows a certificate of another authority ({error.verify_message})"
    if _is_refusal(error):
        return (
            f"the broker at {url} does not let this key in: it is not granted, revoked, or the broker has not read "
            "its configuration since (`trail broker reload`)"
        )
    return f"no broker answers at {url} ({type(error).__name__})"


async def provision(
    js: JetStreamContext, topology: Topology, consumers: Mapping[str, str], replicas: int = 1
) -> None:
    """Declare the trial's streams and ``consumers`` (name -> stream). Run by one process, before the others.

    ``replicas``: on how many nodes of a cluster each stream is kept; of 3, one may be lost.
    Raises BrokerError when the broker refuses, for instance because a stream of the name holds another trial.
    """
    try:
        for config in topology.streams(replicas):
            assert config.name is not None
            try:
                await js.stream_info(config.name)
                await js.update_stream(config)
            except NotFoundError:
                await js.add_stream(config)
        for name, stream in consumers.items():
            try:
                await js.consumer_info(stream, name)
            except NotFoundError:
                await js.add_consumer(stream, consumer(name))
    except NatsError as error:
        raise BrokerError(f"the broker refused to set up the trial's streams: {error}") from error


async def publish_batch(client: Client, messages: list[tuple[str, bytes, dict[str, str]]], batch_id: str) -> None:
    """Store messages in a stream all or nothing, with one sync (NATS ADR-50); at most 1,000 at once.

    Raises BrokerError with the broker's answer when it refuses, NatsError when it does not answer.
    """
    for at, (subject, payload, headers) in enumerate(messages, 1):
        marked = {**headers, "Nats-Batch-Id": batch_id, "Nats-Batch-Sequence": str(at)}
        if at < len(messages):
            await client.publish(subject, payload, headers=marked)
        else:
            answer = await client.request(
                subject, payload, timeout=10, headers={**marked, "Nats-Batch-Commit": "1"}
            )
            reply = json.loads(answer.data)
            if "error" in reply:
                raise BrokerError(f"the broker refused a batch: {reply['error'].get('description')}")
