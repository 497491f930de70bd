"""What the chart starts, started here: Triton with its arguments and its image's files, a gateway with its settings.

What stands in for a cluster: ports that are free here, addresses of this machine, and Triton out of a wheel.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from wmserve_client import Client, WmserveError
from wmserve_server import triton_install

from deploy.checks import __main__ as proofs
from deploy.checks import tools
from deploy.checks.release import Release, arguments, environment
from loadtest.serving import SERVE
from tests.conftest import ROOT, RedisServer, Server, free_port, running
from tests.deploy.names import names
from tests.server.test_lifecycle import children
from tests.server.test_several_tritons import answered
from tests.server.test_telemetry import Collector

pytestmark = pytest.mark.skipif(not tools.INSTALLED.exists(), reason=f"Helm is not installed: {tools.INSTALL}")

FRAME = np.full((64, 64, 3), 255, np.uint8)
ALIVE = proofs.CONTAINERS / "triton_alive.py"
PORTS = ("http-port", "grpc-port", "metrics-port")
CONFINE = (
    'for folder in {}; do mount --bind $folder $folder; done; mount -o remount,bind,ro / && exec setpriv {} -- "$@"'
)
POWERLESS = "--bounding-set=-all --inh-caps=-all --no-new-privs"


def confined(writable: str = "") -> list[str]:
    """What runs a command as the chart's pods do, as far as that goes without another user: nothing can be written to
    but these folders, and there are no capabilities and no ways to come by some. Empty where that is not permitted."""
    command = ["unshare", "--mount", "bash", "-c", CONFINE.format(writable, POWERLESS), "bash"]
    permitted = shutil.which("setpriv") and subprocess.run([*command, "true"], capture_output=True, check=False)
    return command if permitted and permitted.returncode == 0 else []


def copied(file: str) -> list[tuple[list[str], str]]:
    """Sources and destination of each COPY from the tree in a container file."""
    text = (proofs.CONTAINERS / file).read_text()
    lines = re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
    return [(words[:-1], words[-1]) for words in map(str.split, lines)]


def lay_out(file: str, folder: Path) -> None:
    """Copy what a container file copies, below a folder, as its builder would."""
    for sources, target in copied(file):
        place = folder / target.lstrip("/")
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            elif target.endswith("/"):
                place.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / source, place)


@dataclass(frozen=True)
class Triton:
    """A Triton that runs as the chart's would."""

    process: "subprocess.Popen[bytes]"
    ports: dict[str, int]

    def status(self, path: str, port: str = "http-port") -> int:
        """Status of a GET, 0 where nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[port]}{path}", timeout=2) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return 0

    def alive(self) -> "subprocess.CompletedProcess[str]":
        """What its liveness probe says."""
        command = [sys.executable, str(ALIVE), str(self.process.pid), str(self.ports["http-port"])]
        return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def release() -> Release:
    """The chart, with worlds on a claim."""
    return proofs.release(next(values for values in tools.all_values() if values.name == "cpu-claim"))


@contextmanager
def triton(release: Release, folder: Path, **other: str) -> Iterator[Triton]:
    """Start Triton with the chart's arguments, but on other ports, and backends as they lie in its image."""
    install = triton_install.find(None)
    layout = folder / "layout"
    layout.mkdir(parents=True)
    triton_install.lay_out(install, layout)
    shutil.rmtree(layout / "backends" / "wmserve_onnx")
    lay_out("triton.Containerfile", folder / "image")
    shutil.copytree(
        folder / "image/opt/tritonserver/backends/wmserve_onnx",
        layout / "backends" / "wmserve_onnx",
    )
    container = release.component("triton").containers[0]
    options = dict(arguments(container)) | {name: str(free_port()) for name in PORTS}
    options |= {"model-repository": str(ROOT / "model_repository")}
    options |= {name.replace("_", "-"): value for name, value in other.items()}
    given = [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]
    command = [*confined("/tmp /dev/shm"), str(install.binary), *given, f"--backend-directory={layout / 'backends'}"]
    settings = triton_install.environment(install, layout, 1) | environment(container)
    with (folder / "log").open("wb") as log, subprocess.Popen(command, env=settings, stdout=log, stderr=log) as process:
        try:
            yield Triton(process, {name: int(options[name]) for name in PORTS})
        finally:
            process.kill()


def test_what_is_confined_cannot_write() -> None:
    """Or the tests below would show nothing."""
    if not confined():
        pytest.skip("namespaces of one's own are not permitted here")
    for command in (["touch", str(ROOT / "written")], ["chroot", "/", "true"]):
        assert subprocess.run([*confined(), *command], capture_output=True, check=False).returncode != 0
    assert subprocess.run([*confined("/tmp"), "touch", "/tmp"], capture_output=True, check=False).returncode == 0


def wait_for(what: str, within_s: float, holds: Callable[[], bool]) -> None:
    """Return when something holds; it is looked at ten times a second."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_the_gateway_finds_the_chart_s_triton_and_both_answer_their_probes(release: Release, tmp_path: Path) -> None:
    """Probes of both pods, metrics of both, a request through both, and Triton's liveness when an engine has died."""
    gateway_container = release.component("gateway").containers[0]
    triton_container = release.component("triton").containers[0]
    with triton(release, tmp_path) as own:
        for probe in ("startupProbe", "readinessProbe"):
            path = triton_container[probe]["httpGet"]["path"]
            wait_for(f"{path} is 200", 60, lambda path=path: own.status(path) == 200)
        wait_for("metrics are told", 10, lambda: own.status("/metrics", "metrics-port") == 200)
        settings = {
            name.removeprefix("WMSERVE_").lower(): value
            for name, value in environment(gateway_container).items()
            if name not in ("WMSERVE_HTTP_PORT", "WMSERVE_GRPC_PORT", "WMSERVE_HOST")
        }
        settings["triton_address"] = f"dns:///localhost:{own.ports['grpc-port']}"
        settings["drain_delay_s"] = "0"
        log, command = tmp_path / "gateway.log", [*confined(), *SERVE]
        with running(log, command, **settings) as gateway, Client(gateway.grpc) as client:
            gateway.wait_ready()
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                assert gateway.get(gateway_container[probe]["httpGet"]["path"])[0] == 200
            assert client.plan("two_room", FRAME, {"agent_x": 100.0}).cost >= 0
        assert own.alive().returncode == 0
        os.kill(children(own.process.pid)[0], signal.SIGKILL)
        wait_for("liveness is lost", 10, lambda: own.alive().returncode == 1)
        assert "have died" in own.alive().stderr
        assert own.status("/v2/health/live") == 200  # which is why the probe looks further
    assert "does not answer" in own.alive().stderr


def test_the_gateway_s_image_can_be_built_of_what_it_copies(tmp_path: Path) -> None:
    """The wheel is built of those files alone, and has the server in it; what shares state is installed with it."""
    lay_out("gateway.Containerfile", tmp_path)
    for sources, target in copied("gateway.Containerfile"):
        if target == "./":
            for source in sources:
                shutil.copy2(ROOT / source, tmp_path)
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    listed = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True
    )
    assert "wmserve_server/__main__.py" in listed.stdout
    assert "'.[server,cluster]'" in (proofs.CONTAINERS / "gateway.Containerfile").read_text()


def test_a_gateway_shares_a_store_and_tells_a_collector(
    redis_server: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the chart's variables: of traces that callers began it keeps those that they keep, of its own some."""
    (values,) = (values for values in tools.all_values() if values.name == "shared-traced")
    given = environment(proofs.release(values).component("gateway").containers[0])
    collector = Collector()
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    for name in filter(lambda name: name.startswith("OTEL_"), given):
        monkeypatch.setenv(name, given[name])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    settings = {name: given[f"WMSERVE_{name.upper()}"] for name in ("log_format", "log_requests")}
    settings |= {"state_url": redis_server.url, "triton_address": "localhost:1"}
    with running(tmp_path / "log", [*confined(), *SERVE], **settings) as gateway, httpx.Client() as caller:
        wait_for("the gateway is alive", 20, lambda: gateway.get("/livez")[0] == 200)
        context, goal = {"latents_id": f"lat_{'a' * 22}"}, {"readouts": {"agent_x": 1}}
        body, url = {"world": "nowhere", "context": context, "goal": goal}, f"{gateway.http}/v1/plan"
        for own in range(60):
            caller.post(url, json=body, headers={"idempotency-key": f"{own}"})
        for number, sampled in ((1, "00"), (2, "01")):
            caller.post(url, json=body, headers={"traceparent": f"00-{number:032x}-{1:016x}-{sampled}"})
        assert 'wmserve_state_seconds_count{operation="swap"}' in gateway.get("/metrics")[1]
    collector.shutdown()
    collector.server_close()
    callers = [number for span in collector.spans if (number := int.from_bytes(span.trace_id)) <= 2]
    assert (callers, collector.services) == ([2], {"robots"})
    assert len(collector.spans) < 61
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert sum("request_id" in line for line in lines) == 62


def test_tritons_come_and_go_and_nobody_is_turned_away(release: Release, tmp_path: Path) -> None:
    """As pods of a headless Service do: the first after the gateway, a second later, and the first is drained.

    Out of the name first and still serving, as long as `preStop` says, then told to end.
    """
    port, age_s = str(free_port()), 1
    own = {"grpc_port": port, "grpc_max_connection_age": str(age_s * 1000)}
    with names() as service, ExitStack() as stack:
        settings = {"triton_address": service.target(int(port)), "triton_servers": "2"}
        gateway = stack.enter_context(running(tmp_path / "gateway.log", **settings))
        wait_for("no Triton is found", 20, lambda: "does not answer" in gateway.get("/readyz")[1])
        first = stack.enter_context(triton(release, tmp_path / "first", grpc_address="127.0.0.2", **own))
        second = stack.enter_context(triton(release, tmp_path / "second", grpc_address="127.0.0.3", **own))
        for one in (first, second):
            wait_for("Triton is ready", 60, lambda one=one: one.status("/v2/health/ready") == 200)
        service.addresses = ["127.0.0.2"]
        gateway.wait_ready(15)
        calls = stack.enter_context(asking(gateway))
        service.addresses = ["127.0.0.2", "127.0.0.3"]
        wait_for("the second gets its share", 10 * age_s, lambda: answered(f"127.0.0.3:{port}") > 20)
        service.addresses = ["127.0.0.3"]
        time.sleep(2 * age_s + 1)
        before = answered(f"127.0.0.2:{port}")
        time.sleep(0.5)
        assert answered(f"127.0.0.2:{port}") == before  # nobody asks it any more
        first.process.send_signal(signal.SIGTERM)
        assert first.process.wait(30) == 0
        made = calls.count
        wait_for("calls go on", 5, lambda: calls.count > made + 20)
        assert calls.failed == []
        assert not re.search(r'wmserve_request_seconds_count{code="(?!ok)', gateway.get("/metrics")[1])


class Calls:
    """How many calls were made, and what went wrong with some."""

    count = 0

    def __init__(self) -> None:
        self.failed: list[Exception] = []


@contextmanager
def asking(gateway: Server) -> Iterator[Calls]:
    """Encode one frame after the other while the block runs."""
    calls, over = Calls(), threading.Event()

    def ask() -> None:
        with Client(gateway.grpc) as client:
            while not over.is_set():
                try:
                    client.encode("two_room", FRAME)
                except WmserveError as error:
                    calls.failed.append(error)
                calls.count += 1

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        yield calls
    finally:
        over.set()
        asker.join()
