"""Answers as text for people, and as JSON for programs."""

from collections.abc import Iterable, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from wmserve_client.results import Encoded, Floats, Plan, Rollout, World


def to_json(value: Any) -> Any:
    """Anything a call returns as what `json.dumps` takes; arrays become nested lists."""
    if is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns, aligned to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines)


def readout_names(world: World) -> list[str]:
    """Names of the readouts with their units."""
    return [f"{readout.name} ({readout.unit})" for readout in world.readouts]


def numbers(values: Iterable[float]) -> list[str]:
    """Numbers of a row."""
    return [f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}" for value in values]


def show_worlds(worlds: list[World]) -> str:
    """A line for each world."""
    if not worlds:
        return "no world is served"
    return "\n".join(f"{world.name}: {world.description}" for world in worlds)


def show_world(world: World) -> str:
    """What a caller needs to know of a world."""
    planner, readouts = world.planner, ", ".join(f"{r.name} +- {r.error:.2g} {r.unit}" for r in world.readouts)
    search = f"{planner.algorithm}, {planner.candidate_count} candidates x {planner.iterations} iterations"
    lines = {
        "answers": ", ".join(world.verbs),
        "observations": show_observations(world),
        "proprioception": show_axes(world.observation.proprioception),
        "actions": f"{show_axes(world.action.axes)}; {world.action.action_block} environment steps in a model step"
        if world.action.axes
        else "",
        "latents": " x ".join(map(str, world.latent_shape)),
        "readouts": readouts,
        "horizon": f"up to {world.horizon_limit} model steps, {world.ensemble_size} members"
        if world.horizon_limit
        else "",
        "planner": f"{search}, horizon {planner.horizon}" if world.HasField("planner") else "",
        "checkpoint": world.digests.checkpoint,
        "reference": f"{'checked against' if world.reference_checked else 'not checked:'} {world.reference}"
        if world.reference
        else "not checked",
    }
    said = [f"  {name:<14}  {text}" for name, text in lines.items() if text]
    return "\n".join([f"{world.name} ({world.family}): {world.description}", *said])


def show_axes(axes: Iterable[Any]) -> str:
    """Components with their bounds and units."""
    return ", ".join(f"{axis.name} [{axis.low:g}, {axis.high:g}] {axis.unit}" for axis in axes)


def show_observations(world: World) -> str:
    """What frames a world looks at."""
    spec = world.observation
    if not spec.native_height:
        return "no frames"
    clips = f"clips of {world.context_length} " if spec.tubelet_size > 1 else ""
    return f"{clips}RGB frames up to {spec.max_width} x {spec.max_height}"


def show_encoded(answer: Encoded, world: World) -> str:
    """The handle, and a row of readouts for each frame."""
    rows = [numbers(row) for row in answer.readouts]
    return f"latents_id {answer.latents_id}\n{table(readout_names(world), rows)}"


def steps(disagreement: Floats, readouts: Floats, world: World) -> str:
    """A row for each model step: disagreement `[H]` and readouts `[H, R]`."""
    rows = [[str(step + 1), *numbers([disagreement[step], *readouts[step]])] for step in range(len(disagreement))]
    return table(["step", "disagreement", *readout_names(world)], rows)


def show_rollout(answer: Rollout, world: World) -> str:
    """A table for each candidate."""
    candidates = range(len(answer.disagreement))
    return "\n\n".join(
        f"candidate {index}\n{steps(answer.disagreement[index], answer.readouts[index], world)}" for index in candidates
    )


def verdict(answer: Plan) -> str:
    """Whether to believe a plan."""
    if not answer.calibrated:
        return "not calibrated: nobody has measured how far plans of this world err"
    if answer.status == "refused":
        return f"REFUSED: {', '.join(answer.reasons)}"
    return f"ok: trusted for {answer.trusted_horizon} model steps"


def show_plan(answer: Plan, world: World) -> str:
    """How the search went, the first action and what is expected."""
    axes = [f"{axis.name} ({axis.unit})" for axis in world.action.axes]
    first = "no actions" if answer.actions is None else table(axes, [numbers(answer.actions[0])])
    count = 0 if answer.actions is None else len(answer.actions)
    return "\n".join(
        [
            verdict(answer),
            f"cost {answer.cost:.4g} after {answer.iterations} iterations ({answer.stop_reason}), "
            f"{answer.timing.total_ms:.1f} ms, seed {answer.seed}",
            f"first of {count} actions:\n{first}",
            f"expected after each model step:\n{steps(answer.disagreement, answer.readouts, world)}",
        ]
    )
