"""What is to be converted: a data set for a world, as a user chose; and what one file of it holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmserve.world import World

from wmserve_export.trajectories import selecting, writing
from wmserve_export.trajectories.bounds import DataError
from wmserve_export.trajectories.options import Chosen, Options, choose, readouts_of
from wmserve_export.trajectories.source import Floats, Recording, Source
from wmserve_export.trajectories.stacking import stacked
from wmserve_export.trajectories.timeline import Timeline


@dataclass(frozen=True)
class Job:
    """Options that have been held against the data set and the world."""

    source: Source
    world: World
    options: Options
    chosen: Chosen

    @staticmethod
    def of(source: Source, world: World, options: Options) -> "Job":
        """Hold them against each other; DataError says what does not fit."""
        job = Job(source, world, options, choose(source, world, options))
        if options.longest is not None and options.longest + 1 < job.needed:
            raise DataError(f"--longest: must be at least {job.needed - 1} model steps for world {world.name}")
        return job

    @property
    def block(self) -> int:
        """Environment steps in a model step."""
        return self.world.action.action_block

    @property
    def axes(self) -> int:
        """Of an action."""
        return len(self.world.action.axes)

    @property
    def needed(self) -> int:
        """Frames a model step apart that the world's longest rollout takes."""
        return self.world.context_length + self.world.horizon_limit

    def settings(self, dataset: str) -> dict[str, Any]:
        """What decides what a file holds, but for the shift."""
        options, chosen = self.options, self.chosen
        return {
            "dataset": dataset,
            "format": self.source.kind,
            "rate": self.source.rate,
            "camera": chosen.camera,
            "action": str(chosen.action),
            "readouts": {name: str(selection) for name, selection in chosen.readouts.items()},
            "states": None if chosen.states is None else str(chosen.states),
            "axes": [axis.name for axis in self.world.action.axes],
            "action_block": self.block,
            "frames_needed": self.needed,
            "frame_stride": options.frame_stride,
            "combine": options.combine,
            "longest": options.longest,
            "resize": options.resize,
            "episodes": options.episodes,
            "split": None if options.split is None else dict(options.split.shares),
            "part": options.part,
            "seed": options.seed,
        }

    def file_name(self, episode: str) -> str:
        """Name of an episode's file."""
        return writing.file_name(episode, selecting.place(episode, self.options.seed))

    def cut(self, name: str, line: Timeline, first: int, steps: int) -> tuple[int, int]:
        """First step and number of model steps of the stretch that is written."""
        longest = self.options.longest
        if longest is None or steps <= longest:
            return first, steps
        spare = (steps - longest) * self.block
        offset = int(selecting.place(f"{name} cut", self.options.seed) * (spare + 1))
        return first + offset // line.frames * line.frames, longest

    def outside(self, actions: Floats) -> int:
        """How many of these actions are outside the contract's bounds."""
        low, high = (np.array([getattr(axis, end) for axis in self.world.action.axes]) for end in ("low", "high"))
        slack = 1e-4 * np.maximum(high - low, 1e-9)
        return int(((actions < low - slack) | (actions > high + slack)).any(axis=1).sum())

    def frames(self, recording: Recording, rows: Sequence[int], name: str) -> NDArray[np.uint8]:
        """Frames `[L, h, w, 3]` of these rows."""
        spec = self.world.observation
        largest = None if self.options.resize is not None else (spec.max_height, spec.max_width)
        return stacked(recording.frames(rows), len(rows), self.options.resize, largest, name)

    def readouts(self, recording: Recording, rows: Sequence[int], name: str) -> Mapping[str, Any]:
        """Arrays of the named columns, if there are any."""
        found: dict[str, Any] = {}
        if self.chosen.states is not None:
            found["states"] = self.chosen.states.of(recording)[list(rows)].astype(np.float64)
            if not np.isfinite(found["states"]).all():
                raise DataError(f"{name}: {self.chosen.states} must be finite in each row")
        if not self.chosen.readouts:
            return found
        values = {one: selection.of(recording)[list(rows), 0] for one, selection in self.chosen.readouts.items()}
        if broken := [one for one, column in values.items() if not np.isfinite(column).all()]:
            raise DataError(f"{name}: {self.chosen.readouts[broken[0]]} must be finite in each row")
        named = np.stack(list(values.values()), axis=1)
        found |= {"columns": named, "column_names": np.array(list(values))}
        if (names := readouts_of(self.world, self.chosen.readouts)) is not None:
            found["readouts"] = np.stack([values[one] for one in names], axis=1)
        return found
