"""Calibrating a world: what is measured is bound to its engines, held-out errors are covered, bad data is named."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from wmserve import trajectories as files_of
from wmserve.world import QUANTILE_LEVELS, VERBS, Calibration, World
from wmserve_export import repository, routing
from wmserve_export.__main__ import main as export
from wmserve_export.calibration import conformal, plans
from wmserve_export.calibration.__main__ import COLLAPSED, UNUSABLE, coarseness, main
from wmserve_export.calibration.measure import Engines, Measured, measure
from wmserve_export.calibration.trajectories import CalibrationError, Plans, Trajectory, read_one

from tests.embedded.conftest import infer, running
from tests.export import linear_world
from tests.export.conftest import Exported

COUNT = 600


def trajectories(count: int, seed: int) -> Iterator[Trajectory]:
    """Of the linear world: colours that have little to do with what is done."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        colours = rng.integers(0, 256, (4, 1, 1, 3), np.uint8)
        actions = rng.uniform(-1, 2, (6, 2)).astype(np.float32)
        yield Trajectory(np.tile(colours, (1, 8, 8, 1)), actions, rng.random((4, 1), np.float32))


def save(folder: Path, count: int) -> Path:
    """As files."""
    folder.mkdir()
    for index, one in enumerate(trajectories(count, seed=0)):
        np.savez(folder / f"{index:04}.npz", observations=one.observations, actions=one.actions, readouts=one.readouts)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a calibrated linear world."""
    folder = tmp_path_factory.mktemp("calibrated")
    checkpoint, place = linear_world.save(folder / "checkpoint"), folder / "repository"
    assert export([str(checkpoint), "--repository", str(place), "--horizons", "2", "--quiet"]) == 0
    data = save(folder / "logged", COUNT)
    calibrate = ["linear", "--repository", str(place), "--trajectories", str(data), "--quiet", "--replace"]
    assert main([*calibrate, "--serve-anyway"]) == 0  # of colours that have little to do with what is done
    return place


@pytest.fixture(scope="module")
def world(place: Path) -> World:
    """Its contract."""
    return repository.read(place, "linear")


@pytest.fixture(scope="module")
def calibration(world: World) -> Calibration:
    """Its calibration."""
    assert world.calibration is not None
    return world.calibration


@pytest.fixture(scope="module")
def unseen(place: Path, world: World) -> Measured:
    """Rollouts that the calibration has not seen."""
    return measure(Engines(place, world), trajectories(COUNT, seed=1), COUNT, None, "", show=False)


def expected_errors(place: Path, measured: Measured) -> np.ndarray:
    """Outputs `[M, H]` of the error engine."""
    (file,) = (place / "linear_rollout" / "1").glob("error_*.onnx")
    session = onnxruntime.InferenceSession(file.read_bytes())
    names = [given.name for given in session.get_inputs()]
    tensors = dict(
        zip(("context", "actions", "latents", "disagreement"), (t.numpy() for t in measured.rollouts), strict=True)
    )
    return session.run(["error"], {name: tensors[name] for name in names})[0][:, 0]


def interval(calibrated: int, tested: int, level: float) -> tuple[float, float]:
    """Interval of the share that a radius from `calibrated` scores covers of `tested` others: beta-binomial.

    99.9 %, since a dozen are asked.
    """
    rng, rank = np.random.default_rng(0), int(np.ceil((calibrated + 1) * level))
    shares = rng.binomial(tested, rng.beta(rank, calibrated + 1 - rank, 100_000)) / tested
    low, high = np.quantile(shares, [0.0005, 0.9995])
    return float(low), float(high)


def test_a_calibration_holds_for_its_engines_and_no_others(world: World, calibration: Calibration) -> None:
    """Nor is it one when somebody has changed a number in it."""
    assert calibration.holds_for(world.digests)
    other = world.digests.model_copy(update={"engines": {**world.digests.engines, "encode/engine.onnx": "sha256:0"}})
    assert not calibration.holds_for(other)
    assert not calibration.model_copy(update={"tolerance": 1e9}).holds_for(world.digests)


def test_the_three_models_carry_it(place: Path, world: World) -> None:
    """They still agree, so the world is still served; two of them have one output more."""
    configs = {verb: repository.parse(place / f"linear_{verb}" / "config.pbtxt") for verb in VERBS}
    contracts = {config.parameters["wmserve_world"].string_value for config in configs.values()}
    assert [World.model_validate_json(text) for text in contracts] == [world]
    outputs = {verb: {output.name for output in config.output} for verb, config in configs.items()}
    assert "ood" in outputs["encode"]
    assert "error" in outputs["rollout"]


@pytest.mark.parametrize("level", [0.8, 0.9])
def test_radii_cover_what_was_not_seen(
    place: Path, world: World, calibration: Calibration, unseen: Measured, level: float
) -> None:
    """Each step and all steps at once, latents and readouts, as often as exchangeable scores have to be."""
    low, high = interval(calibration.trajectories, COUNT, level)
    chosen = next(one for one in calibration.levels if one.level == level)
    expected = expected_errors(place, unseen)
    for step in range(world.horizon_limit):
        assert low <= (unseen.errors[:, step] <= expected[:, step] * chosen.radius[step]).mean() <= high
        radius = expected[:, step] * chosen.readout_radius[step]
        assert low <= (unseen.readout_errors[:, step, 0] <= radius).mean() <= high
    assert low <= (unseen.errors <= expected * np.array(chosen.joint_radius)).all(axis=1).mean() <= high


def test_quantiles_are_those_of_what_was_not_seen(place: Path, calibration: Calibration, unseen: Measured) -> None:
    """A p-value of observations like the calibration's is even: as many are under .1 as should be."""
    (file,) = (place / "linear_encode" / "1").glob("ood_*.onnx")
    session = onnxruntime.InferenceSession(file.read_bytes())
    ood = session.run(["ood"], {"features": unseen.features[:, None]})[0][:, 0]
    p_values = 1 - np.interp(ood, calibration.quantiles.ood, QUANTILE_LEVELS)
    assert (p_values < 0.1).mean() == pytest.approx(0.1, abs=0.05)
    assert calibration.quantiles.disagreement[90] < 1.2


async def test_a_triton_answers_scores(place: Path, unseen: Measured) -> None:
    """They are those of the score engines on what the world's own engines answer."""
    frames = np.zeros((1, 1, 8, 8, 3), np.uint8)
    rollout = {"context": unseen.context[:1], "actions": unseen.actions[:1, None]}
    async with running(place) as triton, InferenceServerClient(triton.grpc_address) as client:
        seen = await infer(client, "linear_encode", {"observations": frames})
        rolled = await infer(client, "linear_rollout", {**rollout, "action_history": np.zeros((1, 2, 2), np.float32)})
    assert set(seen) == {"latents", "readouts", "ood"}
    assert seen["ood"].shape == (1, 1)
    assert rolled["error"].shape == (1, 1, 2)
    assert (rolled["error"] > 0).all()


def test_exporting_again_forgets_it(tmp_path: Path) -> None:
    """Other engines, another calibration; one that takes the place of another leaves nothing of it."""
    checkpoint, place = linear_world.save(tmp_path / "checkpoint"), tmp_path / "repository"
    arguments = [str(checkpoint), "--repository", str(place), "--horizons", "2", "--quiet", "--rank-problems", "2"]
    assert export(arguments) == 0
    data = save(tmp_path / "logged", 300)
    calibrate = ["linear", "--repository", str(place), "--trajectories", str(data), "--tolerance", "0.5", "--quiet"]
    assert main([*calibrate, "--serve-anyway", "--replace"]) == 0
    assert main([*calibrate, "--replace"]) == COLLAPSED  # of another calibration, an operator has said nothing
    found = repository.read(place, "linear").calibration
    assert found is not None
    assert found.tolerance == 0.5
    beside = [file.name for verb in ("encode", "rollout") for file in (place / f"linear_{verb}" / "1").glob("*_*.onnx")]
    assert {f"{key.partition('/')[2]}" for key in found.files} == {name for name in beside if "horizon" not in name}
    assert export(arguments) == 0
    exported = repository.read(place, "linear")
    assert (exported.version, exported.calibration) == (2, None)
    assert main(calibrate) == COLLAPSED
    calibrated = repository.read(place, "linear")
    assert calibrated.version == 3
    assert calibrated.digests == exported.digests
    engine = Path("1") / "engine.onnx"
    assert (place / calibrated.engine("encode") / engine).samefile(place / exported.engine("encode") / engine)
    assert routing.route_of(place, "linear").previous == 2
    assert repository.read(place, "linear", 2).calibration is None, "what was served is left as it was"


def test_a_finding_keeps_a_world_from_being_served_until_an_operator_says_otherwise(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the contract changes: what was exported and what was measured stay as they are."""
    copy = tmp_path / "repository"
    shutil.copytree(place, copy)
    before = {file: file.read_bytes() for file in copy.rglob("*.onnx")}
    assert main(["linear", "--repository", str(copy), "--no-serve-anyway", "--replace"]) == COLLAPSED
    said = capsys.readouterr().err
    assert "hardly better than a copy of the last latents" in said
    assert "wmserve calibrate linear --serve-anyway" in said
    found = repository.read(copy, "linear")
    assert found.calibration is not None
    assert found.calibration.holds_for(found.digests)
    assert found.withheld == found.calibration.collapsed
    assert main(["linear", "--repository", str(copy), "--serve-anyway", "--replace"]) == 0
    again = repository.read(copy, "linear")
    assert again.withheld is None
    assert again.served_anyway is not None
    assert again.served_anyway.finding == found.withheld
    assert again.calibration == found.calibration
    assert {file: file.read_bytes() for file in copy.rglob("*.onnx")} == before
    with pytest.raises(SystemExit):
        main(["linear", "--repository", str(copy)])
    assert "--trajectories is needed" in capsys.readouterr().err


def test_a_calibration_says_how_coarse_its_p_values_are(calibration: Calibration) -> None:
    """And how many more trajectories would make them fine enough for the default refusals."""
    assert coarseness(calibration) == (
        "400 trajectories cannot show p < 0.0025 (899 more would show 0.001, as refusals at 0.999 need)"
    )
    fine = calibration.model_copy(update={"trajectories": 999})
    assert coarseness(fine) == "999 trajectories cannot show p < 0.001 (enough for refusals at 0.999)"


def test_plans_count_that_came_true_or_knew_more_than_a_copy() -> None:
    """Within the tolerance, where half of them are; else within what so many steps usually cover; else all."""
    errors = np.array([[0.5, 0.5, 0.5], [0.5, 2.5, 2.5], [0.5, 2.5, 9.0], [2.0, 2.5, 9.0]])
    counted, part = conformal.so_far(errors, 1.0, np.array([1.0, 3.0, 3.0]))
    assert counted.T.tolist() == [[True, True, True, False], [True, True, True, False], [True, True, False, False]]
    assert part.tolist() == [0.75, 0.75, 0.5]
    counted, part = conformal.so_far(errors, 1.0, None)
    assert counted.T.tolist() == [[True, True, True, False], [True] * 4, [True] * 4]
    assert part.tolist() == [0.75, 0.25, 0.25]


def test_plans_beyond_logs_are_refused_only_where_they_went_astray() -> None:
    """As into a pit; where most of them came true, plans know better than logs."""
    logged = np.linspace(0, 1, len(QUANTILE_LEVELS))
    scores = np.array([0.5] * 6 + [2.0] * 4)
    assert plans.leads_astray(scores, logged, np.array([True] * 7 + [False] * 3))
    assert not plans.leads_astray(scores, logged, np.array([True] * 9 + [False]))
    assert plans.leads_astray(scores[:6], logged, np.array([True] * 6))


def test_few_plans_refuse_no_more_healthy_ones_than_many() -> None:
    """Six checks of 300 plans that each refuse what is beyond all of them would refuse two in a hundred."""
    rng = np.random.default_rng(0)
    refused, bare = [], []
    for _ in range(40):
        known, fresh = rng.exponential(size=(300, 6)), rng.exponential(size=(300, 6))
        far = plans.margin(known, 300)
        median, most = np.median(known, axis=0), known.max(axis=0)
        refused.append((fresh - median >= far * (most - median)).any(axis=1).mean())
        bare.append((fresh >= most).any(axis=1).mean())
    assert np.mean(bare) > 0.015
    assert np.mean(refused) < 0.01
    assert plans.margin(rng.exponential(size=(3000, 6)), 3000) == 1


def test_the_radius_is_the_right_one_of_the_sorted_scores() -> None:
    """The ceil((n + 1) p)-th; where there is none, how many trajectories it takes."""
    scores = np.arange(1.0, 100.0)
    assert conformal.radius(scores, 0.9) == 90
    with pytest.raises(CalibrationError, match="at least 99"):
        conformal.radius(scores[:50], 0.99)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"observations": np.zeros((3, 8, 8, 3), np.uint8)}, "has 3 frames"),
        ({"observations": np.zeros((4, 8, 8, 3), np.float32)}, "uint8"),
        ({"actions": np.zeros((5, 2), np.float32)}, "actions must be"),
        ({"actions": np.full((6, 2), np.nan, np.float32)}, "finite"),
        ({"readouts": np.zeros((4, 2), np.float32)}, "readouts must be"),
        ({"readouts": np.full((4, 1), np.nan, np.float32)}, "readouts must be"),
        ({"observations": np.zeros((), np.uint8)}, "must be .L, h, w, 3."),
    ],
)
def test_a_trajectory_that_does_not_fit_is_named(world: World, change: dict[str, np.ndarray], complaint: str) -> None:
    """With what does not fit."""
    good = {"observations": np.zeros((4, 8, 8, 3), np.uint8), "actions": np.zeros((6, 2), np.float32)}
    with pytest.raises(CalibrationError, match=complaint):
        Trajectory(**{**good, **change}).check(world, "0001.npz")


def test_readouts_are_found_by_name_among_the_columns(exported: Exported, tmp_path: Path) -> None:
    """Of logs and of plans; names decide where both are there, and other columns than all readouts are an error."""
    world = repository.read(exported.repository, "linear")
    one = next(trajectories(1, seed=0))
    assert one.readouts is not None
    columns = np.hstack([np.zeros((4, 1)), one.readouts, np.ones((4, 1))])
    named = replace(one, readouts=None, columns=columns, column_names=("speed", "height", "force"))

    def back(trajectory: Trajectory, planned: bool = False) -> Trajectory:
        files_of.write(tmp_path / "0.npz", trajectory)
        return read_one(tmp_path / "0.npz", world, planned)

    np.testing.assert_array_equal(back(named).readouts, one.readouts)
    np.testing.assert_array_equal(back(replace(named, readouts=1 - one.readouts)).readouts, one.readouts)
    files_of.write(tmp_path / "0.npz", replace(named, goal=one.observations[0]))
    np.testing.assert_array_equal(Plans(tmp_path, world)[0].readouts, one.readouts)
    others = replace(named, columns=columns[:, ::2], column_names=("speed", "force"))
    np.testing.assert_array_equal(back(replace(others, readouts=one.readouts)).readouts, one.readouts)
    assert back(replace(one, readouts=None)).readouts is None
    with pytest.raises(CalibrationError, match=r"0\.npz has no column height, a readout .* it has: speed, force\. "):
        back(others)
    with pytest.raises(CalibrationError, match=r"columns must be \[L, 2\], .* not \[4, 3\]"):
        back(replace(named, column_names=("speed", "height")))


@pytest.mark.parametrize(
    "case", ["no world", "no files", "too few", "pickled", "cut off", "empty", "mixed", "other columns"]
)
def test_what_cannot_be_calibrated_on_is_refused_with_a_reason(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """And the status says so; nothing is written."""
    before = repository.read(place, "linear")
    folder = save(tmp_path / "few", 3) if case != "no files" else tmp_path
    if case in ("pickled", "cut off", "empty", "mixed", "other columns"):
        good, bad = (folder / "0000.npz").read_bytes(), folder / "0001.npz"
        if case == "pickled":
            np.savez(bad, observations=np.array([{}], object), actions=np.zeros(6))
        elif case in ("mixed", "other columns"):
            one = replace(next(trajectories(1, seed=0)), readouts=None)
            named = {"columns": np.zeros((4, 1)), "column_names": ("speed",)} if case == "other columns" else {}
            files_of.write(bad, replace(one, **named))
        else:
            bad.write_bytes(good[:100] if case == "cut off" else b"")
        for index in range(3, 300):
            (folder / f"{index:04}.npz").write_bytes(good)
    name = "mars" if case == "no world" else "linear"
    assert main([name, "--repository", str(place), "--trajectories", str(folder), "--quiet"]) == UNUSABLE
    said = capsys.readouterr().err
    reasons = {
        "no world": "there is no world mars",
        "no files": "no .npz files",
        "too few": "at least 300",
        "pickled": "0001.npz cannot be read",
        "cut off": "0001.npz cannot be read",
        "empty": "0001.npz cannot be read",
        "mixed": "others have none",
        "other columns": "0001.npz has no column height",
    }
    assert reasons[case] in said
    assert repository.read(place, "linear") == before
