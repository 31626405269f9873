"""Traces (OpenTelemetry): a ``traceparent`` that a source's message brings is carried on, from seal to decision.

It travels beside what is signed and never in it, so it proves nothing, and nothing depends on it. Without one of
OpenTelemetry's own variables none of its packages is imported, and with them only messages that bring a trace cost
anything.
"""

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from shared.words import TrailError

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

TRACEPARENT: Final = "traceparent"
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traced:
    """A span of a trace that came from outside; ``traceparent`` names it to whoever carries the trace on."""

    def __init__(self, span: "Span", traceparent: str) -> None:
        self._span = span
        self.traceparent = traceparent

    def end(self, **attributes: int | str) -> None:
        """End it now, with what became known of it."""
        self._span.set_attributes({f"trail.{name}": value for name, value in attributes.items()})
        self._span.end()


class Tracing:
    """Continues traces; does nothing where ``tracer`` is None."""

    def __init__(self, tracer: "Tracer | None" = None) -> None:
        self._tracer = tracer

    def begin(self, name: str, headers: Mapping[str, Any] | None, began: int | None = None) -> Traced | None:
        """Begin a span of the trace that these headers bring, at ``began`` (ns since 1970) or now.

        None where they bring none that can be read, and where nobody traces.
        """
        given = None if self._tracer is None or headers is None else headers.get(TRACEPARENT)
        if self._tracer is None or not given:
            return None
        from opentelemetry.trace import SpanKind, get_current_span
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        format_ = TraceContextTextMapPropagator()
        context = format_.extract({TRACEPARENT: str(given)})
        if not get_current_span(context).get_span_context().is_valid:
            return None
        span = self._tracer.start_span(
            name, context, SpanKind.CONSUMER, start_time=time.time_ns() if began is None else began
        )
        carried: dict[str, str] = {}
        format_.inject(carried, _with(span))
        return Traced(span, carried[TRACEPARENT])


def tracing_for(service: str) -> Tracing:
    """What traces a service, as OpenTelemetry's variables say (OTLP over HTTP); nothing where they say nothing.

    Raises TrailError with a sentence when they ask for what is not there.
    """
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "")
    asked = exporter or any(os.environ.get(name) for name in _ENDPOINTS)
    if not asked or exporter == "none" or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return Tracing()
    protocols = [os.environ.get(f"OTEL_EXPORTER_OTLP_{which}PROTOCOL") for which in ("TRACES_", "")]
    protocol = next(filter(None, protocols), "http/protobuf")
    if exporter not in {"", "otlp"} or protocol != "http/protobuf":
        raise TrailError(
            "traces are sent by OTLP over HTTP and not otherwise: set OTEL_TRACES_EXPORTER to otlp or none, and "
            "OTEL_EXPORTER_OTLP_PROTOCOL to http/protobuf, or leave them out"
        )
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        raise TrailError(
            "OpenTelemetry's variables are set, and its packages are not installed: install trialtrail[otel], or "
            "unset them"
        ) from None
    # What is given in code wins over OTEL_SERVICE_NAME, which is for whoever runs it to give.
    named = {} if "OTEL_SERVICE_NAME" in os.environ else {SERVICE_NAME: f"trail-{service}"}
    provider = TracerProvider(resource=Resource.create(named))  # it sends what is left when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider.get_tracer("trialtrail"))


def _with(span: "Span") -> Any:
    from opentelemetry.trace import set_span_in_context

    return set_span_in_context(span)
