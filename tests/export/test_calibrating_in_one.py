"""`wmserve calibrate --env`: from trajectories to calibrated plans in one command, by a server of its own."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from wmserve import trajectories
from wmserve.trajectories import Trajectory
from wmserve_export import repository
from wmserve_export.calibration.__main__ import main

from tests.client import dots
from tests.export.conftest import Exported

COUNT = 300


def log(folder: Path) -> Path:
    """Trajectories of the environment, with states."""
    folder.mkdir()
    env, rng = dots.Colours("rgb_array"), np.random.default_rng(0)
    for number in range(COUNT):
        env.reset(seed=1000 + number)
        actions = rng.uniform(-1, 2, (6, 2)).astype(np.float32)
        frames, states = [env.render()], [env.colour.copy()]
        for index, action in enumerate(actions):
            env.step(action)
            if index % 2:
                frames.append(env.render())
                states.append(env.colour.copy())
        written = Trajectory(np.stack(frames), actions, states=np.stack(states))
        trajectories.write(folder / f"{number:03}.npz", written)
    return folder


def test_plans_are_executed_on_the_way(exported: Exported, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A world without a calibration comes out with one of its plans; wrong options are said before anything is done."""
    place = shutil.copytree(exported.repository, tmp_path / "repository")
    logged = log(tmp_path / "logged")
    env = ["--env", f"gymnasium:{dots.__name__}:Colours-v0", "--planned", str(tmp_path / "plans")]
    asked = ["linear", "--repository", str(place), "--trajectories", str(logged), "--quiet"]
    with pytest.raises(SystemExit):
        main([*asked, "--count", str(COUNT)])
    # Its weights are random: an operator has the last word.
    assert main([*asked, *env, "--serve-anyway", "--count", str(COUNT)]) == 0
    found = repository.read(place, "linear").calibration
    assert found is not None
    assert found.planned is not None
    assert found.planned.plans == COUNT
    assert f"{COUNT} executed plans, tolerance" in capsys.readouterr().out
