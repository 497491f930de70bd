"""Triton models of a world: what their ``config.pbtxt`` says, and which files each has.

Where engines are files for a CPU, each verb's model runs its own. For TensorRT, engines are models of NVIDIA's backend,
and a verb's model calls them inside Triton. ``apart`` writes that shape for ONNX files too, so that it is tested where
there is no GPU: then engines are models of the backend that runs ONNX files.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tritonclient.grpc import model_config_pb2 as triton
from wmserve.world import CONTRACT_PARAMETER, ENGINE_PARAMETER, ENGINES_PARAMETER, World

from wmserve_export.engines import Axes, Engine, input_axes, output_axes
from wmserve_export.external_data import DATA_FILE
from wmserve_export.families import FamilyConfig
from wmserve_export.tensorrt import profiles

BACKEND = "wmserve_onnx"
MAX_BATCH = 64


@dataclass(frozen=True)
class TritonModel:
    """One folder of a repository."""

    config: triton.ModelConfig
    files: Sequence[Path]
    """To be moved into its version folder; they have their names already."""

    @property
    def name(self) -> str:
        """Of the model and of its folder."""
        return self.config.name


def models(
    world: World, config: FamilyConfig, files: Mapping[Engine, Path], max_batch: int, apart: bool | None = None
) -> list[TritonModel]:
    """All models of a world; engines are some of them where `apart` says so, or if not said, for TensorRT."""
    apart = world.target.name == "tensorrt" if apart is None else apart
    found = [verb_model(world, config, verb, files, max_batch, apart) for verb in world.verbs]
    if apart:
        found += [engine_model(world, config, engine, file, max_batch) for engine, file in files.items()]
    return found


def verb_model(
    world: World, config: FamilyConfig, verb: str, files: Mapping[Engine, Path], max_batch: int, apart: bool
) -> TritonModel:
    """The model of one verb: tensors, batching without bounds (they are the gateway's), contract."""
    own = {engine: file for engine, file in files.items() if engine.verb == verb}
    # Searches are run one by one, wherever; rows of large engines too: in a batch the first would wait for the last.
    most = max_batch if apart and verb != "plan" else MAX_BATCH
    most = 1 if f"{verb}/{DATA_FILE}" in world.digests.engines else most
    model = triton_model(world, world.engine(verb), most, model_inputs(config, verb), model_outputs(config, verb))
    model.dynamic_batching.SetInParent()
    model.instance_group.add(count=1, kind=triton.ModelInstanceGroup.KIND_CPU)
    if not apart:
        return TritonModel(model, [*own.values(), *data_files(own).values()])
    engines = {
        engine.key_of(world.target): {
            "model": engine_name(world, engine),
            "outputs": list(output_axes(config, engine.graph, engine.horizon)),
        }
        for engine in own
    }
    model.parameters[ENGINES_PARAMETER].string_value = json.dumps(engines)
    return TritonModel(model, [])


def engine_model(world: World, config: FamilyConfig, engine: Engine, file: Path, max_batch: int) -> TritonModel:
    """The model that is one engine; it is run once before it is ready, since first runs take long."""
    inputs = input_axes(config, engine.graph, engine.horizon)
    outputs = output_axes(config, engine.graph, engine.horizon)
    profile = profiles.of(config, world, engine, max_batch)
    name = engine_name(world, engine)
    model = triton_model(world, name, profiles.most_rows(engine, max_batch), inputs, outputs)
    model.default_model_filename = file.name
    on_gpu = world.target.name == "tensorrt"
    model.backend = "tensorrt" if on_gpu else BACKEND
    kinds = triton.ModelInstanceGroup
    model.instance_group.add(count=1, kind=kinds.KIND_GPU if on_gpu else kinds.KIND_CPU)
    model.parameters[ENGINE_PARAMETER].string_value = engine.key_of(world.target)
    warmup = model.model_warmup.add(name="usual_shapes", batch_size=1)
    for tensor, (_, usual, _) in profile.items():
        given = warmup.inputs[tensor]
        given.data_type, given.zero_data = kind(tensor), True
        given.dims.extend(usual[1:])
    return TritonModel(model, [file])


def triton_model(
    world: World, name: str, max_batch: int, inputs: Mapping[str, Axes], outputs: Mapping[str, Axes]
) -> triton.ModelConfig:
    """What all models have."""
    model = triton.ModelConfig(name=name, backend=BACKEND, max_batch_size=max_batch)
    for tensor, axes in inputs.items():
        model.input.add(name=tensor, data_type=kind(tensor), dims=dims(axes))
    for tensor, axes in outputs.items():
        model.output.add(name=tensor, data_type=kind(tensor), dims=dims(axes))
    model.parameters[CONTRACT_PARAMETER].string_value = world.model_dump_json()
    return model


def engine_name(world: World, engine: Engine) -> str:
    """Name of the Triton model that is an engine."""
    return f"{world.engine(engine.verb)}_{engine.stem}"


def data_files(files: Mapping[Engine, Path]) -> dict[str, Path]:
    """Files of weights beside the engines, by verb; TensorRT's engines have none."""
    found = {engine.verb: file.with_name(DATA_FILE) for engine, file in files.items()}
    return {verb: file for verb, file in found.items() if file.is_file()}


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
