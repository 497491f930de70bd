"""The Open Inference Protocol, version 2 (KServe's): encode and rollout as models, for clients that speak tensors.

    <world>_encode     observations (proprioception)                -> latents_id, readouts, ood, latents
    <world>_rollout    observations | latents_id | latents, actions -> disagreement, readouts, radius, …

A model is called as the verb is: its tensors are the verb's fields, one call at a time and so without a batch axis, and
the core admits, batches and measures it like any other. Inputs that the verb does not need are left out. Without a
list of outputs all come back but latents, which are large. Triton's engines stay behind the gateway: they know no
bounds, and their batches are the gateway's business.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmserve.world import World

from wmserve_server import messages as m
from wmserve_server.errors import InvalidArgument, ModelNotFound
from wmserve_server.json_arrays import AnyArray
from wmserve_server.wire import build

PLATFORM, VERSION = "wmserve", "1"
EXTENSIONS = ("binary_tensor_data",)
TYPES: Mapping[str, type[np.generic]] = {"UINT8": np.uint8, "FP32": np.float32, "FP64": np.float64}
"""Types of numbers that are taken; text is BYTES."""
NAMES = {np.dtype(np.float32): "FP32", np.dtype(np.float64): "FP64", np.dtype(np.int64): "INT64"}
"""Types of what is answered."""
LATENTS = "latents"
MAX_RANK, MAX_SIZE, MAX_INPUTS = 8, 2**31 - 1, 8
"""Dimensions of a tensor, and the largest; tensors of a call."""
MAX_TEXTS = 64
"""Elements of BYTES in a tensor: handles are one."""
PARAMETERS = {"level": float, "tolerance": float, "timeout_ms": int}
"""Of a request, for the verb; others are the protocol's own."""
Values = AnyArray | list[bytes]
"""One tensor; of BYTES, a list."""
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Tensor:
    """A tensor that a model takes or answers, as its metadata names it; -1 is any size."""

    name: str
    datatype: str
    shape: Shape

    def as_json(self) -> dict[str, Any]:
        """As the protocol has it."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True)
class Model:
    """A verb of a world."""

    world: World
    verb: str

    @property
    def name(self) -> str:
        """As callers name it."""
        return f"{self.world.name}_{self.verb}"

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """All that it may be given."""
        world, seen = self.world, self.world.observation
        given = [Tensor("observations", "UINT8", (-1, -1, -1, 3))] if seen.frames else []
        if seen.proprioception:
            given.append(Tensor("proprioception", "FP32", (-1, len(seen.proprioception))))
        if self.verb == "encode":
            return tuple(given)
        if not world.action.axes:
            return (*given, Tensor("hidden", "UINT8", (world.latent_count, *world.latent_shape[:-1])))
        given += [Tensor("latents_id", "BYTES", (1,)), Tensor(LATENTS, "FP32", (-1, *world.latent_shape))]
        given.append(Tensor("actions", "FP32", (-1, -1, len(world.action.axes))))
        if world.context_length > 1:
            given.append(Tensor("action_history", "FP32", (-1, len(world.action.axes))))
        return tuple(given)

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """All that it may answer; what depends on a calibration only where the world has one."""
        world, many = self.world, len(self.world.readouts)
        latents = Tensor(LATENTS, "FP32", (-1, *world.latent_shape))
        if self.verb == "encode":
            answered = [Tensor("latents_id", "BYTES", (1,)), Tensor("readouts", "FP32", (-1, many)), latents]
            strange = [Tensor(name, "FP64", (-1,)) for name in ("ood", "ood_p_value")]
            return (*answered, *(strange if world.calibration else ()))
        if not world.action.axes:
            return (Tensor("surprise", "FP32", (world.latent_count, *world.latent_shape[:-1])), latents)
        answered = [Tensor("disagreement", "FP32", (-1, -1)), Tensor("readouts", "FP32", (-1, -1, many))]
        answered.append(Tensor(LATENTS, "FP32", (-1, *latents.shape)))
        if world.calibration:
            answered += [Tensor(name, "FP32", (-1, -1)) for name in ("radius", "joint_radius")]
            answered.append(Tensor("readout_radius", "FP32", (-1, -1, many)))
            answered += [Tensor(name, "FP64", (-1,)) for name in ("ood", "ood_p_value", "disagreement_p_value")]
            answered.append(Tensor("trusted_horizon", "INT64", (-1,)))
        return tuple(answered)

    def metadata(self) -> dict[str, Any]:
        """What the protocol tells of a model."""
        return {
            "name": self.name,
            "versions": [VERSION],
            "platform": PLATFORM,
            "inputs": [tensor.as_json() for tensor in self.inputs],
            "outputs": [tensor.as_json() for tensor in self.outputs],
        }

    def wanted(self, names: Iterable[str]) -> tuple[str, ...]:
        """Outputs to answer; InvalidArgument for one that there is not. None named: all but latents."""
        known = [tensor.name for tensor in self.outputs]
        for name in (asked := tuple(names)):
            if name not in known:
                raise InvalidArgument(
                    f"model {self.name} has no such output; it has {', '.join(known)}", field="outputs"
                )
        return asked or tuple(name for name in known if name != LATENTS)

    def request(self, tensors: Mapping[str, Values], parameters: Mapping[str, Any], wanted: Iterable[str]) -> Any:
        """The core's request of these inputs; InvalidArgument names the one that does not fit."""
        known = [tensor.name for tensor in self.inputs]
        for name in tensors:
            if name not in known:
                raise InvalidArgument(f"model {self.name} has no such input; it has {', '.join(known)}", field="inputs")
        observed = {"array": tensors.get("observations"), "proprioception": tensors.get("proprioception")}
        observations = {name: array for name, array in observed.items() if array is not None} or None
        common = {
            "world": self.world.name,
            "return_latents": LATENTS in wanted,
            **verb_parameters(self.verb, parameters),
        }
        if self.verb == "encode":
            return build(m.EncodeRequest, {**common, "observations": observations})
        context = {
            "observations": observations,
            "latents_id": text(tensors["latents_id"]) if "latents_id" in tensors else None,
            LATENTS: tensors.get(LATENTS),
            "action_history": tensors.get("action_history"),
        }
        given = {name: value for name, value in context.items() if value is not None}
        asked = {"actions": tensors.get("actions"), "hidden": tensors.get("hidden")}
        return build(m.RolloutRequest, {**common, "context": given, **asked})


def verb_parameters(verb: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those of a request that are the verb's."""
    known = ("timeout_ms",) if verb == "encode" else PARAMETERS
    return {name: parameters[name] for name in known if name in parameters}


def text(values: Values) -> str:
    """The text of a BYTES tensor of one element."""
    if not isinstance(values, list) or len(values) != 1:
        raise InvalidArgument("must be one element of BYTES", field="latents_id")
    return values[0].decode("latin-1")


def answered(answer: Any, wanted: Iterable[str]) -> dict[str, Values]:
    """Outputs of the core's answer; what it has not is left out."""
    found: dict[str, Values] = {}
    for name in wanted:
        value = getattr(answer, name)
        if isinstance(value, str):
            found[name] = [value.encode()]
        elif value is not None:
            found[name] = np.asarray(value)
    return found


def find(worlds: Mapping[str, World], name: str, version: str = "") -> Model:
    """The model of that name; ModelNotFound where there is none, or not in that version."""
    world, _, verb = name.rpartition("_")
    served = worlds.get(world)
    if served is None or verb not in ("encode", "rollout") or verb not in served.verbs or version not in ("", VERSION):
        raise ModelNotFound("no such model; models are <world>_encode and <world>_rollout, version 1")
    return Model(served, verb)


def datatype(values: Values) -> str:
    """The protocol's name of a tensor's type."""
    return "BYTES" if isinstance(values, list) else NAMES[values.dtype]


def shape(values: Values) -> Shape:
    """A tensor's shape."""
    return (len(values),) if isinstance(values, list) else values.shape


def shaped(name: str, sizes: Iterable[Any], read: Callable[[], AnyArray]) -> AnyArray:
    """Numbers in a shape; InvalidArgument where they are not as many."""
    wanted = tuple(islice(sizes, MAX_RANK + 1))
    if len(wanted) > MAX_RANK:
        raise InvalidArgument(f"shape must have at most {MAX_RANK} dimensions", field=name)
    if not all(type(size) is int and 0 <= size <= MAX_SIZE for size in wanted):
        raise InvalidArgument(f"shape must be integers of 0 to {MAX_SIZE}", field=name)
    array = read()
    if (count := math.prod(wanted)) != array.size:
        raise InvalidArgument(f"shape {list(wanted)} is of {count} elements, {array.size} given", field=name)
    return array.reshape(wanted)


def of_bytes(name: str, kind: str, sizes: Iterable[Any], data: bytes | memoryview) -> Values:
    """A tensor from its bytes, little-endian, row by row."""
    if kind == "BYTES":
        return unpacked(name, bytes(data))
    dtype = np.dtype(numbers(name, kind)).newbyteorder("<")
    if len(data) % dtype.itemsize:
        raise InvalidArgument(f"{len(data)} bytes are no whole number of {kind}", field=name)
    return shaped(name, sizes, lambda: np.frombuffer(data, dtype))


def of_numbers(name: str, kind: str, sizes: Iterable[Any], data: Any) -> Values:
    """A tensor from a list, flat or nested."""
    if kind == "BYTES":
        if not isinstance(data, list) or not all(isinstance(element, str | bytes) for element in data):
            raise InvalidArgument("data of BYTES must be a list of strings", field=name)
        return [element.encode() if isinstance(element, str) else element for element in data]
    dtype = numbers(name, kind)

    def read() -> NDArray[np.generic]:
        try:
            plain = np.array(data)
            exact = plain.size == 0 or plain.dtype.kind in ("iu" if dtype is np.uint8 else "iuf")
            if not exact or (plain.size and dtype is np.uint8 and not 0 <= plain.min() <= plain.max() <= 255):
                raise ValueError(kind)
            return plain.astype(dtype)
        except (ValueError, TypeError, OverflowError):
            said = f"data must be numbers of {kind}, flat or in rows of equal length"
            raise InvalidArgument(said, field=name) from None

    return shaped(name, sizes, read)


def numbers(name: str, kind: str) -> type[np.generic]:
    """The type of numbers of that name."""
    if kind not in TYPES:
        raise InvalidArgument(f"datatype must be one of BYTES, {', '.join(TYPES)}", field=name)
    return TYPES[kind]


def packed(values: Values) -> bytes:
    """A tensor's bytes; each element of BYTES has its length before it, four bytes, little-endian."""
    if isinstance(values, list):
        return b"".join(len(element).to_bytes(4, "little") + element for element in values)
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<")).tobytes()


def unpacked(name: str, data: bytes) -> list[bytes]:
    """Elements of BYTES."""
    found, start = list[bytes](), 0
    while start < len(data):
        if len(found) == MAX_TEXTS:
            raise InvalidArgument(f"at most {MAX_TEXTS} elements of BYTES are taken", field=name)
        end = start + 4 + int.from_bytes(data[start : start + 4], "little")
        if end > len(data):
            raise InvalidArgument("an element of BYTES is longer than what was sent", field=name)
        found.append(data[start + 4 : end])
        start = end
    return found
