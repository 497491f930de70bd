"""What is needed to build a V-JEPA 2-AC, and what the contract says of the world."""

import math
from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout

from wmserve_export.families import Described
from wmserve_export.families.activations import Activation
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD

POSE = ("x", "y", "z", "roll", "pitch", "yaw", "gripper")
"""Of the gripper, in the robot's frame: its place, its rotation (extrinsic "xyz" Euler angles), how closed it is."""
UNITS = ("m", "m", "m", "rad", "rad", "rad", "1")
CONVENTIONS = {"roll": (-math.pi, math.pi), "pitch": (-math.pi, math.pi), "yaw": (-math.pi, math.pi), "gripper": (0, 1)}
"""Bounds that hold for every robot: angles, and a closedness of 0 (open) to 1."""
MAX_MOVE, MAX_GRIP = 0.05, 0.75
"""Most metres and closedness of one action, in the authors' planner (``notebooks/utils/world_model_wrapper.py``, its
``maxnorm``, and ``mpc_utils.py``), which does not turn the gripper."""

LATENT_DISTANCE = GoalMetric(name="mean_absolute_latent_distance", unit="1", final_weight=1.0, path_weight=0.0)
"""The reference's objective (``l1``): mean absolute difference to the goal's latents after the last model step."""
PLANNER = PlannerDefaults(
    algorithm="cem", horizon=2, candidate_count=400, iterations=10, elite_count=10, initial_std=0.5, momentum=0.15
)
"""The released code's (``WorldModel.mpc_args``), of which one action is executed. Its first standard deviation is half
of the range for positions, as here, and two thirds for the gripper."""


def axis(name: str, unit: str, low: float, high: float) -> Axis:
    """A component that the network gets as it is."""
    return Axis(name=name, unit=unit, low=low, high=high, mean=0.0, std=1.0)


ACTION = ActionSpec(
    axes=tuple(
        axis(f"delta_{name}", unit, -bound, bound)
        for name, unit, bound in zip(POSE, UNITS, 3 * (MAX_MOVE,) + 3 * (0.0,) + (MAX_GRIP,), strict=True)
    )
)
"""What is added to the pose; rotations are multiplied."""


class VJepa2AcConfig(Described):
    """The defaults are the published model: ViT-g/16 and 24 predictor blocks, 1012 M and 305 M parameters."""

    family: Literal["vjepa2-ac"] = "vjepa2-ac"
    image_size: PositiveInt = 256
    """Side to which frames are resized, pixels; a multiple of the patch size."""
    patch_size: PositiveInt = 16
    latent_dim: PositiveInt = 1408
    """Width `C` of the encoder and of a patch's latents."""
    depth: PositiveInt = 40
    heads: PositiveInt = 22
    mlp_width: PositiveInt = 6144
    predictor_dim: PositiveInt = 1024
    predictor_depth: PositiveInt = 24
    predictor_heads: PositiveInt = 16
    predictor_mlp_width: PositiveInt = 4096
    frame_limit: PositiveInt = 32
    """Most frames that the predictor may see: its attention mask is as large in ``src/hub/backbones.py``, 64 / 2."""
    activation: Activation = "gelu"
    pixel_mean: tuple[float, float, float] = IMAGENET_MEAN
    """Of pixels in 0..1: ImageNet's, as the authors' training uses it."""
    pixel_std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = IMAGENET_STD
    knows_pose: bool = True
    """False for predictors that see the action alone, such as one of jepa-wms'; the pose is integrated all the same."""
    action: ActionSpec = ACTION
    readouts: tuple[Readout, ...]
    """The pose: what proprioception measures and actions change."""
    goal_metric: GoalMetric = LATENT_DISTANCE
    planner: PlannerDefaults = PLANNER

    @property
    def side(self) -> int:
        """Rows of patches, and as many columns."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Patches `P` of a frame."""
        return self.side**2

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Patches, then one row for the pose, and their width."""
        return (self.patches + 1, self.latent_dim)

    @property
    def feature_dim(self) -> int:
        """A patch's width: features are a mean over patches."""
        return self.latent_dim

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        known = (len(self.proprioception), len(self.action.axes), len(self.readouts))
        if known != 3 * (len(POSE),) or self.action.action_block != 1:
            raise ValueError(f"proprioception, action and readouts have seven components: {', '.join(POSE)}; block 1")
        if self.image_size % self.patch_size or self.latent_dim < len(POSE):
            raise ValueError("patch_size must divide image_size, and the pose fit into latent_dim")
        if self.latent_dim % (2 * self.heads) or self.predictor_dim % (2 * self.predictor_heads):
            raise ValueError("heads must divide latent_dim, predictor_heads predictor_dim, into even widths")
        if self.context_length + self.planner.horizon - 1 > self.frame_limit:
            raise ValueError(f"context_length and the planner's horizon are over {self.frame_limit} frames")
        return self


def pose_readouts(axes: tuple[Axis, ...]) -> tuple[Readout, ...]:
    """Readouts of the pose; their error is 0, since it is integrated and not measured."""
    return tuple(Readout(name=a.name, unit=a.unit, low=a.low, high=a.high, error=0.0) for a in axes)
