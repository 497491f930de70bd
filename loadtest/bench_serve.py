"""What serving costs: the gateway against Triton alone and against other model servers, and how it behaves.

    python -m loadtest.bench_serve [--quick] [--only SECTION ...] [--out FOLDER]

The request is `encode` of one 64 x 64 frame. Servers run on this machine, on loopback, with their defaults. Runs take
turns (A B C A B C ...); figures are medians over rounds, ratios are medians of the ratios within a round, and where a
goal speaks of the gateway it holds for the worse of its two wires, gRPC and HTTP with protobuf bodies. CPU is that of
all the server's processes, gateway, Triton and its stubs; the load generator's is not in it.

It prints the goals with their figures, and ends with a line of JSON. ``--quick`` takes a minute or two and writes
nothing unless told where: its figures say that the benchmark works, and no more.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from loadtest import machine
from loadtest.report import Goal, Report
from loadtest.serve import behaviour, closed_loop, comparisons, contenders, picture
from loadtest.serve.comparisons import FULL, QUICK, Comparison, Effort
from loadtest.serve.contenders import PEERS, Ours
from loadtest.serving import ROOT, Server, running

WIRES = ("gRPC", "HTTP")
RESULTS = ROOT / "loadtest" / "results"
PICTURE = ROOT / "docs" / "bench_serve.png"


@dataclass
class Bench:
    """What the sections share: a running server, its targets, and where figures go."""

    effort: Effort
    report: Report
    folder: Path
    server: Server
    ours: Ours
    by_callers: dict[int, Comparison] = field(default_factory=dict)


def against_triton(bench: Bench) -> None:
    """Closed loops of the gateway and of Triton alone."""
    targets = [bench.ours.direct, bench.ours.grpc, bench.ours.http]
    for callers in comparisons.CALLERS:
        bench.by_callers[callers] = comparisons.compare(targets, callers, bench.effort)
    one, some, many = (bench.by_callers[callers] for callers in comparisons.CALLERS)
    tails = [some.median(wire, comparisons.tail) for wire in WIRES]

    def ratios(figure: comparisons.Figure) -> list[float]:
        return [many.against(wire, "Triton", figure) for wire in WIRES]

    slowest, dearest = min(ratios(comparisons.throughput)), max(ratios(comparisons.cpu))
    added_ms = max(one.over(wire, "Triton", comparisons.median_ms) for wire in WIRES)
    bench.report.add(
        Goal("serve_throughput_ratio", "requests/s over Triton alone, 64 callers", slowest, 1.1, at_least=True),
        Goal("serve_cpu_ratio", "CPU per request over Triton alone, 64 callers", dearest, 1.25),
        Goal("tail_ratio", "p99 / p50, 16 callers", max(tails), 1.5),
        Goal("added_ms", "ms added to the median, 1 caller", added_ms, 0.5),
        Goal("stall_ratio", "p99 / p50, 16 callers: no stalls", max(tails), 10),
    )
    names = [target.name for target in targets]
    figures = (comparisons.throughput, comparisons.cpu, comparisons.median_ms, comparisons.p99_ms)
    bench.report.table(
        "Closed loop",
        ["callers", "server", "requests/s", "CPU ms/request", "p50 ms", "p99 ms", "longest ms", "generator's CPU ms"],
        [
            [
                callers,
                name,
                *(found.median(name, figure) for figure in figures),
                max(float(load.latencies_ms[-1]) for load in found.loads[name]),
                found.median(name, lambda load: load.client_cpu_ms),
            ]
            for callers, found in bench.by_callers.items()
            for name in names
        ],
    )
    shown = {"gRPC": "wmserve, gRPC", "HTTP": "wmserve, HTTP", "Triton": "Triton alone, gRPC"}
    bench.report.figures["throughput_64"] = {
        title: many.median(name, comparisons.throughput) for name, title in shown.items()
    }
    bench.report.figures["cpu_ms_64"] = {title: many.median(name, comparisons.cpu) for name, title in shown.items()}


def open_loop(bench: Bench) -> None:
    """Latency on a schedule, at shares of each server's own knee."""
    if not bench.by_callers:
        bench.report.remarks.append("open loop: it needs the knee, which the section triton finds")
        return
    targets = [bench.ours.direct, bench.ours.grpc, bench.ours.http]
    knees = {
        target.name: max(found.median(target.name, comparisons.throughput) for found in bench.by_callers.values())
        for target in targets
    }
    found = comparisons.on_schedule(targets, knees, bench.effort)
    rows = [
        [name, f"{share:.0%}", share * knees[name], *milliseconds(times), int(np.isinf(times).sum())]
        for name, shares in found.items()
        for share, times in shares.items()
    ]
    columns = ["server", "of its knee", "requests/s", "p50 ms", "p99 ms", "longest ms", "failed"]
    bench.report.table("Open loop, timed from when a request was due", columns, rows)
    bench.report.figures["open_loop"] = [dict(zip(columns, row, strict=True)) for row in rows]


def milliseconds(times_ms: np.ndarray) -> list[float]:
    """Median, p99 and longest; a request that failed took for ever."""
    return [float(np.percentile(times_ms, q, method="higher")) for q in (50, 99, 100)]


def against_peers(bench: Bench) -> None:
    """Other servers of the same engine: requests per second on binary input, CPU on JSON."""
    ours = bench.ours
    binary = peers_in_turn(bench, [ours.grpc_latents, ours.http_latents], binary=True)
    as_json = peers_in_turn(bench, [ours.json_latents], binary=False)
    if binary:
        worst = [
            min(found.against(target.name, name, comparisons.throughput) for name, found in binary.items())
            for target in (ours.grpc_latents, ours.http_latents)
        ]
        bench.report.add(Goal("best_peer_ratio", "requests/s over the best peer, binary", min(worst), 1.0, True))
    if as_json:
        worst = [found.against(ours.json_latents.name, name, comparisons.cpu) for name, found in as_json.items()]
        bench.report.add(Goal("peer_json_cpu_ratio", "CPU per request over the best peer, JSON", max(worst), 0.5))
    for title, found, names in (
        ("Peers, binary", binary, (ours.grpc_latents.name, ours.http_latents.name)),
        ("Peers, JSON with base64", as_json, (ours.json_latents.name,)),
    ):
        rows = [
            [server, *(comparison.median(server, figure) for figure in
             (comparisons.throughput, comparisons.cpu, comparisons.median_ms, comparisons.p99_ms))]
            for name, comparison in found.items() for server in (name, *names)
        ]  # fmt: skip
        columns = ["server (ours was run again beside each)", "requests/s", "CPU ms/request", "p50 ms", "p99 ms"]
        bench.report.table(f"{title}, 64 callers", columns, rows)
    if binary and as_json:
        keep_for_picture(bench, binary, as_json)


def peers_in_turn(bench: Bench, ours: list[closed_loop.Target], binary: bool) -> dict[str, Comparison]:
    """Run each peer by itself and beside it ours, in turn; what cannot be run is named and left out."""
    found, effort = {}, replace(bench.effort, rounds=bench.effort.peer_rounds)
    for peer in PEERS:
        try:
            log = bench.folder / f"{peer.package}.log"
            with contenders.running_peer(peer, binary, bench.ours.answer, log) as target:
                found[peer.name] = comparisons.compare([*ours, target], 64, effort)
        except (RuntimeError, ValueError, OSError) as error:
            bench.report.remarks.append(f"{peer.name}, {'binary' if binary else 'JSON'}: {error}")
    return found


def keep_for_picture(bench: Bench, binary: dict[str, Comparison], as_json: dict[str, Comparison]) -> None:
    """Bars: ours by wire (the median over all peers' rounds), then the peers."""

    def bars(names: dict[str, str], found: dict[str, Comparison], figure: comparisons.Figure) -> dict[str, float]:
        own = {
            title: statistics.median(figure(load) for comparison in found.values() for load in comparison.loads[name])
            for name, title in names.items()
        }
        return own | {name: comparison.median(name, figure) for name, comparison in found.items()}

    wires = {bench.ours.grpc_latents.name: "wmserve, gRPC", bench.ours.http_latents.name: "wmserve, HTTP"}
    json_wire = {bench.ours.json_latents.name: "wmserve, HTTP"}
    bench.report.figures["peer_throughput"] = bars(wires, binary, comparisons.throughput)
    bench.report.figures["peer_json_cpu_ms"] = bars(json_wire, as_json, comparisons.cpu)


def large_bodies(bench: Bench) -> None:
    """What a body of two million floats does to the others."""
    found = behaviour.block_of_others(bench.server, bench.ours, bench.effort)
    worst = max(block.longest_ms for block in found.values())
    bench.report.add(
        Goal("json_block_ms", "longest encode of others beside a JSON body of 2 million floats, ms", worst, 50)
    )
    columns = ["others on", "longest ms", "longest alone ms", "large bodies", "answered"]
    rows = [[wire, b.longest_ms, b.longest_alone_ms, b.posts, b.answer] for wire, b in found.items()]
    bench.report.table("Beside a JSON body of two million floats", columns, rows)


def rollouts(bench: Bench) -> None:
    """Handles against latents on the wire."""
    found = behaviour.rollouts(bench.server, bench.effort)
    ratios = {wire: found.ratio(wire) for wire in found.comparisons}
    text = "rollouts/s by handle over latents sent (worst of gRPC, HTTP, JSON)"
    bench.report.add(Goal("rollout_ratio", text, min(ratios.values()), 3, True))
    rows = [
        [name, comparison.median(name, comparisons.throughput), comparison.median(name, comparisons.cpu), ratios[wire]]
        for wire, comparison in found.comparisons.items()
        for name in comparison.loads
    ]
    columns = ["rollout, 64 candidates x horizon 10, 16 callers", "requests/s", "CPU ms/request", "ratio"]
    bench.report.table("Rollouts", columns, rows)


def plans(bench: Bench) -> None:
    """Encode while planners saturate the server."""
    found = behaviour.beside_plans(bench.server, bench.ours, bench.effort)
    worst = max(beside / alone for alone, beside in found.values())
    bench.report.add(Goal("plan_tail_ratio", "p99 of encode beside 4 planners over p99 alone, 1 caller", worst, 5))
    rows = [[wire, alone, beside, beside / alone] for wire, (alone, beside) in found.items()]
    bench.report.table("Encode beside plans", ["encode on", "p99 ms alone", "p99 ms beside plans", "ratio"], rows)


def start_up(report: Report, effort: Effort, folder: Path) -> None:
    """From the command to the first answers, on servers of its own."""
    found = behaviour.starts(effort, folder)
    first = {wire: statistics.median(one.first_ms / one.median_ms for one in runs) for wire, runs in found.items()}
    slowest = max(one.ready_s for runs in found.values() for one in runs)
    report.add(
        Goal("ready_s", "seconds from the command to ready, the slowest start", slowest, 15),
        Goal("first_request_ratio", "first request over the median", max(first.values()), 2),
    )
    rows = [[wire, one.ready_s, one.first_ms, one.median_ms] for wire, runs in found.items() for one in runs]
    report.table("Start", ["first request on", "ready after s", "first ms", "median ms"], rows)


def memory(bench: Bench) -> None:
    """Growth of resident memory; the server must be fresh."""
    early, late = behaviour.memory(bench.server, bench.ours, bench.effort)
    few, many = bench.effort.requests
    text = f"growth of memory from {few} to {many} requests, %"
    bench.report.add(Goal("memory_growth_percent", text, 100 * (late / early - 1), 5))
    rows = [[few, early / 1e6], [many, late / 1e6]]
    bench.report.table("Memory of gateway and Triton", ["requests", "resident MB"], rows)


SECTIONS: dict[str, Callable[[Bench], None]] = {
    "memory": memory,  # first: it needs a server that has done nothing else
    "triton": against_triton,
    "open": open_loop,
    "peers": against_peers,
    "bodies": large_bodies,
    "rollouts": rollouts,
    "plans": plans,
}


def measure(effort: Effort, wanted: list[str]) -> Report:
    """Run the sections; one that fails is named, and the others go on."""
    closed_loop.require()
    noise = machine.Noise()
    peers = {"peers": ", ".join(contenders.peer_versions()) or "not installed"}
    report = Report(machine.describe() | peers)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "start" in wanted:
            say("start")
            start_up(report, effort, folder)
            noise.probe()
        with running(folder / "server.log", behaviour.SERVE) as server:
            server.wait_ready()
            bench = Bench(effort, report, folder, server, contenders.ours(server))
            for section in (section for section in SECTIONS if section in wanted):
                say(section)
                try:
                    SECTIONS[section](bench)
                except (RuntimeError, OSError) as error:
                    report.remarks.append(f"{section}: {error}")
                noise.probe()
    report.noise = noise.statement()
    report.figures["noise_signs"] = noise.summary()
    return report


def say(text: str) -> None:
    """Tell whoever waits."""
    print(f"measuring: {text}", file=sys.stderr, flush=True)


HEADING = """# Serving: the gateway against Triton alone and against other servers

Encode of one 64 x 64 frame of Two-Room, made by `make bench-serve`; `loadtest/bench_serve.py` says how. A goal that
speaks of the gateway holds for the worse of gRPC and HTTP. Triton alone is the gateway's own Triton, asked directly.
Peers serve the same ONNX file, alone, with batches of up to 16; see `loadtest/peers`. Beside peers, ours sends the
latents too, as they do, and a handle, as they do not."""


def keep(report: Report, out: Path | None = None) -> None:
    """Write results and picture, to their places unless told where."""
    report.write(out or RESULTS, "serve", HEADING)
    if "throughput_64" in report.figures:
        note = f"{report.machine['date']}, {report.machine['machine']}; {report.noise}"
        picture.draw(report.figures, note, out / PICTURE.name if out else PICTURE)


def main() -> int:
    """Measure, print, write; 0 also when goals are missed: the machine may be at fault, and the reader decides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--only", nargs="+", choices=["start", *SECTIONS], default=["start", *SECTIONS])
    parser.add_argument("--out", type=Path, help="where results and picture go")
    options = parser.parse_args()
    try:
        report = measure(QUICK if options.quick else FULL, options.only)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    whole = not options.quick and set(options.only) == {"start", *SECTIONS}
    if options.out or whole:
        keep(report, options.out)
    print(report.text())
    print(json.dumps(report.summary()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
