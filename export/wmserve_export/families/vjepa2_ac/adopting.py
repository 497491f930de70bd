"""V-JEPA 2-AC checkpoints as their authors publish them.

    vjepa2-ac-vitg.pt        of facebookresearch/vjepa2: encoder and predictor, maybe an optimiser and more
    vjepa2_ac_*.pth.tar      of facebookresearch/jepa-wms: the predictor alone; the encoder is that of vjepa2's vitg.pt
    *.safetensors            tensors of the same names, after ``encoder.`` and ``predictor.``

For two files, a folder with both and a ``config.json`` that says which is which: ``{"files": {"encoder": "vitg.pt",
"predictor": "vjepa2_ac_droid.pth.tar"}}``. Of jepa-wms, ``vjepa2_ac_oss`` is the predictor of the first of these files,
and ``vjepa2_ac_droid`` the same network trained without a mistake in the loss, and without the pose: it sees the action
alone. Their planning differs (a window of two frames, other bounds); what is exported is the first's.

No file has settings. Those that the authors published are known; a ``config.json`` beside it says others:
``img_size``, ``num_frames``, ``encoder.num_heads``, ``predictor.num_heads``, ``hidden_act``. Bounds of actions and the
planner are the released code's, where ``--world`` does not say others. How far the robot reaches is asked for.
"""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor
from wmserve.world import Axis

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.lewm.weights import Weights, write
from wmserve_export.families.published import Facts, Published
from wmserve_export.families.vit import activation_of
from wmserve_export.families.vjepa2_ac.config import (
    ACTION,
    CONVENTIONS,
    PLANNER,
    POSE,
    UNITS,
    VJepa2AcConfig,
    axis,
    pose_readouts,
)
from wmserve_export.families.vjepa2_ac.weights import TUBELET

HEADS: Mapping[str, Mapping[int, int]] = {"encoder": {1024: 16, 1280: 16, 1408: 22}, "predictor": {1024: 16}}
"""By width: ``vit_large``, ``vit_huge`` and ``vit_giant_xformers`` of ``src/models/vision_transformer.py``, and
``src/models/ac_predictor.py``."""
IMAGE_SIZE, FRAMES = 256, 64
"""``src/hub/backbones.py``."""
UNUSED = ("encoder.pos_embed", "predictor.extrinsics_encoder.")
"""Absolute positions, which rotary ones replace, and poses of the camera, which the published model is not given."""
REACH = {"proprioception": [{"name": "x", "unit": "m", "low": 0.2, "high": 0.8, "mean": 0.0, "std": 1.0}]}


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    del family  # one
    weights = renamed(source.tensors)
    config = configuration(Published(weights, source.settings, source.attributes), facts)
    write(folder, config, weights)


def renamed(tensors: Weights) -> dict[str, Tensor]:
    """Tensors of encoder and predictor by the authors' names, without what trainers wrapped around them."""
    found = {}
    for stored, tensor in tensors.items():
        part, _, name = stored.partition(".")
        # As the authors' own loader does it. jepa-wms calls the encoder of poses by another name.
        name = name.replace("module.", "").replace("backbone.", "").replace("proprio_encoder.", "state_encoder.")
        if part in HEADS and not f"{part}.{name}".startswith(UNUSED):
            found[f"{part}.{name}"] = tensor.contiguous()
    for part in HEADS:
        if not any(name.startswith(f"{part}.") for name in found):
            raise FamilyError(
                f"the checkpoint has no {part}; where it is in a file of its own, put both into one folder, with a "
                f'{CONFIG_FILE}: {{"files": {{"encoder": "vitg.pt", "predictor": "vjepa2_ac_droid.pth.tar"}}}}'
            )
    return found


def configuration(source: Published, facts: Facts) -> VJepa2AcConfig:
    """Sizes of the tensors, heads by their widths, the rest of the facts."""
    width, _, tubelet, patch, _ = source.shape("encoder.patch_embed.proj.weight")
    narrow, takes = source.shape("predictor.action_encoder.weight")
    action, proprioception = facts.action or ACTION, pose_axes(facts)
    for what, count in (("tubelets of the encoder", tubelet - TUBELET), ("numbers of an action", takes - len(POSE))):
        if count:
            raise FamilyError(f"{what} are others than this family has; is the checkpoint a V-JEPA 2-AC?")
    if len(action.axes) != len(POSE) or action.action_block != 1:
        changes = ", ".join(f"delta_{name}" for name in POSE)
        raise FamilyError(f"action: the seven axes of the model are {changes}, action_block is 1; or leave it out")
    mean, std = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    return VJepa2AcConfig(
        name=facts.name,
        description=facts.description,
        image_size=facts.image_size or optional(source, "img_size", IMAGE_SIZE),
        patch_size=source.agreed(patch, "patch_size", "encoder.patch_size"),
        latent_dim=source.agreed(width, "encoder.embed_dim", "predictor.embed_dim"),
        depth=source.agreed(source.layers("encoder.blocks"), "encoder.depth"),
        heads=heads(source, "encoder", width),
        mlp_width=source.shape("encoder.blocks.0.mlp.fc1.weight")[0],
        predictor_dim=source.agreed(narrow, "predictor.predictor_embed_dim"),
        predictor_depth=source.agreed(source.layers("predictor.predictor_blocks"), "predictor.depth"),
        predictor_heads=heads(source, "predictor", narrow),
        predictor_mlp_width=source.shape("predictor.predictor_blocks.0.mlp.fc1.weight")[0],
        frame_limit=optional(source, "num_frames", FRAMES) // TUBELET,
        activation=activation_of(source),
        pixel_mean=mean,
        pixel_std=std,
        knows_pose="predictor.state_encoder.weight" in source.tensors,
        context_length=facts.context_length,
        action=action,
        proprioception=proprioception,
        readouts=pose_readouts(proprioception),
        planner=facts.planner or PLANNER,
    )


def heads(source: Published, part: str, width: int) -> int:
    """Of the settings, else those that the authors' code gives to this width; FamilyError asks for them."""
    known, setting = HEADS[part], f"{part}.num_heads"
    if source.setting(setting) is None and width in known:
        return known[width]
    return source.number(f"heads of the {part}, {width} wide,", setting)


def optional(source: Published, setting: str, default: int) -> int:
    """A count of the settings, else what was published."""
    return default if source.setting(setting) is None else source.number(setting, setting)


def pose_axes(facts: Facts) -> tuple[Axis, ...]:
    """The seven axes of a pose: those of the facts, and conventions; FamilyError asks for what the robot can reach."""
    said = {known.name: known for known in facts.proprioception}
    if strange := sorted(said.keys() - set(POSE)):
        raise FamilyError(f"proprioception: {', '.join(strange)} is not of a pose, which is {', '.join(POSE)}")
    if missing := [name for name in POSE if name not in said and name not in CONVENTIONS]:
        raise FamilyError(
            f"proprioception: bounds of {', '.join(missing)} are missing, between which the gripper moves, in the "
            f"robot's frame; no checkpoint says them. In the file that --world names: {REACH}"
        )
    return tuple(
        said[name] if name in said else axis(name, unit, *CONVENTIONS[name])
        for name, unit in zip(POSE, UNITS, strict=True)
    )
