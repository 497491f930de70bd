"""Trajectories of what others have recorded: aligned, whole, resumed, split, and nothing left out without a word."""

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from wmserve.world import World
from wmserve_export import repository
from wmserve_export.__main__ import main as export
from wmserve_export.calibration import trajectories
from wmserve_export.families.facts import read_facts
from wmserve_export.families.template import template
from wmserve_export.trajectories.__main__ import INCOMPLETE, UNUSABLE, main

from tests.export import recorded

BLOCK, NEEDED = 2, 4
LENGTHS = [11 + index % 5 for index in range(24)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the linear world that knows what its actions do."""
    folder = tmp_path_factory.mktemp("recorded")
    checkpoint, place = recorded.save_world(folder / "checkpoint"), folder / "repository"
    arguments = ["--repository", str(place), "--horizons", "2", "--quiet", "--rank-problems", "1"]
    assert export([str(checkpoint), *arguments]) == 0
    return place


@pytest.fixture
def world(place: Path) -> World:
    """Its contract."""
    return repository.read(place, "linear")


def convert(place: Path, dataset: Path, out: Path, *options: str) -> int:
    """Run the command."""
    arguments = [str(dataset), "--world", "linear", "--repository", str(place), "--out", str(out), "--quiet"]
    return main([*arguments, *options])


def report(out: Path) -> dict[str, object]:
    """What it says of itself."""
    return json.loads((out / "trajectories.json").read_text())


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_actions_are_moved_to_the_frames_that_they_led_to(
    place: Path, world: World, tmp_path: Path, shift: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever shift they were recorded with, the world's engines find it, and calibrate reads what is written."""
    truth = recorded.episodes(LENGTHS)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth, shift))
    assert convert(place, dataset, tmp_path / "out") == 0
    found = report(tmp_path / "out")
    assert (found["action_shift"], found["alignment"]["clear"], found["written"]) == (shift, True, len(truth))
    assert ("shifted by" in capsys.readouterr().err) == (shift != 0)
    for episode, one in zip(truth, recorded.read(tmp_path / "out"), strict=True):
        first = 1 if shift == -1 else 0
        steps = (len(episode.action) - 1 - first) // BLOCK
        rows = first + BLOCK * np.arange(steps + 1)
        np.testing.assert_array_equal(one["observations"], episode.pixels[rows])
        np.testing.assert_array_equal(one["actions"], episode.action[first : first + BLOCK * steps])
    files = trajectories.files(tmp_path / "out")
    assert len(list(trajectories.read(files, world))) == len(truth)


def test_a_shift_that_cannot_be_told_is_said_and_one_that_is_asked_for_counts(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Actions that never change look the same shifted; a wrong shift that somebody insists on comes with a note."""
    dataset = recorded.save_columns(tmp_path / "same.h5", recorded.columns(recorded.episodes(LENGTHS, smooth=True)))
    assert convert(place, dataset, tmp_path / "same") == 0
    assert "cannot be told, taken is +0" in capsys.readouterr().err
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(recorded.episodes(LENGTHS)))
    assert convert(place, dataset, tmp_path / "asked", "--action-shift", "1") == 0
    assert "shift +0 predicts better than +1, which was asked for" in capsys.readouterr().err
    assert report(tmp_path / "asked")["action_shift"] == 1


def test_the_wrong_camera_or_unit_is_noticed(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A world that predicts no better than copying, and actions unlike those of its training."""
    truth = recorded.columns(recorded.episodes(LENGTHS))
    for one in truth:
        one["action"] = one["action"] * 100
    assert convert(place, recorded.save_columns(tmp_path / "data.h5", truth), tmp_path / "out") == 0
    said = capsys.readouterr().err
    assert "predicts no better than that nothing happens" in said
    assert "outside the bounds" in said
    assert "move_x: actions are" in said


def test_a_run_that_was_stopped_goes_on(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whole files stay as they are, damaged and half-written ones are made anew, other settings are refused."""
    truth, out = recorded.episodes(LENGTHS), tmp_path / "out"
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    assert convert(place, dataset, out, "--limit", "5") == 0
    before = {file.name: file.stat().st_mtime_ns for file in out.glob("*.npz")}
    damaged = sorted(before)[2]
    content = bytearray((out / damaged).read_bytes())
    content[len(content) // 2] ^= 0xFF
    (out / damaged).write_bytes(content)
    (out / ".00000000_episode_000003.npz.part").write_bytes(b"half")
    (out / "trajectories.json").write_text(json.dumps({**report(out), "finished": False}))
    assert convert(place, dataset, out) == 0
    found = report(out)
    assert (found["kept"], found["written"], found["finished"]) == (4, len(truth) - 4, True)
    assert not list(out.glob(".*"))
    same = {name for name, time in before.items() if (out / name).stat().st_mtime_ns == time}
    assert same == set(before) - {damaged}
    for episode, one in zip(truth, recorded.read(out), strict=True):
        np.testing.assert_array_equal(one["actions"], episode.action[: len(one["actions"])])
    assert convert(place, dataset, out, "--seed", "1") == UNUSABLE
    assert "trajectories made otherwise" in capsys.readouterr().err


def test_short_episodes_are_counted_with_a_way_out(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """How many, by how much they differ, and which horizon would keep them."""
    truth = recorded.episodes([5] * 9 + [3] + [11] * 10)
    for episode in truth[:10]:
        episode.action[:] = np.abs(episode.action)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    assert convert(place, dataset, tmp_path / "out", "--action-shift", "0") == 0
    found = report(tmp_path / "out")
    assert (found["too_short"], found["looked_at"], found["written"]) == (10, 20, 10)
    assert found["horizons"] == [{"horizon": 1, "episodes": 19}, {"horizon": 2, "episodes": 10}]
    said = capsys.readouterr().err
    assert "10 of 20 episodes (50.0%) are shorter than 2 model steps" in said
    assert "it would be 1 (5.0%) with --horizons 1 (its plans look 2 ahead)" in said
    assert found["short_unlike_long"] > 0.3
    assert "median 2 model steps of those left out, 5 of the others" in said


def test_parts_of_a_split_share_no_episode_and_stay_when_the_data_set_grows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was for training stays for training."""
    split = ["--list-episodes", "--split", "train=0.6,calibration=0.4", "--part"]
    parts: dict[int, dict[str, set[str]]] = {}
    for count in (40, 60):
        dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(recorded.episodes([3] * count)))
        for part in ("train", "calibration"):
            assert main([str(dataset), *split, part]) == 0
            parts.setdefault(count, {})[part] = set(capsys.readouterr().out.split())
    for count, found in parts.items():
        assert len(found["train"] | found["calibration"]) == count
        assert not found["train"] & found["calibration"]
    assert parts[40]["train"] < parts[60]["train"]
    assert 15 < len(parts[40]["train"]) < 33
    assert main([str(dataset), *split, "test"]) == UNUSABLE
    assert "must be one of train, calibration" in capsys.readouterr().err


def test_statistics_come_before_a_world_and_keep_what_a_template_says(tmp_path: Path) -> None:
    """The world.json that they make is one that `wmserve export --world` reads."""
    truth = recorded.episodes(LENGTHS)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth, shift=1))
    file = tmp_path / "world.json"
    assert main([str(dataset), "--statistics", str(file), "--action-block", "2", "--quiet"]) == 0
    content = json.loads(file.read_text())
    actions = np.concatenate([one.action[:-1] for one in truth]).astype(np.float64)
    for axis, column in zip(content["action"]["axes"], actions.T, strict=True):
        assert axis["mean"] == pytest.approx(column.mean())
        assert axis["std"] == pytest.approx(column.std())
        assert (axis["low"], axis["high"]) == (column.min(), column.max())
    axes = [{"name": "east", "unit": "m/s"}, {"name": "north", "unit": "m/s"}]
    file.write_text(json.dumps({"name": "mine", "description": "a world", "action": {"axes": axes, "action_block": 2}}))
    assert main([str(dataset), "--statistics", str(file), "--quiet"]) == 0
    facts = read_facts(file)
    assert facts.action is not None
    assert [(axis.name, axis.unit) for axis in facts.action.axes] == [("east", "m/s"), ("north", "m/s")]
    assert facts.action.axes[1].std == pytest.approx(actions[:, 1].std())
    assert main([str(dataset), "--statistics", str(file), "--action-block", "5", "--quiet"]) == UNUSABLE


def test_statistics_go_into_a_template_and_leave_its_comments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `wmserve export --template` prints it, before anything is filled in and after; YAML is not written."""
    truth = recorded.episodes(LENGTHS)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    file, before = tmp_path / "world.json", template("lewm")
    file.write_text(before)
    run = [str(dataset), "--statistics", str(file), "--quiet"]
    assert main(run) == 0
    text = file.read_text()
    assert [line for line in text.splitlines() if "//" in line] == [
        line for line in before.splitlines() if "//" in line
    ]
    file.write_text(text.replace('"name": null', '"name": "mine"').replace('"description": null', '"description": "x"'))
    assert main(run) == 0
    assert file.read_text().count("\n") == text.count("\n")
    facts = read_facts(file)
    assert facts.action is not None
    assert (len(facts.action.axes), facts.action.action_block) == (2, 5)
    assert facts.action.axes[0].mean == pytest.approx(
        np.concatenate([one.action for one in truth])[:, 0].mean(), rel=0.2
    )
    yaml = file.rename(tmp_path / "world.yaml")
    assert main([str(dataset), "--statistics", str(yaml), "--quiet"]) == UNUSABLE
    assert "only JSON is written" in capsys.readouterr().err


def test_columns_become_readouts(place: Path, world: World, tmp_path: Path) -> None:
    """Those of the contract are calibrated; others are kept by name for a fit."""
    truth = recorded.episodes(LENGTHS)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    known = ["--readout", "height=height", "--action-shift", "0"]
    assert convert(place, dataset, tmp_path / "known", *known, "--states", "height", "action[1]") == 0
    for episode, one in zip(truth, recorded.read(tmp_path / "known"), strict=True):
        np.testing.assert_array_equal(one["readouts"][:, 0], episode.height[::BLOCK][: len(one["readouts"])])
        states = np.stack([episode.height, episode.action[:, 1]], axis=1)[::BLOCK]
        np.testing.assert_array_equal(one["states"], states[: len(one["states"])])
    assert len(list(trajectories.read(trajectories.files(tmp_path / "known"), world))) == len(truth)
    assert convert(place, dataset, tmp_path / "new", "--readout", "brightness=height[0]", "--action-shift", "0") == 0
    one = next(recorded.read(tmp_path / "new"))
    assert "readouts" not in one
    assert one["column_names"].tolist() == ["brightness"]
    np.testing.assert_array_equal(one["columns"][:, 0], truth[0].height[::BLOCK])


@pytest.mark.parametrize("combine", ["first", "last", "mean", "sum"])
def test_rows_become_environment_steps(place: Path, tmp_path: Path, combine: str) -> None:
    """Three rows a step, whose actions become one; frames are those at the steps."""
    truth = recorded.episodes([25] * 10)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    options = ["--frame-stride", "3", "--combine", combine, "--action-shift", "0"]
    assert convert(place, dataset, tmp_path / "out", *options) == 0
    one = next(recorded.read(tmp_path / "out"))
    np.testing.assert_array_equal(one["observations"], truth[0].pixels[[0, 6, 12, 18, 24]])
    groups = truth[0].action[:24].reshape(8, 3, 2)
    by = {"first": groups[:, 0], "last": groups[:, 2], "mean": groups.mean(axis=1), "sum": groups.sum(axis=1)}
    np.testing.assert_allclose(one["actions"], by[combine], rtol=1e-6)


def test_rows_that_are_model_steps(place: Path, tmp_path: Path) -> None:
    """Their actions stand side by side, as trainers write them; the shift is still told in environment steps."""
    truth = recorded.episodes([21] * 24)
    packed = [
        {"pixels": one.pixels[::2], "action": np.concatenate([one.action, one.action[-1:]]).reshape(-1, 4)}
        for one in truth
    ]
    assert convert(place, recorded.save_columns(tmp_path / "data.h5", packed), tmp_path / "out") == 0
    assert report(tmp_path / "out")["alignment"]["best"] == 0
    for episode, one in zip(truth, recorded.read(tmp_path / "out"), strict=True):
        np.testing.assert_array_equal(one["observations"], episode.pixels[::2])
        np.testing.assert_array_equal(one["actions"], episode.action[:20])


def test_long_episodes_are_cut_at_a_random_moment(place: Path, tmp_path: Path) -> None:
    """So that what is kept says nothing of beginnings alone."""
    truth = recorded.episodes([60] * 12)
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(truth))
    assert convert(place, dataset, tmp_path / "out", "--longest", "5", "--action-shift", "0") == 0
    firsts = []
    for episode, one in zip(truth, recorded.read(tmp_path / "out"), strict=True):
        assert one["observations"].shape[0] == 6
        firsts.append(int(one["observations"][0, 0, 0, 0]))
        np.testing.assert_array_equal(one["actions"], episode.action[firsts[-1] : firsts[-1] + 10])
    assert len(set(firsts)) > 6
    assert convert(place, dataset, tmp_path / "few", "--longest", "2") == UNUSABLE


def test_episodes_that_cannot_be_read_are_left_out_and_named(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The rest is written, and the status says so; where none can be read, nothing is."""
    truth = recorded.columns(recorded.episodes(LENGTHS))
    truth[3]["action"][5] = np.nan
    dataset = recorded.save_columns(tmp_path / "data.h5", truth)
    with h5py.File(dataset, "a") as content:
        content["ep_offset"][7] = 10_000
    assert convert(place, dataset, tmp_path / "out", "--action-shift", "0") == INCOMPLETE
    found = report(tmp_path / "out")
    assert found["written"] == len(truth) - 2
    reasons = {one["episodes"][0]: one["reason"] for one in found["left_out"]}
    assert "the action of row 5 must be finite" in reasons["episode_000003"]
    assert "last row" in reasons["episode_000007"]
    with h5py.File(dataset, "a") as content:
        content["ep_offset"][:] = 10_000
    assert convert(place, dataset, tmp_path / "none", "--action-shift", "0") == UNUSABLE
    assert "none can be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--camera", "top"], "there is no camera top; there: pixels"),
        (["--action", "velocity"], "there is no column velocity; there: action[2], height[1]"),
        (["--action", "action[0:1]"], "has 2 axes (move_x, move_y), action[0] has 1"),
        (["--action", "action[2]"], "has 2 numbers, from 0 on"),
        (["--readout", "height"], "must be NAME=COLUMN[INDEX]"),
        (["--readout", "height=action"], "must be one number, and action has 2"),
        (["--frame-stride", "2"], "say with --combine"),
        (["--episodes", "100"], "there is no episode 100; there are 24"),
        (["--split", "a=0.9,b=0.9", "--part", "a"], "add up to 1"),
        (["--split", "a=0.9"], "belong together"),
        (["--episodes", "9:3"], "there are no such episodes"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_read(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], complaint: str
) -> None:
    """With what there is to choose from."""
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(recorded.episodes(LENGTHS)))
    assert convert(place, dataset, tmp_path / "out", *options) == UNUSABLE
    assert complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_stop_is_no_traceback(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C says how to go on, and leaves whole files only."""
    dataset = recorded.save_columns(tmp_path / "data.h5", recorded.columns(recorded.episodes(LENGTHS)))
    synced, sync = [], os.fsync

    def stop(handle: int) -> None:
        synced.append(handle)
        if len(synced) == 4:
            raise KeyboardInterrupt
        sync(handle)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", stop)
        assert convert(place, dataset, tmp_path / "out", "--action-shift", "0") == 130
    assert len(list((tmp_path / "out").glob("*.npz"))) == 3
    assert report(tmp_path / "out")["finished"] is False
    assert convert(place, dataset, tmp_path / "out", "--action-shift", "0") == 0
    assert (report(tmp_path / "out")["kept"], len(list((tmp_path / "out").iterdir()))) == (3, len(LENGTHS) + 1)
