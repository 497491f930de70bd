"""What has been counted while episodes go by."""

from dataclasses import dataclass, field

import numpy as np

from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.statistics import Gathering

UNREADABLE = (OSError, ValueError, KeyError, IndexError, TypeError, RuntimeError, NotImplementedError, OverflowError)
"""What readers of other parties' files raise where those are damaged; DataError is one of them."""
HOPELESS = 10
"""When so many episodes have failed and none has been read, something is wrong with all."""
REASONS = 50


@dataclass
class Tally:
    """What has been counted so far."""

    lengths: list[int] = field(default_factory=list)
    """Frames a model step apart of each episode that was read."""
    long: Gathering = field(default_factory=lambda: Gathering(0))
    short: Gathering = field(default_factory=lambda: Gathering(0))
    written: int = 0
    kept: int = 0
    frames: int = 0
    still: int = 0
    outside: int = 0
    names: list[str] = field(default_factory=list)
    reasons: dict[str, list[str]] = field(default_factory=dict)

    def median(self, least: int, under: int) -> float:
        """Model steps of the episodes with so many frames; 0 where there are none."""
        steps = [length - 1 for length in self.lengths if least <= length < under and length]
        return float(np.median(steps)) if steps else 0.0

    def fail(self, name: str, error: Exception) -> None:
        """Count an episode that cannot be read; DataError where none can."""
        reason = str(error) or type(error).__name__
        if reason not in self.reasons and len(self.reasons) >= REASONS:
            reason = "other reasons"
        self.reasons.setdefault(reason, []).append(name)
        if not self.lengths and sum(map(len, self.reasons.values())) >= HOPELESS:
            first = next(iter(self.reasons))
            raise DataError(f"of the first {HOPELESS} episodes none can be read; of {self.reasons[first][0]}: {first}")
