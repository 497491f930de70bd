"""LeRobot's checks, in a process of their own: what it installs would change what other tests import."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT, Server

LEROBOT = ROOT / ".lerobot"


@pytest.mark.skipif(not (LEROBOT / ".installed").exists(), reason="LeRobot is not here: make .lerobot/.installed")
def test_lerobots_loops_drive_a_server(server: Server) -> None:
    """Its `eval_policy`, goals, chunks, refusals and rows: tests/client/lerobot_checks.py."""
    command = [sys.executable, "-m", "pytest", "tests/client/lerobot_checks.py"]
    path = os.pathsep.join([str(LEROBOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "WMSERVE_GRPC": server.grpc}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
