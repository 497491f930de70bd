"""What was found, as JSON and as Markdown; written after every step, so that a run cut short leaves what it has."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtest.gpu.floor import Floor
from loadtest.gpu.timing import Times

GOAL_MS = 5.0
GOAL_WORKLOAD = "iCEM 128 x 3"
PEERS_MS = {"CEM 128 x 3": 40.4, "MPPI 128 x 3": 24.7, "iCEM 128 x 3": 25.5}
PEER = "Candle LeWM, RTX 4090, as published (horizon 5, one plan)"


@dataclass(frozen=True)
class Row:
    """One engine at one workload."""

    workload: str
    batch: int
    variant: str
    times: Times
    floor: Floor
    kernels: int | None = None
    """Launched for this batch of plans; counted at the goal's workload only."""
    launch_ms: float | None = None
    """What so many kernels with nothing to do would take, launched as these are."""


@dataclass(frozen=True)
class Checked:
    """What was checked of an engine before it was timed."""

    cost_error: float
    elites_shared: int
    elites: int
    first_action_difference: float
    """Of a plan by the reference's costs with the same noise, environment units."""
    capture_difference: float | None
    """Of the captured and the uncaptured plan, environment units; None where nothing is captured."""


@dataclass
class Report:
    """All that was found so far."""

    name: str
    folder: Path
    about: dict[str, Any]
    checks: dict[str, Checked] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    wrong: dict[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    states: dict[str, str | None] = field(default_factory=dict)
    """What nvidia-smi said of clocks, power and temperature right after each workload."""

    def save(self) -> None:
        """Write both files."""
        self.folder.mkdir(parents=True, exist_ok=True)
        everything = asdict(self) | {"folder": None, "peers_ms": {"who": PEER, **PEERS_MS}, "summary": self.summary()}
        del everything["folder"]
        (self.folder / f"{self.name}.json").write_text(json.dumps(everything, indent=1) + "\n")
        (self.folder / f"{self.name}.md").write_text(self.markdown())

    def best(self) -> Row | None:
        """The fastest engine at the goal's workload, one plan at a time."""
        found = [row for row in self.rows if row.workload == GOAL_WORKLOAD and row.batch == 1]
        return min(found, key=lambda row: row.times.median, default=None)

    def summary(self) -> dict[str, Any]:
        """The last line of the output."""
        best = self.best()
        return {
            "goal": f"{GOAL_WORKLOAD}, batch 1, at most {GOAL_MS} ms",
            "best": None if best is None else best.variant,
            "best_ms": None if best is None else round(best.times.median, 3),
            "floor_ms": None if best is None else round(best.floor.ms, 3),
            "device": self.about["device"],
            "reached": best is not None and self.about["cuda"] and best.times.median <= GOAL_MS,
            "wrong": self.wrong,
            "skipped": sorted(self.skipped),
        }

    def markdown(self) -> str:
        """The report for people."""
        lines = ["# LeWM: planning on a GPU", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.about.items()]
        lines += ["", "Before timing:", "", *self.checks_table()]
        for batch in sorted({row.batch for row in self.rows}):
            lines += ["", f"## {batch} {'plan' if batch == 1 else 'plans'} at a time", "", *self.times_table(batch)]
        for title, named in (("Wrong, and not timed", self.wrong), ("Skipped", self.skipped)):
            lines += ["", f"{title}:" if named else f"{title}: nothing."]
            lines += ["", *(f"- {name}: {reason}" for name, reason in named.items())] if named else []
        lines += ["", *(f"- after {name}: {state}" for name, state in self.states.items())]
        peers = ", ".join(f"{name} {figure} ms" for name, figure in PEERS_MS.items())
        return "\n".join([*lines, "", f"{PEER}: {peers}.", ""])

    def checks_table(self) -> list[str]:
        """What was checked, one engine a line."""
        head = ["engine", "cost error", "elites shared", "first action differs by", "captured differs by"]
        body = [
            (
                name,
                f"{check.cost_error:.1e}",
                f"{check.elites_shared} of {check.elites}",
                f"{check.first_action_difference:.1e}",
                "" if check.capture_difference is None else f"{check.capture_difference:.1e}",
            )
            for name, check in self.checks.items()
        ]
        return table(head, body)

    def times_table(self, batch: int) -> list[str]:
        """Times of one batch size, one engine a line, one workload a column."""
        rows = [row for row in self.rows if row.batch == batch]
        workloads = list(dict.fromkeys(row.workload for row in rows))
        cells: dict[str, dict[str, str]] = {}
        for row in rows:
            cells.setdefault(row.variant, {})[row.workload] = cell(row)
        body = [(name, *(own.get(workload, "") for workload in workloads)) for name, own in cells.items()]
        note = "Milliseconds of the whole batch: median (10 to 90 %), then the floor and the ratio to it."
        return [note, "", *table(["engine", *workloads], body)]


def cell(row: Row) -> str:
    """Times of one engine at one workload."""
    times, least = row.times, row.floor.ms
    counted = "" if row.kernels is None else f"; {row.kernels} kernels, {row.launch_ms:.2f} to launch"
    spread = f"{times.median:.2f} ({times.low:.2f} to {times.high:.2f})"
    return f"{spread}; {least:.2f}, {times.median / least:.1f}x{counted}"


def table(head: list[str], body: list[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    rows: list[Any] = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(row) + " |" for row in rows]


def floors(of: Mapping[str, Floor]) -> list[str]:
    """Floors by name, for the terminal."""
    return [
        f"floor, {name}: {own.ms:.3f} ms (operations {own.operations_ms:.3f}, weights and candidates "
        f"{own.memory_ms:.3f}); layer by layer {own.activations_ms:.3f} ms of activations"
        for name, own in of.items()
    ]
