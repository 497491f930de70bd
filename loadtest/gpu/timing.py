"""Times of plans on a device, and the state of the device beside them. Nothing here changes a setting of it."""

import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

STATE = "pstate,clocks.sm,clocks.mem,power.draw,power.limit,temperature.gpu,clocks_event_reasons.active"
LAUNCHES = 1000


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call: median, and where 10 % and 90 % of the calls lie."""

    median: float
    low: float
    high: float
    rounds: int


def once(run: Callable[[], object], device: torch.device) -> float:
    """Milliseconds of one call: between two events of the device's own, on a CPU by its clock."""
    if device.type != "cuda":
        started = time.perf_counter()
        run()
        return (time.perf_counter() - started) * 1e3
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end))


def in_turns(
    runs: Mapping[str, Callable[[], object]], device: torch.device, rounds: int, limit_s: float
) -> dict[str, Times]:
    """Times of all, which take turns (A B C A B C ...); at least 3 rounds, `rounds` if they fit into `limit_s`."""
    for run in runs.values():
        once(run, device)
    started = time.monotonic()
    found: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        if number >= 3 and time.monotonic() - started > limit_s:
            break
        for name, run in runs.items():
            found[name].append(once(run, device))
    return {name: summary(own) for name, own in found.items()}


def summary(milliseconds: list[float]) -> Times:
    """Median and percentiles."""
    low, median, high = np.percentile(milliseconds, [10, 50, 90])
    return Times(float(median), float(low), float(high), len(milliseconds))


def launch_us(device: torch.device) -> dict[str, float] | None:
    """Microseconds that a kernel with nothing to do takes, launched one by one and in a captured graph."""
    if device.type != "cuda":
        return None
    number = torch.zeros(1, device=device)

    def launch() -> None:
        for _ in range(LAUNCHES):
            number.add_(1.0)

    launch()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        launch()
    times = in_turns({"one by one": launch, "captured": graph.replay}, device, rounds=11, limit_s=5.0)
    return {name: own.median * 1e3 / LAUNCHES for name, own in times.items()}


def kernels(run: Callable[[], object], device: torch.device) -> int | None:
    """Kernels and copies that one call launches; None where there is no way to count them."""
    if device.type != "cuda":
        return None
    try:
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            run()
            torch.cuda.synchronize()
    except RuntimeError:  # some machines refuse to be profiled
        return None
    return sum(event.device_type == torch.autograd.DeviceType.CUDA for event in profile.events()) or None


def device_state() -> str | None:
    """What nvidia-smi says of clocks, power and temperature now; None without it."""
    return nvidia_smi(STATE)


def driver() -> str | None:
    """Version of the device's driver; None without nvidia-smi."""
    return nvidia_smi("driver_version", "csv,noheader")


def nvidia_smi(asked: str, form: str = "csv") -> str | None:
    """Ask nvidia-smi about the first device; it only reads."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return None
    try:
        arguments = [command, "--id=0", f"--query-gpu={asked}", f"--format={form}"]
        answer = subprocess.run(arguments, capture_output=True, text=True, timeout=20, check=True)
    except (subprocess.SubprocessError, OSError) as error:
        return f"not known: {error}"
    return " | ".join(answer.stdout.split("\n")).strip(" |")
