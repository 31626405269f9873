"""A deciding service's metrics: what it counts as it decides, and how it stands when somebody scrapes."""

import asyncio
import time
from collections.abc import Iterator
from typing import Protocol

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric

from shared.metrics import DURATIONS, ask, counter, gauge, registry_of
from shared.outbox import Outbox


class Watched(Protocol):
    """What is asked of a deciding service on a scrape."""

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""

    @property
    def decided(self) -> int:
        """Entries of LOG that are decided on."""

    @property
    def decisions(self) -> int:
        """Decisions made since the log began."""

    @property
    def overdue(self) -> int:
        """Decisions sent a minute ago or more that have no receipt."""

    async def log_size(self) -> int:
        """Entries that LOG holds.

        Raises nats-py's errors when the broker does not tell.
        """


class DeciderMetrics:
    """Counts decided batches, and collects the rest when somebody scrapes ``registry``; ``outbox`` is only read."""

    def __init__(self, service: Watched, outbox: Outbox) -> None:
        self._service = service
        self._outbox = outbox
        self._loop: asyncio.AbstractEventLoop | None = None
        self.registry = registry_of(self._deciding, self._waiting, self._broker)
        self._failures = Counter(
            "trail_decider_failures",
            "Tries to decide on a batch that failed and are repeated.",
            registry=self.registry,
        )
        self._in_trouble = Gauge(
            "trail_decider_in_trouble", "1 while the last try to decide has failed, else 0.", registry=self.registry
        )
        self._duration = Histogram(
            "trail_decider_decide_duration_seconds",
            "From entries that a checkpoint covers to their decisions in the outbox.",
            buckets=DURATIONS,
            registry=self.registry,
        )

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the broker, from now on, through this loop."""
        self._loop = loop

    def committed(self, began: float) -> None:
        """Count decisions that are in the outbox; ``began`` by the monotonic clock."""
        self._duration.observe(time.monotonic() - began)

    def succeeded(self) -> None:
        """Note that a batch is decided on and its decisions are on their way."""
        self._in_trouble.set(0)

    def failed(self) -> None:
        """Count a try that failed."""
        self._failures.inc()
        self._in_trouble.set(1)

    def _deciding(self) -> Iterator[Metric]:
        yield gauge(
            "trail_decider_decided_entries", "Entries of the log that are decided on.", self._service.decided
        )
        yield counter(
            "trail_decider_decisions",
            "Decisions made since the log began, restarts included.",
            self._service.decisions,
        )
        yield gauge(
            "trail_decider_overdue_receipts",
            "Decisions sent a minute ago or more that have no receipt.",
            self._service.overdue,
        )

    def _waiting(self) -> Iterator[Metric]:
        count, oldest = self._outbox.oldest_waiting()
        yield gauge("trail_decider_outbox_waiting_events", "Decisions in the outbox that have no receipt.", count)
        yield gauge(
            "trail_decider_outbox_oldest_timestamp_seconds",
            "When the cause of the first of them was sealed; none while nothing waits.",
            None if oldest is None else oldest.timestamp(),
        )

    def _broker(self) -> Iterator[Metric]:
        connected = self._service.connected
        yield gauge("trail_decider_broker_connected", "1 while the broker is there, else 0.", connected)
        size = ask(self._loop, self._service.log_size()) if connected and self._loop is not None else None
        yield gauge(
            "trail_decider_behind_entries",
            "Entries of LOG that are not decided on.",
            None if size is None else max(0, size - self._service.decided),
        )
