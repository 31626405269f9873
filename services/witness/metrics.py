"""A witness's metrics, read when somebody scrapes."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from services.witness.witness import Witness
from shared.metrics import gauges, registry_of


def metrics_of(witness: Witness) -> CollectorRegistry:
    """A registry that tells how far a witness has come with each log it trusts, and what it keeps against it."""

    def standing() -> Iterator[Metric]:
        heads, kept = witness.heads(), witness.kept()
        yield gauges(
            "trail_witness_cosigned_entries",
            "Entries of a log that were last cosigned.",
            "log",
            {origin: head.size for origin, head in heads.items()},
        )
        yield gauges(
            "trail_witness_cosigned_timestamp_seconds",
            "When a checkpoint of a log was last cosigned; 0 when never.",
            "log",
            {origin: head.time for origin, head in heads.items()},
        )
        family = GaugeMetricFamily(
            "trail_witness_refused_checkpoints",
            "Checkpoints refused and kept as evidence, by kind.",
            labels=["log", "kind"],
        )
        for (origin, kind), count in kept.items():
            family.add_metric([origin, kind], count)
        yield family

    return registry_of(standing)
