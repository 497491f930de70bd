"""`wmserve execute`: plans of a real server, executed in real environments, are what a calibration reads."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from wmserve import trajectories
from wmserve.trajectories import Trajectory
from wmserve_client import Client
from wmserve_client.environments.execute import main
from wmserve_export import repository
from wmserve_export.calibration.trajectories import Plans
from wmserve_export.reference import collect, environment

from tests.client import dots
from tests.conftest import ROOT, Server

DOOR = collect.DEFAULT_DOOR
TWO_ROOM = ["two_room", "--env", "stable-worldmodel:swm/TwoRoom-v1", "--quiet"]
COLOURS = ["linear", "--env", f"gymnasium:{dots.__name__}:Colours-v0", "--quiet"]


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two trajectories of Two-Room, with states."""
    folder = tmp_path_factory.mktemp("walked")
    positions, actions = collect.walk(np.random.default_rng(5), np.array([DOOR, DOOR]))
    for index, (places, done) in enumerate(zip(positions[:, :: collect.ACTION_BLOCK], actions, strict=True)):
        frames = environment.render(places, DOOR).numpy()
        trajectories.write(folder / f"{index}.npz", Trajectory(frames, done, states=places.astype(np.float64)))
    return folder


def replayed(start: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Frames at each model step of the replica, from `[2]` on."""
    places, door = [start.astype(np.float32)[None]], np.array([DOOR], np.float32)
    for action in actions:
        places.append(environment.step(places[-1], action[None], door))
    return environment.render(np.concatenate(places[:: collect.ACTION_BLOCK]), DOOR).numpy()


def test_plans_begin_and_aim_where_trajectories_were(server: Server, walked: Path, tmp_path: Path) -> None:
    """Start and goal are of one trajectory, what happened is what the actions do, and a calibration reads it."""
    arguments = [
        *TWO_ROOM,
        "--server",
        server.grpc,
        "--trajectories",
        str(walked),
        "--out",
        str(tmp_path),
        "--count",
        "3",
    ]
    assert main(arguments) == 0
    found = list(Plans(tmp_path, repository.read(ROOT / "model_repository", "two_room")))
    logged = [trajectories.read(file) for file in trajectories.files(walked)]
    assert len(found) == 3
    for plan in found:
        (log, first), *_ = [
            (log, first)
            for log in logged
            for first, frame in enumerate(log.observations)
            if np.array_equal(frame, plan.observations[0])
        ]
        assert log.states is not None
        assert any(np.array_equal(plan.goal, frame) for frame in log.observations[first + 1 :])
        np.testing.assert_array_equal(plan.observations, replayed(log.states[first], plan.actions))
    assert len({plan.actions.tobytes() for plan in found}) == 3


def test_a_run_goes_on_where_it_stopped(
    server: Server, walked: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same plans as if it had not; a folder of other plans is left alone."""
    arguments = [*TWO_ROOM, "--server", server.grpc, "--trajectories", str(walked), "--out", str(tmp_path), "--count"]
    assert main([*arguments, "2"]) == 0
    before = {file.name: trajectories.read(file, planned=True) for file in trajectories.files(tmp_path)}
    (tmp_path / "00001.npz").unlink()
    assert main([*arguments, "3"]) == 0
    after = {file.name: trajectories.read(file, planned=True) for file in trajectories.files(tmp_path)}
    assert sorted(after) == ["00000.npz", "00001.npz", "00002.npz"]
    for name, plan in before.items():
        np.testing.assert_array_equal(plan.actions, after[name].actions)
        np.testing.assert_array_equal(plan.observations, after[name].observations)
    assert "3 executed plans in" in (said := capsys.readouterr().out)
    assert "2 of them new" in said
    assert main([*arguments, "3", "--seed", "7"]) == 2
    assert "holds plans with another seed" in capsys.readouterr().err


def test_doors_vary_by_a_function_of_ones_own(server: Server, tmp_path: Path) -> None:
    """The reference world's own problems: doors differ, and readouts say where."""
    arguments = ["two_room", "--env", "wmserve_export.reference.rooms:Rooms", "--server", server.grpc, "--count", "3"]
    assert main([*arguments, "--out", str(tmp_path), "--quiet", "--at-once", "2"]) == 0
    plans = list(Plans(tmp_path, repository.read(ROOT / "model_repository", "two_room")))
    doors = {float(plan.readouts[0, 2]) for plan in plans}
    assert len(doors) == 3
    for plan in plans:
        np.testing.assert_array_equal(
            plan.observations[-1], environment.render(plan.readouts[-1:, :2], int(plan.readouts[-1, 2]))[0].numpy()
        )


def test_goals_are_reached_from_the_same_reset(linear: Server, tmp_path: Path) -> None:
    """Without states: contexts of two frames, goals where random actions lead, readouts by a function."""
    readouts = ["--readouts", f"{dots.__name__}:height"]
    arguments = [*COLOURS, "--server", linear.grpc, "--out", str(tmp_path), "--count", "4", *readouts]
    assert main(arguments) == 0
    with Client(linear.grpc) as client:
        world = client.world("linear")
    assert world.context_length == 2
    for number, file in enumerate(trajectories.files(tmp_path)):
        plan = trajectories.read(file, planned=True)
        env = dots.Colours("rgb_array")
        env.reset(seed=number)
        frames = [env.render()]
        for index, action in enumerate(plan.actions):
            env.step(action)
            if index % 2:
                frames.append(env.render())
        assert len(frames) == 2 + 2
        np.testing.assert_array_equal(plan.observations, frames)
        assert plan.goal is not None
        assert plan.goal[0, 0, 2] == plan.observations[0, 0, 0, 2]  # no push changes blue
        assert plan.readouts is not None
        np.testing.assert_allclose(plan.readouts[:, 0], plan.observations[:, 0, 0, 0] / 255, atol=0.01)
    assert json.loads((tmp_path / "plans.json").read_text())["problems"] == "acted"


CASES = {
    "no such environment": (["--env", "gymnasium:Nowhere-v0"], "gymnasium:Nowhere-v0 cannot be made: NameNotFound"),
    "no such function": (["--env", "nowhere:make"], "nowhere:make cannot be imported: No module named 'nowhere'"),
    "no name at all": (["--env", "TwoRoom"], "expected gymnasium:ID, stable-worldmodel:ID or MODULE:FUNCTION"),
    "narrow actions": (
        ["--env", f"gymnasium:{dots.__name__}:NarrowColours-v0"],
        "world linear plans axis move_x with high 2, and it takes 1.5",
    ),
    "other actions": (["--env", "stable-worldmodel:swm/TwoRoom-v1"], "plans axis move_x with high 2, and it takes 1"),
    "no camera": (["--camera", "wrist"], "its observations have no wrist; keys: top"),
    "no frames": (
        ["--camera", "observation"],
        r"frames must be \[h, w, 3\] uint8, and it shows dict: name --camera KEY",
    ),
    "no trajectories": (["--from", "states"], "--from states needs --trajectories DIR"),
    "between model steps": (
        ["--goal-offset", "3"],
        "--goal-offset 3 must be a multiple of the world's action_block, 2",
    ),
    "another start each time": (
        ["--env", f"gymnasium:{dots.__name__}:DriftingColours-v0"],
        r"reset\(seed=0\) shows another frame each time",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_does_not_fit_is_said_in_a_line(
    linear: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """Naming what it is, and what to do."""
    more, complaint = CASES[case]
    arguments = [*COLOURS, "--server", linear.grpc, "--out", str(tmp_path / "out"), "--count", "1", "--at-once", "1"]
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(complaint, line), line


def test_nobody_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The other status."""
    assert main([*COLOURS, "--server", "localhost:1", "--out", str(tmp_path)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
