"""The wheel, alone in an empty environment: the client works, and brings nothing that it does not need."""

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.conftest import ROOT, Server

LIGHT = {"grpcio", "numpy", "protobuf", "typing_extensions", "wmserve"}
LIST = "import importlib.metadata, json; print(json.dumps([d.name for d in importlib.metadata.distributions()]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, timeout=300, stdin=subprocess.DEVNULL)
    return next(folder.glob("wmserve-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that holds the wheel and what it asks for."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    constraints = ["--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([*command, *constraints, str(wheel)], check=True, timeout=300)
    return python


def run(python: Path, *arguments: str, cwd: Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [str(python), *arguments], cwd=cwd, env={**clean, **environment}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_plain_install_is_light(python: Path, tmp_path: Path) -> None:
    """The plain install is grpcio, numpy and protobuf, and no more."""
    assert set(json.loads(run(python, "-c", LIST, cwd=tmp_path))) <= LIGHT


def test_client_asks_a_server_from_there(python: Path, tmp_path: Path, server: Server) -> None:
    """The installed client imports away from the tree and talks to a server, as a library and as a command."""
    code = f"import wmserve_client as wm; print([w.name for w in wm.Client('{server.grpc}').worlds()])"
    assert "two_room" in run(python, "-c", code, cwd=tmp_path)
    listed = run(python.parent / "wmserve", "worlds", cwd=tmp_path, WMSERVE_SERVER=server.grpc)
    assert "two_room" in listed


def test_missing_extra_is_said(python: Path, tmp_path: Path) -> None:
    """`wmserve serve` of a plain install says what to install."""
    done = subprocess.run(
        [str(python.parent / "wmserve"), "serve"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert "pip install 'wmserve[server]'" in done.stderr


def test_wheel_holds_the_four_packages_and_no_tests(wheel: Path) -> None:
    """What is shipped: the four packages with their types, the engine runner and the proto."""
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if not name.startswith("wmserve-")}
    assert tops == {"wmserve", "wmserve_client", "wmserve_server", "wmserve_export"}
    assert "wmserve/v1/world_model.proto" in names
    assert "wmserve_server/triton_backends/wmserve_onnx/model.py" in names
    assert {f"{top}/py.typed" for top in tops} <= set(names)
