"""Templates of the file that ``wmserve export --world`` names, one for each family whose own formats are read.

They are JSON with ``//`` comments. What has to be filled in is ``null``; all else are the family's defaults. A line
that begins with ``//`` shows what may be said besides.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wmserve.world import PlannerDefaults

from wmserve_export.families.dino_wm.formats import PLANNER as DINO_WM_PLANNER
from wmserve_export.families.facts import PIXELS
from wmserve_export.families.lewm.adopting import PLANNER as LEWM_PLANNER
from wmserve_export.families.tdmpc2.adopting import PLANNER as TDMPC2_SEARCH
from wmserve_export.families.vjepa2_ac.config import ACTION, PLANNER, POSE

AXIS = '{"name": null, "unit": null, "low": null, "high": null, "mean": null, "std": null}'
STATISTICS = (
    "low, high: what a caller may send; mean, std: what training normalised with, (x - mean) / std, over its whole",
    "data set (stable-worldmodel: dataset.get_col_data(column)). They are in no checkpoint.",
)
MPPI = PlannerDefaults(
    algorithm="mppi",
    horizon=int(TDMPC2_SEARCH["horizon"]),
    candidate_count=int(TDMPC2_SEARCH["num_samples"]),
    iterations=int(TDMPC2_SEARCH["iterations"]),
    elite_count=int(TDMPC2_SEARCH["num_elites"]),
    initial_std=TDMPC2_SEARCH["max_std"] / 2,
)
MEANING: Mapping[str, str] = {
    "algorithm": "cem, icem or mppi",
    "horizon": "model steps looked ahead",
    "candidate_count": "action sequences of an iteration",
    "iterations": "",
    "elite_count": "the best of them, of which the next are drawn",
    "hold_steps": "environment steps for which a drawn action is held; divides action_block",
    "initial_std": "first standard deviation, as a fraction of each axis' range",
    "receding_horizon": "model steps to execute before planning again",
    "momentum": "cem: part of the last mean and deviation that is kept, 0 to 1",
    "penalty": "what a latent unit of disagreement costs",
}


@dataclass(frozen=True)
class Shape:
    """What of the file a family reads, and its defaults."""

    actions: bool = True
    action_block: int = 1
    proprioception: str = ""
    """What has to be said of it; empty where the family knows none."""
    needs_proprioception: bool = False
    context: str = ""
    """What to know of the number of frames."""
    planner: PlannerDefaults | None = None
    from_settings: bool = False
    """Whether the planner is that of the checkpoint's settings where the file says none."""
    pixels: str = "imagenet"


LEWM = Shape(action_block=5, context="at most the predictor's window (3 as published)", planner=LEWM_PLANNER)
SHAPES: Mapping[str, Shape] = {
    "lewm": LEWM,
    "pldm": LEWM,
    "dino-wm": Shape(
        action_block=5,
        proprioception="one axis for each number that the checkpoint's encoders take, in their order; [] for none",
        context="at most the window of a rollout (3 as published, 2 of jepa-wms)",
        planner=DINO_WM_PLANNER,
        from_settings=True,
    ),
    "tdmpc2": Shape(
        proprioception="one axis for each number that is not of frames, encoder by encoder; [] where frames are all",
        context="1: each step follows from the one before",
        planner=MPPI,
        from_settings=True,
    ),
    "vjepa2-ac": Shape(
        proprioception="of the gripper, in the robot's frame, metres: how far it reaches; x, y and z are needed",
        needs_proprioception=True,
        context="frames that a rollout starts from",
        planner=PLANNER,
    ),
    "vjepa2": Shape(actions=False, context="frames of a clip; left out, those of config.json (frames_per_clip)"),
    "ijepa": Shape(actions=False, context="1: each frame by itself"),
}


def template(family: str) -> str:
    """The file for a family, with comments; what has to be filled in is ``null``."""
    shape = SHAPES[family]
    lines = [
        f"// What no {family} checkpoint says of its world. Fill in every null, then:",
        f"//   wmserve export CHECKPOINT --family {family} --world world.json",
        "{",
        "  // Name to serve the world under: a-z, 0-9 and _, a letter first.",
        '  "name": null,',
        "  // What it is a world of, for whoever chooses one.",
        '  "description": null,',
        *(action(family, shape) if shape.actions else ()),
        *(proprioception(shape) if shape.proprioception else ()),
        f"  // Frames; {shape.context}.",
        '  // "context_length": 16,' if family == "vjepa2" else '  "context_length": 1,',
        "  // How training prepared pixels: " + ", ".join(f'"{name}"' for name in PIXELS) + ", which are ImageNet's",
        "  // statistics, to -1..1, as they are in 0..1 and in 0..255; or those of red, green and blue in 0..1:",
        '  // "pixels": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},',
        *pixels(family),
        "  // Side to which training resized frames, pixels; left out, that of config.json or of the tensors.",
        '  // "image_size": 224,',
        *(planner(shape) if shape.planner is not None else ()),
        "}",
    ]
    return "\n".join(lines)


def pixels(family: str) -> Iterable[str]:
    """The family's usual way to prepare pixels."""
    if family in ("ijepa", "vjepa2"):
        return "  // Left out: that of preprocessor_config.json, else imagenet.", '  // "pixels": "imagenet",'
    if family != "dino-wm":
        return ('  "pixels": "imagenet",',)
    return (
        "  // Left out: imagenet for stable-worldmodel, half for dino_wm and jepa-wms.",
        '  // "pixels": "imagenet",',
    )


def action(family: str, shape: Shape) -> Iterable[str]:
    """Actions: of a robot arm known, of all others to be filled in."""
    if family == "vjepa2-ac":
        return (
            "  // Actions are what is added to the pose (" + ", ".join(POSE) + "); left out, those of the",
            f"  // authors' planner: at most {ACTION.axes[0].high} m, no turns, {ACTION.axes[-1].high} of closedness.",
        )
    block = "environment steps in one model step (the training's frameskip)"
    told = [f"    // {line}" for line in STATISTICS]
    if family == "tdmpc2":
        block = "1: a model step is an environment step"
        told += ["    // Training knew -1..1 only: mean (low + high) / 2, std (high - low) / 2."]
    return (
        "  // Actions in the environment's units, one axis for each number of one environment step, in order.",
        '  "action": {',
        *told,
        '    "axes": [',
        f"      {AXIS},",
        "    ],",
        f"    // {block[0].upper()}{block[1:]}.",
        f'    "action_block": {shape.action_block},',
        "  },",
    )


def proprioception(shape: Shape) -> Iterable[str]:
    """What is observed besides frames."""
    told = "  // What is observed besides frames:", f"  // {shape.proprioception}."
    if not shape.needs_proprioception:
        return *told, '  "proprioception": [', f"    // {AXIS},", "  ],"
    axes = (
        f'    {{"name": "{name}", "unit": "m", "low": null, "high": null, "mean": 0.0, "std": 1.0}},'
        for name in POSE[:3]
    )
    return *told, '  "proprioception": [', *axes, "  ],"


def planner(shape: Shape) -> Iterable[str]:
    """The search, as it was published; commented out where the checkpoint's own settings may say another."""
    assert shape.planner is not None, "asked for a world that plans"
    mark = "// " if shape.from_settings else ""
    left = "that of the checkpoint's settings, else " if shape.from_settings else ""
    lines = ["  // How plans are searched for; a caller may say otherwise each time.", f"  // Left out: {left}this."]
    lines.append(f'  {mark}"planner": {{')
    for name, value in shape.planner.model_dump().items():
        meaning = MEANING[name]
        lines.append(f'  {mark}  "{name}": {json.dumps(value)},{f"  // {meaning}" if meaning else ""}')
    return *lines, f"  {mark}}},"
