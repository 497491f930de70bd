"""Planning against the field's own solver: `stable_worldmodel.solver.CEMSolver` in its own process, same weights.

    python -m loadtest.bench_plan [--quick] [--only exact reduced speed success anytime overhead together]

Same machine, same threads, A B A B in one run, medians. Prints a table of goals, ends with one line of JSON, and writes
`loadtest/results/plan.json` and `plan.md` and the picture `docs/bench_plan.png`.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from wmserve.world import ActionSpec, Axis
from wmserve_client import Client, PlannerOptions
from wmserve_export.contract import ExportOptions
from wmserve_export.export import export_world

from loadtest import lewm_checkpoint
from loadtest.evaluation import protocols
from loadtest.evaluation.two_room import wilson
from loadtest.machine import Noise, describe, milliseconds
from loadtest.planning import picture, rivals, success
from loadtest.planning.in_process import Engines
from loadtest.planning.rivals import Frame, Peer
from loadtest.report import Goal, Report
from loadtest.serving import ROOT

TWO_ROOM = ROOT / "export" / "wmserve_export" / "reference" / "two_room"
REPOSITORY = ROOT / "model_repository"
RESULTS = ROOT / "loadtest" / "results"
PAUSE_S = 0.5
"""Between the two sides: threads of torch go on spinning for a while after their work."""
FULL = {"algorithm": "cem", "candidate_count": 300, "iterations": 30, "elite_count": 30}
"""The budget of LeWM's released code."""


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    rounds: int
    """Repetitions of each side in a comparison."""
    problems: int
    """Problems of the anytime curve."""
    episodes: int
    """Episodes of each protocol and each side."""
    rank_problems: int
    """Problems of the export's rank gate, three populations each; at full size one takes four seconds."""


QUICK = Options(rounds=1, problems=3, episodes=4, rank_problems=2)
WHOLE = Options(rounds=3, problems=100, episodes=200, rank_problems=20)


def frames(count: int) -> list[tuple[Frame, Frame]]:
    """Starts and goals of Two-Room, in different rooms, doors never trained on."""
    problems = protocols.draw(protocols.PROTOCOLS[-1], count)
    index = np.arange(count)
    episodes = protocols.Start(problems).load_chunk(index, index, index)
    return [tuple(frame.permute(1, 2, 0).contiguous().numpy() for frame in one["pixels"]) for one in episodes]


def options(seed: int, **values: object) -> PlannerOptions:
    """Planner options."""
    return PlannerOptions(seed=seed, **values)  # type: ignore[arg-type]


def lewm_repository(folder: Path, rank_problems: int, **export: object) -> Path:
    """A full-size LeWM with random weights, exported; actions are in units of z-scores, as the peer samples them."""
    axes = tuple(Axis(name=name, unit="z", low=-10, high=10, mean=0, std=1) for name in ("x", "y"))
    config = lewm_checkpoint.full_size().model_copy(update={"action": ActionSpec(axes=axes, action_block=5)})
    lewm_checkpoint.save(config, folder / "checkpoint")
    export_world(
        folder / "checkpoint",
        folder / "repository",
        ExportOptions(horizons=(5,), rank_problems=rank_problems, **export),
    )
    return folder / "repository"


def against_peer(
    report: Report, name: str, peer: Peer, plan: Callable[[Frame, Frame, int], object], rounds: int
) -> tuple[float, float, float]:
    """Peer and server in turn on the same problems: median milliseconds of both, and the median of their ratios."""
    rows = []
    for seed, (start, goal) in enumerate(frames(rounds)):
        theirs = peer.ask(start, goal, seed)["ms"]
        time.sleep(PAUSE_S)
        ours = milliseconds(plan, start, goal, seed)
        rows.append((seed, theirs, ours, theirs / ours))
    report.table(name, ("round", "peer ms", "wmserve ms", "peer / wmserve"), rows)
    theirs_ms, ours_ms, ratio = (statistics.median(row[column] for row in rows) for column in (1, 2, 3))
    return theirs_ms, ours_ms, ratio


def plan_lewm(client: Client, world: str) -> Callable[[Frame, Frame, int], object]:
    """The full budget through the server; the initial spread is one z-score, as the peer's."""
    asked = {**FULL, "hold_steps": 1, "initial_std": 1 / 20}
    return lambda start, goal, seed: client.plan(world, start, goal, planner=options(seed, **asked))


def exact(report: Report, chosen: Options, folder: Path) -> None:
    """Equal budget, float32: full-size LeWM, CEM 300 x 30, from frames to actions."""
    repository = lewm_repository(folder, rank_problems=2)
    with rivals.server(repository) as (client, _), rivals.peer("lewm", folder / "checkpoint") as peer:
        plan = plan_lewm(client, "lewm_random")
        start, goal = frames(1)[0]
        ours = plan(start, goal, 0).cost  # type: ignore[attr-defined]
        theirs = peer.ask(start, goal, 0, same_noise=True)["cost"]
        theirs_ms, ours_ms, speedup = against_peer(
            report, "Equal budget, exact: LeWM, CEM 300 x 30", peer, plan, chosen.rounds
        )
    report.figures["lewm_ms"] = {"stable-worldmodel": theirs_ms, "wmserve, float32": ours_ms}
    report.add(
        Goal("exact_speedup", "equal budget, float32, LeWM: times the peer's speed", speedup, 1.6, at_least=True),
        Goal("exact_cost_error", "final costs on the same noise, relative", abs(ours - theirs) / theirs, 1e-4),
    )


def reduced(report: Report, chosen: Options, folder: Path) -> None:
    """Equal budget, reduced precision, behind the exporter's rank gate."""
    repository = lewm_repository(folder, rank_problems=chosen.rank_problems, precision="mixed")
    gates = json.loads((repository / "lewm_random_encode" / "export_report.json").read_text())["rank"]
    with rivals.server(repository) as (client, _), rivals.peer("lewm", folder / "checkpoint") as peer:
        plan = plan_lewm(client, "lewm_random")
        plan(*frames(1)[0], 0)
        _, ours_ms, speedup = against_peer(
            report, "Equal budget, reduced: LeWM, CEM 300 x 30", peer, plan, chosen.rounds
        )
    report.figures.setdefault("lewm_ms", {})["wmserve, mixed"] = ours_ms
    report.add(
        Goal("reduced_speedup", "equal budget, reduced precision: times the peer's speed", speedup, 2.8, at_least=True),
        Goal(
            "reduced_elites", "elites shared with torch of 30, 5th percentile", gates["overlap_p5"], 28, at_least=True
        ),
        Goal("reduced_first_action", "first action's difference, 95th percentile", gates["first_action_p95"], 0.01),
    )


def default_speed(report: Report, chosen: Options, folder: Path) -> None:
    """The served default against the peer's CEM 300 x 30 with the same cost: speed."""
    del folder
    with rivals.server(REPOSITORY) as (client, _):
        with rivals.peer("two_room", TWO_ROOM) as peer:
            plan = lambda start, goal, seed: client.plan("two_room", start, goal, planner=options(seed))  # noqa: E731
            for seed, (start, goal) in enumerate(frames(5)):  # warm up both
                plan(start, goal, seed)
                peer.ask(start, goal, seed)
            theirs_ms, ours_ms, speedup = against_peer(
                report, "Equal success: Two-Room", peer, plan, 10 * chosen.rounds
            )
        report.figures["two_room_ms"] = {"stable-worldmodel": theirs_ms, "wmserve, as served": ours_ms}
        report.add(Goal("equal_success_speedup", "served default: times the peer's speed", speedup, 50, at_least=True))


def equal_success(report: Report, chosen: Options, folder: Path) -> None:
    """The served default against the peer's CEM 300 x 30 with the same cost: success on both protocols."""
    del folder
    with rivals.server(REPOSITORY) as (client, _):
        rows = []
        for protocol in protocols.PROTOCOLS[:2]:
            problems = protocols.draw(protocol, chosen.episodes)
            ours = int(protocols.play(protocol, problems, success.served(client), "served default").sum())
            theirs = int(protocols.play(protocol, problems, success.peers(TWO_ROOM, FULL), "peer").sum())
            low, high = wilson(theirs, chosen.episodes)
            rows.append((protocol.name, f"{ours}/{chosen.episodes}", f"{theirs}/{chosen.episodes}", low, high))
            text = f"{protocol.name}: success less the lower end of the peer's interval"
            report.add(Goal(f"{protocol.name}_margin", text, ours / chosen.episodes - low, 0.0, at_least=True))
        report.table("Equal success", ("protocol", "wmserve", "peer, CEM 300 x 30", "low", "high"), rows)


def anytime(report: Report, chosen: Options, folder: Path) -> None:
    """Deadlines at parts of a full plan: in time, and cheaper the later."""
    del folder
    with rivals.server(REPOSITORY) as (client, _):
        problems = [
            (client.encode("two_room", start), client.encode("two_room", goal))
            for start, goal in frames(chosen.problems)
        ]

        def plan(problem: int, deadline_ms: int | None = None) -> tuple[float, float]:
            began = time.perf_counter()
            found = client.plan(
                "two_room", *problems[problem], planner=options(problem, **FULL), deadline_ms=deadline_ms
            )
            return 1000 * (time.perf_counter() - began), found.cost

        whole = [plan(index) for index in range(len(problems))]
        full_ms = statistics.median(took for took, _ in whole)
        iteration_ms, rows, costs, late = full_ms / FULL["iterations"], [], [], []
        for part in (0.25, 0.5, 1.0):
            deadline_ms = round(part * full_ms)
            found = [plan(index, deadline_ms) for index in range(len(problems))]
            late += [took - deadline_ms - iteration_ms for took, _ in found]
            costs.append(statistics.mean(cost for _, cost in found))
            slowest = max(took for took, _ in found)
            rows.append((f"{part:.0%}", deadline_ms, statistics.median(took for took, _ in found), slowest, costs[-1]))
    rows.append(("none", "", full_ms, max(took for took, _ in whole), statistics.mean(cost for _, cost in whole)))
    report.table("Anytime: CEM 300 x 30 on Two-Room", ("deadline", "ms", "median ms", "slowest ms", "mean cost"), rows)
    report.figures["anytime"] = [(row[1], row[4]) for row in rows[:-1]]
    report.add(
        Goal(
            "anytime_in_time",
            "plans back by deadline and one iteration",
            float(np.mean(np.array(late) <= 0)),
            0.99,
            True,
        ),
        Goal("anytime_cost_rises", "rises of the mean cost with the deadline", float(np.sum(np.diff(costs) > 0)), 0),
    )


SIZES: tuple[tuple[str, dict[str, object]], ...] = (("served default", {}), ("CEM 300 x 30", FULL))


def overhead(report: Report, chosen: Options, folder: Path) -> None:
    """A plan through gRPC, gateway and Triton over the same plan in one process on the same engine."""
    del folder
    engines, rows = Engines.load(REPOSITORY, "two_room", rivals.THREADS), []

    def alone(start: Frame, goal: Frame, seed: int, asked: dict[str, object]) -> object:
        latents = engines.see(np.stack([start, goal]))
        return engines.plan(latents[0], latents[1], engines.problem(engines.settings(**asked), seed))

    with rivals.server(REPOSITORY) as (client, _):

        def served(start: Frame, goal: Frame, seed: int, asked: dict[str, object]) -> object:
            return client.plan("two_room", start, goal, planner=options(seed, **asked))

        for label, asked in SIZES:
            problems = [(*pair, seed, asked) for seed, pair in enumerate(frames(10 * chosen.rounds))]
            times = [(milliseconds(served, *problem), milliseconds(alone, *problem)) for problem in problems]
            server_ms, alone_ms = (statistics.median(column) for column in zip(*times, strict=True))
            rows.append((label, server_ms, alone_ms, server_ms / alone_ms, server_ms - alone_ms))
    report.table(
        "Overhead: Two-Room", ("plan", "through the server ms", "in one process ms", "ratio", "added ms"), rows
    )
    text = "through the server over in one process, unless 3 ms or less are added"
    report.add(
        Goal("overhead", text, max([row[3] for row in rows if row[4] > 3], default=1.0), 1.15),
        Goal("overhead_default_ms", "ms added to the served default", rows[0][4], 3.0),
    )


def together(report: Report, chosen: Options, folder: Path) -> None:
    """Eight different plans at once against one after another; each the same to the bit."""
    del folder
    rows, same, problems = [], True, frames(8)
    with rivals.server(REPOSITORY) as (client, _), ThreadPoolExecutor(8) as pool:

        def plan(index: int, asked: dict[str, object]) -> bytes:
            found = client.plan("two_room", *problems[index], planner=options(index, **asked))
            return found.actions.tobytes()

        def apart(asked: dict[str, object], answers: list[bytes]) -> None:
            answers.extend(plan(index, asked) for index in range(8))

        def at_once(asked: dict[str, object], answers: list[bytes]) -> None:
            answers.extend(pool.map(plan, range(8), [asked] * 8))

        for label, asked in SIZES:
            at_once(asked, [])
            for _ in range(chosen.rounds if asked else 10 * chosen.rounds):
                one: list[bytes] = []
                other: list[bytes] = []
                apart_ms, together_ms = milliseconds(apart, asked, one), milliseconds(at_once, asked, other)
                same &= one == other
                rows.append((label, apart_ms, together_ms, together_ms / apart_ms))
    report.table("Together: 8 plans", ("plan", "one after another ms", "at once ms", "ratio"), rows)
    ratios = [statistics.median(row[3] for row in rows if row[0] == label) for label, _ in SIZES]
    report.add(
        Goal("together", "8 plans at once over one after another, the worse of two sizes", max(ratios), 0.9),
        Goal("together_same", "each plan is bit for bit what it is alone", float(same), 1, at_least=True),
    )


PARTS: Mapping[str, Callable[[Report, Options, Path], None]] = {
    "exact": exact,
    "reduced": reduced,
    "speed": default_speed,
    "success": equal_success,
    "anytime": anytime,
    "overhead": overhead,
    "together": together,
}


HEADING = """# Planning: the server against `stable_worldmodel.solver.CEMSolver` in its own process

Made by `make bench-plan`; `loadtest/bench_plan.py` says how. Same weights, same machine, two threads each, in turns. A
plan goes from frames to actions: over gRPC through gateway and Triton here, by a call of `solve` there."""


def measure(quick: bool, wanted: list[str]) -> Report:
    """Run the parts; each with a server of its own."""
    torch.set_num_threads(1)
    noise, report = Noise(), Report(describe("torch", "stable-worldmodel"))
    for name in wanted:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            PARTS[name](report, QUICK if quick else WHOLE, Path(folder))
        noise.probe()
    report.noise = noise.statement()
    return report


def keep(report: Report) -> None:
    """Write results and picture."""
    report.write(RESULTS, "plan", HEADING)
    picture.draw(report, ROOT / "docs" / "bench_plan.png")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    report = measure(arguments.quick, arguments.only)
    if not arguments.quick:
        report.remarks += [f"not measured this time: {part}" for part in PARTS if part not in arguments.only]
        keep(report)
    print(report.text())
    print(json.dumps(report.summary()))


if __name__ == "__main__":
    main()
