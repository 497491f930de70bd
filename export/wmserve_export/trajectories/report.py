"""What was written and what was left out: ``trajectories.json``, and words for people."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmserve.world import World

from wmserve_export.calibration.calibrate import FEWEST
from wmserve_export.repository import replace_file
from wmserve_export.trajectories.alignment import Alignment, ShiftError
from wmserve_export.trajectories.statistics import AxisStatistics

REPORT_FILE = "trajectories.json"
SHIFT = "action_shift"
"""Key of the settings."""
ENOUGH = 0.95
"""Share of the episodes that a shorter horizon should keep to be named."""
BIASED = 0.02
"""Share of episodes left out that is worth a word."""
SHOWN = 20


@dataclass(frozen=True)
class Horizon:
    """How many episodes are long enough for a rollout of so many model steps."""

    horizon: int
    episodes: int


@dataclass(frozen=True)
class LeftOut:
    """Episodes that were not written, and why; the first of them by name."""

    reason: str
    count: int
    episodes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """Of one run; counts are of episodes."""

    finished: bool
    world: str
    format: str
    settings: Mapping[str, Any]
    digest: str
    """SHA-256 of the settings; each file names it."""
    selected: int
    """Episodes in the part and among the episodes that were asked for."""
    looked_at: int
    written: int
    kept: int
    """Of those written by an earlier run, whole and the same."""
    earlier: int
    """Files of an earlier run with the same settings, of episodes that this run did not look at."""
    too_short: int
    frames_needed: int
    """Frames a model step apart that the world's longest rollout takes."""
    horizons: tuple[Horizon, ...]
    median_short: float
    """Model steps of the episodes that are too short; 0 where there are none."""
    median_long: float
    """Of the others."""
    short_unlike_long: float
    """Largest difference of the mean actions of episodes that are too short from the others', standard deviations."""
    frames: int
    """In all files of this run."""
    still: int
    """Trajectories whose first and last frames are equal."""
    out_of_bounds: float
    """Share of the actions that lie outside the contract's bounds in some axis."""
    left_out: tuple[LeftOut, ...]
    action_shift: int
    alignment: Alignment | None
    statistics: tuple[AxisStatistics, ...]
    warnings: tuple[str, ...]
    episodes: tuple[str, ...] = ()
    """Written, by name: what training must not have seen."""

    @property
    def unreadable(self) -> int:
        """Episodes that could not be read."""
        return sum(one.count for one in self.left_out)

    def save(self, folder: Path) -> None:
        """Beside the trajectories."""
        replace_file(folder / REPORT_FILE, (json.dumps(dataclasses.asdict(self), indent=2) + "\n").encode())

    def summary(self, folder: Path) -> str:
        """In a line."""
        here = self.written + self.kept
        parts = [f"world {self.world}: {here} of {self.looked_at} episodes are in {folder}"]
        if self.kept:
            parts.append(f"{self.kept} of them from before")
        if self.too_short:
            parts.append(f"{self.too_short} too short")
        if self.unreadable:
            parts.append(f"{self.unreadable} left out (see {REPORT_FILE})")
        return f"{', '.join(parts)}; {self.frames} frames, action shift {self.action_shift:+d}"


def short_words(report: Report, world: World) -> str:
    """How many episodes are too short, what leaving them out does, and the way out."""
    count, short = report.looked_at, report.too_short
    horizon = world.horizon_limit
    words = (
        f"{short} of {count} episodes ({short / count:.1%}) are shorter than {horizon} model steps and their context "
        f"({report.frames_needed} frames a model step apart): what is measured holds for the longer ones"
    )
    words += (
        f" (median {report.median_short:g} model steps of those left out, {report.median_long:g} of the others; their "
        f"mean actions differ by up to {report.short_unlike_long:.2f} standard deviations)"
    )
    planner = world.planner.horizon if world.planner is not None else 0
    kept = {one.horizon: one.episodes for one in report.horizons if one.horizon < horizon}
    enough = max((one for one, number in kept.items() if number >= ENOUGH * count), default=min(kept, default=0))
    better = [one for one in dict.fromkeys((planner, enough)) if kept.get(one, 0) > count - short]
    if better:
        left = (f"{count - kept[one]} ({1 - kept[one] / count:.1%}) with --horizons {one}" for one in better)
        words += f"; exported again by wmserve export, it would be {', '.join(left)}"
        words += f" (its plans look {planner} ahead)" if enough < planner else ""
    return words


def earlier_alignment(folder: Path, settings: Mapping[str, Any]) -> tuple[int, Alignment | None] | None:
    """Shift and figures of an earlier run whose settings were these but for the shift; None where there was none."""
    try:
        content = json.loads((folder / REPORT_FILE).read_text())
        if content["settings"] != {**json.loads(json.dumps(settings)), SHIFT: content["action_shift"]}:
            return None
        found = content["alignment"]
        if found is not None:
            found = Alignment(**{**found, "shifts": tuple(ShiftError(**one) for one in found["shifts"])})
        return int(content["action_shift"]), found
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        return None


def listed(names: Sequence[str]) -> tuple[str, ...]:
    """The first of them."""
    return tuple(names[:SHOWN])


def with_warnings(made: Report, world: World, words: Sequence[str]) -> Report:
    """The same with what a user should look at."""
    said, here = list(words), made.written + made.kept
    if made.too_short > BIASED * made.looked_at:
        said.append(short_words(made, world))
    if made.out_of_bounds > 0.01:
        said.append(
            f"{made.out_of_bounds:.1%} of the actions lie outside the bounds of world {world.name}: look at units and "
            "order of the axes; a server refuses such actions"
        )
    for axis, found in zip(world.action.axes, made.statistics, strict=False):
        if abs(found.mean - axis.mean) > axis.std or not axis.std / 3 < found.std < axis.std * 3:
            said.append(
                f"{axis.name}: actions are {found.mean:.3g} +- {found.std:.3g} here, and were {axis.mean:.3g} +- "
                f"{axis.std:.3g} in training: other units, normalised already, or another column?"
            )
    if made.written and made.still > made.written / 2:
        said.append(
            f"{made.still} of {made.written} trajectories end with the frame that they begin with: is it the camera?"
        )
    if 0 < here < FEWEST:
        said.append(f"wmserve calibrate needs {FEWEST} trajectories, better thousands; there are {here}")
    if made.earlier:
        said.append(
            f"{made.earlier} trajectories of an earlier run are in the folder, too; they count for a calibration"
        )
    return dataclasses.replace(made, warnings=tuple(said))
