"""The TypeScript client by its own tests, with the npm registry's tools, against a real server."""

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.conftest import ROOT, Server, running

CLIENT = ROOT / "clients" / "typescript"
PAGE = "http://robots.test"

pytestmark = pytest.mark.skipif(shutil.which("npm") is None, reason="node and npm are not here")


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that pages of one origin may ask."""
    log = tmp_path_factory.mktemp("typescript") / "log"
    with running(log, triton_threads="1", allowed_origins=PAGE) as started:
        started.wait_ready()
        yield started


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """What the lock file names is installed."""
    lock, found = CLIENT / "package-lock.json", CLIENT / "node_modules" / ".package-lock.json"
    if not found.exists() or found.stat().st_mtime < lock.stat().st_mtime:
        npm("ci", "--no-audit", "--no-fund")


def npm(*command: str, url: str = "") -> None:
    """Run npm in the client's folder; what it said is the failure's message."""
    environment = {**os.environ, "WMSERVE_URL": url}
    done = subprocess.run(["npm", *command], cwd=CLIENT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"npm {' '.join(command)}:\n{done.stdout}\n{done.stderr}"


def test_types_are_those_of_the_served_document(open_server: Server) -> None:
    """The generated types are up to date; where not: `npm run generate` in clients/typescript, of a running server."""
    npm("run", "generate:check", url=open_server.http)


def test_client_against_a_server(open_server: Server) -> None:
    """Its own tests pass: strict types, formatting, Node, and a page in a window held to CORS."""
    npm("run", "lint")
    npm("test", url=open_server.http)
