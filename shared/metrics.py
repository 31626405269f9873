"""Metrics of a running service, in the format that Prometheus scrapes; served only where that is asked for.

What happens is counted where it happens, once a batch. What stands is read when somebody scrapes, so that it can
be neither stale nor forgotten.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from typing import Any, Final, TypeVar

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, disable_created_metrics, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from shared.words import TrailError

PATIENCE: Final = 2.0  # seconds: a scrape must end before Prometheus's own timeout of ten
DURATIONS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_T = TypeVar("_T")
_log = structlog.get_logger("metrics")


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``host:port``, an IPv6 address in brackets.

    Raises TrailError with a sentence when it is none.
    """
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    wrong = (
        not colon or not bare or (":" in bare) != host.startswith("[") or not (port.isascii() and port.isdigit())
    )
    if wrong or not 1 <= int(port) <= 65_535:
        raise TrailError(
            f"{text!r} is no address to serve metrics at: TRAIL_METRICS is host:port, like 127.0.0.1:9464 or "
            "[::1]:9464, with a port from 1 to 65535"
        )
    return bare, int(port)


def beside(text: str, by: int) -> str:
    """The address of the port that is ``by`` higher, for another process of the same machine.

    Raises TrailError when there is none.
    """
    host, port = address_of(text)
    moved = f"[{host}]:{port + by}" if ":" in host else f"{host}:{port + by}"
    address_of(moved)
    return moved


def registry_of(*parts: Callable[[], Iterable[Metric]]) -> CollectorRegistry:
    """A registry with the process's own metrics and, read on every scrape, those of ``parts``."""
    disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each counter, which nothing here needs
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_OnScrape(parts))
    return registry


def serve(address: str, registry: CollectorRegistry) -> None:
    """Serve ``/metrics`` at ``host:port`` from a thread, for as long as the process lives; not at all for "".

    Raises TrailError with a sentence when the address is none or taken.
    """
    if not address:
        return
    host, port = address_of(address)
    try:
        start_http_server(port, host, registry)
    except OSError as error:
        raise TrailError(
            f"metrics cannot be served at {address} ({error}); give TRAIL_METRICS another address"
        ) from None


def gauge(name: str, about: str, value: float | None) -> Metric:
    """A gauge without labels; no sample of it where ``value`` is None."""
    family = GaugeMetricFamily(name, about)
    if value is not None:
        family.add_metric([], value)
    return family


def gauges(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    """A gauge with one label, which the caller keeps to a bounded set of values."""
    family = GaugeMetricFamily(name, about, labels=[label])
    for of, value in values.items():
        family.add_metric([of], value)
    return family


def counter(name: str, about: str, value: float) -> Metric:
    """A counter that is kept elsewhere; ``name`` without ``_total``."""
    return CounterMetricFamily(name, about, value)


def ask(loop: asyncio.AbstractEventLoop, question: Coroutine[Any, Any, _T]) -> _T:
    """Have a service's own loop answer a question of the thread that serves metrics.

    Raises TimeoutError when it does not within two seconds, and whatever the question raises.
    """
    future = asyncio.run_coroutine_threadsafe(question, loop)
    try:
        return future.result(PATIENCE)
    finally:
        future.cancel()


class _OnScrape(Collector):
    """Reads its parts anew on every scrape; one that cannot be read is left out and counted, never guessed."""

    def __init__(self, parts: Iterable[Callable[[], Iterable[Metric]]]) -> None:
        self._parts = tuple(parts)

    def collect(self) -> Iterator[Metric]:
        unread = 0
        for part in self._parts:
            try:
                yield from list(part())
            except Exception as error:  # whatever it is, the other parts must be told
                unread += 1
                _log.warning("a part of the metrics could not be read", error=str(error) or type(error).__name__)
        yield gauge("trail_metrics_unread_parts", "Parts of these metrics that could not be read just now.", unread)
