"""The Open Inference Protocol: Triton's own clients, as they are, call a world's verbs through the gateway."""

import json
from collections.abc import Iterator
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from numpy.typing import NDArray
from PIL import Image
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException
from wmserve_client import Client

from tests.conftest import ROOT, Server

FRAME = np.asarray(Image.open(ROOT / "docs" / "start.png").convert("RGB"))[None]
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (3, 10, 2)).astype(np.float32)
NUMBERS = {"FP32": np.float32, "UINT8": np.uint8, "BYTES": np.object_}


class Stock:
    """Triton's client of one wire."""

    def __init__(self, kind: Any, address: str) -> None:
        self.kind, self.client = kind, kind.InferenceServerClient(address)

    def tensor(self, name: str, values: NDArray[Any], **how: bool) -> Any:
        """An input."""
        datatype = {"f": "FP32", "u": "UINT8", "O": "BYTES"}[values.dtype.kind]
        made = self.kind.InferInput(name, values.shape, datatype)
        made.set_data_from_numpy(values, **how)
        return made

    def infer(self, model: str, inputs: list[Any], *outputs: str, **more: Any) -> Any:
        """A call."""
        wanted = [self.kind.InferRequestedOutput(name) for name in outputs] or None
        return self.client.infer(model, inputs, outputs=wanted, **more)


@pytest.fixture(scope="module", params=["http", "grpc"])
def stock(request: pytest.FixtureRequest, server: Server) -> Iterator[Stock]:
    """Both."""
    kind = {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]
    made = Stock(kind, server.http.removeprefix("http://") if request.param == "http" else server.grpc)
    yield made
    made.client.close()


def plain(found: Any) -> dict[str, Any]:
    """Metadata as JSON."""
    from google.protobuf.json_format import MessageToDict

    return found if isinstance(found, dict) else MessageToDict(found, preserving_proto_field_name=True)


def test_clients_find_what_is_served(stock: Stock) -> None:
    """Health, and the tensors of each verb."""
    assert stock.client.is_server_live()
    assert stock.client.is_server_ready()
    assert stock.client.is_model_ready("two_room_encode")
    assert stock.client.is_model_ready("two_room_rollout", "1")
    assert plain(stock.client.get_server_metadata())["name"] == "wmserve"
    for verb, wanted in (("encode", "latents_id"), ("rollout", "radius")):
        told = plain(stock.client.get_model_metadata(f"two_room_{verb}"))
        assert wanted in {tensor["name"] for tensor in told["outputs"]}
    assert {"observations", "latents_id", "latents", "actions"} == {tensor["name"] for tensor in told["inputs"]}


def test_answers_are_those_of_the_gateways_own_wires(stock: Stock, server: Server) -> None:
    """Encode to a handle, roll out from it, with radii; the handle is every wire's."""
    encoded = stock.infer("two_room_encode", [stock.tensor("observations", FRAME)], "latents_id", "readouts", "latents")
    rollout_inputs = [
        stock.tensor("latents_id", encoded.as_numpy("latents_id").astype(np.object_)),
        stock.tensor("actions", ACTIONS),
    ]
    rolled = stock.infer("two_room_rollout", rollout_inputs)
    with Client(server.grpc) as client:
        known = client.encode("two_room", FRAME, return_latents=True)
        wanted = client.rollout("two_room", known, ACTIONS)
        again = client.rollout("two_room", encoded.as_numpy("latents_id")[0].decode(), ACTIONS)
    np.testing.assert_array_equal(encoded.as_numpy("latents"), known.latents)
    np.testing.assert_array_equal(encoded.as_numpy("readouts"), known.readouts)
    for name in ("disagreement", "readouts", "radius", "joint_radius", "readout_radius", "trusted_horizon", "ood"):
        np.testing.assert_allclose(rolled.as_numpy(name), getattr(wanted, name), rtol=1e-6, err_msg=name)
    np.testing.assert_array_equal(again.disagreement, wanted.disagreement)
    assert rolled.as_numpy("latents") is None, "large, and nobody asked"


def test_the_level_is_a_parameter(stock: Stock) -> None:
    """Radii that hold more often are wider."""
    inputs = [stock.tensor("observations", FRAME), stock.tensor("actions", ACTIONS)]
    wide, narrow = (
        stock.infer("two_room_rollout", inputs, "radius", parameters={"level": level}).as_numpy("radius")
        for level in (0.95, 0.9)
    )
    assert (wide > narrow).all()


def test_what_is_wrong_is_said(stock: Stock) -> None:
    """By field, as on the other wires."""
    frame, actions = stock.tensor("observations", FRAME), stock.tensor("actions", ACTIONS)
    far = stock.tensor("actions", ACTIONS * 100)
    for model, inputs, said in (
        ("nowhere_encode", [frame], "no such model"),
        ("two_room_plan", [frame], "no such model"),
        ("two_room_encode", [actions], "has no such input; it has observations"),
        ("two_room_rollout", [frame], "actions: is missing"),
        ("two_room_rollout", [frame, far], "actions: "),
        ("two_room_encode", [stock.tensor("observations", FRAME[..., :2].copy())], r"expected \[T, h, w, 3\]"),
    ):
        with pytest.raises(InferenceServerException, match=said):
            stock.infer(model, inputs)
    with pytest.raises(InferenceServerException, match="outputs: model two_room_encode has no such output"):
        stock.infer("two_room_encode", [frame], "costs")


def test_calls_are_counted(server: Server, stock: Stock) -> None:
    """By their wire."""
    stock.infer("two_room_encode", [stock.tensor("observations", FRAME)])
    wire = "oip_http" if stock.kind is tritonclient.http else "oip_grpc"
    _, text = server.get("/metrics")
    label = f'wmserve_request_seconds_count{{code="ok",transport="{wire}",verb="encode",world="two_room"}}'
    assert float(next(line for line in text.splitlines() if line.startswith(label)).split()[-1]) >= 1


def test_plain_json_will_do(server: Server) -> None:
    """Without the binary extension: what KServe's examples send."""
    stock = Stock(tritonclient.http, server.http.removeprefix("http://"))
    latents = stock.infer("two_room_encode", [stock.tensor("observations", FRAME, binary_data=False)], "latents")
    tensor = {"name": "latents", "datatype": "FP32", "shape": [1, 32], "data": latents.as_numpy("latents")[0].tolist()}
    actions = {"name": "actions", "datatype": "FP32", "shape": list(ACTIONS.shape), "data": ACTIONS.tolist()}
    asked = {"id": "seven", "inputs": [tensor, actions], "outputs": [{"name": "readouts"}]}
    answer = httpx.post(f"{server.http}/v2/models/two_room_rollout/versions/1/infer", json=asked)
    said = answer.json()
    assert (answer.status_code, said["id"], said["model_name"]) == (200, "seven", "two_room_rollout")
    assert len(said["outputs"][0]["data"]) == int(np.prod(said["outputs"][0]["shape"]))
    stock.client.close()


TEXTS = {"name": "latents_id", "datatype": "BYTES", "shape": [1000]}
GOOD = {"name": "observations", "datatype": "UINT8", "shape": [1, 2, 2, 3], "data": [0] * 12}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("{", "not valid JSON"),
        ("[]", "inputs: must be a list"),
        ({"inputs": 3}, "inputs: must be a list"),
        ({"inputs": [3]}, "each must be an object with a name"),
        ({"inputs": [{**GOOD, "datatype": 3}]}, "observations: needs a datatype and a shape"),
        ({"inputs": [{**GOOD, "datatype": "INT4"}]}, "observations: datatype must be one of"),
        ({"inputs": [{**GOOD, "shape": [1, -1]}]}, "observations: shape must be integers"),
        ({"inputs": [{**GOOD, "shape": [10**12, 10**12]}]}, "observations: shape must be integers of 0 to 2147483647"),
        ({"inputs": [{**GOOD, "shape": [2**31 - 1] * 8}]}, "elements, 12 given"),
        ({"inputs": [{**GOOD, "shape": [1] * 65}]}, "observations: shape must have at most 8 dimensions"),
        ({"inputs": [{**GOOD, "data": [0.5] * 12}]}, "observations: data must be numbers of UINT8"),
        ({"inputs": [GOOD] * 9}, "inputs: at most 8 are taken"),
        ({"inputs": [{**GOOD, "data": [256] * 12}]}, "observations: data must be numbers of UINT8"),
        ({"inputs": [{**GOOD, "data": ["a"] * 12}]}, "observations: data must be numbers of UINT8"),
        ({"inputs": [{**GOOD, "data": [[1], [1, 2]]}]}, "observations: data must be numbers of UINT8"),
        ({"inputs": [{**GOOD, "data": None}]}, "observations: "),
        ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 99}}]}, "binary_data_size is more than"),
        ({"inputs": [{**GOOD, "parameters": 3}]}, "parameters: must be an object"),
        ({"inputs": [GOOD], "outputs": [{}]}, "outputs: must be a list of objects with a name"),
        ({"inputs": [GOOD], "parameters": {"timeout_ms": "soon"}}, "timeout_ms: "),
        ({"inputs": []}, "observations: "),
    ],
)
def test_bad_bodies_are_refused_by_field(server: Server, body: Any, said: str) -> None:
    """With the protocol's own error."""
    content = body if isinstance(body, str) else json.dumps(body)
    answer = httpx.post(f"{server.http}/v2/models/two_room_encode/infer", content=content)
    assert answer.status_code == 400
    assert said in answer.json()["error"]


def test_strange_calls_are_refused(server: Server) -> None:
    """Paths, methods, compressed bodies, and a length of JSON that cannot be."""
    url = f"{server.http}/v2/models/two_room_encode/infer"
    assert httpx.get(url).status_code == 404
    assert httpx.post(f"{server.http}/v2/models").status_code == 404
    assert httpx.get(f"{server.http}/v2/models/two_room_encode/versions/2").status_code == 404
    assert httpx.get(f"{server.http}/v2/elsewhere").status_code == 404
    assert httpx.post(url, content=b"x", headers={"content-encoding": "gzip"}).status_code == 415
    for length in ("99", "-1", "many", "9" * 5000):
        answer = httpx.post(url, content=b"{}", headers={"inference-header-content-length": length})
        assert answer.status_code == 400
        assert "Inference-Header-Content-Length" in answer.json()["error"]


def test_what_would_cost_much_memory_is_refused(server: Server) -> None:
    """Numbers one by one, and many empty texts: before they are unpacked."""
    pixels = np.zeros((1, 300, 200, 3), np.uint8)
    request = service_pb2.ModelInferRequest(model_name="two_room_encode")
    tensor = request.inputs.add(name="observations", datatype="UINT8", shape=pixels.shape)
    tensor.contents.uint_contents.extend(pixels.ravel().tolist())
    with grpc.insecure_channel(server.grpc) as channel:
        infer = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer
        with pytest.raises(grpc.RpcError, match="send larger tensors in raw_input_contents"):
            infer(request, timeout=30)
        del tensor.contents.uint_contents[30:]
        tensor.shape[:] = [1, 5, 2, 3]
        assert infer(request, timeout=30).model_name == "two_room_encode"
    head = json.dumps({"inputs": [{**TEXTS, "parameters": {"binary_data_size": 4000}}]}).encode()
    headers = {"inference-header-content-length": str(len(head))}
    url = f"{server.http}/v2/models/two_room_rollout/infer"
    answer = httpx.post(url, content=head + bytes(4000), headers=headers)
    assert "at most 64 elements of BYTES" in answer.json()["error"]
