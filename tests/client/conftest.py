"""A server of the exporter's linear world, for tests of whatever environment its actions fit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from wmserve_export import families
from wmserve_export.__main__ import main as export

from tests.conftest import Server, running
from tests.export import linear_world


def export_linear(folder: Path) -> Path:
    """A repository of the linear world."""
    known = "linear" in families.FAMILIES
    families.FAMILIES["linear"] = f"{linear_world.__name__}:load"
    checkpoint, place = linear_world.save(folder / "checkpoint"), folder / "repository"
    arguments = ["--repository", str(place), "--horizons", "2", "--rank-problems", "2", "--quiet"]
    assert export([str(checkpoint), *arguments]) == 0
    if not known:
        del families.FAMILIES["linear"]
    return place


@pytest.fixture(scope="session")
def linear(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Its contexts are of two frames, its model steps of two environment steps."""
    folder = tmp_path_factory.mktemp("linear")
    with running(folder / "log", model_repository=str(export_linear(folder)), triton_threads="1") as started:
        started.wait_ready()
        yield started
