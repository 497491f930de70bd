"""The command line, run as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from wmserve_client import cli

from tests.conftest import ROOT, Server, free_port

WMSERVE = str(Path(sys.executable).parent / "wmserve")
START, GOAL = str(ROOT / "docs" / "start.png"), str(ROOT / "docs" / "goal.png")


def run(*arguments: str, server: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "WMSERVE_SERVER": server}
    return subprocess.run([WMSERVE, *arguments], env=environment, capture_output=True, text=True, timeout=60)


def answer(*arguments: str, server: Server) -> str:
    done = run(*arguments, server=server.grpc)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_worlds(server: Server) -> None:
    """Worlds are listed, described, and given as JSON."""
    assert "two_room:" in answer("worlds", server=server)
    assert "environment steps in a model step" in answer("worlds", "two_room", server=server)
    assert json.loads(answer("worlds", "--json", server=server))[0]["action"]["action_block"] == 5


def test_encode_and_what_follows(server: Server, tmp_path: Path) -> None:
    """A handle from encode is taken by rollout and plan; actions come from JSON or npy."""
    encoded = json.loads(answer("encode", "two_room", START, "--json", server=server))
    handle = encoded["latents_id"]
    np.save(tmp_path / "actions.npy", np.zeros((2, 10, 2)))
    (tmp_path / "actions.json").write_text(json.dumps([[0.0, 0.0]] * 10))
    for name in ("actions.npy", "actions.json"):
        text = answer("rollout", "two_room", handle, "--actions", str(tmp_path / name), server=server)
        assert "disagreement" in text
    assert "agent_x (px)" in answer("plan", "two_room", handle, "--readout", "agent_x=100", server=server)


def test_plan_is_reproducible(server: Server) -> None:
    """The same seed prints the same plan."""
    arguments = ("plan", "two_room", START, "--goal", GOAL, "--seed", "5", "--iterations", "2", "--json")
    first, second = (json.loads(answer(*arguments, server=server)) for _ in range(2))
    assert first["actions"] == second["actions"]
    assert first["seed"] == 5


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("encode", "mars", START), 1, "no such world"),
        (("plan", "two_room", START, "--readout", "agent_x=9999"), 1, "agent_x must be within"),
        (("plan", "two_room", START, "--readout", "agent_x"), 2, "NAME=VALUE"),
        (("encode", "two_room", "nowhere.png"), 2, "nowhere.png: No such file"),
        (("encode", "two_room"), 2, "required"),
        (("dance",), 2, "invalid choice"),
    ],
)
def test_errors_are_one_line(arguments: tuple[str, ...], status: int, says: str, server: Server) -> None:
    """What is wrong is said on standard error, with a status, and without a trace."""
    done = run(*arguments, server=server.grpc)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_nobody_there() -> None:
    """A server that does not answer is said in a line."""
    done = run("worlds", "--timeout", "3", server=f"localhost:{free_port()}")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_commands_of_other_packages_are_found() -> None:
    """serve, export and train are found without being imported, and bring their own help."""
    assert "serve" in cli.parser(["serve"]).format_help()
    done = run("serve", "--help", server="")
    assert done.returncode == 0
    assert "WMSERVE_HTTP_PORT" in done.stdout


def test_missing_extra_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A command whose package is not installed says what to install."""

    class Entry:
        name = "serve"

        def load(self) -> None:
            raise ModuleNotFoundError(name="fastapi")

    assert cli.run_brought(Entry(), []) == 2  # type: ignore[arg-type]
    assert "pip install 'wmserve[server]'" in capsys.readouterr().err
