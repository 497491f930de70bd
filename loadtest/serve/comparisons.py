"""Runs targets one after the other, round after round (A B C A B C ...), and compares within a round.

A machine that slows down slows a whole round, and leaves its ratios alone. Figures are medians over rounds.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from loadtest.serve import closed_loop, open_loop
from loadtest.serve.closed_loop import Load, Target

CALLERS = (1, 16, 64)
WARM_UP_REQUESTS = 300
KNEE_SHARES = (0.5, 0.8, 0.95)
Figure = Callable[[Load], float]


@dataclass(frozen=True)
class Effort:
    """How long everything runs."""

    rounds: int
    peer_rounds: int
    """Beside peers: fewer, since ours runs again beside each."""
    seconds: float
    """Length of one run."""
    starts: int
    """Servers started to time their start, on each wire."""
    requests: tuple[int, int]
    """Requests after which memory is read."""


FULL = Effort(rounds=5, peer_rounds=3, seconds=3.0, starts=3, requests=(1000, 10_000))
QUICK = Effort(rounds=1, peer_rounds=1, seconds=0.5, starts=1, requests=(200, 2000))


@dataclass(frozen=True)
class Comparison:
    """Loads of each target, by name and round."""

    loads: Mapping[str, Sequence[Load]]

    def median(self, name: str, figure: Figure) -> float:
        """Median of a figure over rounds."""
        return statistics.median(figure(load) for load in self.loads[name])

    def against(self, name: str, base: str, figure: Figure) -> float:
        """Median over rounds of the ratio to another target in the same round."""
        pairs = zip(self.loads[name], self.loads[base], strict=True)
        return statistics.median(figure(own) / figure(other) for own, other in pairs)

    def over(self, name: str, base: str, figure: Figure) -> float:
        """Median over rounds of the difference to another target in the same round."""
        pairs = zip(self.loads[name], self.loads[base], strict=True)
        return statistics.median(figure(own) - figure(other) for own, other in pairs)


def throughput(load: Load) -> float:
    """Requests per second."""
    return load.requests_per_s


def cpu(load: Load) -> float:
    """Server CPU milliseconds per request."""
    return load.cpu_ms


def median_ms(load: Load) -> float:
    """Median latency, milliseconds."""
    return load.percentile(50)


def p99_ms(load: Load) -> float:
    """99th percentile of latency, milliseconds."""
    return load.percentile(99)


def tail(load: Load) -> float:
    """How far the 99th percentile is from the median: a ratio."""
    return load.percentile(99) / load.percentile(50)


def compare(targets: Sequence[Target], callers: int, effort: Effort) -> Comparison:
    """Closed loops in turn."""
    loads: dict[str, list[Load]] = {target.name: [] for target in targets}
    for target in targets:
        closed_loop.warm_up(target, callers, WARM_UP_REQUESTS)
    for _ in range(effort.rounds):
        for target in targets:
            loads[target.name].append(closed_loop.run(target, callers, effort.seconds))
    return Comparison(loads)


def on_schedule(
    targets: Sequence[Target], knees_per_s: Mapping[str, float], effort: Effort
) -> dict[str, dict[float, np.ndarray]]:
    """Open loops in turn, at shares of each target's own knee: all latencies, milliseconds, by target and share."""
    parts: dict[str, dict[float, list[np.ndarray]]] = {
        target.name: {share: [] for share in KNEE_SHARES} for target in targets
    }
    for _ in range(max(1, effort.rounds // 2)):
        for target in targets:
            for share in KNEE_SHARES:
                rate_per_s = share * knees_per_s[target.name]
                parts[target.name][share].append(open_loop.run(target, rate_per_s, effort.seconds))
    return {
        name: {share: np.sort(np.concatenate(runs)) for share, runs in shares.items()} for name, shares in parts.items()
    }
