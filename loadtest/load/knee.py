"""Where more callers stop being more answers: read from locust's history of a ramp."""

import csv
import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SLOW_MS = 100.0
"""A step is past the knee where its p95 is longer,"""
GROWS = 0.5
"""or where its throughput has grown by less than this part of what its users have."""


@dataclass(frozen=True)
class Second:
    """One line of locust's history, all requests together."""

    at_s: float
    users: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


@dataclass(frozen=True)
class Step:
    """All seconds of a number of users, those while it settled left out."""

    users: int
    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


def history(file: Path) -> list[Second]:
    """Seconds of a run in which anything was asked; quantiles are those of locust's window (`locustfile.WINDOW_S`)."""
    with file.open(newline="") as lines:
        rows = [row for row in csv.DictReader(lines) if row["Name"] == "Aggregated" and row["95%"] != "N/A"]
    found = []
    for before, row in itertools.pairwise(rows):
        at_s, count = float(row["Timestamp"]), int(row["Total Request Count"]) - int(before["Total Request Count"])
        rate = count / max(1.0, at_s - float(before["Timestamp"]))
        quantiles = (float(row[name]) for name in ("50%", "95%", "99%"))
        found.append(Second(at_s, int(row["User Count"]), rate, *quantiles))
    return found


def steps(seconds: Sequence[Second]) -> list[Step]:
    """Steps of a ramp: medians over the second half of each, by which locust's window has forgotten the last."""
    found = []
    for users in sorted({second.users for second in seconds}):
        own = [second for second in seconds if second.users == users]
        names = ("requests_per_s", "p50_ms", "p95_ms", "p99_ms")
        figures = (statistics.median(getattr(second, name) for second in own[len(own) // 2 :]) for name in names)
        found.append(Step(users, *figures))
    return found


def knee(found: Sequence[Step]) -> Step:
    """The last step before the first that is slower or grows less than is said above; ValueError without any."""
    if not found:
        raise ValueError("the ramp has no steps")
    for before, step in itertools.pairwise(found):
        wanted = before.requests_per_s * (1 + GROWS * (step.users / before.users - 1))
        if step.p95_ms > SLOW_MS or step.requests_per_s < wanted:
            return before
    return found[-1]
