"""Makes the reference world from nothing: data, world, readouts, goal metric, training card.

`python -m wmserve_export.reference.train --out DIR`; seeds are fixed, progress is shown.
"""

import argparse
import json
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor
from wmserve.statistics import effective_rank
from wmserve.world import ActionSpec, Axis, GoalMetric, PlannerDefaults, Readout

from wmserve_export.families.conv_jepa import ConvJepa, ConvJepaConfig, save
from wmserve_export.reference import card, collect, environment, fit, goal_metric
from wmserve_export.reference.collect import Trajectories
from wmserve_export.reference.evaluate import evaluate

DESCRIPTION = (
    "Two-Room (swm/TwoRoom-v1): an agent, two rooms, a door anywhere along the wall between them. "
    "One world for all door positions, trained without reconstruction."
)
GOAL_METRIC = GoalMetric(name="temporal_distance", unit="model steps", final_weight=1.0, path_weight=1.0)
# The smallest search that solved all 800 tuning episodes (loadtest/tune_planner.py, loadtest/results/plan.md).
PLANNER = PlannerDefaults(
    algorithm="icem", horizon=5, candidate_count=32, iterations=2, elite_count=6, hold_steps=5, initial_std=0.5
)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides what comes out."""

    per_layout: int = 45
    """Trajectories of each training door; the default door has six times as many."""
    held_out: int = 300
    world: fit.Recipe = field(default_factory=fit.Recipe)
    metric: goal_metric.Recipe = field(default_factory=goal_metric.Recipe)


SHORT = Recipe(
    per_layout=2,
    held_out=3,
    world=fit.Recipe(steps=2, layouts=2, trajectories=2, member_steps=2, member_batch=8, readout_steps=2),
    metric=goal_metric.Recipe(states_per_layout=8, steps=2, batch=64),
)
"""Every phase, each for a moment: the world is of no use."""


def configuration(actions: Tensor) -> ConvJepaConfig:
    """The world's configuration, with the statistics of the training actions `[..., 2]`."""
    flat = actions.flatten(0, -2)
    axes = tuple(
        Axis(name=name, unit="of full speed (5 px a step)", low=-1.0, high=1.0, mean=float(mean), std=float(std))
        for name, mean, std in zip(("velocity_x", "velocity_y"), flat.mean(dim=0), flat.std(dim=0), strict=True)
    )
    readouts = tuple(
        Readout(name=name, unit="px", low=0.0, high=float(environment.SIZE), error=0.0)
        for name in ("agent_x", "agent_y", "door_y")
    )
    return ConvJepaConfig(
        name="two_room",
        description=DESCRIPTION,
        image_size=collect.IMAGE_SIZE,
        channels=(32, 64, 64),
        encoder_width=192,
        latent_dim=32,
        members=5,
        member_width=128,
        goal_width=128,
        readout_width=128,
        action=ActionSpec(axes=axes, action_block=collect.ACTION_BLOCK),
        readouts=readouts,
        goal_metric=GOAL_METRIC,
        planner=PLANNER,
    )


@torch.no_grad()
def one_step_noise(world: ConvJepa, latents: Tensor, data: Trajectories) -> float:
    """Root mean square error of one model step, each latent dimension."""
    predicted = world.predict(latents[:, :1], data.actions[:, 0][:, None])[:, 0, :, 0].mean(dim=1)
    return float((predicted - latents[:, 1]).square().mean().sqrt())


def fit_goal_metric(
    world: ConvJepa, inverse: goal_metric.Inverse, latents: Tensor, data: Trajectories, recipe: goal_metric.Recipe
) -> float:
    """Fit the goal metric in place; returns its error against the paths, model steps."""
    paths = goal_metric.layout_paths(world, inverse, latents, data.doors, recipe)
    return goal_metric.fit(world.goal_net, paths, one_step_noise(world, latents, data), recipe)


def measure(
    world: ConvJepa, latents: Tensor, data: Trajectories, unseen: Tensor, held_out: Trajectories
) -> dict[str, object]:
    """Figures on latents `[M, L + 1, D]` of trajectories behind doors that were never trained on."""
    targets, unseen_targets = fit.readout_targets(data), fit.readout_targets(held_out)
    return {
        "effective_rank": effective_rank(unseen.flatten(0, -2).numpy()),
        "latent_dim": world.config.latent_dim,
        "linear_probe_r2": card.linear_probe(latents, targets, unseen, unseen_targets),
        "readout_rmse_px": card.readout_errors(world, unseen, unseen_targets),
        **card.prediction_errors(world, unseen, held_out),
    }


def seed_phase(phase: int) -> None:
    """Every phase has its own seed, so that it can be repeated without those before it."""
    torch.manual_seed(collect.TRAINING_SEED + phase)


def make(recipe: Recipe, data: Trajectories, held_out: Trajectories) -> tuple[ConvJepa, dict[str, object]]:
    """Train on data; the world and its training card."""
    seed_phase(0)
    world = ConvJepa(configuration(data.actions))
    inverse = goal_metric.Inverse(world)
    joint = fit.fit_world(world, inverse, data, recipe.world)
    return finish(world, inverse, recipe, data, held_out, joint)


def finish(
    world: ConvJepa,
    inverse: goal_metric.Inverse,
    recipe: Recipe,
    data: Trajectories,
    held_out: Trajectories,
    joint: dict[str, float],
) -> tuple[ConvJepa, dict[str, object]]:
    """What comes after the encoder: members, readouts, goal metric, measurements."""
    latents = fit.encode_all(world, data)
    seed_phase(1)
    members = fit.fit_members(world, latents, data, recipe.world)
    seed_phase(2)
    fit.fit_readouts(world, latents, fit.readout_targets(data), recipe.world)
    seed_phase(3)
    metric_error = fit_goal_metric(world, inverse, latents, data, recipe.metric)
    unseen = fit.encode_all(world, held_out)
    errors = card.readout_errors(world, unseen, fit.readout_targets(held_out))
    world.config = with_errors(world.config, errors)
    return world, {
        **provenance(data),
        "recipe": asdict(recipe),
        "parameters": card.parameter_counts(world),
        "losses": {"joint": joint, "members": members, "goal_metric_model_steps": metric_error},
        "held_out": measure(world, latents, data, unseen, held_out),
    }


def provenance(data: Trajectories) -> dict[str, object]:
    """Which data, doors and seeds; the last two ranges have had no part in training."""
    return {
        "data": {
            "training_trajectories": len(data.doors),
            "model_steps_each": collect.MODEL_STEPS,
            "training_doors": collect.TRAINING_DOORS,
            "tuning_doors": collect.TUNING_DOORS,
            "evaluation_doors": collect.EVALUATION_DOORS,
        },
        "first_seeds": {
            "training": collect.TRAINING_SEED,
            "held_out": collect.HELD_OUT_SEED,
            "tuning": collect.TUNING_SEED,
            "evaluation": collect.EVALUATION_SEED,
        },
    }


def with_errors(config: ConvJepaConfig, errors: list[float]) -> ConvJepaConfig:
    """The configuration with the held-out error of each readout."""
    readouts = tuple(
        readout.model_copy(update={"error": error}) for readout, error in zip(config.readouts, errors, strict=True)
    )
    return config.model_copy(update={"readouts": readouts})


def main(argv: list[str] | None = None) -> int:
    """``wmserve train``: 0 when the world is made."""
    parser = argparse.ArgumentParser(prog="wmserve train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--episodes", type=int, default=200, help="episodes of each protocol in the card's table")
    parser.add_argument("--short", action="store_true", help="a smoke test: every phase for a moment, a useless world")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)  # sums of several threads differ from run to run; one makes the same world again
    recipe, started = SHORT if arguments.short else Recipe(), perf_counter()
    doors = collect.TRAINING_DOORS[:4] if arguments.short else None
    data = collect.training_data(recipe.per_layout, 6 * recipe.per_layout, doors)
    world, figures = make(recipe, data, collect.held_out_data(recipe.held_out))
    figures["training_minutes"] = round((perf_counter() - started) / 60, 1)
    figures["threads"] = torch.get_num_threads()
    save(world, world.config, arguments.out)
    figures["success_on_tuning_seeds"] = evaluate(world, arguments.episodes)
    (arguments.out / "card.json").write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
