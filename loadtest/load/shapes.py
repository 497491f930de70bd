"""How many users come when: up to the knee, steadily, in bursts, or for long.

ramp      a step more every few seconds, to the peak
steady    half of the peak from the beginning
burst     a quarter of the peak, and all of it for a moment, again and again
soak      a third of the peak, for as long as asked: what grows, grows now
"""

from collections.abc import Callable

STEPS, BURST_EVERY, BURST_SHARE = 8, 0.25, 0.25


def ramp(share: float) -> float:
    """Part of the peak at a share of the time, 0 to 1."""
    return (int(share * STEPS) + 1) / STEPS


def steady(share: float) -> float:  # noqa: ARG001
    """Part of the peak."""
    return 0.5


def burst(share: float) -> float:
    """Part of the peak; the last quarter of each period is all of it."""
    return 1.0 if (share % BURST_EVERY) / BURST_EVERY >= 1 - BURST_SHARE else 0.25


def soak(share: float) -> float:  # noqa: ARG001
    """Part of the peak."""
    return 1 / 3


SHAPES: dict[str, Callable[[float], float]] = {"ramp": ramp, "steady": steady, "burst": burst, "soak": soak}


def users(shape: str, elapsed_s: float, seconds: float, peak: int) -> int | None:
    """How many there are to be after so many seconds; None when it is over."""
    return None if elapsed_s >= seconds else max(1, round(peak * SHAPES[shape](elapsed_s / seconds)))
