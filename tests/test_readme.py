"""The README's examples, run as they stand there, against the server that its first command starts."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from socket import create_server

import pytest

from tests.conftest import ROOT, Server, free_port, running

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
EXAMPLES = [
    block for block in BLOCKS if block[0] in ("python", "bash") and not block[1].startswith(("make ", "# my_world.py"))
]


def port(preferred: int) -> str:
    """The port that the README names, or a free one where that is taken."""
    try:
        with create_server(("127.0.0.1", preferred)):
            return str(preferred)
    except OSError:
        return str(free_port())


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`make serve`."""
    log = tmp_path_factory.mktemp("readme") / "log"
    with running(log, ["make", "serve"], http_port=port(8080), grpc_port=port(8081)) as server:
        server.wait_ready()
        yield server


def here(text: str, server: Server) -> str:
    """The example with the addresses of this server; on most machines that changes nothing."""
    return text.replace("localhost:8081", server.grpc).replace("http://localhost:8080", server.http)


def run(language: str, text: str, server: Server) -> str:
    """Run an example in the project's folder, as a user would, and return what it printed."""
    command = [sys.executable, "-c", text] if language == "python" else ["bash", "-euo", "pipefail", "-c", text]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "WMSERVE_SERVER": server.grpc}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("example", range(len(EXAMPLES)))
def test_example_runs_as_it_stands(example: int, served: Server) -> None:
    """Each Python and shell example of the README runs, and prints something."""
    language, text = EXAMPLES[example]
    assert run(language, here(text, served), served).strip()


def test_curl_example_answers_a_plan(served: Server) -> None:
    """The curl example prints a plan, and it leads to where it was asked to lead."""
    (text,) = [text for language, text in EXAMPLES if "/v1/plan" in text]
    plan = json.loads(run("bash", here(text, served), served))
    assert {"actions", "cost", "readouts", "disagreement", "stop_reason"} <= set(plan)


def test_there_are_examples_of_every_kind() -> None:
    """The README shows Python, curl and the command line; an example that is lost is noticed."""
    assert [language for language, _ in EXAMPLES].count("python") >= 1
    assert any("curl" in text for _, text in EXAMPLES)
    assert any(text.startswith("wmserve ") for _, text in EXAMPLES)


def test_every_page_is_linked_and_every_link_leads_somewhere() -> None:
    """The README names all of docs/, and files and headings that pages name are there."""
    linked = {link for _, link, _ in links(ROOT / "README.md")}
    assert set((ROOT / "docs").glob("*.md")) <= linked
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for text, link, heading in links(page):
            assert link.exists(), f"{page.name}: [{text}] leads nowhere"
            assert not heading or heading in headings(link), f"{page.name}: [{text}]: {link.name} has no #{heading}"


def links(page: Path) -> list[tuple[str, Path, str]]:
    """Text, file and heading of the links of a page, but for those to elsewhere."""
    found = re.findall(r"(?<!!)\[([^\[\]]+)\]\((?!\w+:)([^)#]*)#?([^)]*)\)", page.read_text())
    return [(text, (page.parent / target).resolve() if target else page, heading) for text, target, heading in found]


def headings(page: Path) -> set[str]:
    """Of a page, as links name them."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_a_model_of_ones_own_is_exported_as_it_stands(tmp_path: Path) -> None:
    """The adapter becomes a world with engines, by the command that follows it."""
    (adapter,) = [text for _, text in BLOCKS if text.startswith("# my_world.py")]
    (command,) = [line[2:] for line in README.splitlines() if line.startswith("$ ") and "--adapter" in line]
    (tmp_path / "my_world.py").write_text(adapter)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    save = "import my_world; from safetensors.torch import save_file; "
    save += "save_file(my_world.MyWorld().state_dict(), 'my_weights.safetensors')"
    for ask in ([sys.executable, "-c", save], ["bash", "-c", f"{command} --quiet"]):
        done = subprocess.run(ask, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    engines = {file.parent.parent.name for file in (tmp_path / "model_repository").glob("*/1/*.onnx")}
    assert engines == {"my_world_encode", "my_world_rollout", "my_world_plan"}
