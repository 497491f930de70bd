"""Where a version is put together, and how it takes its place among the others of its world."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Placing:
    """How what is written takes its place among the versions of its world."""

    promote: bool = True
    """Whether it becomes live when it is complete; a world's first version always is."""
    replace: bool = False
    """Takes the number and the place of the live version, which is gone then. Only where no server reads."""


@contextlib.contextmanager
def staging(repository: Path) -> Iterator[Path]:
    """A folder to put a version together in; it is gone afterwards, with what is still there."""
    with tempfile.TemporaryDirectory(prefix=".wmserve_export_", dir=staging_place(repository)) as scratch:
        yield Path(scratch)


def staging_place(repository: Path) -> Path:
    """Where folders can be renamed from: beside the repository, since Triton complains of strange ones inside.

    In it, if it is a mount of its own.
    """
    repository = repository.resolve()
    if not repository.exists():
        return next(parent for parent in repository.parents if parent.exists())
    beside = repository.parent
    fits = beside.stat().st_dev == repository.stat().st_dev and os.access(beside, os.W_OK)
    return beside if fits else repository
