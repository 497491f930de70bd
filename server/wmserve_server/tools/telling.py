"""Answers of the core as a tool-calling model is told them: in words and few numbers, of bounded length.

What is cut off is counted in `left_out`. A refused plan keeps its actions to itself until a person has approved it.
"""

from typing import Any

from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.json_arrays import AnyArray
from wmserve_server.tools import answers as a
from wmserve_server.tools import words as w


def encode(world: World, answer: m.EncodeResponse, full: bool) -> a.EncodeAnswer:
    """What was seen, in words: the last frame."""
    last, strange = w.readouts(world, answer.readouts[-1]), answer.ood_p_value
    p_value = None if strange is None else w.short(strange[-1])
    frames = w.steps(answer.readouts) if full else None
    says = w.familiarity(p_value) if answer.calibrated else f" {w.UNCALIBRATED}"
    read = w.in_words(last) or "a state of which nothing is read"
    handle = answer.latents_id
    kept = "It could not be kept: there is no handle, try again." if handle is None else f"Its handle is {handle}."
    return a.EncodeAnswer(
        summary=f"Seen: {read}.{says} {kept}",
        latents_id=answer.latents_id,
        readouts=last,
        ood_p_value=p_value,
        frames=frames,
        left_out=w.left_out(of_readouts(world), of_steps("frames", len(answer.readouts), frames)),
    )


def rollout(world: World, answer: m.RolloutResponse, full: bool) -> a.RolloutAnswer:
    """The one candidate of an answer, in words."""
    values, disagreement = answer.readouts[0], answer.disagreement[0]
    count = len(values)
    radius = None if answer.radius is None else answer.radius[0]
    end = w.readouts(world, values[-1], None if answer.readout_radius is None else answer.readout_radius[0, -1])
    trusted = None if answer.trusted_horizon is None else answer.trusted_horizon[0]
    last_radius = None if radius is None else w.short(radius[-1])
    steps = w.steps(values, disagreement=disagreement, radius=radius) if full else None
    expected = f"After {count * world.action.action_block} environment steps: {w.in_words(end) or 'no readouts'}."
    return a.RolloutAnswer(
        summary=f"{expected} {w.believed(world, trusted, count, last_radius)}",
        readouts=end,
        model_steps=count,
        trusted_model_steps=trusted,
        radius=last_radius,
        disagreement=w.short(disagreement[-1]),
        ood_p_value=None if answer.ood_p_value is None else w.short(answer.ood_p_value[0]),
        steps=steps,
        left_out=w.left_out(of_readouts(world), of_steps("steps", count, steps)),
    )


def plan(world: World, found: m.PlanResponse, full: bool, approved: bool = False) -> a.PlanAnswer:
    """A plan in words; with its actions unless it is refused and no person has approved it."""
    count = len(found.goal_distance)
    status = "approved" if found.status == "refused" and approved else found.status
    assert found.actions is not None, "search asks for them"
    execute = found.execute_steps
    wanted = found.actions if full else found.actions[:execute]
    actions = None if status == "refused" else rows_shown(wanted, world.action.action_block)
    radius = None if found.radius is None else w.short(found.radius[-1])
    end = w.readouts(world, found.readouts[-1], None if found.readout_radius is None else found.readout_radius[-1])
    known = {"radius": found.radius, "goal_distance": found.goal_distance}
    steps = w.steps(found.readouts, **known) if full else None
    reasons = [w.REASONS[reason] for reason in found.reasons]
    distance = w.short(found.goal_distance[-1])
    says = [verdict(status, reasons, execute)]
    says += [
        f"At its end: {w.in_words(end) or 'no readouts'}; {distance:g} {w.clipped(world.metric.unit)} from the goal."
    ]
    says += [w.believed(world, found.trusted_horizon, count, radius)] if found.status == "ok" else []
    return a.PlanAnswer(
        summary=" ".join(says),
        status=status,
        reasons=reasons,
        decision_id=found.decision_id,
        latents_id=found.latents_id,
        actions=actions,
        execute_steps=execute,
        readouts=end,
        goal_distance=distance,
        cost=w.short(found.cost),
        trusted_model_steps=found.trusted_horizon,
        radius=radius,
        constraint_probability=[w.short(one) for one in found.constraint_probability] or None,
        seed=found.seed,
        steps=steps,
        left_out=w.left_out(
            of_readouts(world),
            of_steps("steps", count, steps),
            ("rows of actions", len(wanted), len(wanted) if actions is None else len(actions)),
        ),
    )


def verdict(status: str, reasons: list[str], execute: int) -> str:
    """Whether to execute a plan."""
    if status == "refused":
        return (
            f"Refused, do not execute it: {'; '.join(reasons[:3])}. Observe anew, or choose a nearer or another goal."
        )
    allowed = f"A person has allowed this plan, which was refused: {'; '.join(reasons[:3])}." if reasons else "A plan."
    return f"{allowed} Execute {execute} environment steps, call wmserve_observe with its decision_id, and plan again."


def observe(world: World, answer: m.ObserveResponse, full: bool) -> a.ObserveAnswer:
    """What came of actions, in words."""
    now = w.readouts(world, answer.readouts)
    more: dict[str, Any] = {}
    if full:
        numbers = ("expected_error", "ood_p_value", "coverage", "evidence")
        more = {name: w.maybe(getattr(answer, name)) for name in numbers} | {"observed": answer.observed}
    return a.ObserveAnswer(
        summary=f"Now: {w.in_words(now) or 'nothing is read'}. {outcome(answer)}",
        latents_id=answer.latents_id,
        readouts=now,
        error=w.short(answer.error),
        radius=w.maybe(answer.radius),
        covered=answer.covered,
        surprise_p_value=w.maybe(answer.surprise_p_value),
        changed=answer.changed,
        left_out=w.left_out(of_readouts(world)),
        **more,
    )


def outcome(answer: m.ObserveResponse) -> str:
    """How much of a surprise it was."""
    if answer.changed:
        return "This is no longer the world that the model knows: stop, and do not plan with it."
    if not answer.calibrated:
        return w.UNCALIBRATED
    size = f"{w.short(answer.error):g} latent units off"
    if answer.covered:
        return f"As predicted, within the radius: {size}."
    return f"A surprise: {size}, more than the radius allows; look again before you rely on the next plan."


def rows_shown(actions: AnyArray, block: int) -> list[list[float]]:
    """The first rows `[N, A]`, as many as SHOWN_NUMBERS allow, in whole blocks if any; six digits, as float32 has."""
    most = a.SHOWN_NUMBERS // actions.shape[1]
    most -= most % block if most >= block else 0
    return [[w.short(number, 6) for number in row] for row in actions[:most]]


def of_readouts(world: World) -> tuple[str, int, int]:
    """How many readouts are shown."""
    there = len(world.readouts)
    return "readouts", there, min(there, a.SHOWN_READOUTS)


def of_steps(name: str, there: int, shown: list[a.Step] | None) -> tuple[str, int, int]:
    """How many steps are shown, where they are wanted."""
    return name, there, there if shown is None else len(shown)
