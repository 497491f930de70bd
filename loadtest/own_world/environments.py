"""The two environments of the story, and how much of each is recorded, learned and played."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from loadtest.own_world.train import PLANNER


@dataclass(frozen=True)
class Size:
    """How much is done."""

    episodes: int
    """Recorded for training."""
    held_out: int
    """Recorded for all that comes after it, by other seeds."""
    longest: tuple[int, int]
    """Environment steps of an episode, for training and held out."""
    steps: int
    """Of training."""
    shares: dict[str, float]
    """Of the held-out episodes: to fit, to calibrate, and for all that is measured afterwards."""
    plans: int
    """Executed to calibrate by."""
    fresh_plans: int
    """Executed afterwards, to look whether that holds."""
    played: int
    """Episodes of each evaluation."""
    near: int
    """Environment steps to the goal of usual problems; the budget is twice as many."""
    far: int
    """The same of hard problems."""
    planner: dict[str, int]
    """The search, in world.json."""
    export: tuple[str, ...]
    """Words of `wmserve export`."""
    readouts: bool = True
    """Whether latents have to hold what is to be read from them."""
    broken: int = 5
    """Wrong settings under which the weights are exported, too."""
    calibrate: tuple[str, ...] = ()
    """Words of `wmserve calibrate`."""


FULL = Size(
    episodes=1500,
    held_out=1600,
    longest=(100, 100),
    steps=2000,
    shares={"fit": 0.4, "calibration": 0.4, "fresh": 0.2},
    plans=1000,
    fresh_plans=400,
    played=100,
    near=25,
    far=40,
    planner=PLANNER,
    export=("--horizons", "5"),
)
"""Two-Room took an hour after its training, on two busy cores and with 600 plans."""
SHORT = Size(
    episodes=16,
    held_out=560,
    longest=(20, 20),
    steps=30,
    shares={"fit": 0.12, "calibration": 0.74, "fresh": 0.14},
    plans=300,
    fresh_plans=30,
    played=4,
    near=5,
    far=5,
    planner={"horizon": 1, "candidate_count": 16, "iterations": 1, "elite_count": 4, "receding_horizon": 1},
    export=("--horizons", "1", "--rank-problems", "1", "--gate-candidates", "20"),
    readouts=False,
    broken=1,
    calibrate=("--serve-anyway",),
)
"""The least that every command takes: calibrations take 300 trajectories and as many plans. What thirty steps of
training leave behind is taken for collapsed, as it should be; the operator serves it all the same."""


@dataclass(frozen=True)
class Own:
    """One environment, and what a user says of it on command lines."""

    name: str
    environment: str
    """As `--env` names it."""
    form: Literal["lance", "h5"]
    """Format that the peer records in."""
    columns: dict[str, str]
    """Names of what is to be read from latents, and where recordings have them."""
    readouts: tuple[str, ...]
    """What `wmserve fit` is to read from latents."""
    hard: tuple[str, ...] = ()
    """Words of `wmserve evaluate` that draw hard problems; without them goals are `far` ahead."""
    training: tuple[str, ...] = ()
    """Words of the training command."""
    full: dict[str, Any] = field(default_factory=dict)
    """What of `FULL` is otherwise here."""

    def of(self, size: Size) -> Size:
        """How much of this environment."""
        return replace(size, **self.full) if size is FULL else size


TWO_ROOM = Own(
    name="two_room",
    environment="stable-worldmodel:swm/TwoRoom-v1",
    form="lance",
    columns={"agent_x": "state[0]", "agent_y": "state[1]"},
    readouts=("agent_x:px:0:224", "agent_y:px:0:224"),
    hard=("--problems", "loadtest.own_world.problems:cross_rooms", "--budget", "100"),
)
REACHER = Own(
    name="reacher",
    environment="gymnasium:loadtest.own_world.reacher:own/Reacher-v0",
    form="h5",
    columns={"finger_x": "finger_pos[0]", "finger_y": "finger_pos[1]"},
    readouts=("finger_x:m:-0.3:0.3", "finger_y:m:-0.3:0.3"),
    training=("--patch", "8"),
    full={
        "episodes": 600,
        "held_out": 800,
        "longest": (75, 60),
        "planner": {"horizon": 2, "candidate_count": 64, "iterations": 8, "elite_count": 8, "receding_horizon": 1},
        "export": ("--horizons", "2"),
    },
)
ENVIRONMENTS = (TWO_ROOM, REACHER)
