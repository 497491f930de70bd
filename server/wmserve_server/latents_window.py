"""Looks at the latents that were served lately: do they still differ as much as they should?

An encoder that has collapsed gives every frame the same latents, or latents of few dimensions; so does a camera that
shows nothing. Predictions are then easy and surprises small: no other number here would tell.
"""

from collections.abc import Iterable, Iterator

import numpy as np
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from wmserve.statistics import effective_rank, pooled

from wmserve_server.backend import Floats

FRAMES = 256
"""Frames that are looked at."""


class LatentsWindow:
    """The latents of the last FRAMES frames of one world."""

    def __init__(self, dim: int) -> None:
        self._rows = np.zeros((FRAMES, dim), np.float32)
        self._count = 0

    def add(self, latents: Floats) -> None:
        """Take in latents `[T, D]`; the oldest go."""
        for row in latents:
            self._rows[self._count % FRAMES] = row
            self._count += 1

    @property
    def rows(self) -> Floats:
        """Latents `[M, D]`, M at most FRAMES, in no order."""
        return self._rows[: self._count]

    def smallest_std(self) -> float:
        """Standard deviation of the dimension that varies least."""
        return float(self.rows.std(axis=0).min())


class LatentsWindows(Collector):
    """A window for each world; what they show is worked out when Prometheus asks."""

    def __init__(self) -> None:
        self._windows: dict[str, LatentsWindow] = {}

    def add(self, world: str, latents: Floats) -> None:
        """Take in latents `[L, D]`, of patches their mean; a world whose latents have another size begins anew."""
        flat = pooled(latents)
        window = self._windows.get(world)
        if window is None or window.rows.shape[1] != flat.shape[1]:
            window = self._windows[world] = LatentsWindow(flat.shape[1])
        window.add(flat)

    def keep(self, worlds: Iterable[str]) -> None:
        """Forget all worlds but these."""
        known = set(worlds)
        self._windows = {world: window for world, window in self._windows.items() if world in known}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Both numbers of each world that has been asked for enough frames to tell."""
        rank = GaugeMetricFamily(
            "wmserve_latents_effective_rank", f"Effective rank of the last {FRAMES} latents.", labels=["world"]
        )
        std = GaugeMetricFamily(
            "wmserve_latents_smallest_std", f"Least deviation of a dimension of the last {FRAMES}.", labels=["world"]
        )
        for world, window in list(self._windows.items()):
            if len(window.rows) == FRAMES:
                rank.add_metric([world], effective_rank(window.rows))
                std.add_metric([world], window.smallest_std())
        yield from (rank, std)
