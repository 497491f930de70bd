"""Prometheus metrics of the gateway; label values come from fixed sets, never from a caller's text."""

import logging
from asyncio import CancelledError
from collections.abc import Container, Iterable, Mapping
from datetime import datetime
from time import perf_counter
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics
from wmserve.world import VERBS, World

from wmserve_server import telemetry
from wmserve_server.errors import Cancelled, WmserveError
from wmserve_server.latents_window import LatentsWindows

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
SIZE_BUCKETS = tuple(float(4**power) for power in range(4, 14))
SPREAD_BUCKETS = tuple(float(10 ** (power / 4)) for power in range(-12, 9))
COUNT_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)
HORIZON_BUCKETS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)
PART_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0)
SAMPLED = 16
"""Candidates of one call that are recorded."""
REQUESTS = "wmserve_server.requests"
log = logging.getLogger(REQUESTS)
"""A line for each request, where that is asked for."""
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
        self.radius = histogram(
            "wmserve_radius", "Error radius at the last step, latent units.", ("verb", "world"), SPREAD_BUCKETS
        )
        self.trusted_horizon = histogram(
            "wmserve_trusted_horizon",
            "Model steps up to which every radius is within the tolerance.",
            ("verb", "world"),
            HORIZON_BUCKETS,
        )
        self.ood_p_value = histogram(
            "wmserve_ood_p_value",
            "Parts of the calibration that were as unlike the rest, or more so.",
            ("verb", "world"),
            PART_BUCKETS,
        )
        self.surprise_p_value = histogram(
            "wmserve_surprise_p_value",
            "Parts of the calibration that surprised as much as an observation, or more.",
            ("world",),
            PART_BUCKETS,
        )
        self.outcomes = Counter(
            "wmserve_outcomes",
            "Observations, by model steps predicted and whether the radius covered them.",
            ("world", "steps", "covered"),
            registry=self.registry,
        )
        self.held_out_gap = histogram(
            "wmserve_held_out_gap_p_value",
            "Parts of the calibration's plans that had as wide a gap between members, or a wider one.",
            ("world",),
            PART_BUCKETS,
        )
        self.refusals = Counter(
            "wmserve_plan_refusals", "Reasons why plans were refused.", ("world", "reason"), registry=self.registry
        )
        self.changed = Counter(
            "wmserve_observations_after_change",
            "Observations in sessions that have seen a change.",
            ("world",),
            registry=self.registry,
        )
        self.batch_size = histogram(
            "wmserve_batch_size", "Calls that travelled to an engine together.", ("engine",), COUNT_BUCKETS
        )
        self.queue_seconds = Counter(
            "wmserve_queue_seconds",
            "Seconds that calls have waited for their turn at an engine; its rate is how many wait.",
            ("verb",),
            registry=self.registry,
        )
        for verb in VERBS:  # from the beginning: autoscalers take what is missing for a fault
            self.queue_seconds.labels(verb)
        self.work_in_flight = Gauge(
            "wmserve_work_in_flight",
            "Work let in and not done, in requests, a plan counting for several by its size.",
            registry=self.registry,
        )
        self.work_limit = Gauge(
            "wmserve_work_limit", "Work above which requests are turned away.", registry=self.registry
        )
        by_version = ("world", "version")
        self.version_cost = histogram("wmserve_version_cost", "Cost of plans.", by_version, SPREAD_BUCKETS)
        self.version_radius = histogram(
            "wmserve_version_radius",
            "Error radius of plans' last step, latent units.",
            by_version,
            SPREAD_BUCKETS,
        )
        self.version_surprise = histogram(
            "wmserve_version_surprise_p_value",
            "Parts of the calibration that surprised as much as an observation, or more.",
            by_version,
            PART_BUCKETS,
        )
        self.version_plans = Counter(
            "wmserve_version_plans", "Plans, by what became of them.", (*by_version, "status"), registry=self.registry
        )
        self.shadow_difference = histogram(
            "wmserve_shadow_action_difference",
            "Distance of a shadow's first action from the answered one, part of the range.",
            by_version,
            PART_BUCKETS,
        )
        self.shadow_requests = Counter(
            "wmserve_shadow_requests",
            "Requests drawn for a shadow, by what became of them.",
            (*by_version, "outcome"),
            registry=self.registry,
        )
        self._by_version = (
            self.version_cost,
            self.version_radius,
            self.version_surprise,
            self.version_plans,
            self.shadow_difference,
            self.shadow_requests,
        )
        self._versions: set[tuple[str, int]] = set()
        self.latents = LatentsWindows()
        self.registry.register(self.latents)

        def of_calibration(name: str, text: str) -> Gauge:
            return Gauge(f"wmserve_calibration_{name}", text, ("world",), registry=self.registry)

        self.calibrated = Gauge(
            "wmserve_world_calibrated", "1 where a world is calibrated, else 0.", ("world",), registry=self.registry
        )
        self.calibration_created = of_calibration("created_timestamp_seconds", "When, seconds since 1970.")
        self.calibration_rank = of_calibration("effective_rank", "Effective rank of the calibration's latents.")
        self.calibration_std = of_calibration("smallest_std", "Least deviation of a dimension of those.")
        self.latents_kept = Gauge("wmserve_latents_kept", "Handles kept in this process.", registry=self.registry)
        self.unkept = Counter(
            "wmserve_unkept", "Answers that could not be kept for later calls.", ("kind",), registry=self.registry
        )
        self.keyed = Counter(
            "wmserve_keyed_requests", "Requests with an idempotency key.", ("status",), registry=self.registry
        )
        self.state_up = Gauge(
            "wmserve_state_up", "Whether the state store answers; one's own always does.", registry=self.registry
        )
        self.state_up.set(1)
        self.state_seconds = histogram(
            "wmserve_state_seconds", "Time that the state store took.", ("operation",), LATENCY_BUCKETS
        )
        self.state_failures = Counter(
            "wmserve_state_failures", "Calls of the state store that failed.", ("operation",), registry=self.registry
        )
        self.triton_restarts = Counter("wmserve_triton_restarts", "Times Triton was restarted.", registry=self.registry)
        self.ready = Gauge("wmserve_ready", "1 while requests can be answered.", registry=self.registry)

    def text(self, accepted: str = "") -> tuple[bytes, str]:
        """The metrics and their media type: OpenMetrics, which has exemplars, where it is accepted, else plain text."""
        if openmetrics.CONTENT_TYPE_LATEST.partition(";")[0] in accepted:
            text: bytes = openmetrics.generate_latest(self.registry)  # type: ignore[no-untyped-call]
            return text, openmetrics.CONTENT_TYPE_LATEST
        return generate_latest(self.registry), CONTENT_TYPE_PLAIN_0_0_4

    def set_worlds(self, worlds: Iterable[World]) -> None:
        """Say which worlds are served and how they are calibrated; of others nothing is said any more."""
        served = list(worlds)
        self.latents.keep((world.name, world.version) for world in served)
        for gauge in (self.calibrated, self.calibration_created, self.calibration_rank, self.calibration_std):
            gauge.clear()
        for world in served:
            self.calibrated.labels(world.name).set(world.calibration is not None)
            if world.calibration is not None:
                created = datetime.fromisoformat(world.calibration.created).timestamp()
                self.calibration_created.labels(world.name).set(created)
                self.calibration_rank.labels(world.name).set(world.calibration.effective_rank)
                self.calibration_std.labels(world.name).set(world.calibration.smallest_std)

    def keep_versions(self, versions: Iterable[tuple[str, int]], anew: Iterable[str]) -> None:
        """Forget numbers of versions but these, which go up for ever, and all of worlds that are compared anew."""
        now = set(versions)
        gone = [{"world": world, "version": str(version)} for world, version in self._versions - now]
        for labels in (*gone, *({"world": world} for world in anew)):
            for metric in self._by_version:
                metric.remove_by_labels(labels)
        self._versions = now

    def shadowed(self, world: str, version: int, outcome: str) -> None:
        """Count a request drawn for a shadow: ``answered``, ``failed`` or ``dropped``."""
        self.shadow_requests.labels(world, str(version), outcome).inc()

    def observe_agreement(self, world: str, version: int, difference: float | None) -> None:
        """Record how far a shadow's first action is from the answered one, if both have one."""
        if difference is not None:
            self.shadow_difference.labels(world, str(version)).observe(difference)

    def observe_version(self, world: str, version: int, answer: Any) -> None:
        """Record what a version answered to what others answered, too; answers are the core's, of any verb."""
        labels = world, str(version)
        if (cost := getattr(answer, "cost", None)) is not None:
            self.version_cost.labels(*labels).observe(cost)
            self.version_plans.labels(*labels, answer.status).inc()
            if answer.radius is not None:
                self.version_radius.labels(*labels).observe(float(answer.radius[-1]))
        if (surprise := getattr(answer, "surprise_p_value", None)) is not None:
            self.version_surprise.labels(*labels).observe(surprise)

    def observe_p_values(self, verb: str, world: str, p_values: NDArray[np.float64]) -> None:
        """Record p-values `[M]`; at most SAMPLED of them, evenly taken."""
        for value in sampled(p_values):
            self.ood_p_value.labels(verb, world).observe(value)

    def observe_trust(self, verb: str, world: str, radius: NDArray[np.float32], horizon: NDArray[np.int64]) -> None:
        """Record radii `[S, H]` at the last step and trusted horizons `[S]`, of at most SAMPLED candidates."""
        for value in sampled(radius[:, -1]):
            self.radius.labels(verb, world).observe(value)
        for value in sampled(horizon):
            self.trusted_horizon.labels(verb, world).observe(value)

    def observe_surprise(
        self, world: str, steps: int, p_value: float, covered: str, changed: bool, decision_id: str | None
    ) -> None:
        """Record what came of a prediction; covered is ``yes``, ``no``, or ``unbounded`` where there was no radius."""
        self.surprise_p_value.labels(world).observe(p_value, exemplar(decision_id))
        self.outcomes.labels(world, str(steps), covered).inc()
        self.changed.labels(world).inc(changed)

    def observe_gap(self, world: str, p_value: float | None, decision_id: str | None) -> None:
        """Record by how much members differed about a plan, if that can be held against others."""
        if p_value is not None:
            self.held_out_gap.labels(world).observe(p_value, exemplar(decision_id))

    def observe_refusal(self, world: str, reasons: Iterable[str]) -> None:
        """Record why a plan was refused."""
        for reason in reasons:
            self.refusals.labels(world, reason).inc()

    def observe_disagreement(
        self, verb: str, world: str, disagreement: NDArray[np.float32], decision_id: str | None = None
    ) -> None:
        """Record the last model step of each candidate of `[S, H]`; at most SAMPLED candidates, evenly taken."""
        for value in sampled(disagreement[:, -1]):
            self.disagreement.labels(verb, world).observe(value, exemplar(decision_id))

    def request(self, transport: str, verb: str, carried: Mapping[str, str]) -> "Call":
        """Count, time, trace and log one request: a block whose code is `ok`, or the reason of the error that left it.

        What it carried are those of its headers that `telemetry` knows.
        """
        return Call(self, transport, verb, carried)


def code(error: BaseException | None) -> str:
    """How a request ended."""
    if error is None:
        return "ok"
    if isinstance(error, WmserveError):
        return error.reason
    return Cancelled.reason if isinstance(error, CancelledError) else WmserveError.reason


def exemplar(decision_id: str | None) -> dict[str, str] | None:
    """What leads from a bucket back to a decision that fell into it."""
    return None if decision_id is None else {"decision_id": decision_id}


def sampled(values: NDArray[Any]) -> list[float]:
    """At most SAMPLED of `[M]`, evenly taken: a call with a thousand candidates counts no more than one with few."""
    taken: list[float] = values[:: -(-len(values) // SAMPLED) or 1].tolist()
    return taken


class Call:
    """What an edge learns of a request while it answers it; recorded when the block is over."""

    def __init__(self, metrics: Metrics, transport: str, verb: str, carried: Mapping[str, str]) -> None:
        self.world = UNKNOWN
        self.request_bytes = 0
        self.response_bytes = 0
        self._metrics = metrics
        self._transport = transport
        self._verb = verb
        self._in_flight = metrics.in_flight.labels(verb)
        self._request = telemetry.request(verb, carried)
        self._started = perf_counter()

    def __enter__(self) -> Self:
        """Begin."""
        self._in_flight.inc()
        self._request.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Record."""
        self._in_flight.dec()
        labels, took_s = (self._transport, self._verb, self.world), perf_counter() - self._started
        if log.isEnabledFor(logging.INFO):
            facts = dict(zip(("transport", "verb", "world", "code"), (*labels, code(error)), strict=True))
            text, took_ms = " ".join(facts.values()), took_s * 1e3
            log.info("%s in %.1f ms", text, took_ms, extra={"facts": {**facts, "ms": round(took_ms, 3)}})
        self._request.__exit__(kind, error, trace)
        self._metrics.latency.labels(*labels, code(error)).observe(took_s)
        self._metrics.request_bytes.labels(*labels).observe(self.request_bytes)
        self._metrics.response_bytes.labels(*labels).observe(self.response_bytes)

    def set_world(self, name: str, served: Container[str]) -> None:
        """Label the call with its world, whatever the version, if that is a world."""
        bare = name.partition("@")[0]
        self.world = bare if bare in served else UNKNOWN
