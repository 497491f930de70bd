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

A world that is there is never changed: another export, fit or calibration of it is another *version*, whose models
stand beside the others, ``<world>-v2_encode`` and so on, until one rename in ``<world>_route`` makes it the one that
answers (:mod:`wmserve_export.routing`). A server that looks in between sees a version that is not complete, and goes on
with what it has.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import (
    CONTRACT_PARAMETER,
    ENGINES_PARAMETER,
    Calibration,
    ServedAnyway,
    World,
    model_prefix,
)

from wmserve_export import routing, triton_models
from wmserve_export.engines import Engine
from wmserve_export.families import FamilyConfig
from wmserve_export.placing import Placing, staging
from wmserve_export.routing import CONFIG_FILE, PLACEHOLDER, VERSION, parse, read, replace_file
from wmserve_export.triton_models import TritonModel

__all__ = ["CONFIG_FILE", "REPORT_FILE", "VERSION", "Placing", "parse", "read", "replace_file", "staging"]

SCORES = {"encode": ("ood",), "rollout": ("error", "distance")}
"""What the score engines of a calibration answer, by the verb whose engine they lie beside."""
SCORE_DIMS = {"encode": [-1], "rollout": [-1, -1]}
REPORT_FILE = "export_report.json"
"""In the folder of ``encode``: Triton reads no files there but those it knows."""


def write(
    staged: Path,
    repository: Path,
    world: World,
    config: FamilyConfig,
    files: Mapping[Engine, Path],
    report: Mapping[str, object],
    max_batch: int = triton_models.MAX_BATCH,
    placing: Placing | None = None,
) -> World:
    """Move staged `files` into the repository as a version of their world, with contract and report; return that.

    TensorRT's engines take at most `max_batch` calls at once. `placing` defaults to ``Placing()``: it becomes live.
    """
    placing = placing or Placing()
    with routing.locked(repository):
        version = next_version(repository, world.name, placing)
        numbered = world.model_copy(update={"version": version, "created": now()})
        stage(staged, triton_models.models(numbered, config, files, max_batch), numbered, report)
        settle(staged, repository, numbered, placing.promote)
    return numbered


def put(
    staged: Path, repository: Path, models: Iterable[TritonModel], world: World, report: Mapping[str, object]
) -> None:
    """Put Triton models, whose files are staged, into a repository; a version that has their number is replaced."""
    with routing.locked(repository):
        stage(staged, models, world, report)
        settle(staged, repository, world, promote=True)


def now() -> str:
    """UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def next_version(repository: Path, name: str, placing: Placing) -> int:
    """Number of the next version of a world, or of the live one where that is to be replaced."""
    known = routing.folders_of(repository, name)
    if not known:
        return 1
    return routing.route_of(repository, name).live if placing.replace else max(known) + 1


def stage(staged: Path, models: Iterable[TritonModel], world: World, report: Mapping[str, object]) -> None:
    """Put the folders of Triton models together in ``staged/models``."""
    made = staged / "models"
    for model in models:
        version = version_folder(made, model.name)
        version.mkdir(parents=True)
        (version.parent / CONFIG_FILE).write_text(text_format.MessageToString(model.config))
        for file in model.files:
            file.rename(version / file.name)
        if not model.files:
            (version / PLACEHOLDER).touch()
    (made / world.engine("encode") / REPORT_FILE).write_text(json.dumps(report, indent=2) + "\n")


def settle(staged: Path, repository: Path, world: World, promote: bool) -> None:
    """Move the folders of ``staged/models`` into the repository, and switch to their version if that is asked for."""
    made, gone = staged / "models", staged / "gone"
    gone.mkdir()
    known, new = routing.folders_of(repository, world.name), [folder.name for folder in made.iterdir()]
    fresh = bool(known) and world.version not in known
    # Before a server can see the new version: one that knows no route may take the highest for live.
    if fresh and routing.read_route(repository, world.name) is None:
        routing.write_route(repository, routing.route_of(repository, world.name))
    for name in new:
        replace(made / name, repository / name)
    for name in set(known.get(world.version, ())) - set(new):  # such as engines of another target
        (repository / name).rename(gone / name)
    if fresh:
        route = routing.route_of(repository, world.name)
        route = routing.switched(route, world.version) if promote else route
        routing.write_route(repository, routing.retire(repository, route, gone, newest=world.version))


def version_folder(place: Path, model: str) -> Path:
    """Where the engines of a Triton model lie, in a repository."""
    return place / model / VERSION


def replace(made: Path, place: Path) -> None:
    """Move a folder to its place; the old one, if any, goes with the scratch folder that `made` lies in."""
    if place.exists():
        place.rename(made.with_name(f"{made.name}.old"))
    made.rename(place)


def calibrate(
    repository: Path,
    world: World,
    calibration: Calibration,
    files: Mapping[str, bytes],
    placing: Placing | None = None,
) -> World:
    """Write a version that has a world's engines, a calibration and its score engines; return its contract."""
    return derive(
        repository, world.model_copy(update={"calibration": calibration, "served_anyway": None}), files, placing
    )


def write_contract(repository: Path, world: World, placing: Placing | None = None) -> World:
    """Write a version that has the engines of the version whose number `world` has, and this contract; return that."""
    return derive(repository, world, {}, placing)


def derive(repository: Path, world: World, files: Mapping[str, bytes], placing: Placing | None) -> World:
    """Write another version of a world with the files of the one whose number it has, and those given, by key.

    It becomes live only where that one is.
    """
    placing = placing or Placing()
    with routing.locked(repository), staging(repository) as staged:
        base = read(repository, world.name, world.version)
        version = world.version if placing.replace else next_version(repository, world.name, placing)
        new = world.model_copy(update={"version": version, "created": now()})
        for model in routing.folders_of(repository, base.name)[base.version]:
            renamed = model_prefix(new.name, version) + model.removeprefix(model_prefix(base.name, base.version))
            copy_model(repository / model, staged / "models" / renamed, base, new)
        for key, content in files.items():
            verb, _, name = key.partition("/")
            file = version_folder(staged / "models", new.engine(verb)) / name
            file.unlink(missing_ok=True)  # what it is a link of stays as it is
            file.write_bytes(content)
        live = routing.route_of(repository, world.name).live
        settle(staged, repository, new, placing.promote and live == base.version)
    return new


def serve_anyway(repository: Path, name: str, wanted: bool, placing: Placing | None = None) -> World:
    """Have a world served in spite of what its calibration found, or no longer: a version with another contract."""
    world = read(repository, name)
    finding = None if world.calibration is None else world.calibration.collapsed
    word = ServedAnyway(finding=finding, since=now()) if wanted and finding is not None else None
    if word is None and world.served_anyway is None:
        return world
    return write_contract(repository, world.model_copy(update={"served_anyway": word}), placing)


def copy_model(old: Path, made: Path, base: World, new: World) -> None:
    """Make the folder of a Triton model of another version: hard links of its files, its configuration rewritten."""
    kept = set() if new.calibration is None else new.calibration.files.keys()
    dropped = {} if base.calibration is None else base.calibration.files.keys() - kept
    verb = old.name.removeprefix(model_prefix(base.name, base.version) + "_")
    for file in (path for path in old.rglob("*") if path.is_file()):
        if file.name != CONFIG_FILE and f"{verb}/{file.name}" not in dropped:
            link(file, made / file.relative_to(old))
    config = parse(old / CONFIG_FILE)
    config.name = made.name
    config.parameters[CONTRACT_PARAMETER].string_value = new.model_dump_json()
    if ENGINES_PARAMETER in config.parameters:
        said = config.parameters[ENGINES_PARAMETER].string_value
        names = model_prefix(base.name, base.version), model_prefix(new.name, new.version)
        config.parameters[ENGINES_PARAMETER].string_value = renamed_engines(said, *names)
    known = {output.name for output in config.output}
    for score in SCORES.get(verb, ()) if new.calibration else ():
        if score not in known:
            config.output.add(name=score, data_type=triton.DataType.TYPE_FP32, dims=SCORE_DIMS[verb])
    (made / CONFIG_FILE).write_text(text_format.MessageToString(config))


def renamed_engines(said: str, old: str, new: str) -> str:
    """Which models run a verb's engines, of another version."""
    engines = json.loads(said)
    return json.dumps({key: {**one, "model": new + one["model"].removeprefix(old)} for key, one in engines.items()})


def link(file: Path, place: Path) -> None:
    """Have a file in another place too; a copy of it, where the file system knows no hard links."""
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        place.hardlink_to(file)
    except OSError:
        shutil.copy2(file, place)
