"""The two clients. They differ in the await alone: what they send and return is made in `requests` and `results`.

Every call has a deadline. Every verb only reads, but `observe`, which learns, and `plan`, which is to be made once:
those two carry an idempotency key, and a server that hears one again answers as before. So a call that found nobody
(UNAVAILABLE), that a server which ends had not begun (CANCELLED, as gRPC's server has it), or whose first try another
server still works at (ABORTED), is tried again by gRPC itself, up to four times with back-off and never past the
deadline; what the server refused is not tried again.
"""

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
from numpy.typing import ArrayLike
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc

from wmserve_client import requests, results
from wmserve_client.control import AsyncControl, Control
from wmserve_client.errors import from_rpc
from wmserve_client.requests import (
    Acted,
    ActionLimits,
    Constraint,
    Context,
    Guard,
    Observations,
    PlannerOptions,
    Source,
)
from wmserve_client.results import Encoded, Observed, Plan, Rollout, World, WorldVersion

Metadata = tuple[tuple[str, str], ...]
DEFAULT_ADDRESS = "localhost:8081"
DEFAULT_TIMEOUT_S = 30.0
MAX_MESSAGE_BYTES = 64 << 20
MAX_RECONNECT_MS = 5000
"""Longest pause before a server that was away is looked for again."""

SERVICE = "wmserve.v1.WorldModelService"
BALANCED: dict[str, Any] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "healthCheckConfig": {"serviceName": SERVICE},  # who drains, or has no engines, says so, and is passed over
}
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE}],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "CANCELLED", "ABORTED"],
            },
        }
    ]
}
NAMES = ("dns:", "ipv4:", "ipv6:")
"""gRPC's own names, which may stand for several servers."""


def options(address: str) -> list[tuple[str, str | int]]:
    """Options of a channel; where there may be several servers, calls take turns among those that are ready."""
    balanced = BALANCED if address.startswith(NAMES) else {}
    return [
        ("grpc.service_config", json.dumps(SERVICE_CONFIG | balanced)),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
        ("grpc.dns_min_time_between_resolutions_ms", 1000),  # servers that have gone are no longer in the answer
        ("grpc.max_reconnect_backoff_ms", MAX_RECONNECT_MS),
    ]


def keyed(key: str | None) -> tuple[tuple[str, str], ...]:
    """Metadata with an idempotency key: a new one where the caller has none. Tries of one call share it."""
    return (("idempotency-key", key or uuid.uuid4().hex),)


class Client:
    """Talks to a server, one call at a time from each thread; threads may share it. Raises `WmserveError`."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Address is host:port of the gRPC endpoint; ``dns:///host:port`` or ``ipv4:host:port,host:port`` of several.

        `timeout_s` is the deadline of calls that name none, seconds.
        """
        self._timeout_s = timeout_s
        self._channel = grpc.insecure_channel(address, options(address))
        self._stub: Any = pb_grpc.WorldModelServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def worlds(self, *, timeout_s: float | None = None) -> list[World]:
        """Contracts of the worlds served now, by name."""
        return list(self._call(self._stub.ListWorlds, pb.ListWorldsRequest(), timeout_s).worlds)

    def world(self, name: str, *, timeout_s: float | None = None) -> World:
        """Contract of one world."""
        return self._call(self._stub.GetWorld, pb.GetWorldRequest(world=name), timeout_s)

    def versions(self, name: str, *, timeout_s: float | None = None) -> list[WorldVersion]:
        """Versions of one world that are served, by number, and what part each has."""
        return list(self._call(self._stub.ListVersions, pb.GetWorldRequest(world=name), timeout_s).versions)

    def encode(
        self,
        world: str,
        observations: Observations,
        *,
        return_latents: bool = False,
        session: str = "",
        timeout_s: float | None = None,
    ) -> Encoded:
        """Encode frames into latents, kept behind a handle; a `session` stays with one version of its world."""
        request = requests.encode(world, observations, return_latents, session)
        return results.encoded(self._call(self._stub.Encode, request, timeout_s))

    def rollout(
        self,
        world: str,
        context: Source | Context,
        actions: ArrayLike | None = None,
        *,
        hidden: ArrayLike | None = None,
        return_latents: bool = False,
        level: float | None = None,
        tolerance: float | None = None,
        session: str = "",
        timeout_s: float | None = None,
    ) -> Rollout:
        """Predict what actions `[S, N, A]` or `[N, A]`, environment units, will do.

        Of a world without actions: what the part of a clip is that is `hidden`, `[L, ...]`, 1 where it is.
        Radii hold with probability `level`, one of the world's; those over `tolerance`, latent units, are of no use.
        """
        request = requests.rollout(world, context, actions, hidden, return_latents, level, tolerance, session)
        return results.rollout(self._call(self._stub.Rollout, request, timeout_s))

    def plan(
        self,
        world: str,
        context: Source | Context,
        goal: Source | Mapping[str, float] | None = None,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        deadline_ms: int | None = None,
        constraints: Sequence[Constraint] = (),
        guard: Guard | None = None,
        session: str = "",
        execute_steps: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan:
        """Search for actions; with `deadline_ms` the best plan found by then, at least one iteration.

        A goal is left out only where the world itself knows what is good.
        Where the world is calibrated for plans, the `guard` decides whether the plan is refused, for a `session` that
        has seen its world change also that. Of a plan of which only `execute_steps` environment steps are executed, a
        multiple of the action block, only those are judged. The same request with the same `idempotency_key` gets the
        same plan for ten minutes, whoever asks; by default each call has its own.
        """
        asked = (planner, limits, deadline_ms, constraints, guard, session, execute_steps)
        request = requests.plan(world, context, goal, *asked)
        return results.plan(self._call(self._stub.Plan, request, timeout_s, keyed(idempotency_key)))

    def observe(
        self,
        world: str,
        observation: Observations,
        done: str | Plan | Acted,
        *,
        executed_steps: int | None = None,
        session: str = "",
        level: float | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Observed:
        """Tell what came of a plan, of which `executed_steps` environment steps were executed, or of other actions.

        What belongs together, such as an episode, is a `session`: its radius adapts to hold with probability `level`.
        A session learns once from an `idempotency_key`, of which by default each call has its own.
        """
        request = requests.observe(world, observation, done, executed_steps, session, level)
        return results.observed(self._call(self._stub.Observe, request, timeout_s, keyed(idempotency_key)))

    def control(
        self,
        world: str,
        goal: Source | Mapping[str, float] | None = None,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        deadline_ms: int | None = None,
        constraints: Sequence[Constraint] = (),
        guard: Guard | None = None,
        session: str = "",
        execute_steps: int | None = None,
        timeout_s: float | None = None,
    ) -> Control:
        """Begin a loop: frames in, plans out, what came of each observed; a context manager.

        A `session` is the loop's own unless one is named; `execute_steps` are those of each plan that are executed, as
        in `plan`; `timeout_s` is that of a step.
        """
        asked = (planner, limits, deadline_ms, constraints, guard, session, execute_steps)
        first = requests.plan(world, None, goal, *asked)
        return Control(self._stub.Control, first, self._timeout_s if timeout_s is None else timeout_s)

    def close(self) -> None:
        """Hang up."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: Callable[..., Any], request: Any, timeout_s: float | None, metadata: Metadata = ()) -> Any:
        try:
            return method(request, timeout=self._timeout_s if timeout_s is None else timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc(error) from None


class AsyncClient:
    """The same for asyncio: many calls at once on one loop; cancelling a call stops its work in the server."""

    def __init__(self, address: str = DEFAULT_ADDRESS, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Address is host:port of the gRPC endpoint; ``dns:///host:port`` or ``ipv4:host:port,host:port`` of several.

        `timeout_s` is the deadline of calls that name none, seconds.
        """
        self._timeout_s = timeout_s
        self._channel = grpc.aio.insecure_channel(address, options(address))
        self._stub: Any = pb_grpc.WorldModelServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    async def worlds(self, *, timeout_s: float | None = None) -> list[World]:
        """Contracts of the worlds served now, by name."""
        return list((await self._call(self._stub.ListWorlds, pb.ListWorldsRequest(), timeout_s)).worlds)

    async def world(self, name: str, *, timeout_s: float | None = None) -> World:
        """Contract of one world."""
        return await self._call(self._stub.GetWorld, pb.GetWorldRequest(world=name), timeout_s)

    async def versions(self, name: str, *, timeout_s: float | None = None) -> list[WorldVersion]:
        """Versions of one world that are served, by number, and what part each has."""
        return list((await self._call(self._stub.ListVersions, pb.GetWorldRequest(world=name), timeout_s)).versions)

    async def encode(
        self,
        world: str,
        observations: Observations,
        *,
        return_latents: bool = False,
        session: str = "",
        timeout_s: float | None = None,
    ) -> Encoded:
        """Encode frames into latents, kept behind a handle; a `session` stays with one version of its world."""
        request = requests.encode(world, observations, return_latents, session)
        return results.encoded(await self._call(self._stub.Encode, request, timeout_s))

    async def rollout(
        self,
        world: str,
        context: Source | Context,
        actions: ArrayLike | None = None,
        *,
        hidden: ArrayLike | None = None,
        return_latents: bool = False,
        level: float | None = None,
        tolerance: float | None = None,
        session: str = "",
        timeout_s: float | None = None,
    ) -> Rollout:
        """Predict what actions `[S, N, A]` or `[N, A]`, environment units, will do.

        Of a world without actions: what the part of a clip is that is `hidden`, `[L, ...]`, 1 where it is.
        Radii hold with probability `level`, one of the world's; those over `tolerance`, latent units, are of no use.
        """
        request = requests.rollout(world, context, actions, hidden, return_latents, level, tolerance, session)
        return results.rollout(await self._call(self._stub.Rollout, request, timeout_s))

    async def plan(
        self,
        world: str,
        context: Source | Context,
        goal: Source | Mapping[str, float] | None = None,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        deadline_ms: int | None = None,
        constraints: Sequence[Constraint] = (),
        guard: Guard | None = None,
        session: str = "",
        execute_steps: int | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Plan:
        """Search for actions; with `deadline_ms` the best plan found by then, at least one iteration.

        A goal is left out only where the world itself knows what is good.
        Where the world is calibrated for plans, the `guard` decides whether the plan is refused, for a `session` that
        has seen its world change also that. Of a plan of which only `execute_steps` environment steps are executed, a
        multiple of the action block, only those are judged. The same request with the same `idempotency_key` gets the
        same plan for ten minutes, whoever asks; by default each call has its own.
        """
        asked = (planner, limits, deadline_ms, constraints, guard, session, execute_steps)
        request = requests.plan(world, context, goal, *asked)
        return results.plan(await self._call(self._stub.Plan, request, timeout_s, keyed(idempotency_key)))

    async def observe(
        self,
        world: str,
        observation: Observations,
        done: str | Plan | Acted,
        *,
        executed_steps: int | None = None,
        session: str = "",
        level: float | None = None,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
    ) -> Observed:
        """Tell what came of a plan, of which `executed_steps` environment steps were executed, or of other actions.

        What belongs together, such as an episode, is a `session`: its radius adapts to hold with probability `level`.
        A session learns once from an `idempotency_key`, of which by default each call has its own.
        """
        request = requests.observe(world, observation, done, executed_steps, session, level)
        return results.observed(await self._call(self._stub.Observe, request, timeout_s, keyed(idempotency_key)))

    def control(
        self,
        world: str,
        goal: Source | Mapping[str, float] | None = None,
        *,
        planner: PlannerOptions | None = None,
        limits: ActionLimits | None = None,
        deadline_ms: int | None = None,
        constraints: Sequence[Constraint] = (),
        guard: Guard | None = None,
        session: str = "",
        execute_steps: int | None = None,
        timeout_s: float | None = None,
    ) -> AsyncControl:
        """Begin a loop: frames in, plans out, what came of each observed; a context manager.

        A `session` is the loop's own unless one is named; `execute_steps` are those of each plan that are executed, as
        in `plan`; `timeout_s` is that of a step.
        """
        asked = (planner, limits, deadline_ms, constraints, guard, session, execute_steps)
        first = requests.plan(world, None, goal, *asked)
        return AsyncControl(self._stub.Control, first, self._timeout_s if timeout_s is None else timeout_s)

    async def close(self) -> None:
        """Hang up."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(
        self, method: Callable[..., Awaitable[Any]], request: Any, timeout_s: float | None, metadata: Metadata = ()
    ) -> Any:
        try:
            return await method(request, timeout=self._timeout_s if timeout_s is None else timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc(error) from None
