"""How well a score tells bad from good, `[M]` scores and errors."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
POINTS = 100


def auroc(scores: Doubles, bad: NDArray[np.bool_]) -> float:
    """Chance that one of the bad scores higher than one of the others; ties count half."""
    _, ranks, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2
    count = int(bad.sum())
    return float((middle[ranks[bad]].sum() - count * (count + 1) / 2) / (count * (len(bad) - count)))


def worst_tenth(errors: Doubles) -> NDArray[np.bool_]:
    """Which errors are the worst tenth."""
    return errors > np.quantile(errors, 0.9)


def sparsification(scores: Doubles, errors: Doubles) -> Doubles:
    """Mean error of what is left when the first 0, 1 ... 99 % by score are taken away."""
    ordered = errors[np.argsort(-scores, kind="stable")]
    return np.array([ordered[len(ordered) * part // POINTS :].mean() for part in range(POINTS)])


def ause_ratio(scores: Doubles, errors: Doubles) -> float:
    """Area between the sparsification curve and the ideal one, over that of a score that knows nothing."""
    ideal = sparsification(errors, errors)
    return float((sparsification(scores, errors) - ideal).mean() / (errors.mean() - ideal).mean())
