"""What client and exporter share beside the wire: the files of trajectories, and intervals of success rates."""

from pathlib import Path

import numpy as np
import pytest
from wmserve import seeds, trajectories
from wmserve.intervals import Paired, paired, wilson
from wmserve.trajectories import Trajectory, TrajectoryError


def test_a_trajectory_comes_back_as_it_was_written(tmp_path: Path) -> None:
    """With what it has and without what it has not; a goal where a plan is asked for."""
    rng = np.random.default_rng(0)
    written = Trajectory(
        observations=rng.integers(0, 256, (3, 4, 5, 3), np.uint8),
        actions=rng.random((4, 2), np.float32),
        goal=rng.integers(0, 256, (4, 5, 3), np.uint8),
        states=rng.random((3, 2)),
    )
    trajectories.write(tmp_path / "00000.npz", written)
    (file,) = trajectories.files(tmp_path)
    found = trajectories.read(file, planned=True)
    for name, array in vars(written).items():
        np.testing.assert_array_equal(getattr(found, name), array)
    assert found.readouts is None
    assert trajectories.read(file).goal is None
    assert [one.name for one in tmp_path.iterdir()] == ["00000.npz"]


def test_what_is_no_trajectory_is_named(tmp_path: Path) -> None:
    """No files, and one that was cut off."""
    with pytest.raises(TrajectoryError, match=r"there are no \.npz files"):
        trajectories.files(tmp_path)
    (tmp_path / "7.npz").write_bytes(b"PK")
    with pytest.raises(TrajectoryError, match=r"7\.npz cannot be read"):
        trajectories.read(tmp_path / "7.npz")


def test_intervals_are_the_published_ones() -> None:
    """Wilson's, and Newcombe's of his example: 36 both, 12 the first alone, 2 the second, 0 neither."""
    assert wilson(200, 200) == pytest.approx((0.9812, 1.0), abs=1e-4)
    assert wilson(8, 10) == pytest.approx((0.490, 0.943), abs=1e-3)
    example = Paired(first_only=12, second_only=2, both=36, neither=0)
    assert example.difference == pytest.approx(0.2)
    assert example.interval == pytest.approx((0.0569, 0.3404), abs=1e-4)
    assert example.p_value == pytest.approx(0.0129, abs=1e-4)


def test_pairs_are_counted() -> None:
    """Each episode once; equal policies differ by nothing."""
    outcomes = [True, True, False, False, True]
    counts = paired(outcomes, [True, False, True, False, True])
    assert (counts.both, counts.first_only, counts.second_only, counts.neither) == (2, 1, 1, 1)
    same = paired(outcomes, outcomes)
    assert same.difference == 0
    assert same.interval[0] < 0 < same.interval[1]
    assert same.p_value == 1


def test_seeds_of_an_episode_are_all_different() -> None:
    """The first is the caller's, of up to 64 bits; the others fit a double, as JSON needs, and are always the same."""
    found = [seeds.of_call(seed, call) for seed in (0, 1, 2**64 - 1) for call in range(100)]
    assert found[::100] == [0, 1, 2**64 - 1]
    assert len(set(found)) == 300
    assert max(one for number, one in enumerate(found) if number % 100) < 2**53
    assert seeds.of_call(7, 1) == 3239972230578407
