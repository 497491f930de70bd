"""How numbers of the contract are worked out that exporter and gateway hold against each other."""

import numpy as np
from numpy.typing import NDArray

LEAST_DEVIATION, LEAST_DIRECTIONS = 4e-3, 0.9
"""Part of the largest principal deviation that others have to come up to, and the part of all that has to."""
LEAST_SPREAD = 1e-2
"""Part of their mean's length that latents have to vary by."""
LEAST_DISTANCE = 1e-2
"""Part of the usual distance that latents have to keep from their nearest neighbour, half of them at least."""
MOST_ROWS = 1024


def effective_rank(latents: NDArray[np.floating]) -> float:
    """RankMe of latents `[M, D]`: ``exp(-sum p log p)``, p the normalised singular values; 0 where all is 0.

    Source: arXiv 2210.02885.
    """
    values = np.linalg.svd(latents.astype(np.float64), compute_uv=False)
    share = values / max(values.sum(), 1e-300)
    return float(np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum())) if values.any() else 0.0


def collapse(latents: NDArray[np.floating]) -> str | None:
    """Why latents `[M, D]` of `M` frames, no two alike, are not a representation of them; None if they may be one.

    Looks at scale, rank and neighbours: noise on a constant has full rank, and clusters have full rank and scale.
    `M` should be twice `D` or more; of more dimensions than `M / 2`, random ones are looked at.
    """
    rows = latents.reshape(len(latents), -1)[:MOST_ROWS].astype(np.float64)
    centred = rows - rows.mean(axis=0)
    deviation = float(np.sqrt(np.square(centred).sum(axis=1).mean()))
    if deviation <= LEAST_SPREAD * np.linalg.norm(rows.mean(axis=0)) or deviation == 0:
        return "all frames have nearly the same latents"
    dimensions = min(centred.shape[1], max(1, len(rows) // 2))
    if dimensions < centred.shape[1]:
        centred = centred @ np.random.default_rng(0).standard_normal((centred.shape[1], dimensions))
    values = np.linalg.svd(centred, compute_uv=False)
    directions = int((values >= LEAST_DEVIATION * values[0]).sum())
    if directions < LEAST_DIRECTIONS * dimensions:
        return f"latents vary in {directions} directions of {dimensions}"
    lengths = np.square(centred).sum(axis=1)
    squares = np.maximum(lengths[:, None] + lengths - 2 * centred @ centred.T, 0)
    usual = np.median(squares)
    np.fill_diagonal(squares, np.inf)
    if np.median(squares.min(axis=1)) < LEAST_DISTANCE**2 * usual:
        return "latents lie in a few clusters"
    return None
