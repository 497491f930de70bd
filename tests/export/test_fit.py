"""Fitting a world: heads are new and good on held-out trajectories, all else is as it was, bad heads are refused."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
import torch
from tritonclient.grpc.aio import InferenceServerClient
from wmserve.world import World
from wmserve_export import families, repository
from wmserve_export.__main__ import main as export
from wmserve_export.engines import Engine, engines
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.fit import measures, metrics, proof, readouts, surgery
from wmserve_export.fit.__main__ import REFUSED, UNUSABLE, main
from wmserve_export.fit.encoding import Track
from wmserve_export.fit.engines_before import FromContract
from wmserve_export.fit.heads import Distance, Stack
from wmserve_export.fit.reducing import Reduction
from wmserve_export.fit.wanted import Wanted, columns, parse
from wmserve_export.graphs import PATHS
from wmserve_export.runtime import Runner
from wmserve_server.planner.goal import GoalCost, ReadoutGoal

from loadtest import lewm_checkpoint
from tests.embedded.conftest import infer, running
from tests.export import linear_world, other_worlds
from tests.export.test_export import digests_of
from tests.export.test_mixed import searched, task

COUNT = 60
HEADS = {"goal_distance", "readouts"}
BOTH = ("--readout", "red", "--readout", "slope")


@dataclass(frozen=True)
class Case:
    """A world before and after it was fitted."""

    before: Path
    after: Path
    world: World
    report: dict[str, object]

    def runner(self, place: Path, engine: Engine) -> Runner:
        """One of its engines."""
        return Runner(repository.version_folder(place, self.world.engine(engine.verb)) / engine.file)


def trajectories(folder: Path, side: int = 8, block: int = 2, axes: int = 2, felt: int = 0) -> Path:
    """Frames of one colour, which wanders; two columns say what it is."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(COUNT):
        length = int(random.integers(6, 12))
        moves = random.integers(-12, 13, (length, 3))
        colour = np.clip(random.integers(40, 200, 3) + moves.cumsum(axis=0), 0, 255)
        arrays = {
            "observations": np.tile(colour.astype(np.uint8)[:, None, None], (1, side, side, 1)),
            "actions": random.uniform(-1, 1, ((length - 1) * block, axes)).astype(np.float32),
            "columns": np.stack([colour[:, 0] / 255.0, (colour[:, 1] - colour[:, 2]) / 100.0], axis=1).astype(
                np.float32
            ),
            "column_names": np.array(["red", "slope"]),
        }
        if felt:
            arrays["proprioception"] = random.uniform(-2, 2, (length, felt)).astype(np.float32)
        np.savez(folder / f"{number:03}.npz", **arrays)
    return folder


def exported(checkpoint: Path, place: Path, *options: str) -> Path:
    """A world in a repository, by few problems and candidates: what gates of an export say is not asked here."""
    few = ["--horizons", "2", "--rank-problems", "1", "--gate-candidates", "20", "--quiet"]
    assert export([str(checkpoint), "--repository", str(place), *few, *options]) == 0
    return place


def fit(name: str, place: Path, data: Path, *options: str) -> int:
    """By the command; in the place of the version that was there."""
    return main([name, "--repository", str(place), "--trajectories", str(data), "--quiet", "--replace", *options])


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Networks that learn a little, and few problems for the rank gate."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readouts, "STEPS", 100)
        patch.setattr(proof, "PROBLEMS", 2)
        yield


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For the linear world."""
    return trajectories(tmp_path_factory.mktemp("fit_data") / "logged")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with a linear world of mixed precision."""
    folder = tmp_path_factory.mktemp("fit_linear")
    checkpoint = linear_world.save(folder / "checkpoint")
    return exported(checkpoint, folder / "repository", "--precision", "mixed")


def fitted(name: str, place: Path, data: Path, folder: Path, *options: str) -> Case:
    """Fit a copy."""
    after = Path(shutil.copytree(place, folder / "repository"))
    world = repository.read(place, name)
    assert fit(name, after, data, "--report", str(folder / "report.json"), *options) == 0
    return Case(place, after, world, json.loads((folder / "report.json").read_text()))


@pytest.fixture(scope="module")
def linear(place: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    """The linear world, with everything that there is to fit."""
    return fitted("linear", place, data, tmp_path_factory.mktemp("fitted"), "--metric", "slow", *BOTH)


def hold_to_the_bit(case: Case) -> None:
    """All outputs of all engines but the heads'."""
    world, compared = case.world, set[str]()
    width = case.runner(case.before, Engine("encode"))._session.get_outputs()[1].shape[-1]
    config = FromContract.of(world, width)
    for engine in engines(world.verbs, world.engine_horizons):
        sizes = {"B": 2, "S": 5, "h": 31, "w": 40}
        inputs = NO_EXAMPLES.inputs(config, engine, sizes, torch.Generator().manual_seed(3))
        was, now = (case.runner(place, engine)(inputs) for place in (case.before, case.after))
        for name in was.keys() - HEADS:
            assert now[name].tobytes() == was[name].tobytes(), f"{engine.key}:{name}"
            compared.add(name)
    assert compared >= {"latents", "features", "disagreement"}


def test_nothing_but_heads_has_changed(linear: Case) -> None:
    """Latents, features and disagreement of every engine are the same bits."""
    hold_to_the_bit(linear)


def test_the_contract_says_what_is_new(linear: Case) -> None:
    """Readouts with their held-out errors, the metric, digests of all files; no calibration; all else as before."""
    after = repository.read(linear.after, "linear")
    red, slope = after.readouts
    assert (red.name, slope.name) == ("red", "slope")
    assert 0 <= red.low < red.high <= 1
    assert red.error < 0.02
    assert after.metric.name == "fitted slow distance"
    assert after.calibration is None
    assert after.digests.engines == digests_of(linear.after, "linear")
    assert after.digests.checkpoint == linear.world.digests.checkpoint
    same = {"readouts", "goal_metric", "digests", "calibration", "created"}
    assert after.model_dump(exclude=same) == linear.world.model_dump(exclude=same)


def test_the_report_holds_both_metrics_against_held_out_trajectories(linear: Case) -> None:
    """Three parts, none of which shares a trajectory with another."""
    metric = linear.report["metric"]
    assert isinstance(metric, dict)
    assert metric["before"] == "euclidean"
    assert metric["worth"].keys() == metric["worth_before"].keys() == {"correlation", "monotone", "ranking"}
    assert sum(linear.report["trajectories"].values()) == COUNT  # type: ignore[attr-defined]


async def test_a_triton_answers_readouts_and_plans_to_them(linear: Case) -> None:
    """Of frames, of rollouts, and as a goal; those of members' latents are means of members' readouts."""
    frames = np.tile(np.array([102, 180, 80], np.uint8), (1, 2, 8, 8, 1))
    random = np.random.default_rng(1)
    rollout = {
        "actions": random.uniform(-1, 2, (1, 3, 4, 2)).astype(np.float32),
        "action_history": np.zeros((1, 2, 2), np.float32),
    }
    async with running(linear.after) as triton, InferenceServerClient(triton.grpc_address) as client:
        seen = await infer(client, "linear_encode", {"observations": frames})
        rolled = await infer(client, "linear_rollout", {"context": seen["latents"], **rollout})
        wanted = ReadoutGoal((0,), np.array([0.6], np.float32), np.array([1.0], np.float32))
        search = task(2, GoalCost(1.0, 1.0, wanted), 16, 0)
        latents = {"context": seen["latents"], "goal": np.zeros((1, 3), np.float32)}
        (found,) = await searched(client, "linear_plan", search | latents)
    np.testing.assert_allclose(seen["readouts"][0, 0], [0.4, 1.0], atol=0.05)
    assert rolled["readouts"].shape == (1, 3, 2, 2)
    assert np.isfinite(found.best.cost)


@pytest.mark.parametrize("family", ["lewm", "robot"])
def test_other_families_are_fitted_by_the_same_command(family: str, tmp_path: Path) -> None:
    """One whose predictor sees a window of frames; one of patches that feels, and has readouts of its own."""
    if family == "lewm":
        config = lewm_checkpoint.small(context_length=3, name="lewm")
        checkpoint = lewm_checkpoint.save(config, tmp_path / "checkpoint")
        shape = {"block": config.action.action_block, "axes": len(config.action.axes)}
    else:
        families.FAMILIES["robot"] = f"{other_worlds.__name__}:load"
        checkpoint, shape = other_worlds.save(tmp_path / "checkpoint", "robot"), {"block": 1, "axes": 1, "felt": 2}
    place = exported(checkpoint, tmp_path / "before")
    name = repository.read(place, family).name
    data = trajectories(tmp_path / "logged", **shape)
    case = fitted(name, place, data, tmp_path, "--metric", "slow", "--readout", "red:1:0:1")
    hold_to_the_bit(case)
    after = repository.read(case.after, name)
    assert [(one.name, one.low, one.high) for one in after.readouts] == [("red", 0.0, 1.0)]
    assert after.metric.needs_proprioception == (family == "robot")


def test_a_head_that_engines_and_torch_disagree_about_is_refused(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By parity; nothing is written."""
    copy = Path(shutil.copytree(place, tmp_path / "repository"))
    straight = Stack.add
    monkeypatch.setattr(
        Stack,
        "add",
        lambda self, added, latents: added.node("Add", straight(self, added, latents), added.weight(torch.tensor(0.1))),
    )
    assert fit("linear", copy, data, "--no-metric", *BOTH) == REFUSED
    assert "parity" in capsys.readouterr().err
    assert repository.read(copy, "linear") == repository.read(place, "linear")
    assert digests_of(copy, "linear") == digests_of(place, "linear")


def test_an_encoder_that_is_not_what_it_was_is_refused(
    place: Path, data: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One weight of it in its last bit."""
    copy = Path(shutil.copytree(place, tmp_path / "repository"))
    straight = surgery.put

    def careless(file: Path, engine: Engine, *rest: object) -> ir.Model:
        model = straight(file, engine, *rest)  # type: ignore[arg-type]
        if engine.verb == "encode":
            value = model.graph.initializers["family.encoder.bias"]
            assert value.const_value is not None
            value.const_value = ir.Tensor(np.nextafter(value.const_value.numpy(), np.float32(9)), name=value.name)
        return model

    monkeypatch.setattr(surgery, "put", careless)
    assert fit("linear", copy, data, "--no-metric", *BOTH) == REFUSED
    assert "untouched: encode/engine.onnx:latents" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["old export", "no world", "too few", "unknown", "constant", "noise", "nothing"])
def test_what_cannot_be_fitted_is_refused_with_a_reason(
    place: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    """And the status says so; nothing is written."""
    copy, logged = (
        Path(shutil.copytree(place, tmp_path / "repository")),
        Path(shutil.copytree(data, tmp_path / "logged")),
    )
    options, name = ["--no-metric", *BOTH], "linear"
    if case == "old export":
        file = copy / "linear_rollout" / "1" / "horizon_2.onnx"
        file.write_bytes(file.read_bytes().replace(PATHS.encode(), b"paffs"))
        forge_digest(copy, "rollout/horizon_2.onnx")
    elif case == "no world":
        name = "mars"
    elif case == "too few":
        for file in sorted(logged.iterdir())[10:]:
            file.unlink()
    elif case == "unknown":
        options += ["--readout", "blue"]
    elif case in ("constant", "noise"):
        for number, file in enumerate(sorted(logged.iterdir())):
            arrays = dict(np.load(file))
            values = np.random.default_rng(number).random(arrays["columns"].shape) if case == "noise" else 1.0
            np.savez(file, **{**arrays, "columns": (0 * arrays["columns"] + values).astype(np.float32)})
    else:
        options = ["--no-metric"]
    status = fit(name, copy, logged, *options)
    said = capsys.readouterr().err
    reasons = {
        "old export": "export the world again",
        "no world": "there is no world mars",
        "too few": "at least 30",
        "unknown": "no column blue; they have: red, slope",
        "constant": "readout red is 1 in every frame",
        "noise": "the latents do not hold it",
        "nothing": "there is nothing to fit",
    }
    assert reasons[case] in said
    assert status == (REFUSED if case == "noise" else UNUSABLE)
    if case != "old export":
        assert digests_of(copy, "linear") == digests_of(place, "linear")


def forge_digest(place: Path, key: str) -> None:
    """Let the contract say of an engine what it is now."""
    world = repository.read(place, "linear")
    engines = {**world.digests.engines, key: digests_of(place, "linear")[key]}
    digests = world.digests.model_copy(update={"engines": engines})
    repository.write_contract(place, world.model_copy(update={"digests": digests}), repository.Placing(replace=True))


def test_a_dry_run_writes_nothing(place: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says what it would be worth."""
    copy = Path(shutil.copytree(place, tmp_path / "repository"))
    assert fit("linear", copy, data, "--no-metric", "--dry-run", *BOTH) == 0
    assert "nothing was written" in capsys.readouterr().out
    assert repository.read(copy, "linear") == repository.read(place, "linear")


def test_distances_are_symmetric_and_zero_at_the_goal() -> None:
    """Squared or not."""
    torch.manual_seed(0)
    stack = Stack(torch.nn.Linear(3, 8), torch.nn.Linear(8, 4))
    one, other = torch.randn(2, 5, 3)
    for squared in (True, False):
        metric = Distance(stack, squared)
        assert torch.equal(metric.between(one, other), metric.between(other, one))
        assert metric.between(one, one).abs().max() == 0
        assert (metric.between(one, other) > 0).all()


def horseshoe(places: np.ndarray) -> np.ndarray:
    """Latents `[..., 3]` of places from 0 to 30, whose ends lie next to each other."""
    angle = np.asarray(places) / 30 * 1.7 * np.pi
    return np.stack([np.cos(angle), np.sin(angle), 0.1 * np.sin(5 * angle)], axis=-1).astype(np.float32)


def test_a_temporal_distance_goes_the_long_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where latents lie next to each other and no trajectory leads from one to the other."""
    monkeypatch.setattr(metrics, "STEPS", 300)
    random, tracks = np.random.default_rng(0), []
    for _ in range(60):
        moves = random.choice([-1.0, 1.0]) * random.uniform(0.3, 1.0, 12)
        places = np.clip(random.uniform(0, 30) + moves.cumsum(), 0, 30)
        tracks.append(Track(horseshoe(places), np.zeros((0, 2), np.float32), np.zeros((12, 0), np.float32)))
    reduction = Reduction(torch.from_numpy(np.concatenate([track.latents for track in tracks])))
    metric = metrics.temporal(tracks, reduction, torch.zeros(3), seed=0, show=False)
    places = np.arange(31)
    latents, apart = torch.from_numpy(horseshoe(places)), np.abs(places[:, None] - places)
    with torch.inference_mode():
        found = metric.between(latents[:, None], latents[None]).numpy()
    plain = (latents[:, None] - latents[None]).square().sum(dim=-1).numpy()
    assert plain[0, 30] < plain[0, 10]
    assert found[0, 30] > 1.5 * found[0, 10]
    assert measures.spearman(found.ravel(), apart.ravel()) > measures.spearman(plain.ravel(), apart.ravel()) + 0.04


def test_columns_are_named_by_files_or_by_options() -> None:
    """Units and bounds are the option's."""
    assert parse("x:px:0:224") == Wanted("x", "px", 0.0, 224.0)
    assert columns((), ("x", "y"), 2) == ((Wanted("x"), 0), (Wanted("y"), 1))
    assert columns((Wanted("y", "m"),), ("x", "y"), 2) == ((Wanted("y", "m"), 1),)
    assert columns((Wanted("a"), Wanted("b")), (), 2) == ((Wanted("a"), 0), (Wanted("b"), 1))
    with pytest.raises(ValueError, match="2 columns of readouts without names, and --readout names 1"):
        columns((Wanted("a"),), (), 2)
