"""What it ran on, and how quiet that machine was: without this no figure means anything."""

import datetime
import importlib.metadata
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from loadtest import processes

VERSIONS = ("fastapi", "grpcio", "numpy", "nvidia-pytriton", "onnxruntime", "protobuf", "pydantic", "uvicorn")
PROBE_ROUNDS = 10
IDLE_SAMPLE_S = 2.0


def milliseconds(work: Callable[..., object], *arguments: object) -> float:
    """How long it takes."""
    began = time.perf_counter()
    work(*arguments)
    return 1000 * (time.perf_counter() - began)


def probe_ms() -> float:
    """Milliseconds of a fixed piece of work on one core, the median of ten; it grows when others want the core too."""
    times = []
    for _ in range(PROBE_ROUNDS):
        began = time.perf_counter()
        sum(number * number for number in range(200_000))
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


def busy_cores() -> float:
    """Cores in use by whatever runs, over two seconds: before the benchmark starts, this is other people's work."""

    def busy_s() -> float:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _, _, irq, soft, steal = (int(field) for field in fields[:8])
        return (user + nice + system + irq + soft + steal) / processes.TICKS_PER_S

    before = busy_s()
    time.sleep(IDLE_SAMPLE_S)
    return (busy_s() - before) / IDLE_SAMPLE_S


class Noise:
    """Collects signs of other work on this machine."""

    def __init__(self) -> None:
        self.busy_before = busy_cores()
        self.load_before = os.getloadavg()[0]
        self.probes_ms: list[float] = []
        self.probe()

    def probe(self) -> None:
        """Time the probe; call it between sections, when nothing is under load."""
        self.probes_ms.append(probe_ms())

    def summary(self) -> dict[str, float]:
        """The signs, for the results."""
        low, middle, high = np.percentile(self.probes_ms, [0, 50, 100])
        return {
            "busy_cores_before": self.busy_before,
            "load_average_before": self.load_before,
            "probe_min_ms": float(low),
            "probe_median_ms": float(middle),
            "probe_max_ms": float(high),
        }

    def statement(self) -> str:
        """The signs in a sentence."""
        said = self.summary()
        quiet = said["busy_cores_before"] < 0.2 and said["probe_max_ms"] < 1.25 * said["probe_min_ms"]
        return (
            f"{'quiet' if quiet else 'NOT quiet'}: {said['busy_cores_before']:.1f} cores were busy before it began "
            f"(load average {said['load_average_before']:.1f}); a fixed piece of work between the sections took "
            f"{said['probe_min_ms']:.1f} to {said['probe_max_ms']:.1f} ms, median {said['probe_median_ms']:.1f}"
        )


def describe(*packages: str) -> dict[str, str]:
    """Date, machine and versions, those of other packages too."""
    model = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    versions = {name: installed(name) for name in (*VERSIONS, *packages)}
    return {
        "date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        "machine": f"{model.partition(': ')[2]}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version),
    }


def installed(package: str) -> str:
    """Version of a package; empty when this Python does not have it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
