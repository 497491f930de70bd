"""A world of one's own: what the peer records, what its own module learns of it, and the story that begins there."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from wmserve_client.environments import EnvironmentFault
from wmserve_client.environments.opening import Opening
from wmserve_client.environments.stage import Outcome, Stage
from wmserve_export import repository
from wmserve_export.families.facts import read_facts

from loadtest.own_world import breaking, collect, lewm, train
from loadtest.own_world.commands import Commands, StoryFault
from loadtest.own_world.environments import FULL, REACHER, SHORT
from loadtest.own_world.recordings import BLOCK, ROWS, Episodes, read
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few episodes of Two-Room, as the peer records them."""
    file = tmp_path_factory.mktemp("recorded") / "data.lance"
    collect.main(["two_room", "--out", str(file), "--episodes", "6"])
    return file


@pytest.fixture(scope="module")
def checkpoint(recorded: Path) -> Path:
    """A checkpoint of a few steps of training."""
    folder = recorded.parent / "checkpoint"
    train.main([str(recorded), "--name", "two_room_own", "--out", str(folder), "--steps", "3"])
    return folder


def test_actions_lead_on_from_their_frames(recorded: Path) -> None:
    """The peer writes an action beside the frame that it was chosen at; a shift by one would be seen here."""
    from stable_worldmodel.data import load_dataset

    dataset = load_dataset(str(recorded), keys_to_load=["state", "action"])
    states, actions = (np.asarray(dataset.get_col_data(name)) for name in ("state", "action"))
    first = np.cumsum([0, *dataset.lengths[:-1]])
    free = [row for row, n in zip(first, dataset.lengths, strict=True) for row in range(row, row + n - 1)]
    moved = states[1:][free] - states[:-1][free]
    off = np.abs(moved - 5.0 * actions[free]).max(axis=1)
    assert np.median(off) < 1e-3
    late = [row for row in free if row - 1 in free]
    assert np.median(np.abs(states[1:][late] - states[:-1][late] - 5.0 * actions[np.array(late) - 1]).max(axis=1)) > 0.1


def test_clips_stay_within_episodes(recorded: Path) -> None:
    """Their frames are a model step apart, and their actions those between them."""
    episodes = read([recorded])
    assert episodes.frames.shape[1:] == (3, collect.IMAGE, collect.IMAGE)
    short = Episodes(episodes.frames[:40], torch.arange(80.0).reshape(40, 2), (ROWS, 25))
    assert short.starts().tolist() == list(range(ROWS, ROWS + 25 - ROWS))
    frames, actions = short.clips(torch.tensor([17]))
    assert torch.equal(frames[0], short.frames[[17, 22, 27, 32]])
    assert torch.equal(actions[0].flatten(), short.actions[17:32].flatten())
    assert len(short.known_actions()) == 38


def test_a_checkpoint_is_the_peers_own(checkpoint: Path) -> None:
    """Its module, its files, a size by name beside the true number of heads; and facts that the exporter takes."""
    config = json.loads((checkpoint / "config.json").read_text())
    assert config["_target_"] == "stable_worldmodel.wm.lewm.LeWM"
    assert (config["encoder"]["size"], config["encoder"]["num_attention_heads"]) == ("tiny", 4)
    model = lewm.read(checkpoint)
    assert 0.9e6 < sum(parameter.numel() for parameter in model.parameters()) < 1.2e6
    world = read_facts(checkpoint / "world.json")
    assert world.fitting_action(2 * BLOCK).action_block == BLOCK
    assert world.context_length == lewm.WINDOW


def test_broken_copies_answer_otherwise(checkpoint: Path, recorded: Path, tmp_path: Path) -> None:
    """Each wrong setting fits every shape, and changes what the peer's own model answers: a gate can tell.

    After three steps of training the predictor hardly attends to anything: differences are small here.
    """
    breaking.write_pairs(checkpoint, read([recorded]), tmp_path / "pairs.npz")
    with np.load(tmp_path / "pairs.npz") as pairs:
        frames, actions = (torch.from_numpy(pairs[name]) for name in ("observations", "actions"))
        true = torch.from_numpy(np.concatenate([pairs["latents"], pairs["predicted"]], axis=1))

    def answer(folder: Path) -> torch.Tensor:
        world = json.loads((folder / "world.json").read_text())
        return torch.cat(breaking.answers(lewm.read(folder), world, frames, actions), dim=1)

    assert true.shape == (breaking.EXAMPLES, lewm.WINDOW + breaking.STEPS, lewm.WIDTH)
    assert torch.allclose(answer(checkpoint), true, atol=2e-6)
    copies = breaking.broken(checkpoint, tmp_path)
    assert len(copies) == len(breaking.BREAKS) == FULL.broken
    for copy in copies:
        assert float((answer(copy) - true).abs().max()) > 1e-5, copy.name


@pytest.fixture(scope="module")
def reacher() -> Iterator[Stage]:
    """Reacher, as `--env` opens it."""
    stage = Opening(REACHER.environment).stage()
    try:
        stage.begin(0)
        stage.render()
    except EnvironmentFault as fault:
        pytest.skip(f"MuJoCo cannot draw here: {fault}")
    yield stage
    stage.close()


def test_reacher_begins_in_recorded_states_and_tells_success(reacher: Stage) -> None:
    """The same state looks the same and moves the same; the goal's angles are success, whatever the speeds."""
    state, goal = np.array([0.3, 1.0, 0.5, -0.5]), np.array([0.3, 1.04, 0.0, 0.0])
    still, push = np.zeros(2, np.float32), np.array([1.0, -1.0], np.float32)
    reacher.begin(1, state, goal)
    first = reacher.render()
    assert reacher.step(still) == Outcome(reached=True, ended=False)
    outcomes = [reacher.step(push) for _ in range(20)]
    assert not outcomes[-1].reached
    moved = reacher.render()
    assert np.abs(moved.astype(int) - first).max() > 50
    reacher.begin(2, state, goal)
    assert np.array_equal(reacher.render(), first)
    for action in (still, *[push] * 20):
        reacher.step(action)
    assert np.array_equal(reacher.render(), moved)


def test_reacher_is_recorded_with_what_it_takes_to_begin_there(reacher: Stage, tmp_path: Path) -> None:
    """The peer's recording has states, and actions that lead on from them."""
    file = tmp_path / "data.h5"
    collect.main(["reacher", "--out", str(file), "--episodes", "2", "--longest", "12"])
    with h5py.File(file) as recorded:
        states, actions, frames = (recorded[name][:] for name in ("state", "action", "pixels"))
    reacher.begin(0, states[2], states[2])
    for action in actions[2:6]:
        reacher.step(action.astype(np.float32))
    assert np.abs(reacher.info["state"] - states[6]).max() < 1e-3
    assert frames.shape[1:] == (collect.IMAGE, collect.IMAGE, 3)


def test_a_short_story(tmp_path: Path) -> None:
    """Every command of it ends well, and its last line has what is promised."""
    words = ["--short", "--out", str(tmp_path), "--environments", "two_room"]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.own_world", *words], cwd=ROOT, capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["environments"] == 1
    assert figures["served_vs_peer_low"] <= figures["served_vs_peer"] <= figures["served_vs_peer_high"]
    assert (figures["reference_gate_tried"], figures["reference_gate_missed"]) == (SHORT.broken, 0)
    assert figures["coverage_steps_low"] > 0.7
    assert figures["coverage_plans_low"] > 0.5
    calibration = repository.read(tmp_path / "two_room" / "repository", "two_room_own").calibration
    assert calibration is not None
    assert calibration.planned is not None
    assert calibration.planned.plans == 300


def test_a_command_that_fails_ends_the_story(tmp_path: Path) -> None:
    """It says which, with the end of what that said."""
    with pytest.raises(StoryFault, match=r"wmserve evaluate nothing(?s:.)*status"):
        Commands(tmp_path).wmserve("evaluate", "nothing")
    assert "evaluate nothing" in (tmp_path / "01.log").read_text()
