"""Do a served world's words about its own errors hold? Two-Room, through a running server.

    python -m loadtest.bench_trust [--quick] [--only coverage plans ood trap poor changes collapse price]

Trajectories are those that neither training nor calibration has seen. Each figure has a negative control beside it: a
score that knows nothing, or a radius that is wrong, has to fail. Prints a table of goals, ends with one line of JSON,
writes `loadtest/results/trust.json` and `trust.md` and the picture `docs/trust.png`.
"""

import argparse
import json
import math
import shutil
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from wmserve_client import Guard
from wmserve_export import repository
from wmserve_export.calibration import health
from wmserve_export.calibration.measure import verified
from wmserve_export.engines import Engine
from wmserve_export.runtime import Runner

from loadtest import execute_plans
from loadtest.evaluation.two_room import wilson
from loadtest.machine import Noise, describe, milliseconds
from loadtest.planning import rivals
from loadtest.report import Goal, Report
from loadtest.serving import ROOT
from loadtest.trusting import collapsed, episodes, picture, rollouts, strange_frames, tiny
from loadtest.trusting import trap as trapping
from loadtest.trusting.rollouts import WORLD, Doubles
from loadtest.trusting.scores import auroc, ause_ratio, sparsification, worst_tenth

REPOSITORY = ROOT / "model_repository"
RESULTS = ROOT / "loadtest" / "results"
ALARM = 0.01
"""p-value under which an observation is called strange."""
STRANGE_SEED, EPISODE_SEED = 8_000_000, 9_000_000


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    trajectories: int
    frames: int
    """Of each strange kind."""
    episodes: int
    """Of each changed world, and twice as many of the one that has not changed."""
    rounds: int
    """Repetitions of each side of the price."""
    plans: int
    """That are executed."""
    batches: int
    """Of healthy frames."""


QUICK = Options(40, 10, 5, 5, 20, 2)
WHOLE = Options(4000, 300, 200, 200, 2000, 100)


def coverage(report: Report, chosen: Options) -> None:
    """How often radii hold, and whether errors are large where they are said to be."""
    with rivals.server(REPOSITORY) as (client, server):
        found = rollouts.held_against_what_happened(server.grpc, chosen.trajectories)
        tolerance = client.world(WORLD).calibration.tolerance
    by_step = (found.errors <= found.radius).mean(axis=0)
    joint = float((found.errors <= found.joint_radius).all(axis=1).mean())
    readouts = (found.readout_errors <= found.readout_radius).mean(axis=0)
    columns = ("step", "latents", *(f"readout {number}" for number in range(readouts.shape[1])))
    rows = [(step + 1, *map(percent, (by_step[step], *readouts[step]))) for step in range(len(by_step))]
    report.table(f"Coverage at 90 %, {chosen.trajectories} trajectories", columns, rows)
    separate = float((found.errors <= found.radius).all(axis=1).mean())
    halved = float((found.errors <= found.radius / 2).mean())
    report.table(
        "Controls of coverage",
        ("what", "covered"),
        [("all steps at once, by the radii of single steps", percent(separate)), ("half the radius", percent(halved))],
    )
    report.figures["coverage_by_step"] = by_step.tolist()
    false_alarms = float((found.start_p_value < ALARM).mean())
    true, strange = (found.errors <= tolerance).all(axis=1), found.rollout_p_value < ALARM
    strange_rollouts = float(strange[true].mean())
    report.table(
        "Rollouts that are called strange",
        ("which", "rollouts", "called strange"),
        [
            ("came true, within the tolerance", int(true.sum()), percent(strange_rollouts)),
            ("went astray", int((~true).sum()), percent(float(strange[~true].mean()))),
        ],
    )
    report.add(
        Goal("coverage_low", "coverage at 90 %, the step that has least", float(by_step.min()), 0.88, at_least=True),
        Goal("coverage_high", "coverage at 90 %, the step that has most", float(by_step.max()), 0.92),
        Goal("coverage_joint", "coverage at 90 %, all steps at once", joint, 0.88, at_least=True),
        Goal("coverage_joint_over", "the same, not too much", joint, 0.92),
        Goal("coverage_readouts_low", "coverage of readouts, least", float(readouts.min()), 0.88, at_least=True),
        Goal("coverage_readouts_high", "coverage of readouts, most", float(readouts.max()), 0.92),
        Goal("false_alarms", "healthy frames that are called strange", false_alarms, 0.015),
        Goal("rollout_false_alarms", "rollouts that came true and are called strange", strange_rollouts, 0.015),
        Goal("false_alarms_low", "the same, not too few", false_alarms, 0.005, at_least=True),
    )
    ranking(report, found.errors, found.radius, found.disagreement)


def ranking(report: Report, errors: Doubles, radius: Doubles, disagreement: Doubles) -> None:
    """Whether the expected error finds the worst tenth of errors; disagreement and chance beside it."""
    chance = np.random.default_rng(0).random(errors.shape)
    rows = []
    for name, scores in (("expected error", radius), ("disagreement", disagreement), ("chance", chance)):
        steps = [auroc(scores[:, step], worst_tenth(errors[:, step])) for step in range(errors.shape[1])]
        flat = (scores.ravel(), errors.ravel())
        rows.append((name, min(steps), max(steps), auroc(flat[0], worst_tenth(flat[1])), ause_ratio(*flat)))
        report.figures.setdefault("sparsification", {})[name] = sparsification(*flat).tolist()
    report.figures["sparsification"]["ideal"] = sparsification(errors.ravel(), errors.ravel()).tolist()
    columns = ("score", "AUROC, worst step", "AUROC, best step", "AUROC, all", "sparsification, of chance's")
    report.table("Ranking of errors: the worst tenth", columns, rows)
    report.add(
        Goal("auroc_error", "AUROC of the expected error, the worst step", rows[0][1], 0.85, at_least=True),
        Goal("ause_ratio", "area under the sparsification error, of chance's", rows[0][4], 0.40),
    )


def ood(report: Report, chosen: Options) -> None:
    """Whether frames of strange kinds are told from healthy ones."""
    healthy, strange = strange_frames.draw(chosen.frames, STRANGE_SEED)
    with rivals.server(REPOSITORY) as (client, _):

        def scores(frames: list[strange_frames.Frame]) -> tuple[Doubles, Doubles]:
            answers = [client.encode(WORLD, frame) for frame in frames]
            return (
                np.array([answer.ood[0] for answer in answers], np.float64),  # type: ignore[index]
                np.array([answer.ood_p_value[0] for answer in answers], np.float64),  # type: ignore[index]
            )

        usual, _ = scores(healthy)
        rows, report.figures["ood"] = [], {"healthy": usual.tolist()}
        for kind, changes in strange.items():
            for name, frames in changes.items():
                found, p_values = scores(frames)
                both = np.concatenate([usual, found])
                told = auroc(both, np.arange(len(both)) >= len(usual))
                rows.append((kind, name, told, percent(float((p_values < ALARM).mean()))))
                report.figures["ood"][name] = found.tolist()
    half = len(usual) // 2
    rows.append(("control", "healthy against healthy", auroc(usual, np.arange(len(usual)) >= half), ""))
    report.table("Strange frames", ("kind", "what", "AUROC", "called strange at 1 %"), rows)
    least = min(row[2] for row in rows[:-1])
    report.add(Goal("auroc_ood_min", "AUROC of strange frames, the kind told worst", least, 0.95, at_least=True))


def price(report: Report, chosen: Options) -> None:
    """What scores add to an encode and a rollout: the same world with and without its calibration, in turns."""
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "repository"
        shutil.copytree(REPOSITORY, plain)
        world = repository.read(plain, WORLD)
        alone = repository.Placing(replace=True)
        repository.write_contract(plain, world.model_copy(update={"calibration": None}), alone)
        with rivals.server(REPOSITORY) as (scored, _), rivals.server(plain) as (bare, _):
            frames = strange_frames.draw(1, STRANGE_SEED)[0]
            actions = np.random.default_rng(0).uniform(-1, 1, (64, 50, 2)).astype(np.float32)
            start = {client: client.encode(WORLD, frames[0]).latents_id for client in (scored, bare)}
            rows = []
            for name, ask in (
                ("encode", lambda client: client.encode(WORLD, frames[0])),
                ("rollout of 64 candidates", lambda client: client.rollout(WORLD, start[client], actions)),
                ("plan", lambda client: client.plan(WORLD, frames[0], start[client])),
            ):
                times = [(milliseconds(ask, scored), milliseconds(ask, bare)) for _ in range(chosen.rounds)]
                ours, theirs = (statistics.median(column) for column in zip(*times, strict=True))
                ratio = statistics.median(one / other for one, other in times)
                rows.append((name, ours, theirs, ratio))
    report.table("Price", ("call", "calibrated, ms", "not calibrated, ms", "ratio"), rows)
    # A plan is judged by held-out members whether the world is calibrated or not: that is part of the price, too.
    judging, (_, calibrated_ms, bare_ms, _) = judging_ms(chosen.rounds), rows[2]
    report.remarks.append(f"judging a plan takes {judging:.2f} ms of its engine")
    report.add(
        Goal("encode_cost_ratio", "time of an encode, of one that is not calibrated", rows[0][3], 1.10),
        Goal("cost_ratio", "time of a plan, of one that nobody judges", calibrated_ms / (bare_ms - judging), 1.25),
    )


def judging_ms(rounds: int) -> float:
    """Milliseconds that the judging engine takes for one plan."""
    world = repository.read(REPOSITORY, WORLD)
    engine = Runner(verified(REPOSITORY, world, Engine("plan", world.search.horizon, "judge")))
    steps = world.search.horizon * world.action.action_block
    inputs = {"context": torch.zeros(1, 1, 32), "goal": torch.zeros(1, 32), "actions": torch.zeros(1, 1, steps, 2)}
    return statistics.median(milliseconds(engine, inputs) for _ in range(rounds))


def plans(report: Report, chosen: Options) -> None:
    """How often radii of plans hold when the plans are executed, and how many plans of a healthy world are refused."""
    with rivals.server(REPOSITORY) as (client, _):
        logged = next(level for level in client.world(WORLD).calibration.levels if level.level == 0.9)
        planned = next(level for level in client.world(WORLD).calibration.planned.levels if level.level == 0.9)
        rows = [
            (plan, execute_plans.prediction_errors(client, plan, trajectory))
            for plan, trajectory in execute_plans.executed(client, execute_plans.TEST_SEED, chosen.plans)
        ]
    errors = np.stack([error for _, error in rows])
    radius = np.stack([plan.radius for plan, _ in rows])  # type: ignore[arg-type]
    joint = np.stack([plan.joint_radius for plan, _ in rows])  # type: ignore[arg-type]
    steps = radius.shape[1]
    by_logs = radius / np.array(planned.radius) * np.array(logged.radius[:steps])
    covered, uncalibrated = (errors <= radius).mean(axis=0), (errors <= by_logs).mean(axis=0)
    together = float((errors <= joint).all(axis=1).mean())
    refused = float(np.mean([plan.status == "refused" for plan, _ in rows]))
    report.table(
        f"Coverage at 90 % of plans, {len(rows)} executed",
        ("step", "by radii of plans", "by radii of logs (control)"),
        [(step + 1, percent(covered[step]), percent(uncalibrated[step])) for step in range(steps)],
    )
    reasons = Counter(reason for plan, _ in rows for reason in plan.reasons)
    report.table("Plans of a healthy world that are refused", ("reason", "plans"), sorted(reasons.items()))
    report.add(
        Goal(
            "coverage_plans",
            "coverage at 90 % of executed plans, the least of a step",
            float(covered.min()),
            0.85,
            True,
        ),
        Goal("coverage_plans_joint", "the same, all steps at once", together, 0.85, True),
        Goal("plans_refused", "plans of a healthy world that are refused", refused, 0.01),
    )


def trap(report: Report, chosen: Options) -> None:
    """Whether the gate keeps a planner out of a pit that no log has entered, and sees plans that lead there."""
    kinds = {
        "no gate": (Guard(penalty=0), False),
        "gate (the default)": (Guard(), True),
        "penalty of 1, no gate": (Guard(penalty=1), False),
        "the same, refusals at 0.99": (Guard(penalty=1, refusal_level=0.99), False),
    }
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "repository"
        trapping.prepare(place, Path(folder), chosen.plans // 3)
        with rivals.server(place) as (client, _):
            for name, (guard, obeyed) in kinds.items():
                played = trapping.play(client, name, guard, obeyed, chosen.episodes // 2)
                low, high = wilson(sum(one.trapped for one in played), len(played))
                judged = [plan for one in played for plan in one.plans]
                bad = np.array([plan.bad for plan in judged])
                caught = [plan.refused for plan in judged if plan.bad]
                by_disagreement = [plan.refused_for_it for plan in judged if plan.bad]
                refused = [plan.refused for plan in judged if not plan.bad]
                scores = [np.array([getattr(plan, score) for plan in judged]) for score in ("distance", "disagreement")]
                told = [auroc(score, bad) if 0 < bad.sum() < len(bad) else math.nan for score in scores]
                reached = float(np.mean([one.reached for one in played]))
                shares = [float(np.mean(part or [math.nan])) for part in (caught, by_disagreement, refused)]
                rows.append((name, percent(low), percent(high), percent(reached), *map(percent, shares), *told))
                report.figures.setdefault("trap", {})[name] = {
                    "low": low,
                    "high": high,
                    "caught": shares[0],
                    "auroc": told[0],
                }
    columns = ("planner", "falls in, low", "high", "arrives", "bad plans refused", "for disagreement alone (control)")
    report.table(
        f"A pit that no log has entered, {chosen.episodes // 2} episodes each",
        (*columns, "good plans refused", "AUROC of unfamiliarity", "AUROC of disagreement (control)"),
        rows,
    )
    found = report.figures["trap"]
    report.add(
        Goal("trap_unguarded", "falls into the pit without a gate, lower bound", found["no gate"]["low"], 0.5, True),
        Goal("trap_rate_upper", "falls into it behind the gate, upper", found["gate (the default)"]["high"], 0.05),
        Goal(
            "gate_catch",
            "bad plans of a penalised planner that the gate at 0.99 refuses",
            found["the same, refusals at 0.99"]["caught"],
            0.9,
            True,
        ),
        Goal("auroc_unlogged", "AUROC of plans into the unlogged region", found["no gate"]["auroc"], 0.95, True),
    )


def collapse(report: Report, chosen: Options) -> None:
    """Whether encoders that have collapsed are kept from being served, and healthy ones are not."""
    latents = collapsed.healthy_latents(collapsed.BATCH * chosen.batches)
    said = {name: collapsed.said_of(change) for name, change in collapsed.encoders(latents).items()}
    healthy = {name: health.finding(found) for name, found in collapsed.sound(collapsed.TRAJECTORIES, ())}
    rows = [*said.items(), *((f"{name} (healthy)", text or "ok") for name, text in healthy.items())]
    report.table("Collapsed encoders, and what readiness says", ("encoder", "said"), rows)
    missed = sum("calibration has found" not in text for text in said.values())
    false = sum(text is not None for text in healthy.values())
    report.add(
        Goal("collapse_missed", "collapsed encoders that are served", missed, 0),
        Goal("collapse_false", f"healthy encoders that are called collapsed, of {len(healthy)}", false, 0),
    )


def percent(share: float) -> str:
    """For tables."""
    return f"{100 * share:.1f} %"


def changes(report: Report, chosen: Options) -> None:
    """Whether surprise finds a world that has changed, and a radius that adapts covers as often as asked."""
    rows, power, covered = [], [], []
    with rivals.server(REPOSITORY) as (client, _):
        for number, change in enumerate(episodes.CHANGES):
            count = 2 * chosen.episodes if change == "none" else chosen.episodes
            played = episodes.play(client, change, count, EPISODE_SEED + number)
            flagged = [one.flagged for one in played]
            low, high = wilson(sum(flagged), count)
            p_values = np.float64([outcome.surprise_p_value for one in played for outcome in one.outcomes])
            rows.append(
                (
                    change,
                    count,
                    percent(float(np.mean(flagged))),
                    percent(low),
                    percent(high),
                    percent(float((p_values > 0.1).mean())),
                    percent(played[-1].coverage),
                )
            )
            covered.append(played[-1].coverage)
            power.append(float(np.mean(flagged)))
    columns = ("change", "episodes", "called another world within 10 steps", "low", "high")
    report.table("Changed dynamics", (*columns, "covered at 90 %, fixed", "covered at 90 %, adaptive"), rows)
    report.add(
        Goal("surprise_power", "changed worlds called so within 10 steps, the least", min(power[1:]), 0.85, True),
        Goal("surprise_false_alarms", "worlds that have not changed and are called so", power[0], 0.01),
        Goal(
            "adaptive_coverage_low", "long-run coverage of the adaptive radius at 90 %, least", min(covered), 0.88, True
        ),
        Goal("adaptive_coverage_high", "the same, most", max(covered), 0.92),
    )


def poor(report: Report, chosen: Options) -> None:
    """Whether a world that hardly predicts says so."""
    with tempfile.TemporaryDirectory() as folder:
        said = tiny.verdict(Path(folder), chosen.plans // 20)
    rows = [("tolerance, a step's usual length", said.tolerance), ("radius of one step, median", said.radius)]
    report.table("tiny-jepa's published weights", ("what", "latent units"), rows)
    report.remarks.append(f"tiny-jepa's plans are refused for {', '.join(said.reasons)}")
    report.remarks.append(f"it would not be served: {said.finding}")
    report.add(
        Goal(
            "poor_found", "calibrations of tiny-jepa's weights that find something", float(bool(said.finding)), 1, True
        ),
        Goal("poor_refused", "plans of tiny-jepa's weights that are refused", said.refused, 0.99, True),
        Goal("poor_radius", "its radius over its tolerance", said.radius / said.tolerance, 1, True),
    )


PARTS: Mapping[str, Callable[[Report, Options], None]] = {
    "coverage": coverage,
    "plans": plans,
    "ood": ood,
    "trap": trap,
    "poor": poor,
    "changes": changes,
    "collapse": collapse,
    "price": price,
}

HEADING = """# Trust: what a served world says of its own errors, beside what then happened

Made by `make trust`; `loadtest/bench_trust.py` says how. Two-Room, doors anywhere along the wall, trajectories that
neither training nor calibration has seen."""


def measure(quick: bool, wanted: list[str]) -> Report:
    """Run the parts; each with a server of its own."""
    torch.set_num_threads(1)
    noise, report = Noise(), Report(describe("torch"))
    for name in wanted:
        print(f"measuring: {name}", file=sys.stderr, flush=True)
        PARTS[name](report, QUICK if quick else WHOLE)
        noise.probe()
    report.noise = noise.statement()
    report.remarks += [f"not measured this time: {part}" for part in PARTS if part not in wanted]
    return report


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke test: the figures mean nothing")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    arguments = parser.parse_args()
    report = measure(arguments.quick, arguments.only)
    if not arguments.quick:
        report.write(RESULTS, "trust", HEADING)
        picture.draw(report, ROOT / "docs" / "trust.png")
    print(report.text())
    print(json.dumps(report.summary()))


if __name__ == "__main__":
    main()
