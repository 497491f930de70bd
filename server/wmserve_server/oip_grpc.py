"""The Open Inference Protocol over gRPC: ``inference.GRPCInferenceService``, by messages that tritonclient ships."""

from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

import grpc
from tritonclient.grpc import service_pb2 as pb
from tritonclient.grpc import service_pb2_grpc as pb_grpc

from wmserve_server import oip
from wmserve_server.asgi import MAX_JSON_NUMBERS
from wmserve_server.errors import InvalidArgument, PayloadTooLarge, WmserveError
from wmserve_server.grpc_calls import Context, abort, carried, unforeseen
from wmserve_server.metrics import Metrics
from wmserve_server.world_model import WorldModel

TRANSPORT = "oip_grpc"
MAX_NUMBERS = MAX_JSON_NUMBERS
"""Elements that may lie in a request itself, where each costs as much as in JSON."""
SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].full_name
CONTENTS = {"UINT8": "uint_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents"}
T = TypeVar("T")


class InferenceService(pb_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]  # tritonclient ships no types
    """What the protocol asks of every server; Triton's own additions are unimplemented."""

    def __init__(self, core: WorldModel, metrics: Metrics) -> None:
        self._core, self._metrics = core, metrics

    async def ServerLive(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Whether it runs: it answers."""
        return pb.ServerLiveResponse(live=True)

    async def ServerReady(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Whether calls can be answered."""
        return pb.ServerReadyResponse(ready=self._core.unready_reason() is None)

    async def ServerMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802, ARG002
        """Name, version and extensions."""
        return pb.ServerMetadataResponse(name=oip.PLATFORM, version=version("wmserve"))

    async def ModelReady(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Whether a model can be called."""
        await self._or_abort(context, self._find, request.name, request.version)
        return pb.ModelReadyResponse(ready=self._core.unready_reason() is None)

    async def ModelMetadata(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Tensors of a model."""
        model = await self._or_abort(context, self._find, request.name, request.version)
        return pb.ModelMetadataResponse(**model.metadata())

    async def ModelInfer(self, request: Any, context: Context) -> Any:  # noqa: N802
        """Call a model."""
        return await self._or_abort(context, self._infer, request, carried(context))

    async def _or_abort(self, context: Context, work: Callable[..., Awaitable[T]], *given: Any) -> T:
        try:
            return await work(*given)
        except WmserveError as error:
            await abort(context, error)
        except Exception as error:
            await abort(context, unforeseen(error))

    async def _find(self, name: str, wanted_version: str) -> oip.Model:
        return oip.find(self._core.worlds(), name, wanted_version)

    async def _infer(self, request: Any, headers: Mapping[str, str]) -> Any:
        model = await self._find(request.model_name, request.model_version)
        with self._metrics.request(TRANSPORT, model.verb, headers) as call:
            call.set_world(model.world.name, self._core.worlds())
            call.request_bytes = request.ByteSize()
            wanted = model.wanted(output.name for output in request.outputs)
            asked = model.request(inputs(request), parameters(request.parameters), wanted)
            answer = oip.answered(await getattr(self._core, model.verb)(asked), wanted)
            response = pb.ModelInferResponse(model_name=model.name, model_version=oip.VERSION, id=request.id)
            for name, values in answer.items():
                response.outputs.add(name=name, datatype=oip.datatype(values), shape=oip.shape(values))
                response.raw_output_contents.append(oip.packed(values))
            call.response_bytes = response.ByteSize()
            return response


def add(core: WorldModel, metrics: Metrics, server: grpc.aio.Server) -> None:
    """Serve it, too."""
    pb_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceService(core, metrics), server)


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters by name, whatever their type."""
    kinds = {name: value.WhichOneof("parameter_choice") for name, value in given.items()}
    return {name: getattr(given[name], kind) for name, kind in kinds.items() if kind is not None}


def inputs(request: Any) -> dict[str, oip.Values]:
    """Tensors by name: their bytes beside the request, all of them, or their elements in it."""
    raw = request.raw_input_contents
    if raw and len(raw) != len(request.inputs):
        raise InvalidArgument("must be as many as there are inputs", field="raw_input_contents")
    if len(request.inputs) > oip.MAX_INPUTS:
        raise InvalidArgument(f"at most {oip.MAX_INPUTS} are taken", field="inputs")
    found: dict[str, oip.Values] = {}
    for index, tensor in enumerate(request.inputs):
        name, kind, sizes = tensor.name[:64], tensor.datatype, tensor.shape
        if raw:
            found[name] = oip.of_bytes(name, kind, sizes, raw[index])
        else:
            contents = getattr(tensor.contents, CONTENTS[kind]) if kind in CONTENTS else ()
            if len(contents) > MAX_NUMBERS:
                said = f"at most {MAX_NUMBERS} numbers are taken here; send larger tensors in raw_input_contents"
                raise PayloadTooLarge(said, field=name)
            found[name] = oip.of_numbers(name, kind, sizes, list(contents))
    return found
