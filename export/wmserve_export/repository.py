"""Writes a world into a Triton model repository: all of it, or nothing.

    repository/
     |- <world>_encode/   config.pbtxt   1/engine.onnx
     |- <world>_rollout/  config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx
     `- <world>_cost/     config.pbtxt   1/horizon_5.onnx   1/horizon_10.onnx

A world is three folders and there is no renaming of three at once. A server that looks in between sees engines of two
contracts, and serves none of them until the last one is in place.
"""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import CONTRACT_PARAMETER, World

from wmserve_export.families import FamilyConfig
from wmserve_export.graphs import VERBS
from wmserve_export.onnx_graphs import Engine, input_shapes

BACKEND = "wmserve_onnx"
VERSION = "1"
MAX_BATCH = 64

FLOAT, UINT8 = triton.DataType.TYPE_FP32, triton.DataType.TYPE_UINT8


def write(repository: Path, world: World, config: FamilyConfig, files: Mapping[Engine, bytes]) -> None:
    """Write `files` and the contract; what the world had there before is replaced."""
    repository.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wmserve_export_", dir=repository) as scratch:
        for verb in VERBS:
            version = Path(scratch) / world.engine(verb) / VERSION
            version.mkdir(parents=True)
            (version.parent / "config.pbtxt").write_text(config_text(world, config, verb))
            for engine, content in files.items():
                if engine.verb == verb:
                    (version / engine.file).write_bytes(content)
        for verb in VERBS:
            replace(Path(scratch) / world.engine(verb), repository / world.engine(verb))


def replace(made: Path, place: Path) -> None:
    """Move a folder to its place; the old one, if any, goes with the scratch folder that `made` lies in."""
    if place.exists():
        place.rename(made.with_name(f"{made.name}.old"))
    made.rename(place)


def remove(repository: Path, name: str) -> None:
    """Take a world out of a repository."""
    for verb in VERBS:
        shutil.rmtree(repository / f"{name}_{verb}", ignore_errors=True)


def config_text(world: World, config: FamilyConfig, verb: str) -> str:
    """``config.pbtxt`` of one verb: tensors, batching without bounds (they are the gateway's), contract."""
    model = triton.ModelConfig(name=world.engine(verb), backend=BACKEND, max_batch_size=MAX_BATCH)
    engine = Engine(verb, None if verb == "encode" else world.engine_horizons[-1])
    for name, axes in input_shapes(config, engine).items():
        dims = [-1 if isinstance(axis, str) else axis for axis in axes[1:]]
        if name == "actions":
            dims[1] = -1  # `N`: the runner picks the engine that is unrolled to it
        model.input.add(name=name, data_type=UINT8 if name == "observations" else FLOAT, dims=dims)
    for name, shape in output_dims(config, verb).items():
        model.output.add(name=name, data_type=FLOAT, dims=shape)
    model.dynamic_batching.SetInParent()
    model.instance_group.add(count=1, kind=triton.ModelInstanceGroup.KIND_CPU)
    model.parameters[CONTRACT_PARAMETER].string_value = world.model_dump_json()
    return text_format.MessageToString(model)


def output_dims(config: FamilyConfig, verb: str) -> dict[str, list[int]]:
    """Outputs of a verb without their batch axis; -1 is free."""
    readouts = len(config.readouts)
    if verb == "encode":
        frames = -1 if config.context_length > 1 else 1
        return {"latents": [frames, config.latent_dim], "readouts": [frames, readouts]}
    path = {"disagreement": [-1, -1], "readouts": [-1, -1, readouts]}
    return (
        {"latents": [-1, -1, config.latent_dim], **path} if verb == "rollout" else {"goal_distance": [-1, -1], **path}
    )
