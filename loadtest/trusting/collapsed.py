"""Encoders that have collapsed in four ways, made from the reference world's; and what is said of them.

    python -m loadtest.trusting.collapsed [--also REPOSITORY WORLD TRAJECTORIES ...] [--short]

measures them, tiny-jepa's weights, and healthy encoders of other families and widths, without a server, and prints
a line of JSON: `collapse_missed` of those, `collapse_false` of these. `--also` counts a world of one's own among the
healthy ones.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
from onnx import helper, numpy_helper
from tqdm import tqdm
from wmserve.world import Health
from wmserve_export import repository
from wmserve_export.calibration import health, trajectories
from wmserve_export.calibration.calibrate import calibrate_world
from wmserve_export.calibration.measure import Engines, measure
from wmserve_export.calibration.trajectories import Trajectory
from wmserve_export.contract import ExportOptions, digest
from wmserve_export.export import export_world, one_thread
from wmserve_export.reference import calibrate
from wmserve_export.repository import VERSION

from loadtest.serving import ROOT, running
from loadtest.trusting import healthy, tiny, trap
from loadtest.trusting.rollouts import WORLD, Doubles

REPOSITORY = ROOT / "model_repository"
SEED = 16_000_000
TRAJECTORIES, SHORT_TRAJECTORIES = 450, 100
BATCH, EACH = 128, 4
"""Healthy frames that are looked at together, and those that one trajectory gives."""
KEY = "encode/engine.onnx"
NOISE = 1e-3
"""Of frames' own making: no two have quite the same latents."""
CLUSTERS = 48


def healthy_latents(count: int) -> Doubles:
    """Latents `[M, D]` of frames; some share a trajectory."""
    engines = Engines(REPOSITORY, repository.read(REPOSITORY, WORLD))
    rng = np.random.default_rng(SEED)
    source = calibrate.trajectories(SEED, count // EACH)
    rows = [
        engines.see(one.observations[rng.choice(len(one.observations), EACH, replace=False)])["latents"]
        for one in tqdm(source, "healthy frames", total=count // EACH, unit="trajectory", mininterval=2)
    ]
    return rng.permutation(np.concatenate(rows).astype(np.float64))


def projected(rank: int, dim: int) -> np.ndarray:
    """What leaves latents `rank` directions: `[D, D]`; the others keep a little of themselves."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, rank)))
    return (basis @ basis.T + NOISE * np.eye(dim)).astype(np.float32)


def linear(model: onnx.ModelProto, matrix: np.ndarray, bias: np.ndarray) -> None:
    """Latents times a matrix, and something added."""
    give(model, "matrix", matrix)
    give(model, "bias", bias)
    model.graph.node.append(helper.make_node("MatMul", ["raw", "matrix"], ["product"]))
    model.graph.node.append(helper.make_node("Add", ["product", "bias"], ["latents"]))


def clustered(model: onnx.ModelProto, centers: np.ndarray) -> None:
    """The nearest of some latents in the place of latents, and a little of themselves."""
    give(model, "centers", 2 * centers.T)
    give(model, "lengths", np.square(centers).sum(axis=1))
    give(model, "table", centers)
    give(model, "noise", np.float32(NOISE))
    nodes = [
        ("MatMul", ["raw", "centers"], ["products"], {}),
        ("Sub", ["products", "lengths"], ["nearness"], {}),
        ("ArgMax", ["nearness"], ["nearest"], {"axis": -1, "keepdims": 0}),
        ("Gather", ["table", "nearest"], ["center"], {}),
        ("Mul", ["raw", "noise"], ["little"], {}),
        ("Add", ["center", "little"], ["latents"], {}),
    ]
    model.graph.node.extend(helper.make_node(kind, given, made, **options) for kind, given, made, options in nodes)


def give(model: onnx.ModelProto, name: str, array: np.ndarray) -> None:
    """Add a constant."""
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array, np.float32), name))


def encoders(latents: Doubles) -> Mapping[str, Callable[[onnx.ModelProto], None]]:
    """Four ways to collapse, each as a change of the graph whose latents are called ``raw``."""
    dim = latents.shape[1]
    centers = latents[:CLUSTERS].astype(np.float32)
    none = np.zeros(dim)
    return {
        "constant": lambda model: linear(model, NOISE * np.eye(dim), np.ones(dim)),
        "rank 1": lambda model: linear(model, projected(1, dim), none),
        "rank 16": lambda model: linear(model, projected(16, dim), none),
        "clustered": lambda model: clustered(model, centers),
    }


def changed(model: bytes, change: Callable[[onnx.ModelProto], None]) -> bytes:
    """An encoder whose latents, and they alone, are others."""
    graph = onnx.load_from_string(model)
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = "raw" if name == "latents" else name
    change(graph)
    onnx.checker.check_model(graph)
    made: bytes = graph.SerializeToString()
    return made


ALONE = repository.Placing(replace=True)
"""These repositories are put together before a server reads them."""


def prepare(place: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """The reference world with such an encoder, not calibrated, in a repository of its own."""
    copytree(REPOSITORY, place)
    world = repository.read(place, WORLD)
    file = place / world.engine("encode") / VERSION / "engine.onnx"
    file.write_bytes(changed(file.read_bytes(), change))
    engines = {**world.digests.engines, KEY: digest(file.read_bytes())}
    digests = world.digests.model_copy(update={"engines": engines})
    repository.write_contract(place, world.model_copy(update={"digests": digests, "calibration": None}), ALONE)


def said_of(change: Callable[[onnx.ModelProto], None]) -> str:
    """What readiness says of the reference world with such an encoder, calibrated; ``ok`` if it is served."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "repository"
        prepare(place, change)
        found = calibrate.trajectories(SEED, TRAJECTORIES)
        calibrate_world(place, WORLD, found, TRAJECTORIES, show=False, placing=ALONE)
        with running(Path(folder) / "log", model_repository=str(place)) as server:
            return server.verdict()


def of_world(place: Path, name: str, source: Iterable[Trajectory], count: int = TRAJECTORIES) -> Health:
    """What collapse would show in, of a world in a repository, on `count` trajectories."""
    with one_thread():
        found = measure(Engines(place, repository.read(place, name)), source, count, None, name, show=True)
    return health.measure(found.thumbnails, found.context[:, -1], found.latents, found.truth)


def broken(count: int) -> Iterator[tuple[str, Health]]:
    """The four, and weights that hardly predict, each on `count` trajectories."""
    logs = list(calibrate.trajectories(SEED, count))
    for name, change in encoders(healthy_latents(CLUSTERS * EACH)).items():
        with tempfile.TemporaryDirectory() as folder:
            prepare(Path(folder) / "repository", change)
            yield name, of_world(Path(folder) / "repository", WORLD, logs, count)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "repository"
        export_world(tiny.checkpoint(Path(folder) / "checkpoint"), place, ExportOptions(rank_problems=20), show=False)
        yield tiny.NAME, of_world(place, tiny.NAME, tiny.logs(count), count)


def sound(count: int, also: Iterable[tuple[str, str, str]]) -> Iterator[tuple[str, Health]]:
    """The reference world, the world with a pit, those of `healthy`, and others in repositories."""
    yield WORLD, of_world(REPOSITORY, WORLD, calibrate.trajectories(SEED, count), count)
    with tempfile.TemporaryDirectory() as folder:
        export_world(trap.CHECKPOINT, Path(folder), ExportOptions(rank_problems=20), show=False)
        yield trap.NAME, of_world(Path(folder), trap.NAME, trap.logs(count), count)
    for name, seen in healthy.encoders():
        thumbnails = np.stack([health.thumbnail(frame) for frame in seen.frames])
        yield name, health.measure(thumbnails, seen.start, seen.predicted, seen.truth)
    for place, name, folder in also:
        found = trajectories.files(Path(folder))
        yield (
            name,
            of_world(Path(place), name, trajectories.read(found, repository.read(Path(place), name)), len(found)),
        )


def main() -> None:
    """Measure, and print a line for each and the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--also", nargs=3, action="append", default=[], metavar=("REPOSITORY", "WORLD", "TRAJECTORIES"))
    parser.add_argument("--short", action="store_true", help="a smoke test: the first of each, few trajectories")
    options = parser.parse_args()
    count, most = (SHORT_TRAJECTORIES, 1) if options.short else (TRAJECTORIES, None)
    said: dict[str, list[str | None]] = {"broken": [], "sound": []}
    for kind, encoders_ in (("broken", broken(count)), ("sound", sound(count, options.also))):
        for name, found in islice(encoders_, most):
            said[kind].append(health.finding(found))
            figures = {field: float(f"{value:.3g}") for field, value in found.model_dump().items()}
            print(json.dumps({"encoder": name, "kind": kind, "finding": said[kind][-1], **figures}), flush=True)
    print(
        json.dumps(
            {
                "collapse_missed": said["broken"].count(None),
                "collapse_of": len(said["broken"]),
                "collapse_false": len(said["sound"]) - said["sound"].count(None),
                "collapse_false_of": len(said["sound"]),
            }
        )
    )


if __name__ == "__main__":
    main()
