"""Metrics count what happened, tell how things stand, and never guess what they cannot read."""

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from faststream import FastStream
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy.exc import DatabaseError

from services.audit import app as audit
from services.audit import metrics as audit_metrics
from services.audit.app import AuditService
from services.audit.attesting import Standing
from services.audit.metrics import NotaryMetrics, Streams
from services.audit.notary import Notary
from services.cli import stack
from services.screening.decide import ScreeningDecider
from services.witness.metrics import metrics_of
from services.witness.witness import Witness
from shared.broker import Topology
from shared.decider_metrics import DeciderMetrics
from shared.decider_service import DeciderService
from shared.drafts import Draft
from shared.metrics import address_of, beside, gauge, registry_of, serve
from shared.outbox import Outbox
from shared.service import broker_for
from shared.settings import ServiceSettings
from shared.words import EvidenceError, SourceId, TrailError
from tests.notary import LOG_KEY, OBSERVED, PERSON, REGISTERED, SITE, STRANGER, TRIAL, Office
from tests.scrape import Scraped, free_address, scrape
from tests.witness import LOG_KEY as WITNESSED
from tests.witness import ORIGIN, Chain, leaves

ROOT = Path(__file__).parents[2]
NOBODY = Standing(None, {}, None, None, {}, {})


def read(registry: CollectorRegistry) -> Scraped:
    return Scraped(list(text_string_to_metric_families(generate_latest(registry).decode())))


class Service:
    """As much of the notary's service as its metrics see."""

    def __init__(self, notary: Notary) -> None:
        self.notary = notary
        self.connected = True
        self.stands: Standing | None = NOBODY
        self.last = Streams(0, 0)

    def standing(self) -> Standing | None:
        return self.stands

    async def streams(self) -> Streams | None:
        return self.last


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    office = Office.founded(tmp_path / "office")
    yield office
    office.notary.close()


@pytest.fixture
def service(office: Office) -> Service:
    return Service(office.notary)


@pytest.mark.parametrize(
    "text",
    ["9464", ":9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "a:0", "a:65536", "a:-1", "::1:9464", "a:²"],
)
def test_an_address_that_is_none_is_told_with_an_example(text: str) -> None:
    with pytest.raises(TrailError, match=r"TRAIL_METRICS is host:port, like 127\.0\.0\.1:9464"):
        address_of(text)


def test_an_address_may_be_of_either_family_or_a_name() -> None:
    assert address_of("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert address_of("[::1]:9464") == ("::1", 9464)
    assert address_of("notary.example:1") == ("notary.example", 1)
    assert beside("[::1]:9464", 2) == "[::1]:9466"
    with pytest.raises(TrailError, match="65535"):
        beside("127.0.0.1:65535", 1)


def test_nothing_is_served_when_nothing_is_asked_for_and_a_taken_port_is_told() -> None:
    serve("", CollectorRegistry())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            TrailError, match=f"metrics cannot be served at {address} .*; give TRAIL_METRICS another"
        ):
            serve(address, CollectorRegistry())


@pytest.mark.parametrize("part", ["audit", "screening", "safety"])
def test_a_service_does_not_start_where_its_metrics_cannot_be_served(tmp_path: Path, part: str) -> None:
    """It ends before it needs a broker."""
    key = tmp_path / "key.pem"
    STRANGER.save(key)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        given = {"TRIAL": TRIAL, "BROKER": "nats://127.0.0.1:1", "KEY": str(key), "LOG_KEY": LOG_KEY.vkey()}
        given |= {"DATA": str(tmp_path / "apart" / part), "METRICS": address}
        ended = subprocess.run(
            [sys.executable, "-m", f"services.{part}.app"],
            cwd=ROOT,
            env=os.environ | {f"TRAIL_{name}": value for name, value in given.items()},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, f"metrics cannot be served at {address}" in ended.stderr) == (2, True), ended.stderr


def test_a_part_that_cannot_be_read_is_counted_and_the_others_are_told_all_the_same() -> None:
    def broken() -> Iterator[Metric]:
        yield gauge("trail_half", "Told before it broke.", 1)
        raise OSError("the disk is gone")

    found = read(registry_of(broken, lambda: [gauge("trail_whole", "Whole.", 2)]))
    assert (found.value("trail_half"), found.value("trail_whole")) == (None, 2)
    assert found.value("trail_metrics_unread_parts") == 1
    assert found.value("process_resident_memory_bytes"), "the process's own are there as well"


def test_the_process_serves_what_its_registry_holds() -> None:
    address = free_address()
    serve(address, registry_of(lambda: [gauge("trail_whole", "Whole.", 2)]))
    assert scrape(address).value("trail_whole") == 2


def test_entries_are_counted_by_verdict_and_by_the_part_of_admission_that_refused(
    office: Office, service: Service
) -> None:
    metrics = NotaryMetrics(service)
    before = read(metrics.registry)
    assert before.by("trail_notary_refused_entries_total", "stage") == dict.fromkeys(
        ("envelope", "route", "signer", "sequence", "content"), 0
    )
    first = office.event("screening.registered", REGISTERED, subject=PERSON)
    batch = [
        office.arrival(first),
        office.arrival(first),  # a repeat
        office.arrival(b"no JSON"),
        office.arrival(b'{"specversion": "1.0"}'),
        office.arrival(office.event("screening.registered", REGISTERED, trial="NCT00000000"), route="a.b"),
        office.arrival(office.event("screening.registered", REGISTERED, sequence=9), STRANGER),
        office.arrival(office.event("screening.registered", REGISTERED, subject=PERSON, sequence=1)),
        office.arrival(office.event("screening.observed", OBSERVED | {"item": 7}, subject=PERSON, sequence=2)),
    ]
    metrics.sealed(office.seal(batch))
    found = read(metrics.registry)
    assert found.by("trail_notary_refused_entries_total", "stage") == {
        "envelope": 2,
        "route": 1,
        "signer": 1,
        "sequence": 1,
        "content": 1,
    }
    assert found.by("trail_notary_sealed_entries_total", "verdict") == {"admitted": 1, "refused": 6}
    assert found.value("trail_notary_repeated_messages_total") == 1
    assert found.value("trail_notary_log_entries") == office.notary.size == office.notary.signed
    assert found.value("trail_notary_signed_entries") == office.notary.signed


def test_trouble_is_told_until_sealing_has_succeeded_again(service: Service) -> None:
    metrics = NotaryMetrics(service)
    metrics.failed()
    metrics.failed()
    found = read(metrics.registry)
    assert (found.value("trail_notary_in_trouble"), found.value("trail_notary_seal_failures_total")) == (1, 2)
    assert found.value("trail_notary_last_seal_timestamp_seconds") == 0
    metrics.succeeded()
    metrics.done(30, time.monotonic() - 0.3)
    found = read(metrics.registry)
    assert found.value("trail_notary_in_trouble") == 0
    last = found.value("trail_notary_last_seal_timestamp_seconds")
    assert last is not None
    assert abs(last - time.time()) < 60
    assert found.value("trail_notary_batch_messages_bucket", le="50.0") == 1
    assert found.value("trail_notary_batch_messages_bucket", le="20.0") == 0
    assert found.value("trail_notary_seal_duration_seconds_bucket", le="0.25") == 0
    assert found.value("trail_notary_seal_duration_seconds_count") == 1


class Message:
    """A batch of the broker's, and what became of it."""

    def __init__(self) -> None:
        self.raw_message: list[object] = [object()]
        self.told: list[str] = []

    async def ack(self) -> None:
        self.told.append("ack")

    async def nack(self, delay: float) -> None:
        self.told.append(f"nack, {delay} s")

    async def in_progress(self) -> None:
        self.told.append("in progress")


def test_the_notary_counts_each_try_that_failed_and_the_batch_once(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "RETRY_AFTER", 0)
    seen: list[float | None] = []
    errors: list[Exception] = [OSError("no space left"), EvidenceError("not read")]
    errors[1].__cause__ = DatabaseError("read", None, Exception())

    async def scenario() -> Scraped:
        broker = broker_for("nats://127.0.0.1:1", "test")
        # Its settings are not asked for anything here.
        service = AuditService(office.notary, Topology(TRIAL), broker, FastStream(broker), None)  # type: ignore[arg-type]

        async def sealing(_messages: object) -> None:
            seen.append(read(service.metrics.registry).value("trail_notary_in_trouble"))
            if errors:
                raise errors.pop(0)

        monkeypatch.setattr(service, "_seal_in_order", sealing)
        await service.take(Message())  # type: ignore[arg-type]
        return read(service.metrics.registry)

    found = asyncio.run(scenario())
    assert seen == [0, 1, 1]
    assert found.value("trail_notary_seal_failures_total") == 2
    assert found.value("trail_notary_seal_duration_seconds_count") == 1
    assert found.value("trail_notary_batch_messages_sum") == 1


def test_a_decider_is_in_trouble_until_a_batch_is_decided(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    STRANGER.save(tmp_path / "key.pem")
    settings = ServiceSettings(
        trial=TRIAL,
        broker="nats://127.0.0.1:1",
        data=tmp_path,
        key=SecretStr(str(tmp_path / "key.pem")),
        log_key=LOG_KEY.vkey(),
    )

    async def scenario() -> list[tuple[float | None, list[str]]]:
        service = DeciderService(ScreeningDecider(), "screening", settings)
        errors = [OSError("no space left")]

        async def deciding(_message: object) -> None:
            if errors:
                raise errors.pop(0)

        async def sending() -> None:
            pass

        monkeypatch.setattr(service, "_take_one", deciding)
        service._courier = SimpleNamespace(send=sending, overdue=0, stop=sending)  # type: ignore[assignment]
        told = []
        for _ in range(2):
            message = Message()
            message.raw_message = [SimpleNamespace(metadata=SimpleNamespace(sequence=SimpleNamespace(stream=1)))]
            await service.take(message)  # type: ignore[arg-type]
            told.append((read(service._metrics.registry).value("trail_decider_in_trouble"), message.told))
        await service.stop()
        return told

    assert asyncio.run(scenario()) == [(1, ["nack, 1.0 s"]), (0, ["ack"])]


def test_gaps_are_told_by_source_and_of_many_sources_those_that_lack_most(
    office: Office, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    office.register()
    for sequence in (5, 9):
        assert office.post("screening.observed", OBSERVED, subject=PERSON, sequence=sequence).admitted
    metrics = NotaryMetrics(service)
    found = read(metrics.registry)
    assert found.value("trail_notary_sequence_gaps") == 2
    assert found.by("trail_notary_missing_events", "source") == {"site/701": 6}
    assert office.post("screening.observed", OBSERVED, subject=PERSON, sequence=2).admitted
    assert read(metrics.registry).by("trail_notary_missing_events", "source") == {"site/701": 5}
    monkeypatch.setattr(audit_metrics, "MOST_SOURCES", 1)
    counters = {
        SourceId("site/702"): office.counter("site/701").take(99),
        SourceId("site/701"): office.counter("site/701"),
    }
    monkeypatch.setattr(Notary, "sources", property(lambda _self: counters))
    assert read(metrics.registry).by("trail_notary_missing_events", "source") == {"site/702": 5 + 89}


def test_times_are_those_of_the_log(office: Office, service: Service) -> None:
    metrics = NotaryMetrics(service)
    office.register()
    found = read(metrics.registry)
    assert found.value("trail_notary_last_entry_timestamp_seconds") == pytest.approx(office.now.timestamp())
    ticked = found.value("trail_notary_last_tick_timestamp_seconds")
    assert ticked is not None
    assert ticked < office.now.timestamp()
    assert found.value("trail_notary_tick_due_timestamp_seconds") == ticked + 900


def test_the_outsiders_are_told_as_they_stand_and_not_at_all_before_they_are_asked(service: Service) -> None:
    metrics = NotaryMetrics(service)
    service.stands = replace(
        NOBODY,
        cosigned=(7, 1000),
        stamped={"tsa-1": (5, 900.5), "tsa-2": (0, 0.0)},
        stamping_every=3600.0,
        published=6,
        troubles={"tiles": 1, "witnesses": 0},
        clock_offsets={"w1": -2.5},
    )
    found = read(metrics.registry)
    assert found.value("trail_notary_cosigned_entries") == 7
    assert found.value("trail_notary_cosigned_timestamp_seconds") == 1000
    assert found.by("trail_notary_stamped_entries", "authority") == {"tsa-1": 5, "tsa-2": 0}
    assert found.by("trail_notary_stamped_timestamp_seconds", "authority") == {"tsa-1": 900.5, "tsa-2": 0}
    assert found.value("trail_notary_stamping_interval_seconds") == 3600
    assert found.value("trail_notary_published_entries") == 6
    assert found.by("trail_notary_errand_troubles", "errand") == {"tiles": 1, "witnesses": 0}
    assert found.by("trail_notary_witness_clock_offset_seconds", "witness") == {"w1": -2.5}
    service.stands = None
    assert read(metrics.registry).value("trail_notary_cosigned_entries") is None


def test_the_intake_lag_is_what_the_notary_has_not_dealt_with(office: Office, service: Service) -> None:
    metrics = NotaryMetrics(service)
    office.register()

    async def scraped() -> Scraped:
        metrics.begin(asyncio.get_running_loop())
        return await asyncio.to_thread(read, metrics.registry)

    service.last = Streams(office.notary.intake + 12, 3)
    found = asyncio.run(scraped())
    assert found.value("trail_notary_intake_lag_messages") == 12
    assert found.value("trail_notary_log_stream_entries") == 3
    service.last = Streams(0, 0)  # a broker that was rebuilt
    assert asyncio.run(scraped()).value("trail_notary_intake_lag_messages") == 0
    service.connected = False
    found = asyncio.run(scraped())
    assert found.value("trail_notary_broker_connected") == 0
    assert found.value("trail_notary_intake_lag_messages") is None, "unknown is not nothing"


def test_a_broker_that_does_not_answer_holds_up_no_scrape(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.metrics.PATIENCE", 0.1)
    metrics = NotaryMetrics(service)

    async def silent() -> Streams | None:
        await asyncio.sleep(60)
        return None

    service.streams = silent  # type: ignore[method-assign]

    async def scraped() -> Scraped:
        metrics.begin(asyncio.get_running_loop())
        return await asyncio.to_thread(read, metrics.registry)

    began = time.monotonic()
    found = asyncio.run(scraped())
    assert time.monotonic() - began < 10
    assert found.value("trail_metrics_unread_parts") == 1
    assert found.value("trail_notary_log_entries") == service.notary.size


class Deciding:
    """As much of a deciding service as its metrics see."""

    connected = True
    decided = 40
    decisions = 7
    overdue = 2

    async def log_size(self) -> int:
        return 45


def test_a_decider_tells_how_far_it_is_and_what_waits_for_a_receipt(tmp_path: Path) -> None:
    outbox = Outbox.at(tmp_path / "outbox.sqlite", SourceId("site/701"), TRIAL)
    metrics = DeciderMetrics(Deciding(), outbox)

    async def scraped() -> Scraped:
        metrics.begin(asyncio.get_running_loop())
        return await asyncio.to_thread(read, metrics.registry)

    found = asyncio.run(scraped())
    assert found.value("trail_decider_behind_entries") == 5
    assert found.value("trail_decider_decided_entries") == 40
    assert found.value("trail_decider_decisions_total") == 7
    assert found.value("trail_decider_overdue_receipts") == 2
    assert found.value("trail_decider_outbox_waiting_events") == 0
    assert found.value("trail_decider_outbox_oldest_timestamp_seconds") is None
    said = [
        Draft(source="site/701", type="screening.observed", subject=PERSON, time=time, data=OBSERVED)
        for time in ("1970-01-01T00:20:00Z", "1970-01-01T00:10:00Z")
    ]
    outbox.put(said, lambda _role: SITE, checked=False)
    metrics.failed()
    found = asyncio.run(scraped())
    assert found.value("trail_decider_outbox_waiting_events") == 2
    assert found.value("trail_decider_outbox_oldest_timestamp_seconds") == 1200, "the first, by its number"
    assert (found.value("trail_decider_in_trouble"), found.value("trail_decider_failures_total")) == (1, 1)
    metrics.succeeded()
    metrics.committed(time.monotonic())
    found = asyncio.run(scraped())
    assert found.value("trail_decider_in_trouble") == 0
    assert found.value("trail_decider_decide_duration_seconds_count") == 1
    outbox.close()


def test_a_witness_tells_how_far_it_has_come_and_what_it_keeps(tmp_path: Path) -> None:
    chain = Chain(leaves(30))
    witness = Witness.at(tmp_path, "example.org/w1", [WITNESSED])
    registry = metrics_of(witness)
    found = read(registry)
    assert found.value("trail_witness_cosigned_entries", log=ORIGIN) == 0
    assert found.value("trail_witness_cosigned_timestamp_seconds", log=ORIGIN) == 0
    assert found.value("trail_witness_refused_checkpoints", log=ORIGIN, kind="fork") == 0
    assert witness.add(chain.body(0, 20)).status == 200
    assert witness.add(chain.forked(0).body(0, 20)).status == 409
    found = read(registry)
    assert found.value("trail_witness_cosigned_entries", log=ORIGIN) == 20
    assert found.value("trail_witness_cosigned_timestamp_seconds", log=ORIGIN) == pytest.approx(time.time(), abs=60)
    assert found.value("trail_witness_refused_checkpoints", log=ORIGIN, kind="fork") == 1
    witness.close()


def test_trail_up_gives_each_process_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRAIL_METRICS", raising=False)
    assert stack._metrics("TRAIL_METRICS", "audit") == {}
    monkeypatch.setenv("TRAIL_METRICS", "127.0.0.1:9464")
    given = [stack._metrics("TRAIL_METRICS", name) for name in ("audit", "screening", "safety", "witness")]
    assert given == [{"TRAIL_METRICS": f"127.0.0.1:{port}"} for port in (9464, 9465, 9466, 9467)]
