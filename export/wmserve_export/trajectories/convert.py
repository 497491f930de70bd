"""Writes trajectories of a world from a data set, one episode after the other; a run that was stopped goes on."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from wmserve.world import World

from wmserve_export.export import one_thread
from wmserve_export.trajectories import alignment, report, selecting, writing
from wmserve_export.trajectories.alignment import Alignment
from wmserve_export.trajectories.bounds import MAX_ROWS, DataError
from wmserve_export.trajectories.counting import UNREADABLE, Tally
from wmserve_export.trajectories.options import Options, choose, part, readouts_of
from wmserve_export.trajectories.report import Horizon, LeftOut, Report
from wmserve_export.trajectories.selecting import Selection
from wmserve_export.trajectories.source import Floats, Recording, Source
from wmserve_export.trajectories.stacking import stacked
from wmserve_export.trajectories.statistics import Gathering, unlike
from wmserve_export.trajectories.timeline import Pace, Timeline, frame_rows, taken, timeline, usable


class Conversion:
    """Of one data set for one world into one folder."""

    def __init__(
        self, source: Source, world: World, place: Path, folder: Path, options: Options, dataset: str, show: bool
    ) -> None:
        self._source, self._world, self._place, self._folder = source, world, place, folder
        self._options, self._show = options, show
        self._chosen = choose(source, world, options)
        self._block, self._axes = world.action.action_block, len(world.action.axes)
        self._needed = world.context_length + world.horizon_limit
        longest = options.longest
        if longest is not None and longest + 1 < self._needed:
            raise DataError(f"--longest: must be at least {self._needed - 1} model steps for world {world.name}")
        self._settings = self._made_with(dataset)
        self._columns = readouts_of(world, self._chosen.readouts)

    def _made_with(self, dataset: str) -> dict[str, Any]:
        """What decides what a file holds, but for the shift."""
        options, chosen = self._options, self._chosen
        return {
            "dataset": dataset,
            "format": self._source.kind,
            "rate": self._source.rate,
            "camera": chosen.camera,
            "action": str(chosen.action),
            "readouts": {name: str(selection) for name, selection in chosen.readouts.items()},
            "states": None if chosen.states is None else str(chosen.states),
            "axes": [axis.name for axis in self._world.action.axes],
            "action_block": self._block,
            "frames_needed": self._needed,
            "frame_stride": options.frame_stride,
            "combine": options.combine,
            "longest": options.longest,
            "resize": options.resize,
            "episodes": options.episodes,
            "split": None if options.split is None else dict(options.split.shares),
            "part": options.part,
            "seed": options.seed,
        }

    def run(self) -> Report:
        """Write what is not there yet; DataError where nothing can be, or the folder holds something else."""
        self._folder.mkdir(parents=True, exist_ok=True)
        writing.clear_halves(self._folder)
        shift, found, words = self._shift()
        settings = {**self._settings, report.SHIFT: shift}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        there = self._own_files(digest)
        tally = Tally(long=Gathering(self._axes), short=Gathering(self._axes))
        self._report(tally, settings, digest, shift, found, words, there, finished=False).save(self._folder)
        for index in self._progress(self._chosen.order, "writing trajectories"):
            if self._options.limit is not None and tally.written + tally.kept >= self._options.limit:
                break
            name = self._source.episodes[index]
            try:
                self._one(index, name, shift, digest, tally)
            except UNREADABLE as error:
                tally.fail(name, error)
        done = self._report(tally, settings, digest, shift, found, words, there, finished=True)
        done.save(self._folder)
        return done

    def _progress(self, indices: Sequence[int], label: str) -> "tqdm[int]":
        return tqdm(indices, label, unit="episode", mininterval=2, disable=not self._show)

    def _own_files(self, digest: str) -> frozenset[str]:
        """Trajectories in the folder; DataError where some are not of these settings."""
        made = {file.name: writing.settings_of(file) for file in sorted(self._folder.glob("*.npz"))}
        foreign = [
            name
            for name, settings in made.items()
            if settings not in (digest, None if writing.OURS.match(name) else digest)
        ]
        if foreign:
            raise DataError(
                f"{self._folder} has {len(foreign)} trajectories made otherwise, such as {foreign[0]}; choose another "
                f"folder (settings are in its {report.REPORT_FILE})"
            )
        return frozenset(made)

    def _one(self, index: int, name: str, shift: int, digest: str, tally: Tally) -> None:
        """Write one episode, unless it is there or too short."""
        with self._source.open(index, self._chosen.camera, self._chosen.keys) as recording:
            line = timeline(self._chosen.action.of(recording), self._chosen.pace, self._axes)
            first, steps = usable(line, shift, self._block, name)
            tally.lengths.append(steps + 1 if steps else 0)
            if steps + 1 < self._needed:
                tally.short.add(taken(line, shift, first, steps, self._block))
                return
            first, steps = self._cut(name, line, first, steps)
            actions = taken(line, shift, first, steps, self._block)
            file = self._folder / writing.file_name(name, selecting.place(name, self._options.seed))
            if file.exists() and writing.intact(file, name, digest, actions, steps + 1):
                tally.kept += 1
            else:
                rows = frame_rows(line, first, steps, self._block)
                observations = self._frames(recording, rows, name)
                arrays = {"observations": observations, "actions": actions, **self._readouts(recording, rows, name)}
                writing.write(file, arrays, name, digest)
                tally.written += 1
                tally.still += bool(np.array_equal(observations[0], observations[-1]))
        tally.long.add(actions)
        tally.frames += steps + 1
        tally.outside += self._outside(actions)
        tally.names.append(name)

    def _cut(self, name: str, line: Timeline, first: int, steps: int) -> tuple[int, int]:
        """First step and number of model steps of the stretch that is written."""
        longest = self._options.longest
        if longest is None or steps <= longest:
            return first, steps
        spare = (steps - longest) * self._block
        offset = int(selecting.place(f"{name} cut", self._options.seed) * (spare + 1))
        return first + offset // line.frames * line.frames, longest

    def _outside(self, actions: Floats) -> int:
        low, high = (np.array([getattr(axis, end) for axis in self._world.action.axes]) for end in ("low", "high"))
        slack = 1e-4 * np.maximum(high - low, 1e-9)
        return int(((actions < low - slack) | (actions > high + slack)).any(axis=1).sum())

    def _frames(self, recording: Recording, rows: Sequence[int], name: str) -> NDArray[np.uint8]:
        spec = self._world.observation
        largest = None if self._options.resize is not None else (spec.max_height, spec.max_width)
        return stacked(recording.frames(rows), len(rows), self._options.resize, largest, name)

    def _readouts(self, recording: Recording, rows: Sequence[int], name: str) -> Mapping[str, Any]:
        """Arrays of the named columns, if there are any."""
        found: dict[str, Any] = {}
        if self._chosen.states is not None:
            found["states"] = self._chosen.states.of(recording)[list(rows)].astype(np.float64)
            if not np.isfinite(found["states"]).all():
                raise DataError(f"{name}: {self._chosen.states} must be finite in each row")
        if not self._chosen.readouts:
            return found
        values = {one: selection.of(recording)[list(rows), 0] for one, selection in self._chosen.readouts.items()}
        if broken := [one for one, column in values.items() if not np.isfinite(column).all()]:
            raise DataError(f"{name}: {self._chosen.readouts[broken[0]]} must be finite in each row")
        named = np.stack(list(values.values()), axis=1)
        found |= {"columns": named, "column_names": np.array(list(values))}
        if self._columns is not None:
            found["readouts"] = np.stack([values[one] for one in self._columns], axis=1)
        return found

    def _shift(self) -> tuple[int, Alignment | None, list[str]]:
        """The shift of the actions that is used, what was measured of it, and what is to be said."""
        known = report.earlier_alignment(self._folder, self._settings)
        asked = self._options.action_shift
        if known is not None and asked in (None, known[0]) and any(self._folder.glob("*.npz")):
            shift, found = known
        else:
            found = self._measure() if self._world.observation.tubelet_size == 1 else None
            shift = asked if asked is not None else found.best if found is not None and found.clear else 0
        return shift, found, alignment.words_on(shift, asked, found)

    def _measure(self) -> Alignment | None:
        """Errors by shift on some episodes."""
        engines = alignment.OneStep(self._place, self._world)
        sample = list(islice(self._chosen.order, 4 * alignment.EPISODES))
        found: list[list[tuple[dict[int, float], float]]] = []
        rng = np.random.default_rng(self._options.seed)
        most = min(alignment.EPISODES, len(sample))
        with one_thread(), tqdm(total=most, desc="looking how actions are aligned", disable=not self._show) as bar:
            for index in sample:
                try:
                    found.append(list(self._windows(index, engines, rng)))
                except UNREADABLE:
                    continue  # it is counted when it is to be written
                bar.update(bool(found[-1]))
                if sum(map(bool, found)) >= most:
                    break
        return alignment.judge(found)

    def _windows(
        self, index: int, engines: alignment.OneStep, rng: np.random.Generator
    ) -> Iterator[tuple[dict[int, float], float]]:
        name, frames = self._source.episodes[index], self._world.context_length
        with self._source.open(index, self._chosen.camera, self._chosen.action.keys) as recording:
            line = timeline(self._chosen.action.of(recording), self._chosen.pace, self._axes)
            for start, actions in alignment.windows(line, frames, self._block, rng):
                seen = self._frames(recording, frame_rows(line, start, frames, self._block), name)
                yield engines.errors(alignment.Window(seen, actions))

    def _report(
        self,
        tally: Tally,
        settings: Mapping[str, Any],
        digest: str,
        shift: int,
        found: Alignment | None,
        words: Sequence[str],
        there: frozenset[str],
        finished: bool,
    ) -> Report:
        """Everything that was counted."""
        world, count = self._world, len(tally.lengths)
        seed = self._options.seed
        mine = {writing.file_name(name, selecting.place(name, seed)) for name in tally.names}
        statistics = tally.long.found([axis.name for axis in world.action.axes]) if tally.long.count else ()
        made = Report(
            finished=finished,
            world=world.name,
            format=self._source.kind,
            settings=settings,
            digest=digest,
            selected=len(self._chosen.order),
            looked_at=count + sum(map(len, tally.reasons.values())),
            written=tally.written,
            kept=tally.kept,
            earlier=len(there - mine),
            too_short=sum(length < self._needed for length in tally.lengths),
            frames_needed=self._needed,
            horizons=tuple(
                Horizon(horizon, sum(length >= world.context_length + horizon for length in tally.lengths))
                for horizon in range(1, world.horizon_limit + 1)
            ),
            median_short=tally.median(0, self._needed),
            median_long=tally.median(self._needed, MAX_ROWS),
            short_unlike_long=unlike(tally.short, tally.long),
            frames=tally.frames,
            still=tally.still,
            out_of_bounds=tally.outside / max(tally.long.count, 1),
            left_out=tuple(
                LeftOut(reason, len(names), report.listed(names)) for reason, names in tally.reasons.items()
            ),
            action_shift=shift,
            alignment=found,
            statistics=statistics,
            warnings=(),
            episodes=tuple(tally.names),
        )
        return report.with_warnings(made, world, words) if finished and count else made


def gather_statistics(
    source: Source, options: Options, widths: Callable[[int], int], show: bool
) -> tuple[Gathering, Selection, int]:
    """Of the actions of all episodes that are asked for; with what was selected and how many could not be read.

    `widths` says how many axes a row of so many numbers has.
    """
    action = selecting.actions(source, options.action)
    axes = widths(len(action.names))
    if options.frame_stride > 1 and options.combine is None:
        raise DataError("--frame-stride: say with --combine how the actions of several rows become one")
    pace = Pace(len(action.names) // axes, options.frame_stride, options.combine)
    found, failed = Gathering(axes), Tally()
    order = part(source, options)[: options.limit]
    for index in tqdm(order, "reading actions", unit="episode", mininterval=2, disable=not show):
        try:
            with source.open(index, None, action.keys) as recording:
                found.add(timeline(action.of(recording), pace, axes).actions)
            failed.lengths.append(1)
        except UNREADABLE as error:
            failed.fail(source.episodes[index], error)
    return found, action, sum(map(len, failed.reasons.values()))
