"""Contracts for tests that need one but no engine."""

from wmserve.world import (
    ActionSpec,
    Axis,
    Digests,
    GoalMetric,
    ObservationSpec,
    PlannerDefaults,
    Readout,
    World,
)


def make_world(name: str = "toy", checkpoint: str = "sha256:" + "0" * 64, context_length: int = 1) -> World:
    """A small world: two action components, blocks of five, 32 latents, two readouts."""
    axes = tuple(Axis(name=f"move_{axis}", unit="1", low=-1.0, high=1.0, mean=0.0, std=1.0) for axis in ("x", "y"))
    readouts = tuple(Readout(name=f"agent_{axis}", unit="px", low=0.0, high=224.0, error=1.0) for axis in ("x", "y"))
    return World(
        name=name,
        family="toy",
        description="A world for tests.",
        observation=ObservationSpec(native_height=64, native_width=64),
        action=ActionSpec(axes=axes, action_block=5),
        context_length=context_length,
        latent_shape=(32,),
        ensemble_size=5,
        search_members=3,
        horizon_limit=10,
        engine_horizons=(5, 10),
        candidate_limit=1024,
        plan_budget=200_000,
        readouts=readouts,
        goal_metric=GoalMetric(name="toy", unit="1"),
        planner=PlannerDefaults(horizon=5, candidate_count=64, iterations=5, elite_count=8),
        digests=Digests(checkpoint=checkpoint, engines={}),
    )
