"""A checkpoint of a family of one's own, known to the exporter."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from wmserve_export import families
from wmserve_export.__main__ import main
from wmserve_export.repository import REPORT_FILE

from tests.export import linear_world


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    checkpoint: Path
    repository: Path
    report: dict[str, Any]


@pytest.fixture(scope="session", autouse=True)
def linear_family() -> Iterator[None]:
    """Make the family known, as an entry point would."""
    families.FAMILIES["linear"] = f"{linear_world.__name__}:load"
    yield
    del families.FAMILIES["linear"]


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The linear world, exported once for all tests that only look at it."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint = linear_world.save(folder / "checkpoint")
    repository = folder / "repository"
    assert main([str(checkpoint), "--repository", str(repository), "--horizons", "2", "--quiet"]) == 0
    return Exported(checkpoint, repository, json.loads((repository / "linear_encode" / REPORT_FILE).read_text()))
