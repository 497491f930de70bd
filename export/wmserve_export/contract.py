"""Puts a world's contract together: what its checkpoint knows, what its exporter chose, and digests of both."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from wmserve.world import Digests, Dtype, ObservationSpec, Precision, Target, TargetName, World

from wmserve_export.engines import CPU, search_members
from wmserve_export.examples import EXAMPLES_FILE
from wmserve_export.external_data import progress
from wmserve_export.families import CONFIG_FILE, Encoder, FamilyConfig, verbs
from wmserve_export.reference_gate import Reference

WEIGHTS = ("*.safetensors", "*.npz", "*.pt", "*.pth")
PART = 16 << 20
"""Bytes of a file that are read at a time."""
DEFAULT_HORIZONS = (1, 2)
"""Model steps of a world that predicts and does not plan."""
UNCHECKED = Reference((), "nobody has held it against its family's own code")


EXACT, ROUNDED = 30, 200
"""Planning problems of the rank gate, by what engines do to numbers."""


@dataclass(frozen=True)
class ExportOptions:
    """What the exporter chooses; a checkpoint knows nothing of it."""

    name: str | None = None
    """Name to serve the world under; None takes the checkpoint's."""
    horizons: tuple[int, ...] | None = None
    """Model steps to unroll to; None takes the planner's and its double. Without actions there is nothing to unroll."""
    candidate_limit: int = 1024
    plan_budget: int = 200_000
    max_side: int = 1024
    """Largest height and width of a frame, pixels."""
    precision: Precision = "float32"
    """Of the verb ``plan``; ``mixed`` scores all candidates in 8-bit integers and the best again in float32."""
    rank_problems: int | None = None
    """Random planning problems that the rank gate tries, at least 1; None takes `ROUNDED` where numbers are rounded,
    `EXACT` where engines compute in float32 as the reference does."""
    gate_candidates: int = 300
    """Candidates of the largest population that the gates try, at least `FEWEST_CANDIDATES`; fewer for huge models."""
    target: TargetName = "cpu"
    """What to build engines for; the fields below are for TensorRT's."""
    dtype: Dtype = "float32"
    """Of products."""
    compute_capabilities: tuple[str, ...] = ()
    """GPUs to build for, such as `8.9`; empty takes the default of the target."""
    max_batch: int = 8
    """Most calls that an engine takes at once, for encode and rollout: memory is reserved for so many."""
    timing_cache: Path | None = None
    """Folder for the times of kernels; None takes ``~/.cache/wmserve``."""

    @property
    def problems(self) -> int:
        """Planning problems of the rank gate."""
        rounded = self.precision != "float32" or self.dtype != "float32"
        return self.rank_problems or (ROUNDED if rounded else EXACT)


def engine_horizons(config: FamilyConfig, options: ExportOptions) -> tuple[int, ...]:
    """Model steps to unroll to, ascending; none without actions."""
    if not config.action.axes:
        return ()
    planned = () if config.planner is None else (config.planner.horizon, 2 * config.planner.horizon)
    return tuple(sorted(set(options.horizons or planned or DEFAULT_HORIZONS)))


def build(
    family: Encoder,
    options: ExportOptions,
    digests: Digests,
    target: Target = CPU,
    reference: Reference = UNCHECKED,
) -> World:
    """The contract; pydantic's ValidationError where a part does not fit."""
    config = family.config
    horizons = engine_horizons(config, options)
    return World(
        name=options.name or config.name,
        family=config.family,
        description=config.description,
        verbs=verbs(family),
        observation=ObservationSpec(
            max_height=options.max_side,
            max_width=options.max_side,
            native_height=config.image_size,
            native_width=config.image_size,
            tubelet_size=config.tubelet_size,
            proprioception=config.proprioception,
        ),
        action=config.action,
        context_length=config.context_length,
        latent_shape=config.latent_shape,
        ensemble_size=config.members,
        search_members=search_members(config.members),
        horizon_limit=max(horizons, default=0),
        engine_horizons=horizons,
        candidate_limit=options.candidate_limit,
        plan_budget=options.plan_budget,
        readouts=config.readouts,
        goal_metric=config.goal_metric,
        planner=config.planner,
        plan_precision=options.precision,
        target=target,
        digests=digests,
        reference_checked=reference.checked,
        reference=reference.said,
    )


def digest(content: bytes) -> str:
    """SHA-256 as the contract writes it."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def file_digest(file: Path, show: bool = False) -> str:
    """The same of a file, which may be larger than memory."""
    found, size = hashlib.sha256(), file.stat().st_size
    with file.open("rb") as content, progress(f"hashing {file.name}", size, show) as bar:
        while part := content.read(PART):
            found.update(part)
            bar.update(len(part))
    return f"sha256:{found.hexdigest()}"


def checkpoint_digest(checkpoint: Path, show: bool = False) -> str:
    """Digest of the weights and of the configuration, if there is one, that gives them meaning."""
    if checkpoint.is_file():
        return file_digest(checkpoint, show)
    weights = sorted(file for suffix in WEIGHTS for file in checkpoint.glob(suffix) if file.name != EXAMPLES_FILE)
    files = [*checkpoint.glob(CONFIG_FILE), *weights]
    return digest("".join(f"{file_digest(file, show)}  {file.name}\n" for file in files).encode())
