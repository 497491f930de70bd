"""Worlds as a tool-calling model is told of them: the contract in few words, of bounded length."""

from collections.abc import Mapping, Sequence

from wmserve.world import Axis, Readout, World

from wmserve_server.tools import answers as a
from wmserve_server.tools import words as w


def brief(world: World) -> a.WorldCard:
    """A world in a line."""
    return a.WorldCard(name=world.name, description=w.clipped(world.description, a.SHOWN_TEXT), verbs=list(world.verbs))


def listed(served: Mapping[str, World]) -> a.WorldsAnswer:
    """All worlds, each in a line."""
    shown = [brief(served[name]) for name in sorted(served)[: a.SHOWN_WORLDS]]
    says = f"{len(served)} worlds are served. Ask for one by name to be told its actions and readouts."
    missing = w.left_out(("worlds", len(served), len(shown)), how="GET /v1/worlds lists all")
    return a.WorldsAnswer(summary=says, worlds=shown, left_out=missing)


def described(world: World) -> a.WorldsAnswer:
    """All that a caller of the tools needs to know of one world."""
    axes, block = world.action.axes, world.action.action_block
    plans = "plan" in world.verbs
    execute = min(world.search.receding_horizon, world.search.horizon) * block if plans else None
    card = a.WorldCard(
        **brief(world).model_dump(exclude_none=True),
        observation=observation(world),
        action=quantities(axes[: a.SHOWN_AXES]),
        action_block=block,
        longest=world.horizon_limit * block,
        execute_steps=execute,
        readouts=quantities(world.readouts[: a.SHOWN_READOUTS]),
        goal=goal(world) if plans else None,
        trust=trust(world),
    )
    missing = w.left_out(
        ("axes", len(axes), len(card.action or ())),
        ("readouts", len(world.readouts), len(card.readouts or ())),
        how=f"GET /v1/worlds/{world.name} answers all",
    )
    says = f"The world {world.name} answers {', '.join(world.verbs)}."
    return a.WorldsAnswer(summary=says, worlds=[card], left_out=missing)


def quantities(found: Sequence[Axis | Readout]) -> list[a.Quantity]:
    """Axes or readouts."""
    return [
        a.Quantity(
            name=w.clipped(one.name),
            unit=w.clipped(one.unit),
            low=w.short(one.low, 6),
            high=w.short(one.high, 6),
            error=w.short(one.error) if isinstance(one, Readout) else None,
        )
        for one in found
    ]


def observation(world: World) -> str:
    """What to send of what is seen."""
    spec, parts = world.observation, []
    if spec.frames:
        count = "one image" if world.context_length == 1 else f"{world.context_length} images, oldest first"
        parts.append(f"{count}, at most {spec.max_width} x {spec.max_height} pixels")
    if spec.proprioception:
        shown = spec.proprioception[: a.SHOWN_AXES]
        axes = ", ".join(f"{w.clipped(axis.name)} ({w.clipped(axis.unit)})" for axis in shown)
        parts.append(f"proprioception of {len(spec.proprioception)} numbers: {axes}")
    return "; ".join(parts)


def goal(world: World) -> str:
    """How to say what is wanted."""
    if not world.metric.needs_goal:
        return "None is needed: the world itself knows what is good. Or wanted values of readouts."
    return f"A picture (goal_latents_id) or wanted values of readouts; distance in {w.clipped(world.metric.unit)}."


def trust(world: World) -> str:
    """Whether its errors are known."""
    if world.calibration is None:
        return w.UNCALIBRATED
    planned = "" if world.calibration.planned is None else " Plans that are not to be believed are refused."
    useful = world.calibration.tolerance
    return f"Errors have been measured; a radius of up to {useful:.3g} latent units is of use.{planned}"
