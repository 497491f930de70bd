"""A real server for the tests, with a real Triton behind it."""

from collections.abc import Iterator

import pytest

from loadtest.serving import ROOT, Server, free_port, running

__all__ = ["ROOT", "Server", "free_port", "running"]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server of the reference world for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("server") / "log", triton_threads="1") as started:
        started.wait_ready()
        yield started
