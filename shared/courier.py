"""The courier: takes an outbox's events to the broker and brings their receipts back, for as long as it takes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from sqlalchemy.exc import SQLAlchemyError

from shared.broker import KEY_HEADER, SIGNATURE_HEADER, Topology
from shared.envelope import CONTENT_TYPE
from shared.note import LogKey
from shared.outbox import Outbox, Outgoing
from shared.tracing import TRACEPARENT

WINDOW = 500
RESEND_AFTER = 5.0
ALARM_AFTER = 60.0
_log = structlog.get_logger("courier")


@dataclass(slots=True)
class _Try:
    """When an event was first and last sent, by the monotonic clock, and how often."""

    first: float
    last: float = 0.0
    count: int = 0


class Courier:
    """Carries one outbox over one connection. Start it, then deliver as often as there is something new."""

    def __init__(self, client: Client, outbox: Outbox, topology: Topology, log: LogKey) -> None:
        self._client = client
        self._js = self._window()
        self._outbox = outbox
        self._topology = topology
        self.log = log
        self.traceparents: dict[int, str] = {}
        """Traces to carry on with events, by sequence; not kept, as a trace ends where a process does."""
        self._tries: dict[int, _Try] = {}
        self._alarmed = float("-inf")
        self.overdue = 0  # events sent a minute ago or more whose receipt had not come when we last looked
        self._sent = 0
        self._looked_back = float("-inf")
        self._receipts: asyncio.Queue[str] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._reader: asyncio.Task[None] | None = None

    def _window(self) -> JetStreamContext:
        return self._client.jetstream(publish_async_max_pending=2 * WINDOW)

    async def start(self) -> None:
        """Listen for receipts, before anything is sent that could cause one."""
        await self._client.subscribe(self._topology.receipt_subject(self._outbox.source), cb=self._heard)
        await self._client.flush()
        self._reader = asyncio.create_task(self._keep_receipts())

    async def stop(self) -> None:
        """Stop listening."""
        if self._reader is not None:
            self._reader.cancel()

    async def send(self) -> None:
        """Publish what was never sent, and now and then what is overdue.

        An event the broker did not acknowledge stays in the outbox; that is no error.
        """
        if not self._client.is_connected:
            return  # nothing could be acknowledged; the outbox keeps it
        now = time.monotonic()
        overdue = now - self._looked_back > RESEND_AFTER
        if overdue:
            self._looked_back = now
        beyond, waiting = 0 if overdue else self._sent, set[int]()
        while chunk := self._outbox.waiting(WINDOW, beyond=beyond):
            beyond = chunk[-1].sequence
            self._sent = max(self._sent, beyond)
            waiting.update(event.sequence for event in chunk)
            await self._publish([event for event in chunk if self._due(event, now)])
        if overdue:
            self._tries = {sequence: one for sequence, one in self._tries.items() if sequence in waiting}
            self.traceparents = {
                sequence: one
                for sequence, one in self.traceparents.items()
                if sequence in waiting or sequence > self._sent
            }
            self._alarm(now)

    async def deliver(self, *, timeout: float | None = None, progress: Callable[[int], None] | None = None) -> bool:
        """Send until every event has its receipt; False when ``timeout`` seconds passed before that.

        ``progress`` is told how many events still wait.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            self._changed.clear()
            await self.send()
            waiting = self._outbox.count_waiting()
            if progress is not None:
                progress(waiting)
            if not waiting:
                return True
            if deadline is not None and time.monotonic() >= deadline:
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), 0.5)
            except TimeoutError:
                continue

    async def _publish(self, events: list[Outgoing]) -> None:
        futures = []
        for event in events:
            now = time.monotonic()
            one = self._tries.setdefault(event.sequence, _Try(now))
            one.count, one.last = one.count + 1, now
            headers = {
                # JetStream would swallow a repeat of the same id for two minutes, and with it our wish for a
                # receipt that got lost; the notary recognises repeats by their bytes.
                "Nats-Msg-Id": event.id if one.count == 1 else f"{event.id}.{one.count}",
                "Content-Type": CONTENT_TYPE,
                KEY_HEADER: event.key,
                SIGNATURE_HEADER: event.signature,
            }
            if event.sequence in self.traceparents:
                headers[TRACEPARENT] = self.traceparents[event.sequence]
            subject = self._topology.intake_subject(self._outbox.source, event.route)
            try:
                futures.append(
                    await self._js.publish_async(
                        subject,
                        event.payload,
                        headers=headers,
                        stream=self._topology.intake,
                        wait_stall=RESEND_AFTER,
                    )
                )
            except (NatsError, OSError, TimeoutError) as error:
                _log.debug("not sent; it stays in the outbox", error=str(error))
                # A publication that fails keeps its place in the client's window for good: begin a new window.
                self._js = self._window()
                break
        await asyncio.gather(
            *(asyncio.wait_for(future, RESEND_AFTER) for future in futures), return_exceptions=True
        )

    def _due(self, event: Outgoing, now: float) -> bool:
        one = self._tries.get(event.sequence)
        # Ever longer pauses, so that a notary that is down does not come back to a flood of repeats.
        return one is None or now - one.last > RESEND_AFTER * min(one.count, 12)

    def _alarm(self, now: float) -> None:
        """Say aloud that receipts are overdue, once a minute."""
        late = [one.first for one in self._tries.values() if now - one.first > ALARM_AFTER]
        self.overdue = len(late)
        if late and now - self._alarmed > ALARM_AFTER:
            self._alarmed = now
            _log.error(
                "receipts are overdue; the events are kept and sent again, `trail doctor` says what is down",
                source=self._outbox.source,
                events=len(late),
                seconds=round(now - min(late)),
            )

    async def _heard(self, message: Msg) -> None:
        self._receipts.put_nowait(message.data.decode(errors="replace"))

    async def _keep_receipts(self) -> None:
        while True:
            texts = [await self._receipts.get()]
            while not self._receipts.empty() and len(texts) < WINDOW:
                texts.append(self._receipts.get_nowait())
            try:
                settled, faults = self._outbox.confirm(texts, self.log)
            except SQLAlchemyError as error:
                # Dropped receipts come again, because their events are sent again.
                _log.warning("receipts could not be kept; their events will be sent again", error=str(error))
                continue
            for fault in faults:
                _log.error("a receipt was not accepted; its event will be sent again", error=fault)
            if settled:
                self._changed.set()
