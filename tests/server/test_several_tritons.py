"""One gateway before several Tritons: they share the work, and one that is killed is not missed."""

import concurrent.futures
import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc import InferenceServerClient
from wmserve_client import Client

from tests.conftest import Server, running
from tests.server.test_lifecycle import children

FRAME = np.full((64, 64, 3), 255, np.uint8)
WORLD = "two_room"


def triton(server: Server) -> tuple[int, str]:
    """Process id and host:port of a server's own Triton."""
    for pid in children(server.process.pid):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        if "tritonserver" in words[0]:
            port = next(word.partition("=")[2] for word in words if word.startswith("--grpc-port="))
            return pid, f"127.0.0.1:{port}"
    pytest.fail("the server has no Triton")


def answered(address: str) -> int:
    """Calls that a Triton's encoder has answered."""
    with InferenceServerClient(address) as client:
        statistics = client.get_inference_statistics(f"{WORLD}_encode")
    return int(statistics.model_stats[0].inference_stats.success.count)


@pytest.fixture
def tritons(tmp_path: Path) -> Iterator[list[Server]]:
    """Two servers for the sake of their Tritons."""
    with ExitStack() as stack:
        both = [stack.enter_context(running(tmp_path / f"log{one}", triton_threads="1")) for one in range(2)]
        for one in both:
            one.wait_ready()
        yield both


def test_they_share_the_work_and_one_that_is_killed_is_not_missed(tritons: list[Server], tmp_path: Path) -> None:
    """While calls go on all the time, one Triton dies with what it was doing; no caller hears of it."""
    (pid, dying), (_, other) = (triton(one) for one in tritons)
    before = answered(dying), answered(other)
    settings = {"triton_address": f"ipv4:{dying},{other}", "triton_servers": "2"}
    with running(tmp_path / "log", **settings) as gateway, Client(gateway.grpc) as client:
        gateway.wait_ready()

        def ask(_: int) -> int:
            return len(client.encode(WORLD, FRAME).latents_id)

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            assert len(list(pool.map(ask, range(40)))) == 40
            shares = answered(dying) - before[0], answered(other) - before[1]
            asking = [pool.submit(ask, number) for number in range(400)]
            time.sleep(0.1)
            os.kill(tritons[0].process.pid, signal.SIGKILL)  # which would bring its Triton back
            os.kill(pid, signal.SIGKILL)
            assert all(one.result(30) for one in asking)
        assert min(shares) >= 5, shares
        metrics = gateway.get("/metrics")[1]
    assert not re.search(r'wmserve_request_seconds_count{code="(?!ok)', metrics)
