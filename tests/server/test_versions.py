"""Versions of a world: switched under load without a failed call, addressed by number, told of, and rolled back."""

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
import wmserve_client as wm
from onnx import numpy_helper
from wmserve_client import compare
from wmserve_export import repository, versions
from wmserve_export.contract import digest

from loadtest.updates import load, until
from tests.conftest import ROOT, Server, running
from tests.server.test_api import as_base64

WORLD, ENGINE = "two_room", "encode/engine.onnx"
PICTURE = np.full((64, 64, 3), 255, np.uint8)
FRAME = as_base64(PICTURE)
ACTIONS = np.zeros((5, 2)).tolist()
GOAL = {"observation": FRAME}
PLANNER = {"candidate_count": 16, "elite_count": 4}


@dataclass(frozen=True)
class Running:
    """A repository of two versions, of which the first is live, and a server of it."""

    place: Path
    server: Server

    def ask(self, verb: str, **body: object) -> httpx.Response:
        """One call of a verb."""
        return httpx.post(f"{self.server.http}/v1/{verb}", json={"world": WORLD, **body}, timeout=60)

    def encode(self, **body: object) -> dict[str, object]:
        """Encode a frame, and have latents back."""
        answer = self.ask("encode", observations=FRAME, return_latents=True, **body)
        assert answer.status_code == 200, answer.text
        found: dict[str, object] = answer.json()
        return found


def another_encoder(place: Path) -> bytes:
    """The encoder of the world, with slightly other weights."""
    folder = repository.version_folder(place, f"{WORLD}_encode")
    model = onnx.load_from_string((folder / "engine.onnx").read_bytes())
    for tensor in model.graph.initializer:
        weights = numpy_helper.to_array(tensor)
        if weights.dtype == np.float32 and weights.ndim > 1:
            tensor.CopyFrom(numpy_helper.from_array(weights * np.float32(1.01), tensor.name))
    made: bytes = model.SerializeToString()
    return made


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The reference world, and a second version with another encoder, which waits for its promotion."""
    folder = tmp_path_factory.mktemp("versions")
    place = folder / "repository"
    shutil.copytree(ROOT / "model_repository", place)
    world, engine = repository.read(place, WORLD), another_encoder(place)
    engines = {**world.digests.engines, ENGINE: digest(engine)}
    digests = world.digests.model_copy(update={"engines": engines})
    changed = world.model_copy(update={"digests": digests, "calibration": None})
    repository.derive(place, changed, {ENGINE: engine}, repository.Placing(promote=False))
    with running(folder / "log", model_repository=str(place), triton_threads="1") as server:
        server.wait_ready()
        with wm.Client(server.grpc) as client:
            deadline = time.monotonic() + 120
            while len(client.versions(WORLD)) < 2:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield Running(place, server)


def change(place: Path, command: str, *words: str) -> None:
    """Run a command in this process; it has to succeed."""
    run = {"promote": versions.promote, "rollback": versions.rollback}[command]
    assert run([*words, "--repository", str(place)]) == 0


def context(latents_id: object) -> dict[str, object]:
    """What was encoded."""
    return {"latents_id": latents_id}


def test_a_version_is_addressed_by_its_number_and_listed(two: Running) -> None:
    """Each answers for itself and says so; one that there is not is named with those that there are."""
    first, second, live = (two.encode(world=name) for name in (f"{WORLD}@1", f"{WORLD}@2", WORLD))
    assert (first["version"], second["version"], live["version"]) == (1, 2, 1)
    assert live["latents"] == first["latents"] != second["latents"]
    told = httpx.get(f"{two.server.http}/v1/worlds/{WORLD}", timeout=60).json()
    assert told["version"] == 1
    assert [(one["version"], one["part"]) for one in told["versions"]] == [(1, "live"), (2, "")]
    assert [one["calibrated"] for one in told["versions"]] == [True, False]
    assert told["versions"][1]["created"]
    assert told["versions"][0]["digests"] == told["digests"] != told["versions"][1]["digests"]
    assert httpx.get(f"{two.server.http}/v1/worlds/{WORLD}@2", timeout=60).json()["version"] == 2
    with wm.Client(two.server.grpc) as client:
        assert [(one.version, one.part) for one in client.versions(WORLD)] == [(1, "live"), (2, "")]
        assert client.encode(f"{WORLD}@2", PICTURE).version == 2
    refused = two.ask("encode", world=f"{WORLD}@7", observations=FRAME)
    assert (refused.status_code, refused.json()["reason"]) == (404, "world_not_found")
    assert refused.json()["detail"] == f"no such version; {WORLD} is served in 1 (live), 2"
    labels = {line for line in two.server.get("/metrics")[1].splitlines() if "request_seconds_count" in line}
    assert not any("@" in line for line in labels), "versions are no labels"


def test_a_handle_is_answered_by_the_version_that_made_it(two: Running) -> None:
    """Also a plan's goal, and the outcome of a plan; handles of two encoders are no request."""
    first, second = (two.encode(world=f"{WORLD}@{version}")["latents_id"] for version in (1, 2))
    rolled = two.ask("rollout", context=context(second), actions=ACTIONS).json()
    assert rolled["version"] == 2, "version 1 is live"
    planned = two.ask("plan", context=context(second), goal=GOAL, planner=PLANNER).json()
    assert planned["version"] == 2
    known = {"decision_id": planned["decision_id"], "observation": FRAME}
    assert two.ask("observe", **known).json()["version"] == 2
    mixed = two.ask("plan", context=context(second), goal={"latents_id": first})
    assert (mixed.status_code, mixed.json()["reason"]) == (400, "invalid_argument")
    assert f"version 1 of {WORLD}" in mixed.text
    assert "by version 2" in mixed.text
    other = two.ask("rollout", world=f"{WORLD}@1", context=context(second), actions=ACTIONS)
    assert (other.status_code, other.json()["reason"]) == (409, "handle_outdated")
    assert "encode the observation again" in other.json()["detail"]
    with wm.Client(two.server.grpc) as client, pytest.raises(wm.HandleOutdated, match=f"made by {WORLD}@2"):
        client.rollout(f"{WORLD}@1", str(second), np.zeros((5, 2)))


def test_no_call_fails_while_versions_change(two: Running) -> None:
    """Promoted, written with another contract as calibrating does, rolled back: callers hear of nothing."""
    kept = two.encode()["latents_id"]
    with load(two.server, WORLD, callers=2, pause_s=0.01) as tally:
        until(tally, 1)
        change(two.place, "promote", f"{WORLD}@2")
        until(tally, 2)
        assert two.ask("rollout", context=context(kept), actions=ACTIONS).json()["version"] == 1
        change(two.place, "promote", f"{WORLD}@1", "--canary", "0.5")
        live = repository.read(two.place, WORLD)
        written = repository.write_contract(two.place, live.model_copy(update={"description": "Another contract."}))
        assert written.version == 3
        until(tally, 3)
        change(two.place, "rollback", WORLD)
        until(tally, 2)
    assert tally.failed == 0, tally.failures
    assert tally.calls > 100
    of_second = two.encode(world=f"{WORLD}@2")["latents_id"]
    rolled = two.ask("rollout", world=f"{WORLD}@3", context=context(of_second), actions=ACTIONS)
    assert rolled.json()["version"] == 3, "its encoder is the same"


def test_a_canary_answers_its_share_of_the_sessions_and_a_shadow_nobody(two: Running) -> None:
    """A session stays with its version; who names none is answered by what is live. Both are compared."""
    change(two.place, "promote", f"{WORLD}@3", "--shadow", "1")
    with wm.Client(two.server.grpc) as client:
        deadline = time.monotonic() + 120
        while {one.part for one in client.versions(WORLD)} != {"canary", "live", "shadow"}:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        sessions = [f"robot {number}" for number in range(16)]
        answered = [{client.encode(WORLD, PICTURE, session=one).version for _ in range(2)} for one in sessions]
        assert sorted(map(sorted, answered))[0] == [1]
        assert sorted(map(sorted, answered))[-1] == [2]
        assert all(len(versions) == 1 for versions in answered)
        while "wmserve_shadow_action_difference_count" not in two.server.get("/metrics")[1]:
            encoded = client.encode(WORLD, PICTURE)
            plan = client.plan(WORLD, encoded, PICTURE)
            assert (encoded.version, plan.version) == (2, 2)
            assert time.monotonic() < deadline
        while 'outcome="answered"' not in two.server.get("/metrics")[1]:
            assert time.monotonic() < deadline


def test_versions_are_compared_side_by_side(two: Running, capsys: pytest.CaptureFixture[str]) -> None:
    """Version 3 has the engines of version 2: its plans are the same, to the last digit."""
    assert compare.main([f"{WORLD}@2", f"{WORLD}@3", "--http", two.server.http]) == 0
    rows = {line.partition("  ")[0]: line.partition("  ")[2].split() for line in capsys.readouterr().out.splitlines()}
    assert rows["cost, mean"][0] == rows["cost, mean"][1] != "-"
    assert rows["first action, distance from the answered one"][:2] == ["-", "0.0%"]
    assert compare.main([f"{WORLD}@1", "mars@2", "--http", two.server.http]) == compare.WRONG
    assert compare.main([f"{WORLD}@8", f"{WORLD}@9", "--http", two.server.http]) == compare.NOBODY


def test_a_version_that_goes_is_on_its_way_and_not_unknown(two: Running, tmp_path: Path) -> None:
    """Its handles are outdated, by name; what is live is unavailable for a while, with a time to ask again."""
    kept = two.encode(world=f"{WORLD}@1")["latents_id"]
    (two.place / f"{WORLD}_encode").rename(tmp_path / "encode")
    deadline = time.monotonic() + 120
    while (answer := two.ask("encode", world=f"{WORLD}@1", observations=FRAME)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (answer.status_code, answer.json()["reason"]) == (503, "unavailable")
    assert answer.headers["retry-after"] == "1"
    while (outdated := two.ask("rollout", context=context(kept), actions=ACTIONS)).status_code != 409:
        assert outdated.status_code in (200, 503), outdated.text
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert outdated.json()["reason"] == "handle_outdated"
    assert two.encode()["version"] == 2, "which is as it was"
    for version in (2, 3):
        (two.place / f"{WORLD}-v{version}_encode").rename(tmp_path / f"v{version}")
    while (gone := two.ask("encode", observations=FRAME)).status_code == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert (gone.status_code, gone.headers.get("retry-after")) == (503, "1")
