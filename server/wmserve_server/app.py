"""Puts a gateway together, runs it and takes it down: Triton, core, both edges.

start: ports -> Triton -> ready            stop: not ready -> delay -> drain -> edges -> Triton
"""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

from wmserve_server.admission import Admission
from wmserve_server.embedded import EmbeddedOptions, EmbeddedTriton
from wmserve_server.grpc_api import GrpcServer
from wmserve_server.http_api import HttpEdge, for_pages
from wmserve_server.mcp_api import McpEdge
from wmserve_server.metrics import Metrics
from wmserve_server.oip_http import OipEdge
from wmserve_server.settings import Settings
from wmserve_server.shadowing import CAPACITY_BYTES, Shadows
from wmserve_server.store import InProcess, State, in_process
from wmserve_server.triton import TritonBackend
from wmserve_server.world_model import WorldModel

if TYPE_CHECKING:
    from wmserve_server.redis_store import SharedState

log = logging.getLogger(__name__)

READINESS_POLL_S = 0.2


class HttpServer(uvicorn.Server):
    """Uvicorn without its own signal handling: the gateway decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals alone."""
        yield

    def end_connections(self) -> None:
        """Have each connection end with its next answer: whoever keeps one would otherwise never go elsewhere."""
        self.config.encoded_headers.append((b"connection", b"close"))


def http_server(app: ASGIApp, settings: Settings) -> tuple[HttpServer, socket.socket]:
    """An HTTP server on a socket that listens already, so that a taken port is known before anything starts."""
    # Named TCP, because asyncio turns Nagle's algorithm off on such sockets alone: with it answers wait 40 ms.
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.http_port))
    except OSError as error:
        listener.close()
        raise OSError(f"HTTP port {settings.http_port}: {error.strerror}; set WMSERVE_HTTP_PORT to another") from None
    listener.listen(1024)
    config = uvicorn.Config(
        app,
        http="httptools",
        log_config=None,
        lifespan="off",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,  # the gateway has drained before: what is left would never end
    )
    return HttpServer(config), listener


async def serve(http: HttpServer, listener: socket.socket, mcp: McpEdge) -> None:
    """Serve HTTP, and MCP's sessions with it, until the server is told to exit."""
    async with mcp.running():
        await http.serve(sockets=[listener])


def shared_state(url: str, metrics: Metrics) -> "SharedState":
    """The server at a URL; RuntimeError where it is none, or its client, an extra, is not installed."""
    try:
        from wmserve_server.redis_store import SharedState
    except ImportError:
        raise RuntimeError("WMSERVE_STATE_URL needs an extra: pip install 'wmserve[server,cluster]'") from None
    try:
        return SharedState(url, metrics)
    except ValueError:  # whose text has the URL, and that may have a password
        raise RuntimeError("WMSERVE_STATE_URL must be redis://host:port/database, or rediss://") from None


class Gateway:
    """One server process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._metrics = Metrics()
        self._admission = Admission(settings.max_in_flight)
        self._metrics.work_in_flight.set_function(lambda: self._admission.in_flight)
        self._metrics.work_limit.set(settings.max_in_flight)
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or Ctrl-C; OSError or RuntimeError when this machine will not do."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        triton = None if self._settings.triton_address else self._embedded()
        address = triton.grpc_address if triton is not None else self._settings.triton_address
        assert address is not None
        backend = TritonBackend(address, self._metrics, self._settings.engine_timeout_s, self._settings.triton_servers)
        async with contextlib.AsyncExitStack() as stack:
            if triton is not None:
                stack.push_async_callback(triton.stop)
            stack.push_async_callback(backend.stop)
            state = await self._state(stack)
            await self._serve(backend, triton, state)

    def _embedded(self) -> EmbeddedTriton:
        settings = self._settings
        return EmbeddedTriton(
            EmbeddedOptions(
                model_repository=settings.model_repository,
                triton_home=settings.triton_home,
                threads=settings.triton_threads,
                ready_timeout_s=settings.triton_ready_timeout_s,
            )
        )

    async def _state(self, stack: contextlib.AsyncExitStack) -> State:
        """What outlives a call: its own, or shared with other gateways, which is hung up with the stack."""
        settings = self._settings
        if settings.state_url is None:
            latents = InProcess(settings.latents_capacity_bytes)
            self._metrics.latents_kept.set_function(lambda: len(latents))
            return in_process(latents)
        shared = shared_state(settings.state_url.get_secret_value(), self._metrics)
        stack.push_async_callback(shared.stop)
        await shared.start()
        return shared.state()

    async def _serve(self, backend: TritonBackend, triton: EmbeddedTriton | None, state: State) -> None:
        """Listen first, so that a taken port is known at once and probes are answered from the beginning."""
        settings = self._settings
        limits = settings.latents_lifetime_s, settings.default_timeout_s
        core = WorldModel(backend, state, self._admission, self._metrics, *limits)
        apart = in_process(InProcess(CAPACITY_BYTES)), Admission(settings.max_in_flight), Metrics()
        shadows = Shadows(WorldModel(backend, *apart, *limits), self._metrics)
        core.hear = shadows.hear
        mcp = McpEdge(core, self._metrics, settings.max_body_bytes, settings.origins)
        oip = OipEdge(core, self._metrics, settings.max_body_bytes)
        beside: dict[str, ASGIApp] = {"/mcp": mcp, "/v2": oip, "/v2/": oip}
        edge = HttpEdge(core, self._metrics, settings.max_body_bytes, beside)
        http, listener = http_server(for_pages(edge, settings.origins), settings)
        grpc_server = GrpcServer(core, self._metrics, self._admission, settings.max_body_bytes)
        grpc_port = await grpc_server.start(settings.host, settings.grpc_port)
        http_port = listener.getsockname()[1]
        log.info("listening: HTTP on port %d, gRPC on port %d", http_port, grpc_port)
        serving = asyncio.create_task(serve(http, listener, mcp))
        watching = asyncio.create_task(self._watch(core, triton, grpc_server, http_port))
        try:
            await self._until_stopped(backend, triton)
        finally:
            await self._drain(http, grpc_server)
            watching.cancel()
            await grpc_server.stop(grace_s=1.0)
            mcp.stop()
            await shadows.stop()
            http.should_exit = True
            await serving

    async def _drain(self, http: HttpServer, grpc_server: GrpcServer) -> None:
        """Not ready first and still serving, then nobody new, then those in flight are finished."""
        settings = self._settings
        self._admission.leave()
        http.end_connections()
        if self._stop.is_set() and settings.drain_delay_s:  # else it could not start, and nobody has heard of it
            log.info("stopping: not ready, requests are answered for %g s more", settings.drain_delay_s)
            await asyncio.sleep(settings.drain_delay_s)
        log.info("stopping: no new requests; finishing those in flight")
        # At once, so that callers hear that their connections end, and make new ones elsewhere.
        leaving = asyncio.create_task(grpc_server.stop(settings.drain_timeout_s))
        if not await self._admission.drain(settings.drain_timeout_s):
            log.warning("some requests were not finished in time")
        leaving.cancel()

    async def _until_stopped(self, backend: TritonBackend, triton: EmbeddedTriton | None) -> None:
        """Bring the engines up and wait for the signal to stop, which may come first."""
        stopped = asyncio.create_task(self._stop.wait())
        if triton is not None:
            log.info("starting Triton on %s", self._settings.model_repository)
            starting = asyncio.create_task(triton.start())
            await asyncio.wait({stopped, starting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                return
            starting.result()  # raises what went wrong
        await backend.start()
        await stopped

    async def _watch(
        self, core: WorldModel, triton: EmbeddedTriton | None, grpc_server: GrpcServer, http_port: int
    ) -> None:
        """Tell the log, the metrics and gRPC's health checkers when readiness changes."""
        known: str | None = ""
        pid: int | None = None
        while True:
            reason = core.unready_reason()
            if reason != known:
                known = reason
                self._metrics.ready.set(reason is None)
                await grpc_server.set_ready(reason is None)
                self._say(reason, core, http_port)
            if triton is not None and triton.pid not in (None, pid):
                if pid is not None:
                    self._metrics.triton_restarts.inc()
                pid = triton.pid
            await asyncio.sleep(READINESS_POLL_S)

    def _say(self, unready: str | None, core: WorldModel, http_port: int) -> None:
        if unready is not None:
            log.info("not ready: %s", unready)
            return
        host = "localhost" if self._settings.host in ("0.0.0.0", "127.0.0.1") else self._settings.host
        log.info("ready: serving %s", ", ".join(sorted(core.worlds())))
        log.info("look at http://%s:%d/docs, or ask: wmserve worlds", host, http_port)
