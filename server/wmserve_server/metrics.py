"""Prometheus metrics of the gateway; label values come from fixed sets, never from a caller's text."""

from asyncio import CancelledError
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from wmserve_server.errors import Cancelled, WmserveError

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BUCKETS = tuple(float(4**power) for power in range(4, 14))
SPREAD_BUCKETS = tuple(float(10 ** (power / 4)) for power in range(-12, 9))
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
UNKNOWN = "unknown"
"""Label for a world that is not served: callers may send any name."""


class Metrics:
    """One registry for one gateway, so that several may live in a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        by_call = ("transport", "verb", "world")

        def histogram(name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
            return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

        self.latency = histogram(
            "wmserve_request_seconds", "Time to answer a request.", (*by_call, "code"), LATENCY_BUCKETS
        )
        self.request_bytes = histogram("wmserve_request_bytes", "Size of request bodies.", by_call, SIZE_BUCKETS)
        self.response_bytes = histogram("wmserve_response_bytes", "Size of answers.", by_call, SIZE_BUCKETS)
        self.in_flight = Gauge(
            "wmserve_requests_in_flight", "Requests being answered.", ("verb",), registry=self.registry
        )
        self.plan_iterations = histogram(
            "wmserve_plan_iterations", "Iterations run per plan.", ("world", "algorithm"), COUNT_BUCKETS
        )
        self.plan_stops = Counter(
            "wmserve_plan_stops", "Plans by why they stopped.", ("world", "reason"), registry=self.registry
        )
        self.disagreement = histogram(
            "wmserve_disagreement",
            "Spread of the members at the last step, latent units.",
            ("verb", "world"),
            SPREAD_BUCKETS,
        )
        self.batch_size = histogram(
            "wmserve_batch_size", "Calls that travelled to an engine together.", ("engine",), COUNT_BUCKETS
        )
        self.latents_kept = Gauge("wmserve_latents_kept", "Handles kept.", registry=self.registry)
        self.triton_restarts = Counter("wmserve_triton_restarts", "Times Triton was restarted.", registry=self.registry)
        self.ready = Gauge("wmserve_ready", "1 while requests can be answered.", registry=self.registry)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def observe_disagreement(self, verb: str, world: str, disagreement: NDArray[np.float32]) -> None:
        """Record the last model step of each candidate of `[S, H]`; at most 16 candidates, evenly taken."""
        last = disagreement[:, -1]
        child = self.disagreement.labels(verb, world)
        for value in last[:: max(1, len(last) // 16)]:
            child.observe(float(value))

    @contextmanager
    def request(self, transport: str, verb: str) -> Iterator["Call"]:
        """Count and time one request; the code is `ok`, or the reason of the error that left the block."""
        call, started, code = Call(), perf_counter(), "internal"
        with self.in_flight.labels(verb).track_inprogress():
            try:
                yield call
                code = "ok"
            except WmserveError as error:
                code = error.reason
                raise
            except CancelledError:
                code = Cancelled.reason
                raise
            finally:
                labels = (transport, verb, call.world)
                self.latency.labels(*labels, code).observe(perf_counter() - started)
                self.request_bytes.labels(*labels).observe(call.request_bytes)
                self.response_bytes.labels(*labels).observe(call.response_bytes)


@dataclass
class Call:
    """What an edge learns of a request while it answers it."""

    world: str = UNKNOWN
    request_bytes: int = 0
    response_bytes: int = 0

    def set_world(self, name: str, served: Container[str]) -> None:
        """Label the call with its world, if that is a world."""
        self.world = name if name in served else UNKNOWN
