"""Writes a world into a Triton model repository: all of it, or nothing.

    repository/
     |- <world>_encode/   config.pbtxt   1/engine.onnx      export_report.json
     |- <world>_rollout/  config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx
     `- <world>_plan/     config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx

``<world>_plan`` also has 1/horizon_5_judge.onnx and so on, and where plans are of mixed precision
1/horizon_5_coarse.onnx.

A calibrated world also has an ood_<digest>.onnx beside its encoder, and an error_<digest>.onnx and a
distance_<digest>.onnx beside its rollouts and its plans.

A world is three folders and there is no renaming of three at once. A server that looks in between sees engines of two
contracts, and serves none of them until the last one is in place.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import CONTRACT_PARAMETER, Calibration, World

from wmserve_export.engines import Axes, Engine, input_axes, output_axes
from wmserve_export.families import FamilyConfig

BACKEND = "wmserve_onnx"
VERSION = "1"
MAX_BATCH = 64
CONFIG_FILE = "config.pbtxt"
SCORES = {"encode": ("ood",), "rollout": ("error", "distance")}
"""What the score engines of a calibration answer, by the verb whose engine they lie beside."""
SCORE_DIMS = {"encode": [-1], "rollout": [-1, -1]}
REPORT_FILE = "export_report.json"
"""In the folder of ``encode``: Triton reads no files there but those it knows."""


def write(
    repository: Path, world: World, config: FamilyConfig, files: Mapping[Engine, bytes], report: Mapping[str, object]
) -> None:
    """Write `files`, the contract and the export's report; what the world had there before is replaced."""
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wmserve_export_", dir=staging_place(repository)) as scratch:
        for verb in world.verbs:
            version = Path(scratch) / world.engine(verb) / VERSION
            version.mkdir(parents=True)
            (version.parent / CONFIG_FILE).write_text(config_text(world, config, verb))
            for engine, content in files.items():
                if engine.verb == verb:
                    (version / engine.file).write_bytes(content)
        report_file = Path(scratch) / world.engine("encode") / REPORT_FILE
        report_file.write_text(json.dumps(report, indent=2) + "\n")
        for verb in world.verbs:
            replace(Path(scratch) / world.engine(verb), repository / world.engine(verb))


def staging_place(repository: Path) -> Path:
    """Where folders can be renamed from: beside the repository, since Triton complains of strange ones inside.

    In it, if it is a mount of its own.
    """
    beside = repository.resolve().parent
    fits = beside.stat().st_dev == repository.stat().st_dev and os.access(beside, os.W_OK)
    return beside if fits else repository


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
        replace_file(repository / world.engine(verb) / VERSION / name, content)
    write_contract(repository, world.model_copy(update={"calibration": calibration}))
    if world.calibration is not None:  # only now does nothing speak of the old ones any more
        for key in world.calibration.files.keys() - files.keys():
            verb, _, name = key.partition("/")
            (repository / world.engine(verb) / VERSION / name).unlink(missing_ok=True)


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


def config_text(world: World, config: FamilyConfig, verb: str) -> str:
    """``config.pbtxt`` of one verb: tensors, batching without bounds (they are the gateway's), contract."""
    model = triton.ModelConfig(name=world.engine(verb), backend=BACKEND, max_batch_size=MAX_BATCH)
    for name, axes in model_inputs(config, verb).items():
        model.input.add(name=name, data_type=kind(name), dims=dims(axes))
    for name, axes in model_outputs(config, verb).items():
        model.output.add(name=name, data_type=kind(name), dims=dims(axes))
    model.dynamic_batching.SetInParent()
    model.instance_group.add(count=1, kind=triton.ModelInstanceGroup.KIND_CPU)
    model.parameters[CONTRACT_PARAMETER].string_value = world.model_dump_json()
    return text_format.MessageToString(model)


def model_inputs(config: FamilyConfig, verb: str) -> Mapping[str, Axes]:
    """Inputs of a Triton model: its engine's, but a plan brings a search, which makes the actions there."""
    axes = dict(input_axes(config, graph_of(config, verb), horizon=None))
    if verb == "plan":
        del axes["actions"]
        axes["search"] = ("B", "bytes")
    return axes


def model_outputs(config: FamilyConfig, verb: str) -> Mapping[str, Axes]:
    """Outputs of a Triton model: its engine's, but a plan answers how far its search came, and features stay here."""
    if verb == "plan":
        return {"search": ("B", "bytes")}
    answered = output_axes(config, graph_of(config, verb), horizon=None)
    return {name: axes for name, axes in answered.items() if name != "features"}


def graph_of(config: FamilyConfig, verb: str) -> str:
    """Which graph answers a verb: a rollout without actions is another one."""
    return "fill" if verb == "rollout" and not config.action.axes else verb


def kind(tensor: str) -> "triton.DataType.ValueType":
    """Type of a model's tensor."""
    return triton.DataType.TYPE_UINT8 if tensor in ("observations", "search", "hidden") else triton.DataType.TYPE_FP32


def dims(axes: Axes) -> list[int]:
    """Axes as Triton writes them: without the batch axis, -1 for a free one."""
    return [-1 if isinstance(axis, str) else axis for axis in axes[1:]]
