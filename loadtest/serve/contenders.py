"""The servers that are held against each other, as targets: ours on both wires, Triton alone, and the peers.

Triton alone is the very process that the gateway has started, asked directly: the same engine, the same configuration.
Then only Triton's own processes pay. A peer runs by itself, in the environment of ``loadtest/peers``.
"""

import contextlib
import importlib.metadata
import json
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
from tritonclient.grpc import service_pb2
from wmserve.arrays import from_tensor
from wmserve.v1 import world_model_pb2 as pb

from loadtest import processes
from loadtest.serve import bodies
from loadtest.serve.bodies import Answer
from loadtest.serve.closed_loop import Target
from loadtest.serving import ROOT, Server, free_port

PEERS_FOLDER = ROOT / "loadtest" / "peers"
PEERS_PYTHON = ROOT / ".venv-peers" / "bin" / "python"
INSTALL_PEERS = "the peers are not installed: make .venv-peers/.installed"
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
HOST = "127.0.0.1"


def call_grpc(address: str, path: str, request: bytes) -> bytes:
    """One unary call of bytes."""
    with grpc.insecure_channel(address) as channel:
        answer: bytes = channel.unary_unary(path)(request, timeout=60)
        return answer


def post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """The answer to a POST; RuntimeError with what was said when it is not a success."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=60) as answer:
            content: bytes = answer.read()
            return content
    except urllib.error.HTTPError as error:
        with error:
            raise RuntimeError(f"{url}: {error.code} {error.read()[:300]!r}") from None


def grpc_target(name: str, address: str, path: str, request: bytes, pid: int) -> tuple[Target, bytes]:
    """A target for a unary call, with one answer of it."""
    answer = call_grpc(address, path, request)
    size = len(bodies.grpc_frame(answer))
    body = bodies.grpc_frame(request)
    return Target(name, f"http://{address}{path}", body, bodies.GRPC_HEADERS, pid, grpc=True, answer_bytes=size), answer


@dataclass(frozen=True)
class Ours:
    """The targets of a running gateway: one encode call on each wire, and its Triton asked directly."""

    grpc: Target
    http: Target
    direct: Target
    grpc_latents: Target
    """With the latents in the answer, as peers give them; so are the next two."""
    http_latents: Target
    json_latents: Target
    answer: Answer


def ours(server: Server) -> Ours:
    """Make the targets, after a look at whether all answers are the same."""
    pid = server.process.pid
    grpc_address = server.grpc.replace("localhost", HOST)
    encode_url = server.http.replace("localhost", HOST) + "/v1/encode"
    triton = processes.descendant(pid, "tritonserver")
    triton_address = f"{HOST}:{processes.option(triton, 'grpc-port')}"

    direct, raw = grpc_target("Triton", triton_address, bodies.TRITON_INFER, bodies.infer_request(), triton)
    expected = of_infer(raw)
    gateway, raw = grpc_target("gRPC", grpc_address, bodies.ENCODE, bodies.encode_request(), pid)
    of_encode(raw).must_equal(expected, "gRPC")
    more, raw = grpc_target("gRPC with latents", grpc_address, bodies.ENCODE, bodies.encode_request(True), pid)
    of_encode(raw).must_equal(expected, "gRPC with latents")

    def http_target(name: str, body: bytes, headers: dict[str, str]) -> Target:
        raw = post(encode_url, body, headers)
        (of_json(raw) if headers == bodies.JSON_HEADERS else of_encode(raw)).must_equal(expected, name)
        return Target(name, encode_url, body, headers, pid)

    return Ours(
        gateway,
        http_target("HTTP", bodies.encode_request(), bodies.PROTOBUF_HEADERS),
        direct,
        more,
        http_target("HTTP with latents", bodies.encode_request(True), bodies.PROTOBUF_HEADERS),
        http_target("JSON with latents", bodies.json_request(), bodies.JSON_HEADERS),
        expected,
    )


def of_infer(raw: bytes) -> Answer:
    """What Triton said: outputs in the order asked for."""
    latents, readouts = (
        np.frombuffer(part, np.float32) for part in service_pb2.ModelInferResponse.FromString(raw).raw_output_contents
    )
    return Answer(readouts, latents)


def of_encode(raw: bytes) -> Answer:
    """What the gateway said in protobuf."""
    message = pb.EncodeResponse.FromString(raw)
    latents = from_tensor(message.latents)[0] if message.HasField("latents") else None
    return Answer(from_tensor(message.readouts)[0], latents)


def of_json(raw: bytes) -> Answer:
    """What the gateway or a peer said in JSON; a peer's arrays have no axis for frames, or stand in a list of one."""
    value = json.loads(raw)
    value = value[0] if isinstance(value, list) else value
    return Answer(*(np.array(value[name], np.float32).reshape(-1) for name in ("readouts", "latents")))


def of_bytes(raw: bytes) -> Answer:
    """What a peer said in bytes: latents `[32]`, readouts `[3]`; or in JSON, where it cannot do that."""
    if raw[:1] == b"[":
        return of_json(raw)
    values = np.frombuffer(raw, np.float32)
    return Answer(values[32:], values[:32])


@dataclass(frozen=True)
class Peer:
    """Another way to serve the same engine; how many processes, of how many threads, was found by trying both."""

    name: str
    package: str
    workers: int
    threads: int

    @property
    def script(self) -> Path:
        """Its server."""
        return PEERS_FOLDER / f"with_{self.package}.py"


PEERS = (
    Peer("mosec", "mosec", workers=1, threads=2),
    Peer("LitServe", "litserve", workers=1, threads=2),
    Peer("BentoML", "bentoml", workers=1, threads=2),
    Peer("FastAPI", "fastapi", workers=1, threads=2),
)


def peer_body(peer: Peer, binary: bool) -> tuple[bytes, dict[str, str]]:
    """Body and headers: the same content for all, in the envelope that the peer can read."""
    if peer.package == "bentoml":
        return bentoml_form() if binary else (b"[" + bodies.json_request() + b"]", bodies.JSON_HEADERS)
    if binary:
        return bodies.frame().tobytes(), {"content-type": "application/octet-stream"}
    return bodies.json_request(), bodies.JSON_HEADERS


def bentoml_form() -> tuple[bytes, dict[str, str]]:
    """The frame as an uncompressed picture in a form."""
    head = b'--frame\r\ncontent-disposition: form-data; name="frames"; filename="f"\r\ncontent-type: image/ppm\r\n\r\n'
    picture = b"P6 64 64 255\n" + bodies.frame().tobytes()
    return head + picture + b"\r\n--frame--\r\n", {"content-type": "multipart/form-data; boundary=frame"}


@contextmanager
def running_peer(peer: Peer, binary: bool, expected: Answer, log: Path) -> Iterator[Target]:
    """Run a peer and check what it says; RuntimeError when it does not start or says something else."""
    if not PEERS_PYTHON.exists():
        raise RuntimeError(INSTALL_PEERS)
    port = free_port()
    environment = {
        **os.environ,
        "PEER_PORT": str(port),
        "PEER_BODY": "binary" if binary else "json",
        "PEER_THREADS": str(peer.threads),
        "PEER_WORKERS": str(peer.workers),
        "PATH": f"{PEERS_PYTHON.parent}:{os.environ.get('PATH', os.defpath)}",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [PEERS_PYTHON, peer.script],
            cwd=PEERS_FOLDER,
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        url = f"http://{HOST}:{port}/encode"
        body, headers = peer_body(peer, binary)
        try:
            raw = first_answer(url, body, headers, process)
        except RuntimeError as error:
            words = log.read_text(errors="replace").strip().splitlines()
            raise RuntimeError(f"{error}; its last words: {words[-1] if words else 'none'}") from None
        (of_bytes(raw) if binary else of_json(raw)).must_equal(expected, peer.name)
        yield Target(peer.name, url, body, headers, process.pid)
    finally:
        end(process)


def first_answer(url: str, body: bytes, headers: dict[str, str], process: "subprocess.Popen[bytes]") -> bytes:
    """The first answer of a server that is starting."""
    deadline = time.monotonic() + START_TIMEOUT_S
    said = "it never answered"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            return post(url, body, headers)
        except RuntimeError as error:
            said = str(error)
        except OSError as error:
            said = str(error)
        time.sleep(0.2)
    raise RuntimeError(f"it did not start ({said})")


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a peer and whatever it has started: it leads a session of its own."""
    children = processes.tree(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    for pid in children:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def peer_versions() -> list[str]:
    """Names and versions in the peers' environment."""
    folders = [str(folder) for folder in PEERS_PYTHON.parent.parent.glob("lib/python*/site-packages")]
    names = {peer.package for peer in PEERS}
    found = importlib.metadata.distributions(path=folders)
    return sorted(f"{found_one.name} {found_one.version}" for found_one in found if found_one.name.lower() in names)
