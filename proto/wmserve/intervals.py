"""Intervals of success rates: of one, and of the difference of two that were measured on the same episodes."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z_95 = 1.959964


def wilson(successes: int, count: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    share, z = successes / count, Z_95
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Paired:
    """Two policies on the same episodes: how many each alone solved, and what their success rates differ by."""

    first_only: int
    second_only: int
    both: int
    neither: int

    @property
    def count(self) -> int:
        """Episodes."""
        return self.first_only + self.second_only + self.both + self.neither

    @property
    def difference(self) -> float:
        """Success rate of the first less that of the second."""
        return (self.first_only - self.second_only) / self.count

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference: Wilson's of each, with their correlation (Newcombe 1998, method 10)."""
        rates = (self.both + self.first_only) / self.count, (self.both + self.second_only) / self.count
        limits = [wilson(round(rate * self.count), self.count) for rate in rates]
        (low_1, high_1), (low_2, high_2) = (
            (rate - low, high - rate) for rate, (low, high) in zip(rates, limits, strict=True)
        )
        phi = self._correlation()
        below = math.sqrt(max(0.0, low_1**2 - 2 * phi * low_1 * high_2 + high_2**2))
        above = math.sqrt(max(0.0, high_1**2 - 2 * phi * high_1 * low_2 + low_2**2))
        return self.difference - below, self.difference + above

    @property
    def p_value(self) -> float:
        """Probability of so uneven a split of the episodes that one alone solved, if both were as good (McNemar's)."""
        uneven = self.first_only + self.second_only
        tail: float = sum(math.comb(uneven, k) for k in range(min(self.first_only, self.second_only) + 1)) / 2**uneven
        return min(1.0, 2 * tail)

    def _correlation(self) -> float:
        """Phi of the two outcomes, corrected for continuity."""
        a, b, c, d = self.both, self.first_only, self.second_only, self.neither
        margins = (a + b) * (c + d) * (a + c) * (b + d)
        if margins == 0:
            return 0.0
        product = a * d - b * c
        return (max(0.0, product - self.count / 2) if product > 0 else product) / math.sqrt(margins)


def paired(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Hold two policies' outcomes of the same episodes against each other."""
    pairs = list(zip(first, second, strict=True))
    return Paired(
        first_only=sum(one and not other for one, other in pairs),
        second_only=sum(other and not one for one, other in pairs),
        both=sum(one and other for one, other in pairs),
        neither=sum(not one and not other for one, other in pairs),
    )
