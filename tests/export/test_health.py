"""Collapse is judged by what it does: latents of few directions may be healthy, each way to collapse is found."""

import numpy as np
import pytest
from numpy.typing import NDArray
from wmserve_export.calibration import health
from wmserve_export.calibration.trajectories import Floats

from loadtest.trusting import healthy

ROWS, STEPS, DIM = 300, 3, 32


@pytest.fixture(scope="module")
def thumbnails() -> NDArray[np.uint8]:
    """A dot somewhere: two degrees of freedom."""
    return np.rint(255 * healthy.dot(places()[:, 0])).astype(np.uint8)


def places() -> Floats:
    """Where it is `[M, 1 + H, 2]`."""
    return healthy.walks(np.random.default_rng(0), ROWS, 2)[0][:, : 1 + STEPS]


def embedded(there: Floats, noise: float = 0.0) -> Floats:
    """Places as latents `[..., D]` that vary in two directions, around a mean."""
    rng = np.random.default_rng(1)
    latents = (there - 0.5) @ rng.standard_normal((2, DIM)) + rng.standard_normal(DIM)
    return (latents + noise * rng.standard_normal(latents.shape)).astype(np.float32)


def found(thumbnails: NDArray[np.uint8], latents: Floats, predicted: Floats | None = None) -> str | None:
    """The finding of latents `[M, 1 + H, D]` and predictions `[M, H, D]`, by default good ones."""
    noisy = latents + np.random.default_rng(2).normal(0, 0.05 * latents.std(), latents.shape).astype(np.float32)
    predicted = noisy[:, 1:] if predicted is None else predicted
    return health.finding(health.measure(thumbnails, latents[:, 0], predicted, latents[:, 1:]))


def test_latents_of_as_many_directions_as_the_data_have_are_healthy(thumbnails: NDArray[np.uint8]) -> None:
    """Two of 32 here: the frames support no more. So are latents with a large mean, and narrow ones."""
    latents = embedded(places())
    assert found(thumbnails, latents) is None
    assert found(thumbnails, latents + 5) is None
    assert found(thumbnails, places()) is None


def test_each_way_to_collapse_is_found(thumbnails: NDArray[np.uint8]) -> None:
    """And named, with figures."""
    latents = embedded(places())
    constant = 1e-4 * latents + 1
    assert "nearly the same latents" in str(found(thumbnails, constant))
    line = latents[..., :1] * np.ones(DIM, np.float32)
    assert "latents vary in 1.0 directions, where" in str(found(thumbnails, line))
    centres = embedded(np.round(places() * 3) / 3) + 1e-5 * latents
    assert "few clusters" in str(found(thumbnails, centres.astype(np.float32)))


def test_predictions_that_know_no_more_than_a_copy_are_found(thumbnails: NDArray[np.uint8]) -> None:
    """Or that fit what happened elsewhere as well."""
    latents = embedded(places())
    copies = np.repeat(latents[:, :1], STEPS, axis=1)
    said = str(found(thumbnails, latents, copies))
    assert said.startswith("predictions are hardly better than a copy")
    elsewhere = latents[np.random.default_rng(3).permutation(ROWS), 1:]
    assert "outcomes cannot be told apart" in str(found(thumbnails, latents, elsewhere))
