"""Tritons, gateways and a Redis on loopback, each a process that may be killed, drained and started again."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from wmserve_server.embedded import EmbeddedOptions, EmbeddedTriton

from loadtest.serving import ROOT, RedisServer, Server, free_port, running, running_redis

DRAIN_DELAY_S = 1.0
READY_S = 60.0


class Gateway:
    """One gateway, whose ports stay the same."""

    def __init__(self, log: Path, settings: dict[str, str]) -> None:
        self._log = log
        self._settings = settings | {"grpc_port": str(free_port()), "http_port": str(free_port())}
        self._stack = ExitStack()
        self.server: Server | None = None

    @property
    def address(self) -> str:
        """host:port of its gRPC endpoint."""
        return f"127.0.0.1:{self._settings['grpc_port']}"

    def begin(self) -> None:
        """Run it."""
        self.server = self._stack.enter_context(running(self._log, **self._settings))

    async def ready(self) -> None:
        """Wait until it says that it is."""
        assert self.server is not None
        await asyncio.to_thread(self.server.wait_ready, READY_S)

    async def drain(self) -> int:
        """End it as a service manager would, and return its exit status."""
        assert self.server is not None
        process = self.server.process
        process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(process.wait, 30)
        self._gone()
        return status

    async def kill(self) -> None:
        """End it as the kernel would for want of memory."""
        assert self.server is not None
        self.server.process.kill()
        await asyncio.to_thread(self.server.process.wait)
        self._gone()

    def stop(self) -> None:
        """End it, if it runs."""
        self._stack.close()
        self.server = None

    def _gone(self) -> None:
        self._stack.close()
        self.server = None


class Cluster:
    """All of them: every gateway stands before every Triton, and they share one store."""

    def __init__(self, folder: Path, size: int) -> None:
        options = EmbeddedOptions(ROOT / "model_repository", None, threads=1, ready_timeout_s=READY_S)
        self.tritons = [EmbeddedTriton(options) for _ in range(size)]
        self._folder = folder
        self._size = size
        self._stack = AsyncExitStack()
        self.gateways: list[Gateway] = []
        self.redis: RedisServer

    @property
    def address(self) -> str:
        """All gateways, as one name for gRPC."""
        return "ipv4:" + ",".join(gateway.address for gateway in self.gateways)

    async def __aenter__(self) -> "Cluster":
        """Start them."""
        self.redis = self._stack.enter_context(running_redis(self._folder / "redis"))
        for triton in self.tritons:
            self._stack.push_async_callback(triton.stop)
        await asyncio.gather(*(triton.start() for triton in self.tritons))
        settings = {
            "triton_address": "ipv4:" + ",".join(triton.grpc_address for triton in self.tritons),
            "triton_servers": str(self._size),
            "state_url": self.redis.url,
            "drain_delay_s": str(DRAIN_DELAY_S),
        }
        self.gateways = [Gateway(self._folder / f"gateway{one}", settings) for one in range(self._size)]
        for gateway in self.gateways:
            self._stack.callback(gateway.stop)
            gateway.begin()
        await asyncio.gather(*(gateway.ready() for gateway in self.gateways))
        return self

    async def __aexit__(self, *error: object) -> None:
        """End them."""
        await self._stack.aclose()

    def kill_triton(self, number: int) -> None:
        """End a Triton as the kernel would; whoever supervises it brings it back in seconds."""
        pid = self.tritons[number].pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
