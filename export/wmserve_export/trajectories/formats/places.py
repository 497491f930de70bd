"""Paths that a data set names, held within its folder."""

from pathlib import Path

from wmserve_export.trajectories.bounds import DataError


def inside(folder: Path, path: str, where: str) -> Path:
    """The file that a relative path means; DataError where it, or a link on its way, leads out of the folder."""
    root = folder.resolve()
    if "\0" in path:
        raise DataError(f"{where}: {path!r} is no path")
    found = (root / path).resolve()
    if not found.is_relative_to(root):
        raise DataError(f"{where}: {path} leads out of {folder.name}")
    return found
