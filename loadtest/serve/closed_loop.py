"""Closed loop: each caller has a connection of its own and waits for its answer before it asks again.

The generator is h2load: C, one thread, some microseconds a request, and the same for a gRPC server (a unary call is an
HTTP/2 POST whose body is known beforehand) as for an HTTP/1.1 server.
"""

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loadtest import processes

INSTALL = "h2load is missing: apt-get install nghttp2-client"


@dataclass(frozen=True)
class Target:
    """An endpoint under load, and the process whose tree pays for it."""

    name: str
    url: str
    body: bytes
    headers: Mapping[str, str]
    pid: int
    grpc: bool = False
    answer_bytes: int | None = None
    """Size of every answer's body, which gRPC needs: an error there is an HTTP 200 without a body."""


@dataclass(frozen=True)
class Load:
    """One run; latencies are in milliseconds, ascending."""

    requests_per_s: float
    cpu_ms: float
    """CPU of the server's processes per request."""
    client_cpu_ms: float
    """CPU of the load generator per request."""
    latencies_ms: np.ndarray

    def percentile(self, percent: float) -> float:
        """A percentile of the latencies, milliseconds."""
        return float(np.percentile(self.latencies_ms, percent))


def require() -> str:
    """Path of h2load; RuntimeError says what to install."""
    path = shutil.which("h2load")
    if path is None:
        raise RuntimeError(INSTALL)
    return path


def command(target: Target, callers: int, folder: Path) -> list[str]:
    """h2load's command line, without how long it runs."""
    (folder / "body").write_bytes(target.body)
    headers = [f"--header={name}: {value}" for name, value in target.headers.items()]
    kind = ["--max-concurrent-streams=1"] if target.grpc else ["--h1"]
    return [require(), f"--clients={callers}", *kind, *headers, f"--data={folder / 'body'}", target.url]


def warm_up(target: Target, callers: int, requests: int) -> None:
    """Send some requests that nobody counts."""
    with tempfile.TemporaryDirectory() as folder:
        words = [*command(target, callers, Path(folder)), f"--requests={max(requests, callers)}"]
        check(output_of(words), target)


def run(target: Target, callers: int, seconds: float) -> Load:
    """Load the target for so long; RuntimeError when an answer was not a success."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "log"
        words = [*command(target, callers, folder), duration(seconds), f"--log-file={log}"]
        server, client = processes.cpu_s(target.pid), own_cpu_s()
        output = output_of(words)
        server, client = processes.cpu_s(target.pid) - server, own_cpu_s() - client
        check(output, target)
        # Columns: start (microseconds since 1970), status, duration (microseconds).
        table = np.loadtxt(log, dtype=np.int64, ndmin=2)
    latencies = np.sort(table[:, 2]) / 1000
    began, ended = table[:, 0].min(), (table[:, 0] + table[:, 2]).max()
    count = len(latencies)
    return Load(count / (ended - began) * 1e6, server / count * 1e3, client / count * 1e3, latencies)


def duration(seconds: float) -> str:
    """h2load's option for how long it runs."""
    return f"--duration={round(seconds * 1000)}ms"


def output_of(words: list[str]) -> str:
    """What h2load reports; RuntimeError with what it complains of when it fails."""
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"h2load failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def own_cpu_s() -> float:
    """CPU seconds of this process' children that have ended: the load generators."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def check(output: str, target: Target) -> None:
    """RuntimeError unless every request succeeded and, where the size is known, every answer was whole."""
    done, failed, errored = (figure(output, rf"(\d+) {word}") for word in ("done", "failed", "errored"))
    refused = sum(figure(output, rf"(\d+) {status}") for status in ("3xx", "4xx", "5xx"))
    if not done or failed or errored or refused:
        raise RuntimeError(f"{target.name}: {done} answers, {failed + errored} failures, {refused} refusals")
    received = figure(output, r"\((\d+)\) data")  # also of the answers that were cut off at the end
    if target.answer_bytes is not None and received < done * target.answer_bytes:
        raise RuntimeError(f"{target.name}: answers of {received / done:.1f} bytes, expected {target.answer_bytes}")


def figure(output: str, pattern: str) -> int:
    """A number in h2load's report."""
    match = re.search(pattern, output)
    if match is None:
        raise RuntimeError(f"h2load said nothing that matches {pattern}:\n{output}")
    return int(match[1])
