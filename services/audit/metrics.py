"""The notary's metrics: what it counts as it seals, and how it and its outsiders stand when somebody scrapes."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol, get_args

from prometheus_client import CollectorRegistry, Gauge, Histogram
from prometheus_client import Counter as Count
from prometheus_client.metrics_core import Metric

from services.audit.admission import Stage
from services.audit.attesting import Standing
from services.audit.notary import Notary, Sealed
from shared.metrics import DURATIONS, ask, gauge, gauges, registry_of

MOST_SOURCES: Final = 100
"""Sources that are named among those with gaps, those that lack most: a log of thousands must drown no scrape."""
_BATCHES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500)


@dataclass(frozen=True, slots=True)
class Streams:
    """The last sequence numbers of the trial's two streams on the broker."""

    intake: int
    log: int


class Watched(Protocol):
    """What is asked of the notary's service on a scrape. None: it has not got that far."""

    notary: Notary

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""

    def standing(self) -> Standing | None:
        """How the outsiders stand."""

    async def streams(self) -> Streams | None:
        """How far the streams are.

        Raises nats-py's errors when the broker does not tell.
        """


class NotaryMetrics:
    """Counts batches, and collects the rest from a service when somebody scrapes ``registry``."""

    def __init__(self, service: Watched) -> None:
        self._service = service
        self._loop: asyncio.AbstractEventLoop | None = None
        self.registry = registry_of(self._log, self._outside, self._broker)
        self._count(self.registry)

    def _count(self, registry: CollectorRegistry) -> None:
        self._sealed = Count(
            "trail_notary_sealed_entries", "Entries sealed, by verdict.", ["verdict"], registry=registry
        )
        self._refused = Count(
            "trail_notary_refused_entries",
            "Entries refused, by the part of admission that refused.",
            ["stage"],
            registry=registry,
        )
        for verdict in ("admitted", "refused"):
            self._sealed.labels(verdict)  # a rate needs the zero before the first one
        for stage in get_args(Stage):
            self._refused.labels(stage)
        self._repeated = Count(
            "trail_notary_repeated_messages",
            "Messages that were sealed before, and were answered.",
            registry=registry,
        )
        self._failures = Count(
            "trail_notary_seal_failures", "Tries to seal a batch that failed and are repeated.", registry=registry
        )
        self._messages = Histogram(
            "trail_notary_batch_messages", "Messages of a batch taken.", buckets=_BATCHES, registry=registry
        )
        self._duration = Histogram(
            "trail_notary_seal_duration_seconds",
            "From a batch taken to its entries and receipts out, failed tries included.",
            buckets=DURATIONS,
            registry=registry,
        )
        self._in_trouble = Gauge(
            "trail_notary_in_trouble", "1 while the last try to seal has failed, else 0.", registry=registry
        )
        self._last_seal = Gauge(
            "trail_notary_last_seal_timestamp_seconds",
            "When sealing last succeeded; 0 when not since the start.",
            registry=registry,
        )

    def begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Ask the broker, from now on, through this loop."""
        self._loop = loop

    def sealed(self, sealed: Sealed) -> None:
        """Count what was sealed, once it is: after a failure behind that, the same messages come as repeats."""
        refused = Counter(sealed.refused)
        self._sealed.labels("admitted").inc(len(sealed.entries) - refused.total())
        self._sealed.labels("refused").inc(refused.total())
        for stage, number in refused.items():
            self._refused.labels(stage).inc(number)
        self._repeated.inc(sealed.repeats)

    def succeeded(self) -> None:
        """Note that what was sealed is published and answered."""
        self._last_seal.set_to_current_time()
        self._in_trouble.set(0)

    def failed(self) -> None:
        """Count a try that failed."""
        self._failures.inc()
        self._in_trouble.set(1)

    def done(self, messages: int, began: float) -> None:
        """Count a batch that is sealed and answered; ``began`` by the monotonic clock."""
        self._messages.observe(messages)
        self._duration.observe(time.monotonic() - began)

    def _log(self) -> Iterator[Metric]:
        notary = self._service.notary
        yield gauge("trail_notary_log_entries", "Entries in the log.", notary.size)
        yield gauge(
            "trail_notary_signed_entries", "Entries that the newest signed checkpoint covers.", notary.signed
        )
        yield gauge(
            "trail_notary_last_entry_timestamp_seconds",
            "When the newest entry was sealed.",
            _seconds(notary.sealed_at),
        )
        yield gauge(
            "trail_notary_last_tick_timestamp_seconds",
            "When time was last sealed for its own sake.",
            _seconds(notary.ticked),
        )
        yield gauge(
            "trail_notary_tick_due_timestamp_seconds",
            "When time must next be sealed; none where the log's clock is simulated.",
            _seconds(notary.tick_due),
        )
        gaps = {source: counter.missing for source, counter in notary.sources.items() if counter.missing}
        yield gauge(
            "trail_notary_sequence_gaps", "Gaps open in the sources' sequences.", sum(map(len, gaps.values()))
        )
        missing = {source: sum(high - low + 1 for low, high in ranges) for source, ranges in gaps.items()}
        yield gauges(
            "trail_notary_missing_events",
            f"Sequence numbers that have not arrived, of the {MOST_SOURCES} sources that lack most.",
            "source",
            dict(sorted(missing.items(), key=lambda one: (-one[1], one[0]))[:MOST_SOURCES]),
        )

    def _outside(self) -> Iterator[Metric]:
        standing = self._service.standing()
        if standing is None:
            return
        size, at = standing.cosigned or (None, None)
        yield gauge("trail_notary_cosigned_entries", "Entries that the witnesses' quorum has cosigned.", size)
        yield gauge("trail_notary_cosigned_timestamp_seconds", "When the quorum last cosigned; 0 when never.", at)
        stamped = standing.stamped
        yield gauges(
            "trail_notary_stamped_entries",
            "Entries that an authority has timestamped.",
            "authority",
            {name: size for name, (size, _) in stamped.items()},
        )
        yield gauges(
            "trail_notary_stamped_timestamp_seconds",
            "When an authority last stamped a checkpoint; 0 when never.",
            "authority",
            {name: at for name, (_, at) in stamped.items()},
        )
        yield gauge(
            "trail_notary_stamping_interval_seconds", "How often a timestamp is wanted.", standing.stamping_every
        )
        yield gauge(
            "trail_notary_published_entries",
            "Entries of the checkpoint published with the tiles.",
            standing.published,
        )
        yield gauges(
            "trail_notary_errand_troubles", "What fails outside and is tried again.", "errand", standing.troubles
        )
        yield gauges(
            "trail_notary_witness_clock_offset_seconds",
            "How far a witness's clock was ahead of this machine's in its last answer, to a second.",
            "witness",
            standing.clock_offsets,
        )

    def _broker(self) -> Iterator[Metric]:
        connected = self._service.connected
        yield gauge("trail_notary_broker_connected", "1 while the broker is there, else 0.", connected)
        streams = ask(self._loop, self._service.streams()) if connected and self._loop is not None else None
        # By the stream and not by the consumer: somebody may have deleted that, and it would lag behind nothing. A
        # broker that was rebuilt counts anew, below what the notary has seen.
        lag = None if streams is None else max(0, streams.intake - self._service.notary.intake)
        yield gauge("trail_notary_intake_lag_messages", "Messages of INTAKE that are not dealt with.", lag)
        yield gauge(
            "trail_notary_log_stream_entries", "Entries that LOG holds.", None if streams is None else streams.log
        )


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()
