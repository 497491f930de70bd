"""The reference world's data is the environment's, and its frames are reduced as the field reduces them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from wmserve_export.contract import checkpoint_digest
from wmserve_export.families.images import resize_weights
from wmserve_export.reference import collect, fit, goal_metric, train, verify

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
from loadtest.planning.in_process import contract
from tests.conftest import ROOT


@pytest.mark.filterwarnings("ignore:.*WARN:UserWarning")
def test_replica_is_the_environment() -> None:
    """The fast replica of Two-Room moves and draws exactly as the environment does."""
    assert verify.largest_differences(episodes=4, steps=40) == (0.0, 0)


@pytest.mark.parametrize("size", [31, 64, 100, 224])
def test_frames_are_reduced_as_antialiased_bilinear(size: int) -> None:
    """The in-graph reduction is torch's antialiased bilinear interpolation, and does nothing at its own size."""
    image = torch.rand(1, 1, size, size, generator=torch.Generator().manual_seed(0))
    weights = resize_weights(size, 64)
    wanted = torch.nn.functional.interpolate(image, (64, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(weights @ image @ weights.T, wanted, atol=1e-5, rtol=1e-5)
    if size == 64:
        torch.testing.assert_close(weights, torch.eye(64))


def test_held_out_doors_and_seeds_are_held_out() -> None:
    """Training, tuning and evaluation share no door but the default one, and no seed."""
    doors = (set(collect.TRAINING_DOORS), set(collect.TUNING_DOORS), set(collect.EVALUATION_DOORS))
    assert all(not one & other for one in doors for other in doors if one is not other)
    seeds = (collect.TRAINING_SEED, collect.HELD_OUT_SEED, collect.TUNING_SEED, collect.EVALUATION_SEED, verify.SEED)
    assert np.diff(sorted(seeds)).min() >= 1_000_000


def test_training_makes_the_same_world_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal data and seeds give equal weights, to the bit; every phase of training runs, if only for a moment."""
    monkeypatch.setattr(collect, "TRAINING_DOORS", (40, 50, 80, 150))
    recipe = train.Recipe(
        world=fit.Recipe(steps=3, layouts=2, trajectories=2, member_steps=2, member_batch=8, readout_steps=2),
        metric=goal_metric.Recipe(states_per_layout=16, steps=2, batch=64),
    )
    data, held_out = collect.training_data(2, 2), collect.held_out_data(3)
    torch.set_num_threads(1)
    (one, card), (other, _) = (train.make(recipe, data, held_out) for _ in range(2))
    assert one.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert card["held_out"]["latent_dim"] == 32  # type: ignore[index]
    assert [readout.error > 0 for readout in one.config.readouts] == [True] * 3


def test_the_shipped_engines_are_those_of_the_shipped_checkpoint() -> None:
    """Whoever trains the world again must export it again."""
    world = contract(ROOT / "model_repository", "two_room")
    assert world.digests.checkpoint == checkpoint_digest(Path(train.__file__).parent / "two_room")
