"""The reference world's data is the environment's, and its frames are reduced as the field reduces them."""

import numpy as np
import pytest
import torch
from wmserve_export.families.conv_jepa import resize_weights
from wmserve_export.reference import collect, verify

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision


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
