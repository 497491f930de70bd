"""Writes a world into a Triton model repository: all of it, or nothing.

    repository/
     |- <world>_encode/   config.pbtxt   1/engine.onnx      export_report.json
     |- <world>_rollout/  config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx
     `- <world>_plan/     config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx

``<world>_plan`` also has 1/horizon_5_judge.onnx and so on, and where plans are of mixed precision
1/horizon_5_coarse.onnx. A verb whose engines are large also has a 1/weights.data (:mod:`wmserve_export.external_data`).

For TensorRT (target ``tensorrt``) each engine is a Triton model of its own, which a verb's model calls inside Triton:

    repository/
     |- <world>_encode/           config.pbtxt             search, scores, choice of the engine: on a CPU
     |- <world>_encode_engine/    config.pbtxt  1/engine.plan
     |- <world>_plan/             config.pbtxt
     |- <world>_plan_horizon_5/   config.pbtxt  1/horizon_5.plan
     ...

A calibrated world also has an ood_<digest>.onnx beside its encoder, and an error_<digest>.onnx and a
distance_<digest>.onnx beside its rollouts and its plans.

A world is several folders and there is no renaming of several at once. A server that looks in between sees engines of
two contracts, and serves none of them until the last one is in place.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import CONTRACT_PARAMETER, Calibration, ServedAnyway, World

from wmserve_export import triton_models
from wmserve_export.engines import Engine
from wmserve_export.families import FamilyConfig
from wmserve_export.triton_models import PLACEHOLDER, VERSION, TritonModel

CONFIG_FILE = "config.pbtxt"
SCORES = {"encode": ("ood",), "rollout": ("error", "distance")}
"""What the score engines of a calibration answer, by the verb whose engine they lie beside."""
SCORE_DIMS = {"encode": [-1], "rollout": [-1, -1]}
REPORT_FILE = "export_report.json"
"""In the folder of ``encode``: Triton reads no files there but those it knows."""


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder to put a world together in; it is gone afterwards, with what is still there."""
    with tempfile.TemporaryDirectory(prefix=".wmserve_export_", dir=staging_place(repository)) as scratch:
        yield Path(scratch)


def write(
    staged: Path,
    repository: Path,
    world: World,
    config: FamilyConfig,
    files: Mapping[Engine, Path],
    report: Mapping[str, object],
    max_batch: int = triton_models.MAX_BATCH,
) -> None:
    """Move staged `files` into the repository, with their contract and the report of the export.

    What the world had there before is replaced. TensorRT's engines take at most `max_batch` calls at once.
    """
    put(staged, repository, triton_models.models(world, config, files, max_batch), world, report)


def put(
    staged: Path, repository: Path, models: Iterable[TritonModel], world: World, report: Mapping[str, object]
) -> None:
    """Put Triton models, whose files are staged, in the place of all that a world had in a repository."""
    made, gone = staged / "models", staged / "gone"
    for model in models:
        version = version_folder(made, model.name)
        version.mkdir(parents=True)
        (version.parent / CONFIG_FILE).write_text(text_format.MessageToString(model.config))
        for file in model.files:
            file.rename(version / file.name)
        if not model.files:
            (version / PLACEHOLDER).touch()
    (made / world.engine("encode") / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")
    repository.mkdir(parents=True, exist_ok=True)
    gone.mkdir()
    new = [folder.name for folder in made.iterdir()]
    old = [name for name in folders_of(repository, world.name) if name not in new]
    for name in new:
        replace(made / name, repository / name)
    for name in old:  # such as engines of another target
        (repository / name).rename(gone / name)


def folders_of(repository: Path, name: str) -> list[str]:
    """Models in a repository that carry the contract of a world."""
    found = []
    for file in repository.glob(f"*/{CONFIG_FILE}"):
        config = text_format.Parse(file.read_text(), triton.ModelConfig(), allow_unknown_field=True)
        contract = config.parameters[CONTRACT_PARAMETER].string_value
        if contract and json.loads(contract).get("name") == name:
            found.append(file.parent.name)
    return found


def staging_place(repository: Path) -> Path:
    """Where folders can be renamed from: beside the repository, since Triton complains of strange ones inside.

    In it, if it is a mount of its own.
    """
    repository = repository.resolve()
    if not repository.exists():
        return next(parent for parent in repository.parents if parent.exists())
    beside = repository.parent
    fits = beside.stat().st_dev == repository.stat().st_dev and os.access(beside, os.W_OK)
    return beside if fits else repository


def version_folder(place: Path, model: str) -> Path:
    """Where the engines of a Triton model lie, in a repository."""
    return place / model / VERSION


def replace(made: Path, place: Path) -> None:
    """Move a folder to its place; the old one, if any, goes with the scratch folder that `made` lies in."""
    if place.exists():
        place.rename(made.with_name(f"{made.name}.old"))
    made.rename(place)


def read(repository: Path, name: str) -> World:
    """The contract of a world in a repository; FileNotFoundError says what there is."""
    config = repository / f"{name}_encode" / CONFIG_FILE
    if not config.is_file():
        there = sorted(folder.name.removesuffix("_encode") for folder in repository.glob("*_encode"))
        raise FileNotFoundError(f"there is no world {name} in {repository}; there: {', '.join(there) or 'none'}")
    return World.model_validate_json(parse(config).parameters[CONTRACT_PARAMETER].string_value)


def calibrate(repository: Path, world: World, calibration: Calibration, files: Mapping[str, bytes]) -> None:
    """Put score engines beside a world's own, and the calibration into its contract; an earlier one is replaced."""
    for key, content in files.items():
        verb, _, name = key.partition("/")
        replace_file(version_folder(repository, world.engine(verb)) / name, content)
    write_contract(repository, world.model_copy(update={"calibration": calibration, "served_anyway": None}))
    if world.calibration is not None:  # only now does nothing speak of the old ones any more
        for key in world.calibration.files.keys() - files.keys():
            verb, _, name = key.partition("/")
            (version_folder(repository, world.engine(verb)) / name).unlink(missing_ok=True)


def serve_anyway(repository: Path, name: str, wanted: bool) -> World:
    """Have a world served in spite of what its calibration found, or no longer; only its contract changes."""
    world = read(repository, name)
    finding = None if world.calibration is None else world.calibration.collapsed
    since = datetime.now(UTC).isoformat(timespec="seconds")
    word = ServedAnyway(finding=finding, since=since) if wanted and finding is not None else None
    world = world.model_copy(update={"served_anyway": word})
    write_contract(repository, world)
    return world


def write_contract(repository: Path, world: World) -> None:
    """Put another contract in the place of a world's; one with a calibration adds what its score engines answer."""
    for verb in world.verbs:
        place = repository / world.engine(verb) / CONFIG_FILE
        config = parse(place)
        config.parameters[CONTRACT_PARAMETER].string_value = world.model_dump_json()
        known = {output.name for output in config.output}
        for score in SCORES.get(verb, ()) if world.calibration else ():
            if score not in known:
                config.output.add(name=score, data_type=triton.DataType.TYPE_FP32, dims=SCORE_DIMS[verb])
        replace_file(place, text_format.MessageToString(config).encode())


def parse(config: Path) -> triton.ModelConfig:
    """Read a ``config.pbtxt``."""
    return text_format.Parse(config.read_text(), triton.ModelConfig())


def replace_file(file: Path, content: bytes) -> None:
    """Write a file so that nobody ever sees half of it."""
    new = file.with_name(f".{file.name}.new")
    new.write_bytes(content)
    new.replace(file)
