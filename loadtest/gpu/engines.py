"""What is measured: cost engines of one world, each a function `context, goal, candidates -> costs`.

Axes: `B` plans, `S` candidates, `R = B x S` rows, `N` environment steps, `A` action dimension, `T` context frames, `D`
latent dimension, `H` model steps.
"""

import copy
import dataclasses
import importlib.util
import sys
import types
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn
from wmserve_export.families.lewm import Lewm
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.graphs import CostGraph

from loadtest.gpu import tensorrt_engine
from loadtest.gpu.precision import BF16, FLOAT32, FP16, TF32, Precision, brought_to
from loadtest.gpu.search import Cost
from loadtest.gpu.skipped import Skipped
from loadtest.gpu.wavefront import Wavefront

HORIZON = 5
ROWS = ((1, 128, 600), (601, 2400, 9600))
"""Fewest, most likely and most rows of a TensorRT engine: kernels for one plan, and for batches."""
Weights = dict[str, Tensor]
Distance = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, ...]]
"""A cost graph: context, candidates, goal -> goal distances `[B, S, H]` and more."""


@dataclasses.dataclass(frozen=True)
class Variant:
    """An engine and how its search is run."""

    name: str
    precision: Precision
    build: Callable[["Subject"], Cost]
    captured: bool = False
    """Whether the whole plan is one CUDA graph."""
    compiled: bool = False
    """Whether torch.compile makes it."""
    takes_s: float = 5.0
    """Seconds that building it may take on a GPU machine; not begun when less is left for that."""

    @property
    def label(self) -> str:
        """As tables call it."""
        return f"{self.name}, {self.precision.name}"


class Subject:
    """The world that all engines run, and where and how it runs."""

    def __init__(self, config: LewmConfig, weights: Weights, device: torch.device) -> None:
        self.config, self.weights, self.device = config, weights, device
        self.world = Lewm(config, weights).eval().to(device)

    def graph(self, precision: Precision, wavefront: bool = False) -> CostGraph:
        """The cost graph in a precision; with `wavefront`, with its reads in another order."""
        world = self.world
        if wavefront:
            world = copy.deepcopy(world)
            world.predictor = Wavefront(world.predictor)  # type: ignore[assignment]
        return CostGraph(brought_to(world, precision)).eval()


class Reference(nn.Module):
    """The reference as its solver asks it from the second iteration on: ``get_cost`` with its latents cached."""

    def __init__(self, subject: Subject) -> None:
        super().__init__()
        reference = import_reference()
        axes = subject.config.action.axes
        self.model = reference.build(subject.config, subject.weights).to(subject.device)
        self.cached = reference.cached
        self.block_dim = subject.config.block_dim
        self.mean = torch.tensor([axis.mean for axis in axes], device=subject.device)
        self.std = torch.tensor([axis.std for axis in axes], device=subject.device)

    def forward(self, context: Tensor, goal: Tensor, candidates: Tensor) -> Tensor:
        """Context `[B, T, D]`, goal `[B, D]`, candidates `[B, S, N, A]` -> costs `[B, S]`."""
        count = candidates.shape[1]
        blocks = ((candidates - self.mean) / self.std).reshape(len(candidates), count, -1, self.block_dim)
        costs: Tensor = self.model.get_cost(self.cached(context, goal, count), blocks)
        return costs


@cache
def import_reference() -> types.ModuleType:
    """`loadtest.lewm_reference`, without the environments and data formats that its package imports on the way."""
    spec = importlib.util.find_spec("stable_worldmodel")
    if spec is None or not spec.submodule_search_locations:
        raise Skipped("stable_worldmodel is not installed")
    if torch.version.cuda is None:
        import loadtest.evaluation  # noqa: F401  # lets transformers import a CUDA build of torchvision
    place = spec.submodule_search_locations[0]
    for name, folder in (("stable_worldmodel", place), ("stable_worldmodel.wm", f"{place}/wm")):
        package = types.ModuleType(name)
        package.__path__ = [folder]
        sys.modules.setdefault(name, package)
    try:
        return importlib.import_module("loadtest.lewm_reference")
    except ImportError as error:
        raise Skipped(f"the reference needs what is not installed: {error}") from error


def last_step(distance: Distance) -> Cost:
    """The reference's criterion: the distance after the last model step."""
    return lambda context, goal, candidates: distance(context, candidates, goal)[0][:, :, -1]


def by_rows(distance: Distance) -> Cost:
    """Every candidate as a problem of its own: one free axis, so one compiled graph serves all batches."""

    def cost(context: Tensor, goal: Tensor, candidates: Tensor) -> Tensor:
        count = candidates.shape[1]
        # Copies, never views: a compiled graph asks how tensors lie, and would be compiled again for one plan.
        contexts = context[:, None].expand(-1, count, -1, -1).flatten(0, 1).contiguous()
        goals = goal[:, None].expand(-1, count, -1).flatten(0, 1).contiguous()
        rows = candidates.flatten(0, 1).unsqueeze(1).clone()
        return distance(contexts, rows, goals)[0][:, 0, -1].unflatten(0, (-1, count))

    return cost


def eager(precision: Precision, wavefront: bool = False) -> Callable[[Subject], Cost]:
    """The rewritten graph as torch runs it."""
    return lambda subject: last_step(subject.graph(precision, wavefront))


def compiled(precision: Precision, mode: str, wavefront: bool = True) -> Callable[[Subject], Cost]:
    """The rewritten graph compiled for any number of rows; on a CPU traced as a whole, and run as it was traced."""

    def build(subject: Subject) -> Cost:
        how = {"mode": mode} if subject.device.type == "cuda" else {"backend": "eager"}
        # More precisions share this code than dynamo keeps of one function; past its limit it would run eagerly.
        torch._dynamo.config.recompile_limit = 64
        graph = subject.graph(precision, wavefront)
        return by_rows(torch.compile(graph, dynamic=True, fullgraph=True, **how))

    return build


def tensorrt(precision: Precision) -> Callable[[Subject], Cost]:
    """A TensorRT engine of the ONNX cost graph, as it is exported and in the wavefront's order; its rows are `B`."""

    def build(subject: Subject) -> Cost:
        ranges = [({"B": low, "S": 1}, {"B": usual, "S": 1}, {"B": high, "S": 1}) for low, usual, high in ROWS]
        world = subject.graph(precision, wavefront=True).family
        return by_rows(tensorrt_engine.build(world, HORIZON, ranges, precision.tf32))

    return build


def captured(name: str, precision: Precision, build: Callable[[Subject], Cost], takes_s: float = 5.0) -> Variant:
    """A variant whose plan is one CUDA graph."""
    return Variant(f"{name}, captured", precision, build, captured=True, takes_s=takes_s)


def variants(mode: str) -> list[Variant]:
    """What to measure, in the order in which it is built: what matters most comes first."""
    return [*uncompiled(), *compiled_variants(("default", BF16), ("default", TF32), (mode, BF16)), *others()]


def uncompiled() -> list[Variant]:
    """Torch's own kernels, launched one by one and captured."""
    return [
        *(Variant("reference, eager", precision, Reference) for precision in (FLOAT32, TF32)),
        *(Variant("rewritten, eager", precision, eager(precision)) for precision in (FLOAT32, TF32)),
        captured("reference", TF32, Reference),
        *(captured("rewritten", precision, eager(precision)) for precision in (FLOAT32, TF32, BF16)),
        *(captured("wavefront", precision, eager(precision, True)) for precision in (FLOAT32, TF32, BF16, FP16)),
    ]


def compiled_variants(*wanted: tuple[str, Precision], wavefront: bool = True) -> list[Variant]:
    """Compiled in a mode and a precision, and captured."""
    name = "wavefront" if wavefront else "rewritten"
    return [
        dataclasses.replace(
            captured(f"{name}, compiled ({mode})", precision, compiled(precision, mode, wavefront), takes_s=60.0),
            compiled=True,
        )
        for mode, precision in wanted
    ]


def others() -> list[Variant]:
    """What is built while there is time: TensorRT, whose graphs take long to export, and what was left out above."""
    return [
        *(captured("TensorRT", precision, tensorrt(precision), takes_s=120.0) for precision in (FP16, FLOAT32, BF16)),
        *compiled_variants(("default", FP16), ("default", FLOAT32)),
        *compiled_variants(("default", BF16), wavefront=False),
    ]
