"""Engines that lie, are half there or arrive late: the gateway refuses them, and says why, without a 5xx of its own."""

import hashlib
import json
import shutil
import time
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from google.protobuf import text_format
from onnx import numpy_helper
from tritonclient.grpc.model_config_pb2 import ModelConfig
from wmserve.world import CONTRACT_PARAMETER

from tests.conftest import ROOT, running
from tests.server.test_api import GOAL, START, as_base64

REPOSITORY = ROOT / "model_repository"
WORLD = "two_room"


def break_engine(repository: Path, file: str) -> None:
    """Put NaN into every bias of an engine, and its new digest into the contract, which then matches."""
    verb, name = file.split("/")
    path = repository / f"{WORLD}_{verb}" / "1" / name
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if "bias" in tensor.name:
            nan = np.full_like(numpy_helper.to_array(tensor), np.nan)
            tensor.CopyFrom(numpy_helper.from_array(nan, tensor.name))
    onnx.save(model, path)
    digest = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    for config in repository.glob(f"{WORLD}_*/config.pbtxt"):
        parsed = text_format.Parse(config.read_text(), ModelConfig())
        contract = json.loads(parsed.parameters[CONTRACT_PARAMETER].string_value)
        contract["digests"]["engines"][file] = digest
        parsed.parameters[CONTRACT_PARAMETER].string_value = json.dumps(contract)
        config.write_text(text_format.MessageToString(parsed))


def plan_body() -> dict[str, object]:
    return {
        "world": WORLD,
        "context": {"observations": as_base64(START)},
        "goal": {"observation": as_base64(GOAL)},
        "planner": {"seed": 1, "horizon": 5},
    }


def test_engine_that_answers_nan_never_makes_a_plan(tmp_path: Path) -> None:
    """NaN from the cost engine is a 502 with a reason; what other engines answer is still served."""
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY, repository)
    break_engine(repository, "plan/horizon_5.onnx")
    with running(tmp_path / "log", model_repository=str(repository)) as server:
        server.wait_ready()
        answer = httpx.post(f"{server.http}/v1/plan", json=plan_body(), timeout=30)
        assert (answer.status_code, answer.json()["reason"]) == (502, "backend_fault")
        encoded = httpx.post(
            f"{server.http}/v1/encode", json={"world": WORLD, "observations": as_base64(START)}, timeout=30
        )
        assert encoded.status_code == 200


def test_world_is_served_whole_or_not_at_all(tmp_path: Path) -> None:
    """A world without its cost engine is not served, readiness says why; when the engine comes, so does the world."""
    repository = tmp_path / "repository"
    shutil.copytree(REPOSITORY, repository, ignore=shutil.ignore_patterns(f"{WORLD}_plan"))
    with running(tmp_path / "log", model_repository=str(repository)) as server:
        deadline = time.monotonic() + 60
        while "plan" not in server.get("/readyz")[1] and time.monotonic() < deadline:
            time.sleep(0.1)
        assert server.get("/readyz") == (503, f"no world is served: world {WORLD} has no ready engine for plan")
        refused = httpx.post(f"{server.http}/v1/plan", json=plan_body(), timeout=30)
        assert (refused.status_code, refused.json()["reason"]) == (503, "unavailable")
        assert refused.headers["retry-after"] == "1"
        shutil.copytree(REPOSITORY / f"{WORLD}_plan", repository / f"{WORLD}_plan")
        server.wait_ready(60)
        assert httpx.post(f"{server.http}/v1/plan", json=plan_body(), timeout=30).status_code == 200


def test_an_engine_that_takes_longer_than_it_may_is_named_with_the_setting(tmp_path: Path) -> None:
    """A model too large for this machine's default is not a riddle: readiness says how long it had, and what to set."""
    with running(tmp_path / "log", engine_timeout_s="0.0001") as server:
        deadline = time.monotonic() + 60
        while "encode" not in server.get("/readyz")[1] and time.monotonic() < deadline:
            time.sleep(0.1)
        reason = f"world {WORLD} does not encode within 0.0001 s (WMSERVE_ENGINE_TIMEOUT_S)"
        assert server.get("/readyz") == (503, f"no world is served: {reason}")


def test_missing_repository_is_said_at_once(tmp_path: Path) -> None:
    """A model repository that is not there ends the start with status 2 and the setting to change."""
    with running(tmp_path / "log", model_repository=str(tmp_path / "nowhere")) as server:
        assert server.process.wait(60) == 2
        assert "WMSERVE_MODEL_REPOSITORY" in server.log.read_text()


@pytest.fixture(autouse=True)
def _needs_the_reference_world() -> None:
    assert (REPOSITORY / f"{WORLD}_plan").is_dir(), "model_repository/ lacks the reference world; run make export"
