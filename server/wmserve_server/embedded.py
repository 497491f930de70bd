"""Runs the gateway's own Triton: a child process on loopback, watched, and brought back when it dies.

    start -> lay out -> launch -> ready            exits on its own -> report -> back-off -> launch -> ready
    stop  -> SIGTERM -> (SIGKILL) -> clean up      gateway dies -> the kernel kills Triton -> stubs follow

The Python backend keeps stub processes and shared memory. Both are Triton's to take down; when it could not (it was
killed), they are taken down here, and what a killed gateway left is swept by the next one.

It knows processes and ports: no worlds, and nothing of what travels.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from wmserve_server import triton_install
from wmserve_server.triton_scratch import Scratch

log = logging.getLogger(__name__)

HOST = "127.0.0.1"
READINESS_POLL_S = 0.1
EXIT_TIMEOUT_S = 5
"""Longest that Triton waits for requests in flight, once told to end; the gateway has drained before."""
FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 30.0
STEADY_S = 60.0
"""Triton that ran this long may die again without the back-off growing."""
REPOSITORY_POLL_S = 5
LOG_TAIL = 20
HARMLESS = ("CudaDriverHelper has not been initialized",)

# Run by a bare Python that becomes Triton: asks the kernel to kill it when the gateway dies. A `preexec_fn` would do
# the same, but runs Python between fork and exec of a process with threads.
LAUNCHER = """
import ctypes, os, sys
PR_SET_PDEATHSIG, SIGKILL = 1, 9
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedError(RuntimeError):
    """Triton could not be started; the log has its last words."""


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
        self._tail: deque[str] = deque(maxlen=LOG_TAIL)
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._supervisor: asyncio.Task[None] | None = None
        self._scratch: Scratch | None = None

    @property
    def grpc_address(self) -> str:
        """host:port of its gRPC endpoint."""
        return f"{HOST}:{self._port.getsockname()[1]}"

    @property
    def pid(self) -> int | None:
        """Process id of the Triton that runs now."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

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
        await self._launch(install)
        log.info("Triton is ready after %.1f s", time.monotonic() - began)
        self._supervisor = asyncio.create_task(self._supervise(install))

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
        self._port.close()
        self._reason = "Triton is stopped"

    async def _supervise(self, install: triton_install.TritonInstall) -> None:
        """Bring Triton back whenever it ends; waits longer each time that does not help."""
        backoff_s = FIRST_BACKOFF_S
        while True:
            began = time.monotonic()
            assert self._process is not None
            code = await self._process.wait()
            backoff_s = FIRST_BACKOFF_S if time.monotonic() - began > STEADY_S else backoff_s
            self._reason = f"Triton ended ({describe_exit(code)}) and is being restarted"
            log.error("Triton ended (%s); starting it again in %.1f s", describe_exit(code), backoff_s)
            await self._end()
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            try:
                await self._launch(install)
            except EmbeddedError as error:
                log.error("Triton was not brought back: %s", error)
            else:
                log.info("Triton is back")

    async def _launch(self, install: triton_install.TritonInstall) -> None:
        """Run Triton until it is ready, or has failed."""
        assert self._scratch is not None
        self._reason = "Triton is starting"
        self._tail.clear()
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid()), str(install.binary)),
            *self._arguments(self._scratch),
            env=triton_install.environment(install, self._scratch.folder, self._options.threads),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is the gateway's alone: it drains first
        )
        assert self._process.stdout is not None
        self._reader = asyncio.create_task(self._read(self._process.stdout))
        try:
            async with asyncio.timeout(self._options.ready_timeout_s):
                await self._ready(self._process)
        except (TimeoutError, EmbeddedError) as error:
            await self._end()
            log.error("Triton's last words:\n%s", "\n".join(self._tail) or "(none)")
            raise EmbeddedError(str(error) or f"not ready in {self._options.ready_timeout_s:g} s") from None
        self._reason = None

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

    async def _ready(self, process: asyncio.subprocess.Process) -> None:
        """Return when Triton answers that it is ready; it opens its port after it has loaded its models."""
        client = InferenceServerClient(self.grpc_address)
        try:
            while process.returncode is None:
                with contextlib.suppress(InferenceServerException):
                    if await client.is_server_ready(client_timeout=1.0):
                        return
                await asyncio.sleep(READINESS_POLL_S)
        finally:
            await client.close()
        raise EmbeddedError(f"Triton ended before it was ready ({describe_exit(process.returncode)})")

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Keep Triton's last words; pass on what it calls a warning or an error."""
        while line := await stream.readline():
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            level = logging.WARNING if text[:1] in "EW" and text[1:5].isdigit() else logging.DEBUG
            log.log(logging.DEBUG if any(part in text for part in HARMLESS) else level, "triton: %s", text)

    async def _end(self) -> None:
        """Take down the process, its stubs and their shared memory, whatever state they are in."""
        if self._process is None:
            return
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_TIMEOUT_S + 2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the stubs are in its group
        await self._process.wait()
        if self._reader is not None:
            await self._reader
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


def describe_exit(code: int | None) -> str:
    """`exit status 1` or `killed by SIGKILL`."""
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
