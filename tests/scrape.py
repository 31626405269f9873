"""Scraping our own processes, as Prometheus does."""

import socket
from contextlib import ExitStack

import httpx
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

PARTS = ("audit", "screening", "safety", "witness")


def free_address(count: int = 1) -> str:
    """An address of this machine whose port, and as many behind it as make ``count``, are free."""
    while True:
        with ExitStack() as held:
            first = held.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            try:
                for port in range(first + 1, first + count):
                    held.enter_context(socket.create_server(("127.0.0.1", port)))
            except (OSError, OverflowError):
                continue
            return f"127.0.0.1:{first}"


def scrape(address: str, by: int = 0) -> "Scraped":
    """What is served at an address, or ``by`` ports behind it."""
    host, _, port = address.rpartition(":")
    answer = httpx.get(f"http://{host}:{int(port) + by}/metrics", trust_env=False, timeout=10)
    answer.raise_for_status()
    return Scraped(list(text_string_to_metric_families(answer.text)))


class Scraped:
    """The metrics of one process at one moment."""

    def __init__(self, families: list[Metric]) -> None:
        self.families = families
        self.samples: list[Sample] = [sample for family in families for sample in family.samples]

    def value(self, name: str, **labels: str) -> float | None:
        """The value of the one sample of this name that has these labels; None when there is none."""
        found = [one.value for one in self.samples if one.name == name and labels.items() <= one.labels.items()]
        assert len(found) < 2, f"{name} has {len(found)} samples"
        return found[0] if found else None

    def by(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric by one of its labels."""
        return {one.labels[label]: one.value for one in self.samples if one.name == name}
