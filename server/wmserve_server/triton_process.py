"""One run of Triton: the command, its log, when it is ready, how it ended, and that nothing of it stays.

The Python backend keeps stub processes (they are in Triton's process group) and shared memory. Both are Triton's to
take down; when it could not, because it was killed, they are taken down here. A stub that dies on its own is never
replaced by Triton, which stays "ready" and fails every call: that counts as the end of the whole run.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

log = logging.getLogger(__name__)

READINESS_POLL_S = 0.1
STUBS_POLL_S = 0.5
EXIT_TIMEOUT_S = 5
"""Longest that Triton waits for requests in flight, once told to end; the gateway has drained before."""
LOG_TAIL = 20
SAID = 100
"""Warnings remembered, so that none is repeated."""
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


class TritonProcess:
    """A Triton that was launched."""

    def __init__(self, process: asyncio.subprocess.Process, address: str) -> None:
        self._process = process
        self._address = address
        self._tail: deque[str] = deque(maxlen=LOG_TAIL)
        self._said: deque[str] = deque(maxlen=SAID)
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def launch(cls, command: Sequence[str], environment: Mapping[str, str], address: str) -> "TritonProcess":
        """Run `command`, whose gRPC endpoint is at `address`."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", "-c", LAUNCHER, str(os.getpid())),
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,  # a terminal's Ctrl-C is the gateway's alone: it drains first
        )
        return cls(process, address)

    @property
    def pid(self) -> int | None:
        """Process id; None once it has ended."""
        return self._process.pid if self._process.returncode is None else None

    async def ready(self, timeout_s: float) -> None:
        """Return when Triton answers that it is ready; EmbeddedError when it has ended, or not in time."""
        try:
            async with asyncio.timeout(timeout_s), InferenceServerClient(self._address) as client:
                while self.pid is not None:
                    with contextlib.suppress(InferenceServerException):
                        if await client.is_server_ready(client_timeout=1.0):
                            return
                    await asyncio.sleep(READINESS_POLL_S)
        except TimeoutError:
            raise EmbeddedError(f"Triton was not ready in {timeout_s:g} s") from None
        raise EmbeddedError(f"Triton ended before it was ready ({describe_exit(self._process.returncode)})")

    async def wait(self) -> str:
        """Return how it ended, once it has, or once it can no longer work."""
        ended = asyncio.create_task(self._process.wait())
        try:
            suspects: set[int] = set()
            # asyncio's wait() lasts until the pipe is closed too, and a stub that hangs would hold it open.
            while self._process.returncode is None:
                await asyncio.wait([ended], timeout=STUBS_POLL_S)
                # Triton reaps stubs of models that it unloads: only those that stay dead have crashed.
                dead = dead_children(self._process.pid)
                if dead & suspects and self._process.returncode is None:
                    self._process.kill()  # it would wait for the dead one before it ends
                    return "one of its stub processes died"
                suspects = dead
            return describe_exit(self._process.returncode)
        finally:
            ended.cancel()

    async def end(self) -> None:
        """Take down Triton and its stubs, whatever state they are in."""
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.wait(), EXIT_TIMEOUT_S + 2)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._reader

    def last_words(self) -> str:
        """The end of its log."""
        return "\n".join(self._tail) or "(none)"

    async def _read(self) -> None:
        """Keep the end of Triton's log; pass on what it calls a warning or an error."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # too long a line; it is dropped, and Triton must not wait for a reader
                continue
            if not line:
                return
            text = line.decode(errors="replace").rstrip()
            self._tail.append(text)
            log.log(logging.WARNING if self._is_news(text) else logging.DEBUG, "triton: %s", text)

    def _is_news(self, line: str) -> bool:
        """Whether a line of Triton's is a warning or an error that was not passed on before.

        Triton tries a model that does not load again with every look at its repository, and says so every time.
        """
        head, _, message = line.partition("] ")
        if head[:1] not in ("E", "W") or not head[1:5].isdigit() or message in self._said:
            return False
        self._said.append(message)
        return not any(part in message for part in HARMLESS)


def dead_children(pid: int) -> set[int]:
    """Children of a process that have ended and were not reaped."""
    dead = set()
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # gone meanwhile
            for child in listing.read_text().split():
                if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    dead.add(int(child))
    return dead


def describe_exit(code: int | None) -> str:
    """`exit status 1` or `killed by SIGKILL`."""
    return f"killed by {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit status {code}"
