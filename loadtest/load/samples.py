"""What the server says of itself while it is under load, second by second, from its metrics."""

import math
import threading
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

COUNTERS = {
    "answered": ("wmserve_request_seconds_count", {"code": "ok"}),
    "shed": ("wmserve_request_seconds_count", {"code": "overloaded"}),
    "refused": ("wmserve_plan_refusals_total", {}),
}
"""Sums that only grow, by name: a metric, and what its labels have to be."""
HISTOGRAMS = {"radius": "wmserve_radius", "p_value": "wmserve_ood_p_value"}
"""Whose mean is told."""
EVERY_S = 1.0


@dataclass(frozen=True)
class Sample:
    """One second: its time since 1970, events a second by name, and means of what was told within it."""

    at_s: float
    rates: Mapping[str, float]
    means: Mapping[str, float]
    """NaN where nothing was told."""


@dataclass(frozen=True)
class Reading:
    """All counters, and sums and counts of histograms, at a moment."""

    at_s: float
    counters: Mapping[str, float]
    sums: Mapping[str, tuple[float, float]]

    @classmethod
    def of(cls, text: str) -> "Reading":
        """Parse the text of ``/metrics``."""
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

        def total(metric: str, labels: Mapping[str, str]) -> float:
            return sum(s.value for s in samples if s.name == metric and labels.items() <= s.labels.items())

        counters = {name: total(*wanted) for name, wanted in COUNTERS.items()}
        sums = {name: (total(f"{own}_sum", {}), total(f"{own}_count", {})) for name, own in HISTOGRAMS.items()}
        return cls(time.time(), counters, sums)

    def since(self, before: "Reading") -> Sample:
        """What happened between two readings."""
        seconds = self.at_s - before.at_s
        rates = {name: (self.counters[name] - before.counters[name]) / seconds for name in COUNTERS}
        grown = {
            name: (total - before.sums[name][0], count - before.sums[name][1])
            for name, (total, count) in self.sums.items()
        }
        means = {name: total / count if count else math.nan for name, (total, count) in grown.items()}
        return Sample(self.at_s, rates, means)


class Sampler:
    """Reads a server's metrics every second while the block runs."""

    def __init__(self, http: str) -> None:
        self._url, self._over = f"{http}/metrics", threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self.samples: list[Sample] = []

    def _reading(self) -> Reading:
        with urllib.request.urlopen(self._url, timeout=10) as answer:
            return Reading.of(answer.read().decode())

    def _read(self) -> None:
        before = self._reading()
        while not self._over.wait(EVERY_S):
            now = self._reading()
            self.samples.append(now.since(before))
            before = now

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self._over.set()
        self._thread.join()
