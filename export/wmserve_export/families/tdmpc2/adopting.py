"""TD-MPC2 checkpoints as their authors publish them become checkpoints of this project.

Sizes are those of the tensors, and what settings say of them must agree; constants of rewards and values are those of
the settings. Bounds and statistics of actions and proprioception are in no checkpoint.
"""

from pathlib import Path
from typing import Any

from wmserve.world import ActionSpec, PlannerDefaults

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.images import IMAGENET_MEAN, IMAGENET_STD
from wmserve_export.families.lewm.weights import fitting, write
from wmserve_export.families.published import Facts, Published
from wmserve_export.families.tdmpc2.config import StateEncoder, Tdmpc2Config
from wmserve_export.families.tdmpc2.formats import is_own, renamed
from wmserve_export.families.tdmpc2.weights import shapes

PLANNER = {"horizon": 3, "num_samples": 512, "iterations": 6, "num_elites": 64, "max_std": 2.0}
"""The authors' MPPI (their ``config.yaml``), for settings that name none of it."""
OWN_CONSTANTS = {"vmin": -10.0, "vmax": 10.0, "simnorm_dim": 8, "uncertainty_penalty": 0.0}
"""What the authors' ``config.yaml`` says of every model that they published; they know no penalty."""
DEFAULTS = {"simnorm_dim": 8, "discount": 0.99, "uncertainty_penalty": 0.5}
"""Of stable-worldmodel's code, for settings of its own that leave them out."""
PIXELS = "pixels"


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:  # noqa: ARG001
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    found = Published(renamed(source.tensors), source.settings, source.attributes, source.file)
    config = configuration(found, facts, own=is_own(source.tensors))
    weights = fitting({name: tensor.float().contiguous() for name, tensor in found.tensors.items()}, shapes(config))
    write(folder, config, weights)


def configuration(source: Published, facts: Facts, own: bool) -> Tdmpc2Config:
    """Sizes of the tensors, constants of the settings, the rest of the facts."""
    frames = "pixel_encoder.weight" in source.tensors
    encoders = tuple(encoder(source, name) for name in order(source))
    pixel_width = source.shape("pixel_encoder.weight")[0] if frames else 0
    width, actions = source.shape("dynamics.2.weight")[0], source.shape("dynamics.0.weight")[1]
    check(facts, encoders, source.agreed(actions - width, "action_dim", "cfg.action_dim"))
    for part in encoders:
        source.agreed(part.inputs, f"extra_dims.{part.name}", f"cfg.extra_dims.{part.name}")
    mean, std = source.pixels(facts, (IMAGENET_MEAN, IMAGENET_STD))
    return Tdmpc2Config(
        name=facts.name,
        description=facts.description,
        image_size=side(source, facts) if frames else 0,
        pixel_mean=mean,
        pixel_std=std,
        pixel_width=source.agreed(pixel_width, *of_training(f"encoding.{PIXELS}")) if frames else 0,
        encoders=encoders,
        simnorm_dim=constant(source, "simnorm_dim", own),
        mlp_width=source.agreed(source.shape("dynamics.0.weight")[0], *of_training("mlp_dim")),
        critics=source.agreed(source.layers("qs"), *of_training("num_q")),
        bins=source.agreed(source.shape("reward.2.weight")[0], *of_training("num_bins")),
        low_bin=constant(source, "vmin", own),
        high_bin=constant(source, "vmax", own),
        discount=constant(source, "discount", own),
        uncertainty_penalty=constant(source, "uncertainty_penalty", own),
        context_length=facts.context_length,
        action=facts.known_action(),
        proprioception=facts.proprioception,
        planner=facts.planner or planner(source),
    )


def of_training(name: str) -> tuple[str, str]:
    """Where stable-worldmodel's settings and converted modules say something of the training."""
    return f"wm.{name}", f"cfg.wm.{name}"


def side(source: Published, facts: Facts) -> int:
    """Side of frames, pixels: of the facts, else of the settings; FamilyError asks for it."""
    return facts.image_size or source.number("pixels of a frame's side", "image_size", "cfg.image_size")


def constant(source: Published, name: str, own: bool) -> Any:
    """A constant of the training, of the settings; else what its code has for it; FamilyError where that is nothing."""
    found = source.setting(f"wm.{name}", f"cfg.wm.{name}", name)
    known = "wm" in source.settings or any(attribute.startswith("cfg.wm.") for attribute in source.attributes)
    if found is None:
        found = OWN_CONSTANTS.get(name) if own else DEFAULTS.get(name) if known else None
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise FamilyError(f"{name} is missing: {CONFIG_FILE} should have it as {name if own else f'wm.{name}'}")
    return found


def order(source: Published) -> tuple[str, ...]:
    """Names of the encoders of proprioception, in order; FamilyError where nothing tells that."""
    settings = source.setting("wm.encoding", "cfg.wm.encoding") or ()
    return source.order("extra_encoders", [name for name in settings if name != PIXELS], "wm.encoding")


def encoder(source: Published, name: str) -> StateEncoder:
    """One of them, by its tensors."""
    prefix = f"extra_encoders.{name}"
    widths = [source.shape(f"{prefix}.{index}.weight") for index in range(source.layers(prefix))]
    return StateEncoder(
        name=name, inputs=widths[0][1], hidden=tuple(width for width, _ in widths[:-1]), width=widths[-1][0]
    )


def check(facts: Facts, encoders: tuple[StateEncoder, ...], actions: int) -> None:
    """FamilyError where the facts do not fit the checkpoint."""
    action: ActionSpec = facts.known_action()
    if len(action.axes) != actions or action.action_block != 1 or facts.context_length != 1:
        raise FamilyError(
            f"the checkpoint takes {actions} numbers for each environment step, after one frame; the facts have "
            f"{len(action.axes)} axes, action_block {action.action_block} and context_length {facts.context_length}"
        )
    sensed = sum(part.inputs for part in encoders)
    if len(facts.proprioception) != sensed:
        parts = ", ".join(f"{part.name} {part.inputs}" for part in encoders) or "none"
        raise FamilyError(
            f"the checkpoint takes {sensed} axes of proprioception ({parts}), "
            f"the facts have {len(facts.proprioception)}: "
            "they stand in the file of --world as proprioception, a list of axes like the action's"
        )


def planner(source: Published) -> PlannerDefaults:
    """The search of the settings, the published one where they have none: MPPI, planning again after every step."""
    found = {name: searched(source, name) for name in PLANNER}
    known = {name: value if found[name] is None else found[name] for name, value in PLANNER.items()}
    return PlannerDefaults(
        algorithm="mppi",
        horizon=int(known["horizon"]),
        candidate_count=int(known["num_samples"]),
        iterations=int(known["iterations"]),
        elite_count=int(known["num_elites"]),
        initial_std=known["max_std"] / 2,  # of a range of 2: actions are in -1..1
    )


def searched(source: Published, name: str) -> Any:
    """A setting of the search: a training may have another beside it, such as a horizon of its own, which waits."""
    said = (source.setting(where) for where in (name, f"wm.{name}", f"cfg.{name}", f"cfg.wm.{name}"))
    return next((value for value in said if value is not None), None)
