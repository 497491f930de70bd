"""One environment of the story: from nothing to a world that is served, calibrated and played, by documented commands.

record -> train -> world.json -> export -> trajectories -> play -> execute and calibrate -> fresh plans -> play again
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmserve.intervals import paired
from wmserve.torchvision import declare_operators

from loadtest.own_world import breaking
from loadtest.own_world.collect import IMAGE
from loadtest.own_world.commands import Commands
from loadtest.own_world.environments import Own, Size
from loadtest.own_world.recordings import read

TRAINING_SEED, HELD_OUT_SEED = 0, 10_000_000
PLANS_SEED, FRESH_SEED, EVALUATION_SEED = 20_000_000, 30_000_000, 40_000_000
AFRESH = (
    "coverage_steps_low",
    "coverage_steps_high",
    "coverage_plans_low",
    "healthy_refused",
    "healthy_refused_high",
    "plans_refused",
)
MADE = ("repository", "tried", "broken", "trajectories", "plans", "fresh_plans", "logs")
"""What a story makes anew, in its folder."""
REFUSED = (1, 2)
"""Exit statuses of `wmserve export` that mean no."""


@dataclass(frozen=True)
class Story:
    """Where everything of one environment lies."""

    own: Own
    size: Size
    folder: Path
    commands: Commands

    @property
    def name(self) -> str:
        """Of the world."""
        return f"{self.own.name}_own"

    @property
    def checkpoint(self) -> Path:
        """The peer's folder."""
        return self.folder / "checkpoint"

    @property
    def place(self) -> tuple[object, ...]:
        """Words that name the repository."""
        return ("--repository", self.folder / "repository")

    def recording(self, part: str) -> Path:
        """A dataset of the peer."""
        return self.folder / f"{part}.{self.own.form}"

    def trajectories(self, part: str) -> Path:
        """Files of one share of the held-out episodes."""
        return self.folder / "trajectories" / part

    def starts(self, part: str) -> tuple[object, ...]:
        """Words that let problems begin in these files."""
        return ("--trajectories", self.trajectories(part))


def record_and_train(story: Story) -> None:
    """What a user has before wmserve comes in: recordings, and a checkpoint of their own; each is made once."""
    own, size, run = story.own, story.size, story.commands
    parts = ("data", size.episodes, TRAINING_SEED), ("held_out", size.held_out, HELD_OUT_SEED)
    for (part, episodes, seed), longest in zip(parts, size.longest, strict=True):
        if not story.recording(part).exists():
            unfinished = story.recording(f"unfinished_{part}")
            remove(unfinished)
            words = ("--out", unfinished, "--episodes", episodes, "--seed", seed, "--longest", longest)
            run.python("loadtest.own_world.collect", own.name, *words)
            unfinished.rename(story.recording(part))
    words = ("--name", story.name, "--out", story.checkpoint, "--steps", size.steps, *own.training)
    if not (story.checkpoint / "world.json").exists():
        run.python("loadtest.own_world.train", story.recording("data"), *words)
    file = story.checkpoint / "world.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"planner": size.planner}, indent=1) + "\n")


def remove(place: Path) -> None:
    """Remove a file or a folder that may be there."""
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink(missing_ok=True)


def export(story: Story) -> int:
    """The checkpoint becomes a world in a repository; how many broken copies of it became one, too.

    Both are held against the same examples of the trained model.
    """
    pairs = story.folder / "pairs.npz"
    declare_operators()
    breaking.write_pairs(story.checkpoint, read([story.recording("data")]), pairs)
    exported(story, story.checkpoint, "repository", pairs)
    copies = breaking.broken(story.checkpoint, story.folder / "broken")[: story.size.broken]
    return sum(exported(story, copy, "tried", pairs, statuses=(0, *REFUSED)) for copy in copies)


def exported(story: Story, checkpoint: Path, out: str, pairs: Path, statuses: tuple[int, ...] = (0,)) -> bool:
    """Whether this checkpoint becomes a world."""
    facts = ("--family", "lewm", "--world", checkpoint / "world.json", "--check", pairs)
    words = ("export", checkpoint, *facts, "--repository", story.folder / out, *story.size.export)
    return story.commands.wmserve(*words, statuses=statuses).status == 0


def write_trajectories(story: Story) -> None:
    """The held-out recording, in shares."""
    shares = ",".join(f"{name}={share}" for name, share in story.size.shares.items())
    named = [word for name, place in story.own.columns.items() for word in ("--readout", f"{name}={place}")]
    for part in story.size.shares:
        story.commands.wmserve(
            "trajectories",
            story.recording("held_out"),
            *("--world", story.name, *story.place, "--out", story.trajectories(part)),
            *("--split", shares, "--part", part, "--states", "state", *named),
        )


def fit(story: Story) -> None:
    """A goal metric and readouts, of trajectories alone."""
    named = [word for one in story.own.readouts for word in ("--readout", one)]
    readouts = named if story.size.readouts else ["--no-readouts"]
    story.commands.wmserve("fit", story.name, *story.starts("fit"), *story.place, *readouts)


def calibrate(story: Story) -> None:
    """What its predictions are worth, and those of its plans, executed in the environment."""
    story.commands.wmserve(
        "calibrate",
        story.name,
        *story.starts("calibration"),
        *story.place,
        *("--env", story.own.environment, "--planned", story.folder / "plans"),
        *("--count", story.size.plans, "--seed", PLANS_SEED),
        *story.size.calibrate,
    )


def afresh(story: Story) -> Mapping[str, Any]:
    """Whether the calibration holds on trajectories, and on executed plans, that it has not seen."""
    plans, words = story.folder / "fresh_plans", (*story.place, *story.starts("fresh"))
    story.commands.wmserve(
        "execute",
        story.name,
        *("--env", story.own.environment, *words, "--out", plans),
        *("--count", story.size.fresh_plans, "--seed", FRESH_SEED),
    )
    return story.commands.python("loadtest.trusting.fresh", story.name, *words, "--planned", plans).figures()


def evaluate(story: Story, hard: bool, *policies: str) -> Mapping[str, Any]:
    """Success of the served policy, and of others on the same episodes."""
    drawn = story.own.hard if hard else ()
    ahead = story.size.far if hard else story.size.near
    recorded = (*story.starts("fresh"), "--goal-offset", ahead, "--budget", 2 * ahead)
    return story.commands.wmserve(
        "evaluate",
        story.name,
        *("--env", story.own.environment, *story.place, *(drawn or recorded)),
        *("--frame-size", IMAGE, IMAGE, "--episodes", story.size.played, "--seed", EVALUATION_SEED),
        *("--policies", *policies, "--peer-checkpoint", story.checkpoint),
    ).figures()


def tell(story: Story) -> dict[str, Any]:
    """All of it; the figures of this environment."""
    record_and_train(story)
    for name in MADE:
        remove(story.folder / name)
    missed = export(story)
    write_trajectories(story)
    easy = evaluate(story, False, "wmserve", "peer", "random")
    hard = evaluate(story, True, "wmserve", "peer", "random")
    fit(story)
    calibrate(story)
    held = afresh(story)
    fitted, fitted_easy = evaluate(story, True, "wmserve"), evaluate(story, False, "wmserve")
    return {
        "reference_gate_tried": story.size.broken,
        "reference_gate_missed": missed,
        **{f"usual_{name}": easy[name] for name in ("wmserve", "peer", "random")},
        **{f"hard_{name}": hard[name] for name in ("wmserve", "peer", "random")},
        **difference("served_vs_peer", outcomes(hard, "wmserve"), outcomes(hard, "peer")),
        **difference("served_vs_random", outcomes(easy, "wmserve"), outcomes(easy, "random")),
        "usual_fitted": fitted_easy["wmserve"],
        "hard_fitted": fitted["wmserve"],
        **difference("fitted_vs_latent", outcomes(fitted, "wmserve"), outcomes(hard, "wmserve")),
        **{name: round(held[name], 4) for name in AFRESH},
    }


def outcomes(figures: Mapping[str, Any], policy: str) -> list[bool]:
    """Whether each episode was solved."""
    return [one == "1" for one in figures["reached"][policy]]


def difference(name: str, first: Sequence[bool], second: Sequence[bool]) -> dict[str, float]:
    """Paired difference of success with its 95 % interval, percent."""
    pairs = paired(first, second)
    low, high = pairs.interval
    return {
        name: round(100 * pairs.difference, 2),
        f"{name}_low": round(100 * low, 2),
        f"{name}_high": round(100 * high, 2),
    }
