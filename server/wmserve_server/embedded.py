"""Runs the gateway's own Triton on loopback: started, watched, brought back when it dies, taken down.

    start -> lay out -> launch -> ready            ends on its own -> report -> back-off -> launch -> ready
    stop  -> SIGTERM -> (SIGKILL) -> clean up      gateway dies -> the kernel kills Triton -> stubs follow

What a killed gateway left on the machine, the next one sweeps. It knows processes and ports: no worlds, and nothing of
what travels.
"""

import asyncio
import contextlib
import logging
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from wmserve_server import triton_install
from wmserve_server.triton_install import TritonInstall
from wmserve_server.triton_process import EXIT_TIMEOUT_S, EmbeddedError, TritonProcess
from wmserve_server.triton_scratch import Scratch

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
STEADY_S = 60.0
"""Triton that ran this long may die again without the back-off growing."""
REPOSITORY_POLL_S = 2


@dataclass(frozen=True)
class EmbeddedOptions:
    """What to serve, and with what."""

    model_repository: Path
    triton_home: Path | None
    """Where the nvidia-pytriton wheel is unpacked; None searches (see :func:`triton_install.find`)."""
    threads: int
    """Threads an engine may use."""
    ready_timeout_s: float


class EmbeddedTriton:
    """One Triton; its address stays the same when it is brought back."""

    def __init__(self, options: EmbeddedOptions) -> None:
        self._options = options
        self._port = reserve_port()
        self._reason: str | None = "Triton is not started"
        self._scratch: Scratch | None = None
        self._process: TritonProcess | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def grpc_address(self) -> str:
        """host:port of its gRPC endpoint."""
        return f"{HOST}:{self._port.getsockname()[1]}"

    @property
    def pid(self) -> int | None:
        """Process id of the Triton that runs now."""
        return self._process.pid if self._process is not None else None

    @property
    def name(self) -> str | None:
        """Name of its temporary folder, and prefix of its shared memory."""
        return self._scratch.name if self._scratch is not None else None

    def unready_reason(self) -> str | None:
        """Why Triton does not answer now; None when it does."""
        return self._reason

    async def start(self) -> None:
        """Start Triton and wait until it is ready; EmbeddedError or InstallError when it will not be."""
        if not self._options.model_repository.is_dir():
            raise EmbeddedError("the model repository (WMSERVE_MODEL_REPOSITORY) is not a folder; export a world first")
        install = triton_install.find(self._options.triton_home)
        self._scratch = Scratch.create()
        triton_install.lay_out(install, self._scratch.folder)
        began = time.monotonic()
        process = await self._launch(install, self._scratch)
        log.info("Triton is ready after %.1f s", time.monotonic() - began)
        self._supervisor = asyncio.create_task(self._supervise(install, self._scratch, process))

    async def stop(self) -> None:
        """End Triton and leave nothing behind; safe to call at any time."""
        self._reason = "Triton is stopping"
        if self._supervisor is not None:
            self._supervisor.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._supervisor
        await self._end()
        if self._scratch is not None:
            self._scratch.remove()
            self._scratch = None
        self._port.close()
        self._reason = "Triton is stopped"

    async def _supervise(self, install: TritonInstall, scratch: Scratch, process: TritonProcess) -> None:
        """Bring Triton back whenever it ends; wait longer each time that this does not help."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            began = time.monotonic()
            cause = await process.wait()
            if time.monotonic() - began > STEADY_S:
                backoff_s = FIRST_BACKOFF_S
            self._reason = f"Triton ended ({cause}) and is being restarted"
            log.error("Triton ended (%s); starting it again in %.1f s", cause, backoff_s)
            await self._end()
            process, backoff_s = await self._bring_back(install, scratch, backoff_s)

    async def _bring_back(
        self, install: TritonInstall, scratch: Scratch, backoff_s: float
    ) -> tuple[TritonProcess, float]:
        """Launch Triton until it is ready; also returns how long to wait when it dies again."""
        while True:
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            try:
                process = await self._launch(install, scratch)
            except EmbeddedError as error:
                log.error("Triton was not brought back; trying again in %.1f s: %s", backoff_s, error)
            else:
                log.info("Triton is back")
                return process, backoff_s

    async def _launch(self, install: TritonInstall, scratch: Scratch) -> TritonProcess:
        """Run Triton until it is ready, or has failed."""
        environment = triton_install.environment(install, scratch.folder, self._options.threads)
        command = [str(install.binary), *self._arguments(scratch)]
        self._process = await TritonProcess.launch(command, environment, self.grpc_address)
        try:
            await self._process.ready(self._options.ready_timeout_s)
        except EmbeddedError as error:
            self._reason = str(error)
            words = self._process.last_words()
            await self._end()
            log.error("%s; its last words:\n%s", error, words)
            raise
        self._reason = None
        return self._process

    def _arguments(self, scratch: Scratch) -> list[str]:
        """Command line. Queue bounds, timeouts and priorities are the gateway's: they make Triton's batcher sleep."""
        options = {
            "model-repository": self._options.model_repository.resolve(),
            "backend-directory": scratch.folder / "backends",
            "backend-config": f"python,shm-region-prefix-name={scratch.name}_",
            "grpc-address": HOST,
            "grpc-port": self._port.getsockname()[1],
            "reuse-grpc-port": "true",  # the port is held here meanwhile, see reserve_port
            "allow-http": "false",
            "allow-metrics": "false",
            "exit-on-error": "false",  # one broken world must not take the others down
            "strict-readiness": "false",
            "model-control-mode": "poll",  # a world that is exported into the repository appears
            "repository-poll-secs": REPOSITORY_POLL_S,
            "exit-timeout-secs": EXIT_TIMEOUT_S,
            "pinned-memory-pool-byte-size": 0,
            "log-info": "false",
        }
        return [f"--{name}={value}" for name, value in options.items()] + ["--disable-auto-complete-config"]

    async def _end(self) -> None:
        """Take down what runs, and its shared memory."""
        if self._process is not None:
            await self._process.end()
            self._process = None
        if self._scratch is not None:
            self._scratch.unlink_shared_memory()


def reserve_port() -> socket.socket:
    """Hold a free loopback port without listening on it.

    Triton binds the same port with SO_REUSEPORT; nobody else is given it meanwhile, nor while Triton is away.
    """
    holder = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    holder.bind((HOST, 0))
    return holder
