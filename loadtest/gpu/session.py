"""One run: engines are built and checked, then timed in turns; what cannot be had is named, and the rest goes on."""

import contextlib
import dataclasses
import datetime
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from loadtest import lewm_checkpoint
from loadtest.gpu import checks, floor, timing
from loadtest.gpu.engines import Reference, Subject, Variant, eager
from loadtest.gpu.floor import Peak
from loadtest.gpu.precision import FLOAT32, Precision
from loadtest.gpu.report import Checked, Report, Row
from loadtest.gpu.search import CapturedSearch, Cost, Plan, Problem, Search, Workload
from loadtest.gpu.skipped import Skipped

PREPARING = 0.5
"""Part of the time in which engines are built; the rest is for timing."""
COUNTED = ("iCEM 128 x 3", 1)
"""Workload at which kernels are counted: the goal's."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure; the dry run is small."""

    dry_run: bool = False
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
DRY = Options(dry_run=True, batches=(1, 2), budgets=((24, 2),), elites=6, rounds=3, seconds_each=1.0)


@dataclasses.dataclass(frozen=True)
class Engine:
    """An engine that has passed its checks."""

    variant: Variant
    cost: Cost


class Session:
    """One run: the world, its engines, what was found and how much time is left."""

    def __init__(self, options: Options, budget_s: float, peak: Peak, folder: Path) -> None:
        self.options, self.budget_s, self.peak = options, budget_s, peak
        self.end = time.monotonic() + budget_s
        self.device = torch.device("cpu" if options.dry_run else "cuda")
        self.config = lewm_checkpoint.small() if options.dry_run else lewm_checkpoint.full_size()
        self.subject = Subject(self.config, lewm_checkpoint.random_weights(self.config), self.device)
        self.launch_us = timing.launch_us(self.device)
        self.report = Report("gpu_lewm_plan", folder, about(self.subject, options.dry_run, peak, self.launch_us))

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
                if self.options.dry_run and variant.compiled and any(engine.variant.compiled for engine in found):
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


def about(subject: Subject, dry_run: bool, peak: Peak, launch_us: object) -> dict[str, object]:
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
        "peak": f"{peak}",
        "launch_us": launch_us,
        "macs_per_candidate": macs,
        "weights_read": floor.weight_count(subject.config, horizon),
        "activations_per_candidate": floor.activation_count(subject.config, horizon),
        "state_before": timing.device_state(),
    }


def say(*lines: str) -> None:
    """Print at once: a run that is cut short shall have said where it was."""
    print(*lines, sep="\n", flush=True)
