"""A checkpoint of a family of one's own, known to the exporter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from wmserve_export import families
from wmserve_export.contract import ExportOptions
from wmserve_export.export import export_world

from tests.export import linear_world


@dataclass(frozen=True)
class Exported:
    """What an export left."""

    checkpoint: Path
    repository: Path
    report: dict[str, object]


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
    report = export_world(checkpoint, folder / "repository", ExportOptions(horizons=(2,)), show=False)
    return Exported(checkpoint, folder / "repository", report)
