"""The gRPC edge: proto in, core, proto out; with health and reflection."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from wmserve.v1 import world_model_pb2 as pb
from wmserve.v1 import world_model_pb2_grpc as pb_grpc

from wmserve_server import answers, oip_grpc, wire
from wmserve_server.admission import Admission, going_away
from wmserve_server.answers import Keyed
from wmserve_server.control import Control
from wmserve_server.errors import WmserveError
from wmserve_server.grpc_calls import Context, abort, carried, unforeseen
from wmserve_server.metrics import Metrics
from wmserve_server.telemetry import REQUEST_ID, request_id
from wmserve_server.world_model import WorldModel

SERVICE = pb.DESCRIPTOR.services_by_name["WorldModelService"].full_name
TRANSPORT = "grpc"
WINDOW_BYTES, FRAME_BYTES = 4 << 20, 1 << 20
"""How much a caller may send before it hears back, and at once: camera frames take several turns of the defaults."""


class WorldModelService(pb_grpc.WorldModelServiceServicer):
    """Each call: decode, ask the core, encode; an error becomes its status and its metadata."""

    def __init__(self, core: WorldModel, metrics: Metrics, admission: Admission) -> None:
        self._core = core
        self._metrics = metrics
        self._admission = admission

    async def ListWorlds(self, request: pb.ListWorldsRequest, context: Context) -> pb.ListWorldsResponse:  # noqa: N802, ARG002
        """List the worlds served now, by name."""
        worlds = self._core.worlds()
        return pb.ListWorldsResponse(worlds=[wire.world(worlds[name]) for name in sorted(worlds)])

    async def GetWorld(self, request: pb.GetWorldRequest, context: Context) -> pb.World:  # noqa: N802
        """Return one world's contract."""
        try:
            return wire.world(self._core.world(request.world))
        except WmserveError as error:
            await abort(context, error)

    async def ListVersions(self, request: pb.GetWorldRequest, context: Context) -> pb.ListVersionsResponse:  # noqa: N802
        """List one world's versions."""
        try:
            return wire.versions(self._core.versions(request.world))
        except WmserveError as error:
            await abort(context, error)

    async def Encode(self, request: pb.EncodeRequest, context: Context) -> pb.EncodeResponse:  # noqa: N802
        """Encode observations."""
        return await self._answer(wire.VERBS["encode"], request, context)

    async def Rollout(self, request: pb.RolloutRequest, context: Context) -> pb.RolloutResponse:  # noqa: N802
        """Predict what actions will do."""
        return await self._answer(wire.VERBS["rollout"], request, context)

    async def Plan(self, request: pb.PlanRequest, context: Context) -> pb.PlanResponse:  # noqa: N802
        """Search for actions; a caller that hangs up cancels this coroutine, and with it the search."""
        return await self._answer(wire.VERBS["plan"], request, context)

    async def Observe(self, request: pb.ObserveRequest, context: Context) -> pb.ObserveResponse:  # noqa: N802
        """Take in what came of actions."""
        return await self._answer(wire.VERBS["observe"], request, context)

    async def Control(  # noqa: N802
        self,
        request_iterator: AsyncIterator[pb.ControlRequest],  # noqa: ARG002  # read from the context, which can be left
        context: Context,
    ) -> AsyncIterator[pb.ControlResponse]:
        """Answer turn by turn until the caller has no more, or the server goes away."""
        loop = Control(self._core)
        try:
            while (request := await self._next(context)) is not None:
                with self._metrics.request(TRANSPORT, "control", carried(context)) as call:
                    turn = wire.control_request(request)
                    call.set_world(loop.world_of(turn), self._core.worlds())
                    call.request_bytes = request.ByteSize()
                    answer = wire.control_response(await loop.turn(turn))
                    call.response_bytes = answer.ByteSize()
                yield answer
        except WmserveError as error:
            await abort(context, error)
        except Exception as error:
            await abort(context, unforeseen(error))

    async def _next(self, context: Context) -> pb.ControlRequest | None:
        """The next message of a stream, None after the last; Unavailable when the server goes away before it comes."""
        reading, leaving = (asyncio.ensure_future(what) for what in (context.read(), self._admission.drained()))
        try:
            await asyncio.wait({reading, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise going_away()
            request: Any = reading.result()
            return None if request is grpc.aio.EOF else request
        finally:
            reading.cancel()
            leaving.cancel()

    async def _answer(self, verb: wire.Verb, request: Any, context: Context) -> Any:
        try:
            headers = carried(context)
            with self._metrics.request(TRANSPORT, verb.name, headers) as call:
                call.set_world(request.world, self._core.worlds())
                call.request_bytes = request.ByteSize()
                # Metadata costs a small call a tenth of its time: who sent an id gets it back, others in errors alone.
                told = [(REQUEST_ID, request_id() or "")] if REQUEST_ID in headers else []
                key = idempotency_key(context) if verb.name in answers.VERBS else None
                if key is None:
                    answer = verb.encode(await getattr(self._core, verb.name)(verb.decode(request)))
                else:
                    answer, status = await self._once(key, verb, request)
                    told.append((answers.STATUS_HEADER, status))
                call.response_bytes = answer.ByteSize()
                if told:
                    context.set_trailing_metadata(tuple(told))
                return answer
        except WmserveError as error:
            await abort(context, error)
        except Exception as error:
            await abort(context, unforeseen(error))

    async def _once(self, key: str, verb: wire.Verb, request: Any) -> tuple[Any, str]:
        """Answer a request, or as it was answered before; and which of the two."""
        said = request.SerializeToString(deterministic=True)

        async def work() -> bytes:
            answer: bytes = verb.encode(await getattr(self._core, verb.name)(verb.decode(request))).SerializeToString()
            return answer

        answer, status = await self._core.answers.once(Keyed.of(key, TRANSPORT, verb.name, said), work)
        return verb.answer.FromString(answer), status


def idempotency_key(context: Context) -> str | None:
    """The key that a call came with, if it did."""
    for name, value in context.invocation_metadata() or ():
        if name == answers.HEADER:
            return value if isinstance(value, str) else value.decode("latin-1")
    return None


class GrpcServer:
    """The gRPC server with its health service, which follows the core's readiness."""

    def __init__(self, core: WorldModel, metrics: Metrics, admission: Admission, max_body_bytes: int) -> None:
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", max_body_bytes),
                ("grpc.max_send_message_length", -1),
                ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
                ("grpc.http2.max_frame_size", FRAME_BYTES),
                ("grpc.so_reuseport", 0),  # a port that is taken is an error, not a second server
            ]
        )
        self._health = health.aio.HealthServicer()
        service = WorldModelService(core, metrics, admission)
        pb_grpc.add_WorldModelServiceServicer_to_server(service, self._server)  # type: ignore[no-untyped-call]
        oip_grpc.add(core, metrics, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (SERVICE, oip_grpc.SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    async def start(self, host: str, port: int) -> int:
        """Listen and return the port; OSError if it is taken."""
        try:
            bound = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError:
            raise OSError(f"gRPC port {port} is taken; set WMSERVE_GRPC_PORT to another") from None
        await self._server.start()
        return bound

    async def set_ready(self, ready: bool) -> None:
        """Tell health checkers."""
        status = health_pb2.HealthCheckResponse.SERVING if ready else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", SERVICE):
            await self._health.set(service, status)

    async def stop(self, grace_s: float) -> None:
        """Take no more calls and end those that are left after ``grace_s``."""
        await self._server.stop(grace_s)
