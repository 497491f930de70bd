"""A real robot's clip through small worlds of the families that are made for such, from checkpoint to answer."""

import json
from pathlib import Path

import pytest
from wmserve_client import Client
from wmserve_export.__main__ import main as export

from loadtest.families import robot_clip
from loadtest.families.cases import CASES, Case
from tests.conftest import ROOT, running

CLIP = ROOT.parent / "shared" / "data" / "franka_example_traj.npz"
FACTS = {"vjepa2": {"context_length": 2}, "vjepa2-ac": robot_clip.ROBOT}
"""A clip of two frames is one tubelet."""


def write(case: Case, folder: Path) -> None:
    """Export a case into the folder's repository, under the name that the questions have for it."""
    (folder / case.family).mkdir()
    source = case.write(folder / case.family)
    facts = {"name": case.family.replace("-", "_"), "description": "Small.", **case.facts, **FACTS[case.family]}
    (folder / "world.json").write_text(json.dumps(facts))
    arguments = ["--family", case.family, "--world", str(folder / "world.json"), *robot_clip.GATES]
    assert export([str(source), *arguments, "--repository", str(folder / "repository")]) == 0


@pytest.mark.skipif(not CLIP.is_file(), reason="the robot clip of the authors' repository is not beside this one")
def test_a_robots_clip_is_served(tmp_path: Path) -> None:
    """What `python -m loadtest.families.robot_clip` asks at full size: finite answers, poses as measured and moved."""
    for family in FACTS:
        write(next(case for case in CASES if case.family == family), tmp_path)
    with running(tmp_path / "log", model_repository=str(tmp_path / "repository")) as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            clip = robot_clip.Clip(CLIP)
            seen, moved = robot_clip.ask_clips(client, clip), robot_clip.ask_robot(client, clip)
    assert seen["latents"] == [1, 4, 4, 40]
    assert len(moved["actions"][0]) == 7
