"""A world with a finding is not served, and says why, until an operator has it served anyway."""

import json
import shutil
from pathlib import Path

from wmserve.world import Calibration
from wmserve_export import repository

from tests.conftest import ROOT, running

FINDING = "latents lie in a few clusters"


def found(calibration: Calibration) -> Calibration:
    """A calibration that has found something."""
    calibration = calibration.model_copy(update={"collapsed": FINDING})
    return calibration.model_copy(update={"digest": calibration.own_digest()})


def test_a_finding_is_said_and_may_be_overridden(tmp_path: Path) -> None:
    """Readiness, the log and the answer for its name say it; then the contract does, while the server runs on."""
    place = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", place)
    world = repository.read(place, "two_room")
    assert world.calibration is not None
    world = world.model_copy(update={"calibration": found(world.calibration)})
    repository.write_contract(place, world, repository.Placing(replace=True))
    with running(tmp_path / "log", model_repository=str(place), triton_threads="1") as server:
        why = f"world two_room is not served, its calibration has found: {FINDING}"
        assert why in server.verdict()
        status, text = server.get("/v1/worlds/two_room")
        assert status == 404
        assert why in json.loads(text)["detail"]
        repository.serve_anyway(place, "two_room", wanted=True)
        server.wait_ready()
        assert f"served although its calibration has found: {FINDING}" in server.get("/readyz")[1]
        contract = json.loads(server.get("/v1/worlds/two_room")[1])
        assert contract["served_anyway"]["finding"] == FINDING
        assert contract["calibration"]["collapsed"] == FINDING
    assert FINDING in (tmp_path / "log").read_text()
