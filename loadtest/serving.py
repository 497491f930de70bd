"""A real server for whoever needs one: the process that `wmserve serve` runs, on free ports, ended as users end it."""

import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection

from wmserve_client.environments.processes import end, free_port, start

__all__ = ["ROOT", "SERVE", "RedisServer", "Server", "free_port", "redis_command", "running", "running_redis"]

ROOT = Path(__file__).parent.parent
START_TIMEOUT_S = 90.0
SERVE = (sys.executable, "-m", "wmserve_server")


@dataclass(frozen=True)
class Server:
    """A running server: its addresses, its process and what it said."""

    grpc: str
    http: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def get(self, path: str) -> tuple[int, str]:
        """Status and text of a GET; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.http + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the server says it is ready; RuntimeError with the end of its log when it does not."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            if self.get("/readyz")[0] == 200:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the server did not become ready:\n{self.log.read_text()[-4000:]}")

    def verdict(self, timeout_s: float = START_TIMEOUT_S) -> str:
        """What readiness says once Triton has been looked at: ``ok``, or why no world is served."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            status, text = self.get("/readyz")
            if status == 200 or "no world is served" in text:
                return text
            time.sleep(0.1)
        raise RuntimeError(f"the server came to no verdict:\n{self.log.read_text()[-4000:]}")


@contextmanager
def running(log: Path, command: Sequence[str] = SERVE, **settings: str) -> Iterator[Server]:
    """Run a server with these settings (without their prefix), and end it as a service manager would."""
    chosen = {
        "model_repository": str(ROOT / "model_repository"),
        "grpc_port": str(free_port()),
        "http_port": str(free_port()),
    } | settings
    process = start(command, log, chosen, ROOT)
    try:
        yield Server(f"localhost:{chosen['grpc_port']}", f"http://localhost:{chosen['http_port']}", process, log)
    finally:
        ended = end(process)
    if not ended:
        raise RuntimeError(f"the server had to be killed:\n{log.read_text()[-4000:]}")


def redis_command() -> str | None:
    """Redis or Valkey, where one is installed."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@dataclass
class RedisServer:
    """A Redis on a port of its own, that keeps nothing on disk; it may be ended and started again, empty."""

    log: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def url(self) -> str:
        """For WMSERVE_STATE_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Run it, and return when it listens."""
        command = redis_command()
        assert command is not None, "no Redis is installed"
        options = {"port": str(self.port), "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": self.log.parent}
        words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
        with self.log.open("ab") as output:
            self.process = subprocess.Popen([command, *words], stdout=output, stderr=output)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError(f"Redis did not start:\n{self.log.read_text()[-2000:]}")

    def end(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def running_redis(log: Path) -> Iterator[RedisServer]:
    """Run a Redis, and end it."""
    server = RedisServer(log, free_port())
    server.start()
    try:
        yield server
    finally:
        server.end()
