"""Measure LeWM planning on a GPU: CEM and iCEM, 128 candidates x 3 and 300 x 30, horizon 5, 1, 8 and 32 plans at once.

    python -m loadtest.gpu.lewm_plan [--dry-run] [--only WORD ...]

Full-size LeWM with random weights, latents given (encoding is not timed). Every engine is checked before it is timed:
its costs against the reference's, its captured plan against the uncaptured one. Writes
`loadtest/results/gpu_lewm_plan.json` and `.md` as it goes along; the last line is JSON. See README.md beside this file.
"""

import argparse
import contextlib
import dataclasses
import datetime
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from loadtest import lewm_checkpoint
from loadtest.gpu import checks, floor, timing
from loadtest.gpu.engines import Reference, Subject, Variant, eager, variants
from loadtest.gpu.floor import Peak
from loadtest.gpu.precision import BF16, FLOAT32, TF32, Precision
from loadtest.gpu.report import Checked, Report, Row, floors
from loadtest.gpu.search import CapturedSearch, Cost, Plan, Problem, Search, Workload
from loadtest.gpu.skipped import Skipped

RESULTS = Path(__file__).parent.parent / "results"
DRY_RESULTS = Path(__file__).parent.parent.parent / "build" / "gpu_dry_run"
PREPARING = 0.5
"""Part of the time in which engines are built; the rest is for timing."""
COUNTED = ("iCEM 128 x 3", 1)
"""Workload at which kernels are counted: the goal's."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure; the dry run is small."""

    batches: tuple[int, ...] = (1, 8, 32)
    budgets: tuple[tuple[int, int], ...] = ((128, 3), (300, 30))
    elites: int = 30
    rounds: int = 50
    seconds_each: float = 8.0
    """Rounds of one workload take no longer than this, if three have been made."""

    def workloads(self) -> list[Workload]:
        """What is measured, the goal first."""
        return [
            Workload(algorithm, candidates, iterations, batch, self.elites)
            for candidates, iterations in self.budgets
            for batch in self.batches
            for algorithm in ("icem", "cem")
        ]


FULL = Options()
DRY = Options(batches=(1, 2), budgets=((24, 2),), elites=6, rounds=3, seconds_each=1.0)


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine that has passed its checks."""

    variant: Variant
    cost: Cost


class Session:
    """One run: the world, its engines, what was found and how much time is left."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.dry_run = arguments.dry_run
        self.options = DRY if arguments.dry_run else FULL
        self.device = torch.device("cpu" if arguments.dry_run else "cuda")
        self.end = time.monotonic() + arguments.budget_s
        self.budget_s = arguments.budget_s
        self.config = lewm_checkpoint.small() if arguments.dry_run else lewm_checkpoint.full_size()
        self.subject = Subject(self.config, lewm_checkpoint.random_weights(self.config), self.device)
        self.peak = peak(arguments, self.device)
        self.launch_us = timing.launch_us(self.device)
        folder = arguments.out or (DRY_RESULTS if arguments.dry_run else RESULTS)
        self.report = Report("gpu_lewm_plan", folder, about(self.subject, self.peak, arguments.dry_run))
        self.report.about["launch_us"] = self.launch_us

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    def prepare(self, wanted: list[Variant]) -> list[Engine]:
        """Build and check engines while there is time to."""
        checking, found = Checks(self.subject, self.options, self.wanted_costs()), []
        if self.device.type != "cuda":
            self.report.skipped["CUDA graphs"] = "there is no CUDA device; what they would hold is run uncaptured"
        for variant in wanted:
            with self.noting(variant.label):
                if self.left_s() - variant.takes_s < (1 - PREPARING) * self.budget_s:
                    raise Skipped("too little time is left to build it")
                if self.dry_run and variant.compiled and any(engine.variant.compiled for engine in found):
                    raise Skipped("a dry run compiles one engine")
                cost = variant.build(self.subject)
                self.report.checks[variant.label] = checking.check(variant, cost)
                found.append(Engine(variant, cost))
                say(f"ready: {variant.label}, {self.left_s():.0f} s left")
        return found

    def wanted_costs(self) -> Cost:
        """The reference, or where it cannot be had the rewritten graph, which tests hold equal to it."""
        try:
            return Reference(self.subject)
        except Skipped as reason:
            self.report.skipped["comparison with the reference, made with the rewritten graph instead"] = str(reason)
            return eager(FLOAT32)(self.subject)

    def expected_s(self, workload: Workload, count: int) -> float:
        """Seconds that a workload may take: warming up, capture and three rounds, at twice the floor in float32."""
        return self.options.seconds_each + 12e-3 * count * floor.floor(self.config, workload, FLOAT32, self.peak).ms

    def measure(self, workload: Workload, engines: list[Engine]) -> None:
        """Time all engines at one workload, in turns."""
        problem = checks.problem(self.config, workload.batch, self.device)
        runs: dict[str, Callable[[], Plan]] = {}
        for engine in engines:
            with self.noting(f"{engine.variant.label}, {workload.name}, batch {workload.batch}"):
                runs[engine.variant.label] = runner(engine.variant, self.search(workload, engine.cost), problem)
        limit_s = min(self.options.seconds_each, self.left_s() / 2)
        times = timing.in_turns(runs, self.device, self.options.rounds, limit_s)
        self.report.states[f"{workload.name}, batch {workload.batch}"] = timing.device_state()
        for engine in engines:
            if engine.variant.label in runs:
                own = times[engine.variant.label]
                self.report.rows.append(self.row(workload, engine.variant, own, runs[engine.variant.label]))

    def row(self, workload: Workload, variant: Variant, times: timing.Times, run: Callable[[], Plan]) -> Row:
        """An engine's figures beside its floor, with its kernels where they are counted."""
        least = floor.floor(self.config, workload, variant.precision, self.peak)
        found = Row(workload.name, workload.batch, variant.label, times, least)
        counted = timing.kernels(run, self.device) if (workload.name, workload.batch) == COUNTED else None
        if counted is None or self.launch_us is None:
            return found
        each = self.launch_us["captured" if variant.captured else "one by one"]
        return dataclasses.replace(found, kernels=counted, launch_ms=counted * each / 1e3)

    def search(self, workload: Workload, cost: Cost) -> Search:
        """A search with an engine."""
        return Search(workload, self.config.action, cost, self.device)

    @contextlib.contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Note why something was skipped or found wrong, and go on; save what there is."""
        try:
            yield
        except Skipped as reason:
            self.report.skipped[name] = str(reason)
        except checks.Wrong as reason:
            self.report.wrong[name] = str(reason)
        except Exception as error:  # an engine that does not build or run must not cost the others their figures
            self.report.skipped[name] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
        finally:
            if name in self.report.skipped or name in self.report.wrong:
                say(f"not measured: {name}: {self.report.wrong.get(name) or self.report.skipped[name]}")
            self.report.save()


class Checks:
    """Compares engines with the reference's costs on one problem."""

    def __init__(self, subject: Subject, options: Options, reference: Cost) -> None:
        self.subject, self.options = subject, options
        self.problem = checks.problem(subject.config, 2, subject.device)
        count = max(count for count, _ in options.budgets)
        self.actions = checks.candidates(subject.config, 2, count, subject.device)
        candidates, iterations = options.budgets[0]
        self.workload = Workload("icem", candidates, iterations, 2, options.elites)
        self.costs = checks.costs_of(reference, self.problem, self.actions, FLOAT32)
        self.plan = self.planned(reference, FLOAT32)

    def search(self, cost: Cost) -> Search:
        """A search with an engine."""
        return Search(self.workload, self.subject.config.action, cost, self.subject.device)

    def planned(self, cost: Cost, precision: Precision) -> Plan:
        """An uncaptured plan of the seed's noise."""
        search = self.search(cost)
        return checks.seeded(lambda: search(self.problem), precision)

    def check(self, variant: Variant, cost: Cost) -> Checked:
        """Wrong where an engine's costs or its captured plan are not what they must be."""
        found = checks.costs_of(cost, self.problem, self.actions, variant.precision)
        costs = checks.check_costs(found, self.costs, variant.precision, self.options.elites)
        plan, difference = self.planned(cost, variant.precision), None
        if variant.captured:
            run = runner(variant, self.search(cost), self.problem)
            difference = checks.check_same_plan(checks.seeded(run, variant.precision), plan)
        apart = checks.first_action_difference(plan, self.plan)
        return Checked(costs.error, costs.elites_shared, costs.elites, apart, difference)


def runner(variant: Variant, search: Search, problem: Problem) -> Callable[[], Plan]:
    """What is timed: a replayed graph, or a search in the variant's precision. Without CUDA nothing is captured."""
    with variant.precision.applied():
        if variant.captured and search.device.type == "cuda":
            return CapturedSearch(search, problem)

    def run() -> Plan:
        with variant.precision.applied():
            return search(problem)

    return run


def peak(arguments: argparse.Namespace, device: torch.device) -> Peak:
    """The device's peak figures, those given on the command line first."""
    found = floor.peak_of(torch.cuda.get_device_name(device) if device.type == "cuda" else "")
    given = {name: getattr(arguments, f"peak_{name}") for name in ("float32", "tf32", "half", "bandwidth")}
    return dataclasses.replace(found, **{name: value for name, value in given.items() if value is not None})


def about(subject: Subject, peaks: Peak, dry_run: bool) -> dict[str, object]:
    """What the figures depend on."""
    horizon, device, cuda = 5, subject.device, subject.device.type == "cuda"
    macs = floor.macs(subject.config, horizon)
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "dry_run": dry_run,
        "world": f"{subject.config.name}, {sum(tensor.numel() for tensor in subject.weights.values())} numbers",
        "device": torch.cuda.get_device_name(device) if cuda else f"CPU ({platform.machine()})",
        "cuda": cuda,
        "versions": f"Python {platform.python_version()}, torch {torch.__version__}, CUDA {torch.version.cuda}",
        "driver": timing.driver(),
        "peak": f"{peaks}",
        "macs_per_candidate": macs,
        "weights_read": floor.weight_count(subject.config, horizon),
        "activations_per_candidate": floor.activation_count(subject.config, horizon),
        "state_before": timing.device_state(),
    }


def say(*lines: str) -> None:
    """Print at once: a run that is cut short shall have said where it was."""
    print(*lines, sep="\n", flush=True)


def run(session: Session, wanted: list[Variant]) -> int:
    """Build, check and time; the exit code is 1 if an engine was wrong."""
    for workload in session.options.workloads()[:2]:
        named = {f"{workload.name}, {p.name}": p for p in (FLOAT32, TF32, BF16)}
        say(*floors({n: floor.floor(session.config, workload, p, session.peak) for n, p in named.items()}))
    engines = session.prepare(wanted)
    for workload in session.options.workloads():
        with session.noting(f"{workload.name}, batch {workload.batch}"):
            if session.left_s() < session.expected_s(workload, len(engines)):
                raise Skipped("too little time is left")
            session.measure(workload, engines)
            say(f"timed: {workload.name}, batch {workload.batch}, {session.left_s():.0f} s left")
    session.report.save()
    say(session.report.markdown())
    say(json.dumps(session.report.summary()))
    return 1 if session.report.wrong else 0


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="a small LeWM on the CPU, everything but CUDA")
    parser.add_argument("--budget-s", type=float, default=450.0, help="seconds that all of it may take")
    parser.add_argument("--only", nargs="+", default=[""], help="engines with one of these words in their names")
    parser.add_argument("--compile-mode", default="max-autotune-no-cudagraphs", help="of the engine compiled longest")
    parser.add_argument("--out", type=Path, help="folder of the results")
    for name, unit in (("float32", "TFLOP/s"), ("tf32", "TFLOP/s"), ("half", "TFLOP/s"), ("bandwidth", "TB/s")):
        parser.add_argument(f"--peak-{name}", type=float, help=f"{unit}, instead of the datasheet's")
    return parser.parse_args(given)


def main() -> int:
    """Measure as the command line says."""
    arguments = parse()
    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --dry-run does without one")
    wanted = [own for own in variants(arguments.compile_mode) if any(word in own.label for word in arguments.only)]
    return run(Session(arguments), wanted)


if __name__ == "__main__":
    sys.exit(main())
