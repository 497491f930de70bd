"""Whether latents still represent what is seen, judged by what collapse does.

A collapsed encoder gives frames that differ the same latents, or latents of hardly any directions; outcomes can then
not be told apart, and a prediction is hardly better than a copy of the last latents. How many directions and how much
room between neighbours there should be, the frames themselves decide: data of two degrees of freedom fill no 192
dimensions. So both are held against encoders that cannot have collapsed, since they were never trained, on the same
frames: random projections of pixels, principal components, random convolutions. Of those the directions count that
neighbours differ in: a dot that moves in a plane gives pixels of full rank, and needs no more than latents of rank 2.

    frames  -> reference encoders -> dimension, nearest -+
    latents ------------------ rank, dimension, nearest -+-> Health -> a finding, or none
    rollouts and what happened ---- copying, told_apart -+
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from wmserve.statistics import effective_rank
from wmserve.world import Health

from wmserve_export.calibration.trajectories import Floats

SIDE = 32
"""Pixels that frames are reduced to for the reference encoders."""
MOST = 1024
"""Rows that are looked at."""
LEAST_DEVIATION, LEAST_DIMENSION, LEAST_NEAREST, MOST_COPYING, LEAST_TOLD_APART = 1e-2, 0.6, 0.02, 0.78, 0.75
"""Bounds of `Health`; dimension and nearest are parts of those of the reference encoders."""
ENOUGH = 3.0
"""Directions that no more are asked for than: noise gives frames many that no encoder should keep."""
NEIGHBOURS = 10
Doubles = NDArray[np.float64]


def thumbnail(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A frame `[h, w, 3]` as the reference encoders see it: `[32, 32, 3]`."""
    image = torch.from_numpy(np.ascontiguousarray(frame)).movedim(-1, 0)[None].float()
    small = functional.interpolate(image, (SIDE, SIDE), mode="area")[0].movedim(0, -1)
    return small.round().to(torch.uint8).numpy()


def measure(thumbnails: NDArray[np.uint8], start: Floats, predicted: Floats, truth: Floats) -> Health:
    """Measure what collapse shows in.

    Args:
        thumbnails: `[M, 32, 32, 3]`: the frames that rollouts start from.
        start: `[M, D]`: their latents.
        predicted: `[M, H, D]`: the latents that rollouts predicted.
        truth: `[M, H, D]`: the latents of what was then seen.
    """
    rows = np.unique(thumbnails.reshape(len(thumbnails), -1), axis=0, return_index=True)[1]
    rows = np.random.default_rng(0).permutation(rows)[:MOST]
    latents, pictures = start[rows].astype(np.float64), thumbnails[rows]
    width = min(latents.shape[1], max(1, len(rows) // 2))
    references = [narrow(one, width) for one in reference_encoders(pictures)]
    copying, told_apart = of_predictions(start, predicted, truth)
    deviation = float(np.sqrt(np.square(centred(latents)).sum(axis=1).mean()))
    return Health(
        deviation=deviation / max(float(np.linalg.norm(latents.mean(axis=0))), 1e-300),
        rank=rank(narrow(latents, width)),
        dimension=dimension(latents),
        reference_dimension=min(map(dimension, references)),
        nearest=nearest(latents),
        reference_nearest=min(map(nearest, references)),
        copying=copying,
        told_apart=told_apart,
    )


def finding(health: Health) -> str | None:
    """What is wrong, with its figures; None where nothing is."""
    wrong = []
    if health.deviation <= LEAST_DEVIATION:
        wrong.append(f"all frames have nearly the same latents: they deviate by {health.deviation:.2g} of their mean")
    if min(health.rank, health.dimension) < LEAST_DIMENSION * min(health.reference_dimension, ENOUGH):
        wrong.append(
            f"latents vary in {min(health.rank, health.dimension):.1f} directions, where untrained encoders of the "
            f"same frames vary in {health.reference_dimension:.1f} or more"
        )
    if health.nearest < LEAST_NEAREST * health.reference_nearest:
        wrong.append(
            f"latents lie in a few clusters: the nearest is {health.nearest:.2g} of the usual distance away, by "
            f"untrained encoders of the same frames {health.reference_nearest:.2g} or more"
        )
    if health.told_apart < LEAST_TOLD_APART:
        wrong.append(
            f"outcomes cannot be told apart: {health.told_apart:.0%} of the predictions are nearer to what happened "
            "than to what happened elsewhere; chance is 50%"
        )
    if health.copying > MOST_COPYING:
        wrong.append(
            f"predictions are hardly better than a copy of the last latents: their error is {health.copying:.2g} of "
            "the copy's at the best number of steps"
        )
    return "; ".join(wrong) or None


def of_predictions(start: Floats, predicted: Floats, truth: Floats) -> tuple[float, float]:
    """Error of predictions over that of copies, and how often they are nearer to what happened than to another outcome.

    Medians over rows `[M]`; each at the number of model steps at which it is best.
    """
    predicted, truth = predicted.astype(np.float64), truth.astype(np.float64)
    error = np.linalg.norm(predicted - truth, axis=-1)
    copy = np.median(np.linalg.norm(truth - start[:, None], axis=-1), axis=0)
    elsewhere = np.linalg.norm(predicted - np.roll(truth, 1, axis=0), axis=-1)
    told_apart = ((error < elsewhere) + 0.5 * (error == elsewhere)).mean(axis=0)
    ratio = np.median(error, axis=0) / np.maximum(copy, 1e-300)
    return float(min(ratio.min(), 1e6)), float(told_apart.max())


def reference_encoders(thumbnails: NDArray[np.uint8]) -> Iterator[Doubles]:
    """What encoders that were never trained make of frames `[M, 32, 32, 3]`: `[M, F]` each."""
    pixels = centred(thumbnails.reshape(len(thumbnails), -1) / 255)
    yield pixels
    left, values, _ = np.linalg.svd(pixels, full_matrices=False)
    yield left * values
    images = torch.from_numpy(pixels.reshape(thumbnails.shape)).movedim(-1, 1).float()
    yield centred(convolutions()(images / images.std().clamp(min=1e-12)).double().numpy())


def convolutions() -> nn.Sequential:
    """Three layers of random convolutions, always the same."""
    generator, layers = torch.Generator().manual_seed(0), nn.Sequential()
    for narrow_, wide in ((3, 16), (16, 32), (32, 64)):
        layer = nn.Conv2d(narrow_, wide, 3, 2, 1, bias=False).requires_grad_(False)
        layer.weight.copy_(torch.randn(layer.weight.shape, generator=generator) * (2 / (9 * narrow_)) ** 0.5)
        layers.extend([layer, nn.ReLU()])
    return layers.append(nn.Flatten())


def narrow(rows: Doubles, width: int) -> Doubles:
    """Rows `[M, F]` in at most so many dimensions: principal ones come first, others are mixed at random."""
    if rows.shape[1] <= width:
        return rows
    mix = np.random.default_rng(0).standard_normal((rows.shape[1], width))
    return rows @ mix / np.sqrt(rows.shape[1])


def centred(rows: NDArray[np.floating]) -> Doubles:
    """Rows `[M, F]` less their mean."""
    return np.asarray(rows - rows.mean(axis=0), np.float64)


def rank(rows: Doubles) -> float:
    """Effective rank of centred rows `[M, F]`, at least 1."""
    return max(1.0, effective_rank(centred(rows)))


def nearest(rows: Doubles) -> float:
    """Distance of the nearest other row, over the usual one; medians."""
    apart = distances(rows)
    return float(np.median(apart[:, 0]) / max(float(np.median(apart)), 1e-300))


def dimension(rows: Doubles) -> float:
    """Dimension among the nearest rows (Levina & Bickel, 2004, with the mean of MacKay & Ghahramani, 2005)."""
    near = np.maximum(distances(rows)[:, :NEIGHBOURS], 1e-300)
    return float(1 / max(float(np.log(near[:, -1:] / near[:, :-1]).mean()), 1e-9))


def distances(rows: Doubles) -> Doubles:
    """Of each row from all others, rising: `[M, M - 1]`."""
    rows = centred(rows)
    lengths = np.square(rows).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * rows @ rows.T, 0)
    np.fill_diagonal(squares, -1)
    return np.sqrt(np.sort(squares, axis=1)[:, 1:])
