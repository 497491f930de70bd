"""How numbers of the contract are worked out that exporter and gateway hold against each other."""

import numpy as np
from numpy.typing import NDArray


def effective_rank(latents: NDArray[np.floating]) -> float:
    """RankMe of latents `[M, D]`: ``exp(-sum p log p)``, p the normalised singular values; 0 where all is 0.

    Source: arXiv 2210.02885.
    """
    values = np.linalg.svd(latents.astype(np.float64), compute_uv=False)
    share = values / max(values.sum(), 1e-300)
    return float(np.exp(-(share * np.log(np.maximum(share, 1e-300))).sum())) if values.any() else 0.0


def pooled(latents: NDArray[np.floating]) -> NDArray[np.floating]:
    """Latents `[M, ..., D]` as `[M, D]`, of patches their mean: what rank and deviation are taken of."""
    return np.asarray(latents.reshape(len(latents), -1, latents.shape[-1]).mean(axis=1))
