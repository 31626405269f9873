"""The notary as a service: INTAKE in, LOG and receipts out. Run as ``python -m services.audit.app``."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import structlog
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.errors import NotFoundError
from pydantic import Field, SecretStr
from sqlalchemy.exc import SQLAlchemyError

from services.audit.admission import arrival_of
from services.audit.attesting import Attesting, Outsiders, Standing
from services.audit.leases import LeaseError
from services.audit.metrics import NotaryMetrics, Streams
from services.audit.mirror import Mirror
from services.audit.notary import Notary, Sealed
from services.audit.places import Places
from shared.broker import BATCH, KEY_HEADER, SIGNATURE_HEADER, BrokerError, Topology, provision
from shared.database import may_pass
from shared.entry import Arrival
from shared.metrics import serve
from shared.service import FatalError, broker_for, fatal, fetch_patiently, raw_batch, run, started
from shared.settings import ServiceSettings
from shared.signers import load_keyring
from shared.signing import Keyring
from shared.tracing import Traced, Tracing, tracing_for
from shared.words import EvidenceError

_log = structlog.get_logger("audit")
RETRY_AFTER = 1.0
HOUSEKEEPING_EVERY = 2.0
STAND_BY_EVERY = 1.0
ELECTED_WITHIN = 30.0


class AuditService:
    """Connects a notary to the broker."""

    def __init__(
        self, notary: Notary, topology: Topology, broker: NatsBroker, app: FastStream, settings: "AuditSettings"
    ) -> None:
        self.notary = notary
        self._settings = settings
        self._attesting: Attesting | None = None
        self.topology = topology
        self.app = app
        self.fatal: FatalError | None = None
        self._one_at_a_time = asyncio.Lock()
        self._stopping = False
        self._broker = broker
        self._client: Client | None = None
        self._mirror: Mirror | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self.metrics = NotaryMetrics(self)
        self.tracing = Tracing()
        self._spans: dict[int, Traced] = {}  # by intake sequence, of messages that are taken and not answered

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client is not None and self._client.is_connected

    def standing(self) -> Standing | None:
        """How the outsiders stand; None before they are asked.

        Raises EvidenceError and SQLAlchemy's errors when what is kept of them cannot be read.
        """
        return None if self._attesting is None else self._attesting.standing()

    async def streams(self) -> Streams | None:
        """How far the trial's streams are; None before they are there.

        Raises nats-py's errors when the broker does not tell.
        """
        if self._client is None or self._mirror is None:
            return None
        js = self._client.jetstream()
        intake, log = [await js.stream_info(name) for name in (self.topology.intake, self.topology.log)]
        return Streams(intake.state.last_seq, log.state.last_seq)

    async def start(self) -> None:
        """Provision the broker and bring LOG up to the database, before the first message is taken."""
        self._client = await started(self._broker)
        await self._provision_patiently()
        loop = asyncio.get_running_loop()
        self.metrics.begin(loop)

        def stop(error: EvidenceError) -> None:
            loop.call_soon_threadsafe(self._stop_for, error)

        outsiders = Outsiders(self._settings.policy, self._settings.timestamping, self._settings.tiles)
        self._attesting = Attesting(
            self._settings.data,
            self._settings.places,
            self._settings.trial,
            outsiders,
            fatal=stop,
        )
        await asyncio.to_thread(self._attesting.begin)
        self._mirror = Mirror(self._client, self.topology, self.notary.log, self.notary.checkpoints)
        await self._mirror.catch_up()
        self._housekeeping = asyncio.create_task(self._keep_house())
        _log.info("ready", entries=self.notary.size, intake=self.notary.intake)

    def prepare_to_stop(self) -> None:
        """Begin no further try."""
        self._stopping = True

    async def stop(self) -> None:
        """Stop between two batches."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        async with self._one_at_a_time:
            self.notary.close()
        if self._attesting is not None:
            await asyncio.to_thread(self._attesting.end)

    async def take(self, message: NatsMessage) -> None:
        """Seal a batch of the intake; acknowledge it when its entries and receipts are out."""
        messages: Sequence[Msg] = message.raw_message  # type: ignore[assignment]  # a batch subscriber's is a list
        began = time.monotonic()
        while self.fatal is None and not self._stopping:
            try:
                async with self._one_at_a_time:
                    await self._seal_in_order(messages)
                await message.ack()
            except (SQLAlchemyError, OSError, NatsError, TimeoutError, BrokerError) as error:
                # Nothing is lost, and later messages wait their turn: the same batch is tried until it is sealed.
                self.metrics.failed()
                _log.error("sealing failed and will be tried again", error=str(error), messages=len(messages))
                with suppress(NatsError, OSError):
                    await message.in_progress()
                await asyncio.sleep(RETRY_AFTER)
            except Exception as error:
                self.metrics.failed()
                if may_pass(error):
                    _log.error("sealing failed and will be tried again", error=str(error), messages=len(messages))
                    await asyncio.sleep(RETRY_AFTER)
                    continue
                # Evidence that contradicts itself, or a defect of ours: either way nothing more may be sealed.
                self._stop_for(error)
            else:
                self.metrics.done(len(messages), began)
                return

    async def _seal(self, arrivals: Sequence[Arrival], *, tick: bool = False) -> None:
        assert self._client is not None
        assert self._mirror is not None
        # In a thread, so that the connection is kept alive while we compute.
        sealed: Sealed = await asyncio.to_thread(self.notary.seal, arrivals, tick=tick)
        self.metrics.sealed(sealed)
        await self._mirror.publish(sealed.entries, sealed.note, self._carried(sealed))
        for arrival, receipt in await asyncio.to_thread(lambda: sealed.receipts):
            subject = self.topology.receipt_for(arrival.subject)
            if subject is not None:
                await self._client.publish(subject, receipt.encode())
        self.metrics.succeeded()
        self._end_spans(arrivals, sealed)

    def _begin_span(self, number: int, headers: dict[str, Any] | None) -> None:
        if number not in self._spans:  # else an earlier try has begun it
            span = self.tracing.begin("seal", headers)
            if span is not None:
                self._spans[number] = span

    def _carried(self, sealed: Sealed) -> dict[int, str]:
        """The traces that go on with entries to LOG, by index."""
        if not self._spans:
            return {}
        spans = ((entry.index, self._spans.get(entry.header.intake)) for entry in sealed.entries)
        return {index: span.traceparent for index, span in spans if span is not None}

    def _end_spans(self, arrivals: Sequence[Arrival], sealed: Sealed) -> None:
        if not self._spans:
            return
        for entry in sealed.entries:
            span = self._spans.pop(entry.header.intake, None)
            if span is not None:
                span.end(index=entry.index, verdict=entry.header.verdict)
        for arrival in arrivals:
            span = self._spans.pop(arrival.intake, None)
            if span is not None:
                span.end(verdict="repeated")

    async def _seal_in_order(self, messages: Sequence[Msg]) -> None:
        """Seal a batch in stream order, and before it what was skipped: a redelivery may overtake or lag."""
        arrivals = sorted(map(_delivered, messages), key=lambda arrival: arrival.intake)
        for message in messages:
            self._begin_span(message.metadata.sequence.stream, message.headers)
        expected = self.notary.intake + 1
        gapless: list[Arrival] = []
        for arrival in arrivals:
            for low in range(expected, arrival.intake, BATCH):
                gapless += [one async for one in self._fetch(low, min(low + BATCH, arrival.intake))]
                if len(gapless) >= BATCH:
                    await self._seal(gapless)
                    gapless = []
            gapless.append(arrival)
            expected = max(expected, arrival.intake + 1)
        await self._seal(gapless)

    async def _fetch(self, low: int, high: int) -> AsyncIterator[Arrival]:
        """Messages of the intake from ``low`` to before ``high``; what the broker has lost, the notary states."""
        assert self._client is not None
        for number in range(low, high):
            try:
                found = await self._client.jetstream().get_msg(self.topology.intake, number)
            except NotFoundError:
                continue
            self._begin_span(number, found.headers)
            yield _arrival(number, found.subject or "", found.headers, found.data or b"")

    async def _provision(self) -> None:
        assert self._client is not None
        consumers = {
            "notary": self.topology.intake,
            "screening": self.topology.log,
            "safety": self.topology.log,
        }
        await provision(self._client.jetstream(), self.topology, consumers, self._settings.replicas)

    async def _provision_patiently(self) -> None:
        """A cluster that has just been started, or has lost a node, takes a moment to agree on who leads."""
        deadline = time.monotonic() + ELECTED_WITHIN
        while True:
            try:
                return await self._provision()
            except BrokerError as error:
                if self._settings.replicas == 1 or time.monotonic() > deadline:
                    raise
                _log.warning("setting up the streams will be tried again", error=str(error))
                await asyncio.sleep(RETRY_AFTER)

    async def _keep_house(self) -> None:
        """Seal the passing of time, and put back what somebody deleted from the broker."""
        while True:
            await asyncio.sleep(HOUSEKEEPING_EVERY)
            try:
                await asyncio.to_thread(self.notary.lease.renew)
                due = self.notary.tick_due
                if due is not None and datetime.now(UTC) >= due:
                    async with self._one_at_a_time:
                        await self._seal([], tick=True)
                await self._provision()
            except (SQLAlchemyError, OSError, NatsError, TimeoutError, BrokerError) as error:
                _log.warning("housekeeping will be tried again", error=str(error))
            except Exception as error:
                self._stop_for(error)

    def _stop_for(self, error: Exception) -> None:
        self.fatal = fatal(error)
        _log.critical("stopping: nothing more will be sealed", error=str(self.fatal), exc_info=self.fatal.defect)
        self.app.exit()


def _delivered(message: Msg) -> Arrival:
    return _arrival(message.metadata.sequence.stream, message.subject, message.headers, message.data)


def _arrival(number: int, subject: str, headers: dict[str, Any] | None, payload: bytes) -> Arrival:
    given = headers or {}
    return arrival_of(number, subject, given.get(KEY_HEADER, ""), given.get(SIGNATURE_HEADER, ""), payload)


class AuditSettings(ServiceSettings):
    """What the notary needs to know besides: whom to ask outside. Each may be left out.

    ``policy``: a tlog-policy whose witnesses are asked for cosignatures; ``timestamping``: which authorities stamp;
    ``tiles``: a directory or bucket to publish to. ``key_next`` names the key that the log is rotated to, as
    ``key`` does its present one, where it is no file beside that. ``checkpoints_database``: another database for
    the checkpoints, so that no back-up of one puts back the other. ``replicas``: on how many nodes of a cluster of
    brokers each stream is kept.
    """

    policy: Path | None = None
    timestamping: Path | None = None
    tiles: str = ""
    key_next: SecretStr | None = None
    checkpoints_database: str = ""
    replicas: Annotated[int, Field(ge=1, le=5)] = 1

    @property
    def places(self) -> Places:
        """Where the log and its checkpoints are."""
        if not self.database:
            return Places.in_files(self.data)
        return Places.in_database(self.database, self.trial, self.checkpoints_database)

    def keyring(self) -> Keyring:
        """What signs for this log.

        Raises TrailError when it cannot be opened.
        """
        following = None if self.key_next is None else self.key_next.get_secret_value()
        return load_keyring(self.key.get_secret_value(), following, **self.secrets())


def _notary(settings: AuditSettings) -> Notary:
    """The notary, as soon as no other writes the log: one that shares a database with another stands by."""
    told = ""
    while True:
        try:
            return Notary(settings.data, settings.trial, settings.keyring(), places=settings.places)
        except LeaseError as error:
            if not settings.database:
                raise
            if not told:
                _log.info("standing by", reason=str(error))
            told = str(error)
            time.sleep(STAND_BY_EVERY)


def build(settings: AuditSettings) -> AuditService:
    """Put the service together.

    Raises TrailError when the notary must not start.
    """
    topology = Topology(settings.trial)
    broker = broker_for(settings.broker, "audit", settings.credentials)
    app = FastStream(broker, logger=None)
    notary = _notary(settings)
    service = AuditService(notary, topology, broker, app, settings)
    service.tracing = tracing_for("notary")
    serve(settings.metrics, service.metrics.registry)

    subscriber = broker.subscriber(
        topology.intake_subjects,
        stream=JStream(topology.intake, declare=False),
        durable="notary",
        pull_sub=PullSub(batch_size=BATCH, timeout=0.02, batch=True),
        ack_policy=AckPolicy.MANUAL,
        decoder=raw_batch,
    )

    @subscriber
    async def take(_payloads: Any, message: NatsMessage) -> None:
        await service.take(message)

    app.on_startup(service.start)
    app.after_startup(lambda: fetch_patiently(subscriber))
    app.on_shutdown(service.prepare_to_stop)
    app.after_shutdown(service.stop)
    return service


def main() -> int:
    """Run until told to stop; 0 when stopped from outside, 2 with a sentence when it could not go on."""
    return run(lambda: build(AuditSettings()))  # its fields come from the environment


if __name__ == "__main__":
    sys.exit(main())
