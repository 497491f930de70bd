"""The three searches: each proposes knots and learns from their costs.

Sources: CEM as in LeWM and DINO-WM (Rubinstein 1999; the elites' mean and standard deviation); iCEM (Pinneri
et al. 2020, arXiv 2008.06389: coloured noise, kept elites, shrinking populations); MPPI (Williams et al. 2017:
exponentially weighted mean). All sample around a mean `[K, A]` that is itself the first candidate.
"""

from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

KEPT_FRACTION = 0.3
"""iCEM: part of the elites that enters the next population."""
SHRINK = 1.25
"""iCEM: factor by which each population is smaller than the one before; never under twice the elites."""
NOISE_EXPONENT = 2.0
"""iCEM: power spectrum of the noise ~ 1 / f^exponent over the knots."""
TEMPERATURE = 0.1
"""MPPI: temperature, in units of the standard deviation of a population's costs."""


@dataclass(frozen=True)
class Distribution:
    """What populations are drawn from: mean and standard deviation `[K, A]`, and elites kept from the last one."""

    mean: Floats
    std: Floats
    kept: Floats = field(default_factory=lambda: np.empty((0, 0, 0), np.float32))


class Algorithm(Protocol):
    """Proposes populations and learns from them."""

    def propose(self, around: Distribution, rng: np.random.Generator, iteration: int) -> Floats: ...

    def learn(self, around: Distribution, knots: Floats, costs: Floats) -> Distribution: ...


@dataclass(frozen=True)
class Gaussian:
    """Draws independent noise around the mean, the same number of candidates each time."""

    candidate_count: int
    elite_count: int

    def propose(self, around: Distribution, rng: np.random.Generator, iteration: int) -> Floats:
        """Draw `[S, K, A]`; the first candidate is the mean itself."""
        del iteration
        return drawn(around, rng.standard_normal((self.candidate_count, *around.mean.shape), dtype=np.float32))


@dataclass(frozen=True)
class Cem(Gaussian):
    """Cross-entropy method: the next population is drawn around the elites."""

    momentum: float = 0.0
    """Part of the last mean and standard deviation that the next keep, 0 to under 1."""

    def learn(self, around: Distribution, knots: Floats, costs: Floats) -> Distribution:
        """Fit mean and standard deviation to the elites, and move there from the last as far as momentum allows."""
        new = fitted(best_of(knots, costs, self.elite_count))
        return new if self.momentum == 0.0 else between(around, new, self.momentum)


@dataclass(frozen=True)
class ICem:
    """CEM with noise that is smooth in time, elites that are kept, and populations that shrink."""

    candidate_count: int
    elite_count: int

    def propose(self, around: Distribution, rng: np.random.Generator, iteration: int) -> Floats:
        """Draw `[S, K, A]` with S shrinking by iteration; kept elites take the last places."""
        count = max(2 * self.elite_count, round(self.candidate_count / SHRINK**iteration))
        count = min(count, self.candidate_count)
        knots = drawn(around, coloured(rng, (count, *around.mean.shape)))
        if around.kept.shape[0]:
            knots[count - around.kept.shape[0] :] = around.kept
        return knots

    def learn(self, around: Distribution, knots: Floats, costs: Floats) -> Distribution:
        """Fit mean and standard deviation to the elites, and keep some of them."""
        del around
        elites = best_of(knots, costs, self.elite_count)
        return replace(fitted(elites), kept=elites[: max(1, int(KEPT_FRACTION * self.elite_count))])


class Mppi(Gaussian):
    """Path integral: the mean moves to the exponentially weighted candidates; the spread shrinks with theirs."""

    def learn(self, around: Distribution, knots: Floats, costs: Floats) -> Distribution:
        """Weigh candidates by ``exp(-(cost - min) / (TEMPERATURE * std))``, elites only."""
        order = np.argsort(costs, kind="stable")[: self.elite_count]
        scale = TEMPERATURE * float(costs.std()) + 1e-9
        weights = np.exp(-(costs[order] - costs[order[0]]) / scale)
        weights = (weights / weights.sum())[:, None, None]
        mean = (weights * knots[order]).sum(axis=0)
        std = np.sqrt((weights * (knots[order] - mean) ** 2).sum(axis=0))
        # A single heavy candidate must not end the search: half of the spread stays.
        return Distribution(mean.astype(np.float32), np.maximum(std, around.std / 2).astype(np.float32))


def best_of(knots: Floats, costs: Floats, count: int) -> Floats:
    """The cheapest knots `[count, K, A]`, in order; ties go to the earlier."""
    return knots[np.argsort(costs, kind="stable")[:count]]


def fitted(elites: Floats) -> Distribution:
    """Mean and standard deviation of elites; the sample's, as LeWM's released solver takes it."""
    return Distribution(elites.mean(axis=0), elites.std(axis=0, ddof=min(1, len(elites) - 1)))


def between(old: Distribution, new: Distribution, kept: float) -> Distribution:
    """A part of the old mean and standard deviation, the rest of the new ones."""
    part, rest = np.float32(kept), np.float32(1.0 - kept)
    return Distribution(rest * new.mean + part * old.mean, rest * new.std + part * old.std)


def drawn(around: Distribution, noise: Floats) -> Floats:
    """Scale and shift unit noise `[S, K, A]`; the first candidate becomes the mean."""
    knots = around.mean + around.std * noise
    knots[0] = around.mean
    return knots


def coloured(rng: np.random.Generator, shape: tuple[int, int, int]) -> Floats:
    """Unit-variance noise `[S, K, A]` whose power falls as 1 / f^NOISE_EXPONENT along K (Timmer & Koenig 1995)."""
    count, knots, dim = shape
    frequency = np.maximum(np.fft.rfftfreq(knots), 1.0 / knots)
    scale = (frequency ** (-NOISE_EXPONENT / 2))[:, None]
    spectrum = scale * (
        rng.standard_normal((count, scale.shape[0], dim)) + 1j * rng.standard_normal((count, scale.shape[0], dim))
    )
    noise = np.fft.irfft(spectrum, n=knots, axis=1)
    power = np.full(len(frequency), 4.0)
    power[0] = 1.0  # the mean, and the highest frequency where K is even, are real: one part, not two
    if knots % 2 == 0:
        power[-1] = 1.0
    sigma = np.sqrt(power @ scale[:, 0] ** 2) / knots
    return (noise / sigma).astype(np.float32)


def algorithm(name: str, candidate_count: int, elite_count: int, momentum: float) -> Algorithm:
    """The algorithm of that name; KeyError for others. Only CEM knows momentum, as the contract says."""
    known: dict[str, Algorithm] = {
        "cem": Cem(candidate_count, elite_count, momentum),
        "icem": ICem(candidate_count, elite_count),
        "mppi": Mppi(candidate_count, elite_count),
    }
    return known[name]
