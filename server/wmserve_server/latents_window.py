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
    """A window for the live version of each world; what they show is worked out when Prometheus asks."""

    def __init__(self) -> None:
        self._windows: dict[str, LatentsWindow] = {}
        self._versions: dict[str, int] = {}
        """Live versions by world: latents of two are not to be compared."""

    def add(self, world: str, version: int, latents: Floats) -> None:
        """Take in latents `[L, D]`, of patches their mean, if they are of the live version."""
        if self._versions.get(world) != version:
            return
        flat = pooled(latents)
        if world not in self._windows:
            self._windows[world] = LatentsWindow(flat.shape[1])
        self._windows[world].add(flat)

    def keep(self, versions: Iterable[tuple[str, int]]) -> None:
        """Forget all worlds but these, and those of which another version is live now."""
        known = dict(versions)
        same = {world for world, version in known.items() if self._versions.get(world) == version}
        self._windows = {world: window for world, window in self._windows.items() if world in same}
        self._versions = known

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
