"""What it takes to serve planning robots: measured on the reference world, counted for larger ones; docs/scale.md.

    python -m loadtest.scale [--seconds 20]

Robots of the reference world are run through a server on this machine, and what its processes use a turn is taken times
their number. Larger worlds are counted: operations of a plan over what a GPU does in a second. Prices and shares that
are not measured stand in ASSUMED, and on the page.
"""

import argparse
import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from PIL import Image
from wmserve.v1 import world_model_pb2 as pb
from wmserve_client import Client, PlannerOptions, requests

from loadtest import lewm_checkpoint, machine, processes
from loadtest.families import vjepa2_ac_random
from loadtest.gpu import floor, vjepa2_ac_plan
from loadtest.load.bodies import GOAL, PLANNER, ROBOT_TURNS_PER_S, START, WORLD, frame
from loadtest.serving import ROOT, Server, running

PAGE = ROOT / "docs" / "scale.md"
FLEETS = (1, 100, 10_000)
ROBOTS = 4
"""That are run here at a time."""


@dataclass(frozen=True)
class Assumed:
    """What was not measured here."""

    busy: float = 0.6
    """Part of a core, or of a GPU, that may be in use on the whole, so that queues stay short."""
    core_hour: float = 0.04
    gpu_hour: float = 2.50
    """US dollars, as clouds ask for rented x86 cores and an H100 by the hour, roughly, at the end of 2026."""
    peak_tflops: float = 989.0
    """An H100's datasheet, bf16."""
    reached: float = 0.4
    """Part of that which large matrix products reach with all that lies between them."""


ASSUMED = Assumed()


@dataclass(frozen=True)
class Turn:
    """What one turn of a loop takes, measured: processor seconds of both sides of the server, latency, bytes."""

    gateway_s: float
    triton_s: float
    p50_ms: float
    p95_ms: float
    up_bytes: dict[str, int]
    """By how the frame is sent."""
    down_bytes: int
    turns: int

    @property
    def cpu_s(self) -> float:
        """Of both."""
        return self.gateway_s + self.triton_s


def measured(server: Server, seconds: float) -> Turn:
    """Run some robots for so many seconds."""
    triton = processes.descendant(server.process.pid, "tritonserver")
    times: list[float] = []
    robots = [threading.Thread(target=robot, args=(server, seconds, times)) for _ in range(ROBOTS)]
    robot(server, 2.0, [])  # what is first takes longer
    whole, engines = processes.cpu_s(server.process.pid), processes.cpu_s(triton)
    for thread in robots:
        thread.start()
    for thread in robots:
        thread.join()
    whole, engines = processes.cpu_s(server.process.pid) - whole, processes.cpu_s(triton) - engines
    times.sort()
    with Client(server.grpc) as client:
        first = requests.plan(WORLD, frame(START), frame(GOAL), planner(), None, None, (), None, "")
        down = client._call(client._stub.Plan, first, None).ByteSize()
    count = len(times)
    return Turn(
        (whole - engines) / count,
        engines / count,
        times[count // 2] * 1e3,
        times[int(count * 0.95)] * 1e3,
        dict(sizes()),
        down,
        count,
    )


def robot(server: Server, seconds: float, times: list[float]) -> None:
    """A robot that is held: frames in, plans out, so many turns a second."""
    with Client(server.grpc) as client, client.control(WORLD, goal=frame(GOAL), planner=planner()) as loop:
        began = perf_counter()
        for turn in range(int(seconds * ROBOT_TURNS_PER_S)):
            wait = began + turn / ROBOT_TURNS_PER_S - perf_counter()
            threading.Event().wait(max(0.0, wait))
            asked = perf_counter()
            loop.step(frame(START), executed_steps=0)
            times.append(perf_counter() - asked)


def planner() -> PlannerOptions:
    """The reference world's search."""
    return PlannerOptions(**PLANNER)  # type: ignore[arg-type]


def sizes() -> Iterator[tuple[str, int]]:
    """Bytes of a turn's request, by how the frame is sent."""
    pixels = frame(START)
    yield "pixels", pb.ControlRequest(seen=requests.context(pixels)).ByteSize()
    for kind in ("PNG", "JPEG"):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, kind)
        yield kind, pb.ControlRequest(seen=requests.context(file.getvalue())).ByteSize()


def page(turn: Turn) -> str:
    """All of it."""
    about = machine.describe()
    made = f"Made by `python -m loadtest.scale` on {about['date']} ({about['machine']})."
    head = ["# What it takes to serve planning robots", "", f"{made} Measured is one machine; the rest is arithmetic."]
    return "\n".join([*head, "", *small(turn), "", *large(), ""])


def small(turn: Turn) -> list[str]:
    """The reference world, measured."""
    search = f"{PLANNER['candidate_count']} candidates x {PLANNER['iterations']} (iCEM)"
    sent = ", ".join(f"{size / 1e3:.1f} kB as {kind}" for kind, size in turn.up_bytes.items())
    lines = [
        "## A small world, on processors",
        "",
        f"The reference world over gRPC: {ROBOT_TURNS_PER_S} turns a second, each an encode of a frame of "
        f"{frame(START).shape[0]} pixels and a search of {search}; {ROBOTS} robots at a time, {turn.turns} turns:",
        "",
        f"- processor: {turn.gateway_s * 1e3:.1f} ms of the gateway and {turn.triton_s * 1e3:.1f} ms of Triton a turn",
        f"- latency: {turn.p50_ms:.1f} ms at the median, {turn.p95_ms:.1f} ms at p95",
        f"- bytes a turn: {sent}; {turn.down_bytes / 1e3:.1f} kB back",
        "",
        "| robots | turns/s | gateway cores | Triton cores | Mbit/s, JPEG | Mbit/s, pixels | $ an hour |",
        "|---|---|---|---|---|---|---|",
    ]
    for robots in FLEETS:
        turns = robots * ROBOT_TURNS_PER_S
        gateway, triton = (turns * own / ASSUMED.busy for own in (turn.gateway_s, turn.triton_s))
        moved = [turns * (turn.up_bytes[kind] + turn.down_bytes) * 8 / 1e6 for kind in ("JPEG", "pixels")]
        cells = (f"{robots:,}", f"{turns:,}", *(f"{value:,.1f}" for value in (gateway, triton, *moved)))
        lines.append(f"| {' | '.join(cells)} | {(gateway + triton) * ASSUMED.core_hour:,.2f} |")
    each = ASSUMED.busy / turn.gateway_s
    return [
        *lines,
        "",
        f"Cores are taken to be {ASSUMED.busy:.0%} busy and to cost ${ASSUMED.core_hour} an hour. A gateway is one "
        f"process and fills one core: {each:,.0f} turns a second, {each / ROBOT_TURNS_PER_S:,.0f} robots. A loop's "
        "state stays with its stream; only what outlives that needs a store that gateways share.",
    ]


def large() -> list[str]:
    """Others, counted."""
    fleets = [f"GPUs of {robots:,}" for robots in FLEETS]
    head = ["world and search", "TFLOP a plan", "GPU seconds", "plans/s of a robot", *fleets, "$ an hour of 100"]
    lines = [
        "## Large worlds, on GPUs",
        "",
        f"Counted, not measured: operations of a plan over {ASSUMED.reached:.0%} of an H100's "
        f"{ASSUMED.peak_tflops:.0f} TFLOP/s in bf16, {ASSUMED.busy:.0%} busy, ${ASSUMED.gpu_hour:.2f} an hour. No GPU "
        "has run this server yet ([tensorrt.md](tensorrt.md)).",
        "",
        f"| {' | '.join(head)} |",
        "|---" * len(head) + "|",
    ]
    for name, operations, often in counted():
        seconds = operations / (ASSUMED.reached * ASSUMED.peak_tflops * 1e12)
        one = often * seconds / ASSUMED.busy
        gpus = [f"{max(0.01, robots * one):,.2f}" for robots in FLEETS]
        cells = (name, f"{operations / 1e12:,.2f}", f"{seconds:.2g}", f"{often:g}", *gpus)
        lines.append(f"| {' | '.join(cells)} | {100 * one * ASSUMED.gpu_hour:,.2f} |")
    return [
        *lines,
        "",
        "What follows: a world of some hundred thousand weights plans for a fleet on ordinary machines, where the "
        "gateway's work counts as much as the engines'. LeWM wants one GPU for a hundred robots. V-JEPA 2-AC with the "
        "paper's search keeps more than a GPU busy for each robot, even if that plans once in four seconds: a fleet "
        "needs fewer candidates, warm starts, or a smaller predictor. To encode a frame of it is 0.5 TFLOP.",
    ]


def counted() -> Iterator[tuple[str, float, float]]:
    """Large worlds: name with search, operations of a plan, plans a second of a robot."""
    lewm = 2 * floor.macs(lewm_checkpoint.full_size(), 5)
    yield "LeWM, 15 M weights, CEM 300 x 30, horizon 5", lewm * 300 * 30, 1.0
    yield "LeWM, iCEM 128 x 3, horizon 5", lewm * (128 + 102 + 82), ROBOT_TURNS_PER_S
    step = vjepa2_ac_plan.counted(vjepa2_ac_random.full_size(), 1)
    yield "V-JEPA 2-AC, 1.3 G weights, CEM 800 x 10, horizon 1", step * 8000, 0.25
    yield "V-JEPA 2-AC, CEM 64 x 3, horizon 1", step * 192, 1.0


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--out", type=Path, default=PAGE)
    options = parser.parse_args()
    with TemporaryDirectory() as folder, running(Path(folder) / "log") as server:
        server.wait_ready()
        turn = measured(server, options.seconds)
    options.out.write_text(page(turn))
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
