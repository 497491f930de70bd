"""What is known of a request while it is answered, for its log lines and its trace.

    plan                             the request, from the wire on; its parent is the caller's (W3C trace context)
     |- queue two_room_encode        waiting for its turn
     |- engine two_room_encode       in Triton, with all calls that travelled along
     |- slice                        one turn of the search
     |   |- queue, engine two_room_plan
     |   `- iteration                of the planner, timed where it ran
     `- …

Traces are made where OpenTelemetry's own variables name a collector (``OTEL_EXPORTER_OTLP_ENDPOINT``; sampling and all
else are theirs, too), and else nothing of them costs anything. A batch carries the trace of its first call to Triton,
which has traces of its own (``--trace-config mode=opentelemetry``).
"""

import contextlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from wmserve_server.errors import WmserveError

REQUEST_ID = "x-request-id"
CARRIED = frozenset({REQUEST_ID, "traceparent", "tracestate"})
"""Headers, or keys of gRPC's metadata, that say what a request belongs to."""
ACCEPTED_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
"""Ids of callers that are taken over; others get one of ours."""
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
PROPAGATOR = TraceContextTextMapPropagator()


@dataclass
class Asked:
    """A request that is being answered."""

    request_id: str
    facts: dict[str, Any] = field(default_factory=dict)
    """What else its log lines say: the world, the decision made."""


_asked: ContextVar[Asked | None] = ContextVar("asked", default=None)
_tracer: trace.Tracer | None = None


def start() -> Callable[[], None]:
    """Begin to send traces, if a collector is named; returns what sends the last of them."""
    global _tracer  # one process, one collector
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "wmserve"), "service.version": version("wmserve")}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = provider.get_tracer("wmserve")
    return provider.shutdown


@contextlib.contextmanager
def request(name: str, carried: Mapping[str, str]) -> Iterator[Asked]:
    """The block answers a request that came with these headers.

    It stays known after the block, until its task ends: what answers an error still wants to name it.
    """
    given = carried.get(REQUEST_ID, "")
    asked = Asked(given if ACCEPTED_ID.fullmatch(given) else secrets.token_hex(8))
    _asked.set(asked)
    if _tracer is None:
        yield asked
        return
    attributes = {"wmserve.request_id": asked.request_id}
    parent = PROPAGATOR.extract(carried)
    with _tracer.start_as_current_span(
        name, parent, SpanKind.SERVER, attributes, record_exception=False, set_status_on_exception=False
    ) as span:
        try:
            yield asked
        except BaseException as error:
            fail(span, error)
            raise


def fail(span: Span, error: BaseException) -> None:
    """Say how a request ended; what a caller did wrong is no error of the server."""
    known = error if isinstance(error, WmserveError) else None
    span.set_attribute("error.type", type(error).__name__ if known is None else known.reason)
    if known is None or known.http_status >= 500:
        span.set_status(Status(StatusCode.ERROR))


def note(**facts: str | int | float) -> None:
    """Say more of the request that is being answered."""
    if (asked := _asked.get()) is not None:
        asked.facts.update(facts)
    if _tracer is not None:
        trace.get_current_span().set_attributes({f"wmserve.{name}": value for name, value in facts.items()})


def request_id() -> str | None:
    """Of the request that is being answered."""
    asked = _asked.get()
    return None if asked is None else asked.request_id


def span(name: str) -> AbstractContextManager[object]:
    """A part of the request."""
    return nullcontext() if _tracer is None else _tracer.start_as_current_span(name)


def past(name: str, began_s: float, ended_s: float, kind: SpanKind = SpanKind.INTERNAL, **facts: int | float) -> None:
    """A part of the request that is over, between two readings of :func:`time.perf_counter`."""
    if _tracer is None:
        return
    shift_s = time.time() - time.perf_counter()
    began_ns, ended_ns = (int((at_s + shift_s) * 1e9) for at_s in (began_s, ended_s))
    attributes = {f"wmserve.{fact}": value for fact, value in facts.items()}
    _tracer.start_span(name, kind=kind, attributes=attributes, start_time=began_ns).end(ended_ns)


def carrier() -> tuple[tuple[str, str], ...]:
    """What carries the trace from here to another process, as gRPC's metadata."""
    if _tracer is None:
        return ()
    carried: dict[str, str] = {}
    PROPAGATOR.inject(carried)
    return tuple(carried.items())


class JsonLines(logging.Formatter):
    """A log line as JSON: time, level, logger, message; and of the request that it belongs to all that is known."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (asked := _asked.get()) is not None:
            line |= {"request_id": asked.request_id, **asked.facts}
        found = trace.get_current_span().get_span_context()
        if found.is_valid:
            line |= {"trace_id": f"{found.trace_id:032x}", "span_id": f"{found.span_id:016x}"}
        line |= getattr(record, "facts", {})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)
