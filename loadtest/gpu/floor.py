"""The least time that a plan can take on a device: operations and bytes, counted from shapes, over its peak figures.

Counted is the rewritten graph (``families/lewm/predictor.py``), a multiply and an add as one MAC, for a context of one
frame. A frame is read at position ``p`` of a window; per block, with `D` latents, `W` = heads x head width, `M` the
MLP's width:

    p = 0    D x D                                     what attention to the first frame alone gives
    p > 0    D x 2W + (D x W + W x D + 2 p W if used)  keys and values; query, output, and the products with `p` keys
    used     2 x D x M                                 MLP; the last block uses only the newest frame of a window

and once an action: ``depth x D x 6D`` modulations, ``2 x D x P`` of the head (`P` its width), the action encoder.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from wmserve_export.families.lewm.config import LewmConfig

from loadtest.gpu.precision import Precision
from loadtest.gpu.search import Workload


@dataclass(frozen=True)
class Product:
    """A linear layer: its size, how often a candidate passes through it, how many such layers there are."""

    name: str
    inputs: int
    outputs: int
    uses: int
    layers: int

    @property
    def macs(self) -> int:
        """Of one candidate."""
        return self.inputs * self.outputs * self.uses


@dataclass(frozen=True)
class Peak:
    """A device's datasheet: dense TFLOP/s by unit, and TB/s of its memory."""

    device: str
    float32: float
    tf32: float
    half: float
    bandwidth: float

    def tflops(self, precision: Precision) -> float:
        """Peak of the unit that does the products of a precision."""
        if precision.dtype is not None:
            return self.half
        return self.tf32 if precision.tf32 else self.float32


PEAKS = (  # the first whose words are all in the device's name
    Peak("H100 PCIe", 51.0, 378.0, 756.0, 2.0),
    Peak("H100", 67.0, 494.0, 989.0, 3.35),
    Peak("H200", 67.0, 494.0, 989.0, 4.8),
    Peak("A100", 19.5, 156.0, 312.0, 2.04),
    Peak("RTX 4090", 82.6, 82.6, 165.2, 1.008),
)
ASSUMED = PEAKS[1]
"""Of a device that is not listed."""


def peak_of(device_name: str) -> Peak:
    """Peak figures of a device by its name."""
    found = (peak for peak in PEAKS if all(word in device_name for word in peak.device.split()))
    return next(found, ASSUMED)


@dataclass(frozen=True)
class Floor:
    """Milliseconds that a plan (or a batch of plans) takes at least."""

    operations_ms: float
    memory_ms: float
    """Weights once an iteration, candidates and costs once; no activation leaves the chip."""
    activations_ms: float
    """Beyond the floor: inputs and outputs of every linear layer through memory, what layers one by one would move."""

    @property
    def ms(self) -> float:
        """The larger of what arithmetic and memory take."""
        return max(self.operations_ms, self.memory_ms)


def reads(horizon: int, window: int) -> Iterator[tuple[int, bool]]:
    """Every read of a frame: its position in the window, and whether it is the window's newest."""
    for newest in range(horizon):
        oldest = max(0, newest + 1 - window)
        first = newest if oldest == 0 else oldest  # while the window grows, earlier frames are remembered
        for frame in range(first, newest + 1):
            yield frame - oldest, frame == newest


def products(config: LewmConfig, horizon: int) -> list[Product]:
    """The linear layers that a candidate passes through."""
    assert config.context_length == 1, "frames that candidates share are not counted"
    projector = config.predictor_projector
    assert projector is not None, "the published model has one"
    dim, width, depth = config.latent_dim, config.attention_width, config.predictor_depth
    found, hidden = list(reads(horizon, config.window)), config.action_mlp_scale * config.latent_dim
    later = [is_newest for position, is_newest in found if position]
    attended = len(later) * (depth - 1) + sum(later)
    finished = len(found) * (depth - 1) + horizon
    return [
        Product("action encoder, first", config.block_dim, hidden, horizon, 1),
        Product("action encoder, second", hidden, dim, horizon, 1),
        Product("modulation", dim, 6 * dim, horizon * depth, depth),
        Product("attention to the first frame", dim, dim, (len(found) - len(later)) * depth, depth),
        Product("keys and values", dim, 2 * width, len(later) * depth, depth),
        Product("query", dim, width, attended, depth),
        Product("attention output", width, dim, attended, depth),
        Product("MLP, first", dim, config.predictor_mlp_width, finished, depth),
        Product("MLP, second", config.predictor_mlp_width, dim, finished, depth),
        Product("head, first", dim, projector.width, horizon, 1),
        Product("head, second", projector.width, dim, horizon, 1),
    ]


def attention_macs(config: LewmConfig, horizon: int) -> int:
    """Queries by keys and shares by values, of one candidate."""
    last, found = config.predictor_depth - 1, reads(horizon, config.window)
    return 2 * config.attention_width * sum(position * (last + is_newest) for position, is_newest in found)


def macs(config: LewmConfig, horizon: int) -> int:
    """Multiply-accumulates of one candidate."""
    return sum(product.macs for product in products(config, horizon)) + attention_macs(config, horizon)


def weight_count(config: LewmConfig, horizon: int) -> int:
    """Numbers in the weights that a cost call reads, biases left out."""
    return sum(product.inputs * product.outputs * product.layers for product in products(config, horizon))


def activation_count(config: LewmConfig, horizon: int) -> int:
    """Numbers that the linear layers read and write of one candidate."""
    return sum((product.inputs + product.outputs) * product.uses for product in products(config, horizon))


def floor(config: LewmConfig, workload: Workload, precision: Precision, peak: Peak) -> Floor:
    """Floor of one batch of plans."""
    candidates = workload.batch * sum(workload.populations)
    item = 4 if precision.dtype is None else precision.dtype.itemsize
    actions = workload.horizon * config.block_dim
    moved = weight_count(config, workload.horizon) * item * workload.iterations + candidates * (actions + 1) * 4
    per_ms, bytes_per_ms = peak.tflops(precision) * 1e9, peak.bandwidth * 1e9
    return Floor(
        operations_ms=2 * macs(config, workload.horizon) * candidates / per_ms,
        memory_ms=moved / bytes_per_ms,
        activations_ms=activation_count(config, workload.horizon) * candidates * item / bytes_per_ms,
    )
