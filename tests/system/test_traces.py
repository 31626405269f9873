"""A trace that a site begins goes on through notary and decider, where OpenTelemetry's variables ask for it."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr

from services.audit.app import AuditSettings, build
from services.cli.beginning import begin_log
from services.cli.delivery import line
from services.cli.installation import Installation
from services.cli.reading import reading
from services.cli.stack import Stack
from services.screening.decide import ScreeningDecider
from shared.broker import KEY_HEADER, SIGNATURE_HEADER
from shared.decider_service import DeciderService
from shared.drafts import Draft
from shared.identities import ROOT_SOURCE
from shared.moments import stamp
from shared.outbox import uuid7
from shared.settings import ServiceSettings
from shared.tracing import TRACEPARENT, Tracing, tracing_for
from shared.words import TrailError
from tests.scenario import SITE

ROOT = Path(__file__).parents[2]
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE}-{SPAN}-01"
PLAIN = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith("OTEL_"):
            monkeypatch.delenv(name)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield Tracing(provider.get_tracer("test"))
    provider.shutdown()


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[tuple[Installation, Stack]]:
    """A broker; the services run in this process."""
    home = begin_log(tmp_path / "trial", practice=True)
    stack = Stack(home)
    try:
        stack._spawn("broker")
        stack._wait_ready("broker")
        yield home, stack
    finally:
        stack.stop()


def said(type_: str, data: dict[str, str]) -> Draft:
    return Draft(source=SITE, type=type_, subject="701-001", time=stamp(datetime.now(UTC)), data=data)


async def play(home: Installation, url: str, tracing: Tracing, exporter: InMemorySpanExporter) -> None:
    """Register without a trace; ask for a place, which cannot be given yet, with one."""

    def given(name: str, key: str) -> dict[str, object]:
        path = SecretStr(str(home.directory / "keys" / f"{key}.pem"))
        data = home.directory / name
        return {"trial": home.trial, "broker": url, "data": data, "key": path, "log_key": home.log_key.vkey()}

    notary = build(AuditSettings(**given("audit", "log")))  # type: ignore[arg-type]
    notary.tracing = tracing
    await notary.app.start()
    settings = ServiceSettings(**given("screening", "service-screening"))  # type: ignore[arg-type]
    decider = DeciderService(ScreeningDecider(), "screening", settings)
    decider.tracing = tracing
    await decider.app.start()
    try:
        async with line(home, url) as connected:
            post, registered = connected.post, said("screening.registered", {"sex": "male"})
            post.put(post.missing_grants([registered]))
            assert await connected.deliver([ROOT_SOURCE], timeout=30)
            post.put([registered])
            assert await connected.deliver([SITE], timeout=30)
            assert exporter.get_finished_spans() == (), "no trace was begun, so none is continued"
            asked = said("screening.enrolment_requested", {"dose_level": "DL1"})
            payload, key = asked.payload(home.trial, uuid7(), 2), post.key(SITE, asked.signing_role)
            headers = {KEY_HEADER: key.id, SIGNATURE_HEADER: key.sign_event(payload), TRACEPARENT: GIVEN}
            subject = home.topology.intake_subject(SITE, "screening.enrolment_requested")
            await connected.js.publish(subject, payload, stream=home.topology.intake, headers=headers)
            async with asyncio.timeout(30):
                while len(exporter.get_finished_spans()) < 4:  # noqa: ASYNC110 - an exporter has no event
                    await asyncio.sleep(0.05)
    finally:
        await decider.app.stop()
        await notary.app.stop()


def parent_of(span: ReadableSpan) -> str:
    assert span.parent is not None
    return f"{span.parent.span_id:016x}"


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    assert f"{span.context.trace_id:032x}" == TRACE
    return f"{span.context.span_id:016x}"


def test_a_sites_trace_goes_on_through_the_seal_to_the_decision_and_its_seal(
    stack: tuple[Installation, Stack], tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    home, broker = stack
    asyncio.run(play(home, broker.url, tracing, exporter))
    spans = {(span.name, parent_of(span)): span for span in exporter.get_finished_spans()}
    sealed = spans["seal", SPAN]
    decided = spans["decide", id_of(sealed)]
    assert decided.attributes is not None
    assert decided.attributes["trail.decisions"] == 1
    sealed_decision = spans["seal", id_of(decided)]
    spans["decide", id_of(sealed_decision)]  # and the decider sees its own decision sealed
    with reading(home) as source:
        for span, type_ in ((sealed, "enrolment_requested"), (sealed_decision, "enrolment_refused")):
            assert span.attributes is not None
            assert span.attributes["trail.verdict"] == "admitted"
            index = span.attributes["trail.index"]
            assert isinstance(index, int)
            entry = source.log.entry(index)
            assert entry.header.subject.endswith(type_)
            assert TRACE.encode() not in entry.raw, "a trace is no part of what is sealed"


@pytest.mark.parametrize(
    "headers", [None, {}, {TRACEPARENT: ""}, {TRACEPARENT: "00-00-00-00"}, {TRACEPARENT: "x" * 99}]
)
def test_what_brings_no_trace_that_can_be_read_begins_none(
    tracing: Tracing, exporter: InMemorySpanExporter, headers: dict[str, str] | None
) -> None:
    assert tracing.begin("seal", headers) is None
    assert tracing.begin("seal", {TRACEPARENT: GIVEN}) is not None
    assert Tracing().begin("seal", {TRACEPARENT: GIVEN}) is None


def test_nothing_of_opentelemetry_is_imported_where_its_variables_say_nothing() -> None:
    program = (
        "import sys, services.audit.app, services.screening.app; from shared.tracing import tracing_for\n"
        f"assert tracing_for('notary').begin('seal', {{'traceparent': '{GIVEN}'}}) is None\n"
        # FastStream looks for opentelemetry.semconv by itself, and loads nothing of it.
        "apart = {'opentelemetry', 'opentelemetry.semconv'}\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry') and name not in apart])"
    )
    for more in (
        {},
        {"OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_TRACES_EXPORTER": "otlp"},
    ):
        run = [sys.executable, "-c", program]
        told = subprocess.run(run, cwd=ROOT, env=PLAIN | more, capture_output=True, text=True, check=True)
        assert told.stdout == "[]\n"


def test_what_cannot_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "zipkin")
    with pytest.raises(TrailError, match="set OTEL_TRACES_EXPORTER to otlp or none"):
        tracing_for("notary")
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "otlp")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(TrailError, match="OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf"):
        tracing_for("notary")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_PROTOCOL")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(TrailError, match=r"install trialtrail\[otel\]"):
        tracing_for("notary")


def test_spans_go_where_the_standard_variables_say_at_the_latest_when_the_process_ends() -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Collector)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    program = (
        "from shared.tracing import tracing_for\n"
        f"tracing_for('notary').begin('seal', {{'traceparent': '{GIVEN}'}}).end(index=7)"
    )
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "no_proxy": "127.0.0.1"}
    try:
        command = [sys.executable, "-c", program]
        subprocess.run(
            command, cwd=ROOT, env=PLAIN | where | {"OTEL_EXPORTER_OTLP_COMPRESSION": "none"}, check=True
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    ((path, body),) = got
    assert path == "/v1/traces"
    assert bytes.fromhex(TRACE) in body
    assert b"trail-notary" in body
    assert b"seal" in body
