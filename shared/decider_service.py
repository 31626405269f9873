"""A deciding service's process: LOG in, decisions out through its outbox."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import structlog
from faststream import AckPolicy, FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from sqlalchemy.exc import SQLAlchemyError

from shared.broker import API, BATCH, CHECKPOINT_HEADER, DEFAULT_PREFIX, Topology, decode_note
from shared.courier import Courier
from shared.database import engine_at
from shared.decider import Decider, DeciderStore
from shared.decider_metrics import DeciderMetrics
from shared.entry import read_entry
from shared.metrics import serve
from shared.note import NoteKey
from shared.outbox import Outbox
from shared.service import FatalError, broker_for, fatal, fetch_patiently, raw_batch, started
from shared.settings import ServiceSettings
from shared.tracing import Traced, tracing_for
from shared.words import TrailError

RETRY_AFTER = 1.0
HOUSEKEEPING_EVERY = 1.0
STREAM_PATIENCE = 20.0


class DeciderService:
    """Feeds a decider with sealed entries and posts what it decides."""

    def __init__(self, decider: Decider, name: str, settings: ServiceSettings) -> None:
        self.fatal: FatalError | None = None
        self._log = structlog.get_logger(name)
        self._key = settings.signer()
        self._first_key = NoteKey.parse(settings.log_key)
        self._topology = Topology(settings.trial)
        place = settings.store(name)
        self._store = DeciderStore.at(place, decider, settings.trial)
        self._machine, self._seals = self._store.load(self._first_key)
        credentials = settings.credentials
        self._api = DEFAULT_PREFIX if credentials is None else API
        self._broker: NatsBroker = broker_for(settings.broker, name, credentials, self._api)
        self._client: Client | None = None
        self._courier: Courier | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self._ahead = False
        self._name = name
        self.tracing = tracing_for(name)
        self._spans: dict[int, Traced] = {}  # by index, of entries that are taken and not decided on
        self.app = FastStream(self._broker, logger=None)

        subscriber = self._broker.subscriber(
            self._topology.log_subjects,
            stream=JStream(self._topology.log, declare=False),
            durable=name,
            pull_sub=PullSub(batch_size=BATCH, timeout=0.02, batch=True),
            ack_policy=AckPolicy.MANUAL,
            decoder=raw_batch,
        )

        @subscriber
        async def take(_payloads: Any, message: NatsMessage) -> None:
            await self.take(message)

        self.app.on_startup(self.start)
        self.app.after_startup(lambda: fetch_patiently(subscriber))
        self.app.after_shutdown(self.stop)
        # Read only, so that a scrape never takes the lock that the next decision needs.
        self._read_outbox = Outbox(engine_at(place, read_only=True), decider.source, settings.trial)
        self._metrics = DeciderMetrics(self, self._read_outbox)
        serve(settings.metrics, self._metrics.registry)

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._client is not None and self._client.is_connected

    @property
    def decided(self) -> int:
        """Entries of LOG that are decided on."""
        return self._seals.tree.size

    @property
    def decisions(self) -> int:
        """Decisions made since the log began."""
        return self._machine.sequence

    @property
    def overdue(self) -> int:
        """Decisions sent a minute ago or more that have no receipt."""
        return 0 if self._courier is None else self._courier.overdue

    async def log_size(self) -> int:
        """Entries that LOG holds, as our own consumer knows: we may ask a guarded broker for nothing else.

        Raises nats-py's errors when the broker does not tell.
        """
        assert self._client is not None
        info = await self._client.jetstream(prefix=self._api).consumer_info(self._topology.log, self._name)
        delivered = 0 if info.delivered is None else info.delivered.stream_seq
        return delivered + (info.num_pending or 0)

    async def start(self) -> None:
        """Wait for the provisioner, then begin with what the outbox still holds."""
        self._client = await started(self._broker)
        self._metrics.begin(asyncio.get_running_loop())
        await self._wait_for_stream(self._client)
        self._courier = Courier(self._client, self._store.outbox, self._topology, self._seals.log)
        await self._courier.start()
        # What was acknowledged before a crash, but not yet covered and decided, is not delivered again.
        delivered = await self._client.jetstream(prefix=self._api).consumer_info(self._topology.log, self._name)
        if delivered.ack_floor is not None:
            await self._fetch_before(delivered.ack_floor.stream_seq)
        self._housekeeping = asyncio.create_task(self._keep_house())
        self._log.info("ready", entries=self._seals.tree.size, decisions=self._machine.sequence)

    async def stop(self) -> None:
        """Stop between two batches."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        if self._courier is not None:
            await self._courier.stop()
        self._read_outbox.close()
        self._store.close()

    async def take(self, message: NatsMessage) -> None:
        """Decide on a batch of the log; acknowledge it when the decisions are on the broker's disk.

        Entries that no checkpoint covers yet are held in memory and acknowledged all the same: the store's
        cursor says what is decided, and whatever lies between it and the next message is fetched from LOG.
        """
        if self.fatal is not None:
            return
        messages: Sequence[Msg] = message.raw_message  # type: ignore[assignment]  # a batch subscriber's is a list
        assert self._courier is not None
        try:
            if self._ahead:  # an earlier try left memory ahead of the store
                self._machine, self._seals = self._store.load(self._first_key)
            self._ahead = True
            for part in sorted(messages, key=lambda one: one.metadata.sequence.stream):
                await self._take_one(part)
            await self._courier.send()
            self._ahead = False
        except (SQLAlchemyError, OSError, NatsError, TimeoutError) as error:
            self._log.error("deciding failed and will be tried again", error=str(error))
            self._metrics.failed()
            with suppress(NatsError, OSError):
                await message.nack(delay=RETRY_AFTER)
        except Exception as error:
            # Evidence that contradicts itself, or a defect of ours: either way nothing more may be decided.
            self._stop_for(error)
        else:
            self._metrics.succeeded()
            await message.ack()

    async def _take_one(self, message: Msg) -> None:
        index = message.metadata.sequence.stream - 1
        await self._fetch_before(index)
        if self._seals.next == index:
            self._decide(message.data, message.headers)

    async def _fetch_before(self, index: int) -> None:
        """Take what lies between our cursor and an entry: LOG holds every entry, delivered or not."""
        while self._seals.next < index:
            assert self._client is not None
            skipped = await self._client.jetstream(prefix=self._api).get_msg(
                self._topology.log, self._seals.next + 1
            )
            self._decide(skipped.data or b"", skipped.headers)

    def _decide(self, raw: bytes, headers: dict[str, Any] | None) -> None:
        began = time.monotonic()
        value = (headers or {}).get(CHECKPOINT_HEADER)
        taken = read_entry(raw)
        span = self.tracing.begin("decide", headers)
        if span is not None:
            self._spans[taken.index] = span
        sealed = self._seals.add(taken, None if value is None else decode_note(value))
        if not sealed:
            return
        events: list[tuple[int, bytes]] = []
        caused: dict[int, list[int]] = {}
        for entry in sealed:
            first = self._machine.sequence + 1
            events += enumerate(self._machine.feed(entry), first)
            caused[entry.index] = list(range(first, self._machine.sequence + 1))
        self._store.commit(self._machine, self._seals, events, self._key)
        self._metrics.committed(began)
        assert self._courier is not None
        self._courier.log = self._seals.log  # receipts over a rotation are signed with the next key
        for index in self._spans.keys() & caused.keys():
            span = self._spans.pop(index)
            span.end(index=index, decisions=len(caused[index]))
            self._courier.traceparents.update(dict.fromkeys(caused[index], span.traceparent))

    async def _keep_house(self) -> None:
        """Send again what has no receipt."""
        assert self._courier is not None
        while True:
            await asyncio.sleep(HOUSEKEEPING_EVERY)
            try:
                await self._courier.send()
            except (SQLAlchemyError, OSError, NatsError, TimeoutError) as error:
                self._log.warning("sending will be tried again", error=str(error))
            except Exception as error:
                self._stop_for(error)

    def _stop_for(self, error: Exception) -> None:
        self.fatal = fatal(error)
        self._log.critical(
            "stopping: nothing more will be decided", error=str(self.fatal), exc_info=self.fatal.defect
        )
        self.app.exit()

    async def _wait_for_stream(self, client: Client) -> None:
        deadline = asyncio.get_running_loop().time() + STREAM_PATIENCE
        while True:
            try:
                await client.jetstream(prefix=self._api).consumer_info(self._topology.log, self._name)
            except (NatsError, TimeoutError):
                if asyncio.get_running_loop().time() > deadline:
                    raise TrailError(
                        f"the stream {self._topology.log} is not there; the audit service declares it: is it up?"
                    ) from None
                await asyncio.sleep(0.2)
            else:
                return
