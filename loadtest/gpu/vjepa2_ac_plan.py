"""Measure V-JEPA 2-AC on a GPU: a frame encoded, and CEM of 800 candidates x 10 iterations, 1 and 2 steps ahead.

    python -m loadtest.gpu.vjepa2_ac_plan [--dry-run] [--only WORD ...]

The published size, 1316 M weights, which are random; the paper (arXiv 2506.09985) plans an action by this search in 16
s on an RTX 4090. Candidates are scored in chunks, by engines that keep keys and values of earlier frames: at two steps
that saves a third of the blocks' work, exactly. Each engine's costs are compared with torch's in float32 before it is
timed; engines take turns. Writes `loadtest/results/gpu_vjepa2_ac_plan.json`; the last line is JSON. What is needed and
what options mean: README.md beside this file.
"""

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from wmserve_export.families.vjepa2_ac import VJepa2Ac
from wmserve_export.families.vjepa2_ac.config import VJepa2AcConfig
from wmserve_export.families.vjepa2_ac.weights import shapes
from wmserve_export.graphs import CostGraph

from loadtest.families import vjepa2_ac_random as drawn
from loadtest.gpu import checks, floor, low_precision, tensorrt_engine, timing
from loadtest.gpu.floor import Peak
from loadtest.gpu.lewm_plan import DRY_RESULTS, RESULTS
from loadtest.gpu.precision import BF16, FLOAT32, TF32, Precision
from loadtest.gpu.search import Cost, Problem, Search, Workload
from loadtest.gpu.session import say
from loadtest.gpu.skipped import Skipped

NAME = "gpu_vjepa2_ac_plan"
GOALS_S = {"bf16": 2.0, "fp8": 1.2}
PAPER_S = {"RTX 4090, as published, one action": 16.0}
FP8 = dataclasses.replace(BF16, name="fp8")
"""Attention and the encoder stay in bf16."""
Build = Callable[[VJepa2Ac, int], Cost]
"""The world and a horizon -> what scores candidates of that."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to measure."""

    candidates: int = 800
    iterations: int = 10
    elites: int = 10
    chunk: int = 100
    """Candidates scored at once."""
    rounds: int = 5
    dry_run: bool = False

    def workload(self, horizon: int) -> Workload:
        """One search."""
        return Workload("cem", self.candidates, self.iterations, 1, self.elites, horizon)


FULL = Options()
DRY = Options(candidates=16, iterations=2, elites=4, chunk=8, rounds=3, dry_run=True)


@dataclasses.dataclass(frozen=True)
class Variant:
    """An engine: what products are in, and how it is made."""

    name: str
    precision: Precision
    build: Build

    @property
    def label(self) -> str:
        """As results call it."""
        return f"{self.name}, {self.precision.name}"


def in_chunks(score: Callable[[Tensor, Tensor, Tensor], Tensor], chunk: int) -> Cost:
    """Score candidates `[1, S, N, A]` chunk by chunk, so that what is remembered of them fits."""

    def cost(context: Tensor, goal: Tensor, candidates: Tensor) -> Tensor:
        parts = [score(context, part.contiguous(), goal) for part in candidates.split(chunk, dim=1)]
        return torch.cat(parts, dim=1)

    return cost


def final_distance(world: VJepa2Ac) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """The reference's criterion, by the graph that is exported: context, candidates, goal -> `[B, S]`."""
    graph = CostGraph(world)
    return lambda context, candidates, goal: graph(context, candidates, goal)[0][..., -1]


def eager(world: VJepa2Ac, _horizon: int, options: Options) -> Cost:
    """What is exported, as torch runs it: attention written out."""
    return in_chunks(final_distance(world), options.chunk)


def lower(
    world: VJepa2Ac, _horizon: int, options: Options, kind: type[torch.nn.Module], compiled: str | None = None
) -> Cost:
    """In bf16 or FP8, attention fused; compiled block by block in a mode."""
    world = low_precision.predicting(world, kind)
    if compiled is not None:
        how = {"mode": compiled} if not options.dry_run else {"backend": "eager"}
        for block in world.predictor.blocks:
            block.compile(fullgraph=True, **how)
    return in_chunks(final_distance(world), options.chunk)


def tensorrt(world: VJepa2Ac, horizon: int, options: Options) -> Cost:
    """By TensorRT, from the ONNX file that is exported, products in bf16."""
    least, most = {"B": 1, "S": 1}, {"B": 1, "S": options.chunk}
    engine = tensorrt_engine.build(world, horizon, [(least, most, most)], dtype="bfloat16")
    return in_chunks(lambda *given: engine(*given)[0][..., -1], options.chunk)


def variants(options: Options) -> list[Variant]:
    """What is measured; what matters most comes first."""

    def made(work: Callable[..., Cost], *more: Any) -> Build:
        return lambda world, horizon: work(world, horizon, options, *more)

    half, float8 = low_precision.Half, low_precision.Float8
    return [
        Variant("compiled (default)", BF16, made(lower, half, "default")),
        Variant("compiled (default)", FP8, made(lower, float8, "default")),
        Variant("TensorRT", BF16, made(tensorrt)),
        Variant("eager, fused attention", BF16, made(lower, half)),
        Variant("compiled (max-autotune)", BF16, made(lower, half, "max-autotune-no-cudagraphs")),
        Variant("compiled (max-autotune)", FP8, made(lower, float8, "max-autotune-no-cudagraphs")),
        Variant("eager", TF32, made(eager)),
    ]


class Session:
    """One run: what was found, and how much time is left."""

    def __init__(self, options: Options, budget_s: float, peak: Peak, file: Path) -> None:
        self.options, self.end, self.peak, self.file = options, time.monotonic() + budget_s, peak, file
        self.device = torch.device("cpu" if options.dry_run else "cuda")
        config = drawn.small() if options.dry_run else drawn.full_size()
        self.world = VJepa2Ac(config, drawn.random_weights(config)).eval().to(self.device)
        self.found: dict[str, Any] = {
            "device": "CPU" if options.dry_run else torch.cuda.get_device_name(self.device),
            "driver": timing.driver(),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "peak": dataclasses.asdict(peak),
            "options": dataclasses.asdict(options),
            "paper_s": PAPER_S,
            "goals_s": GOALS_S,
            "skipped": {},
            "wrong": {},
        }

    def left_s(self) -> float:
        """Seconds that are left."""
        return self.end - time.monotonic()

    @contextlib.contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Note what could not be measured, or was wrong, and go on; keep what there is."""
        try:
            yield
        except checks.Wrong as reason:
            self.found["wrong"][name] = str(reason)
        except Exception as reason:  # whatever one engine stumbles over, others may not
            said = str(reason) if isinstance(reason, Skipped) else f"{type(reason).__name__}: {reason}"
            self.found["skipped"][name] = said.splitlines()[0]
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self.file.write_text(json.dumps(self.found, indent=1) + "\n")

    @torch.no_grad()
    def encode(self) -> None:
        """Milliseconds of one frame."""
        size = self.world.config.image_size
        frames = torch.randint(0, 256, (1, 1, size, size, 3), dtype=torch.uint8, device=self.device).float()
        pose = torch.zeros(1, 1, 7, device=self.device)
        half = low_precision.encoding(self.world)
        compiled = low_precision.encoding(self.world)
        for layer in compiled.encoder.layers:
            layer.compile(fullgraph=True, **({"backend": "eager"} if self.options.dry_run else {}))
        runs = {
            "eager, fp32, TF32 on": lambda: self.world.encode(frames, pose),
            "eager, bf16": lambda: half.encode(frames, pose),
            "compiled, bf16": lambda: compiled.encode(frames, pose),
        }
        with TF32.applied():
            times = timing.in_turns(runs, self.device, 20, 20.0)
        self.found["encode_ms"] = {name: dataclasses.asdict(own) for name, own in times.items()}

    def problem(self) -> Problem:
        """Latents of two pictures: layer-normed noise, and poses within reach."""
        generator, config = torch.Generator().manual_seed(checks.SEED), self.world.config
        drawn_latents = torch.randn(2, 1, config.patches, config.latent_dim, generator=generator)
        latents = self.world.joined(drawn_latents, torch.full((2, 1, 7), 0.3)).to(self.device)
        return Problem(latents[:1], latents[1])

    def plan(self, horizon: int, wanted: list[Variant]) -> None:
        """Check and time all engines at a horizon."""
        problem, load = self.problem(), self.options.workload(horizon)
        few = self.candidates(load, 4 * self.options.elites)
        exact = eager(self.world, horizon, self.options)
        costs = checks.costs_of(exact, problem, few, FLOAT32)
        operations = counted(self.world.config, horizon) * load.candidates * load.iterations
        plan = self.found.setdefault("plan", {})[f"horizon {horizon}"] = {
            "operations": operations,
            "floor_s_half": operations / (self.peak.half * 1e12),
        }
        runs = {}
        for variant in wanted:
            with self.noting(f"{variant.label}, horizon {horizon}"):
                if self.left_s() < 60:
                    raise Skipped("too little time is left")
                cost = variant.build(self.world, horizon)
                found = checks.costs_of(cost, problem, few, variant.precision)
                check = checks.check_costs(found, costs, variant.precision, self.options.elites)
                plan.setdefault("checks", {})[variant.label] = dataclasses.asdict(check)
                runs[variant.label] = searching(
                    variant.precision, Search(load, self.world.config.action, cost, self.device), problem
                )
                say(f"ready: {variant.label}, horizon {horizon}, {self.left_s():.0f} s left")
        times = timing.in_turns(runs, self.device, self.options.rounds, self.left_s() / 2)
        plan["seconds"] = {name: own.median / 1e3 for name, own in times.items()}
        plan["rounds"] = {name: own.rounds for name, own in times.items()}
        plan["state"] = timing.device_state()

    def candidates(self, load: Workload, count: int) -> Tensor:
        """Candidates `[1, S, N, A]`, even within their bounds."""
        axes = self.world.config.action.axes
        low, high = (torch.tensor([getattr(axis, end) for axis in axes]) for end in ("low", "high"))
        share = torch.rand(1, count, load.horizon, len(axes), generator=torch.Generator().manual_seed(checks.SEED))
        return (low + (high - low) * share).to(self.device)

    def summary(self) -> dict[str, Any]:
        """The last line: the fastest of each type at each horizon, and whether the goals are met."""
        best: dict[str, dict[str, float]] = {}
        for horizon, plan in self.found.get("plan", {}).items():
            for label, seconds in plan.get("seconds", {}).items():
                kind = label.rpartition(", ")[2]
                own = best.setdefault(horizon, {})
                own[kind] = min(seconds, own.get(kind, seconds))
        met = {kind: best.get("horizon 1", {}).get(kind, float("inf")) <= goal for kind, goal in GOALS_S.items()}
        told = {"device": self.found["device"], "plan_s": best, "goals_met": met if not self.options.dry_run else None}
        return told | {"wrong": self.found["wrong"], "skipped": sorted(self.found["skipped"])}


def searching(precision: Precision, search: Search, problem: Problem) -> Callable[[], object]:
    """One plan, its products as the precision wants them."""

    def run() -> object:
        with precision.applied():
            return search(problem)

    return run


@torch.no_grad()
def counted(config: VJepa2AcConfig, horizon: int) -> int:
    """Operations of scoring one candidate, a multiply and an add as two, as torch counts them by their shapes."""
    config = config.model_copy(update={"depth": 1})  # of the encoder, which scores nothing
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        world = VJepa2Ac(config, {name: torch.empty(shape) for name, shape in shapes(config).items()})
        latents = torch.empty(1, (config.patches + 1) * config.latent_dim)
        final_distance(world)(latents[None], torch.empty(1, 1, horizon, 7), latents)
    return int(counter.get_total_flops())


def main(given: list[str] | None = None) -> int:
    """Measure as the command line says; 1 if an engine was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="a small world on the CPU")
    parser.add_argument("--budget-s", type=float, default=450.0, help="seconds that all of it may take")
    parser.add_argument("--only", nargs="+", default=[""], help="engines with one of these words in their names")
    parser.add_argument("--chunk", type=int, help="candidates scored at once")
    parser.add_argument("--horizons", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--out", type=Path, help="folder of the results")
    arguments = parser.parse_args(given)
    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --dry-run does without one")
    options = DRY if arguments.dry_run else FULL
    options = dataclasses.replace(options, chunk=arguments.chunk or options.chunk)
    peak = floor.peak_of("" if arguments.dry_run else torch.cuda.get_device_name())
    folder = arguments.out or (DRY_RESULTS if arguments.dry_run else RESULTS)
    session = Session(options, arguments.budget_s, peak, folder / f"{NAME}.json")
    wanted = [own for own in variants(options) if any(word in own.label for word in arguments.only)]
    with session.noting("encode"):
        session.encode()
    for horizon in arguments.horizons:
        with session.noting(f"horizon {horizon}"):
            session.plan(horizon, wanted)
    say(json.dumps(session.summary()))
    return 1 if session.found["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
