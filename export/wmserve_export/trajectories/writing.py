"""Writes trajectories as files that are whole or not there, and looks whether earlier ones still are what they were."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from wmserve.trajectories import UNREADABLE

from wmserve_export.trajectories.source import Floats

OURS = re.compile(r"[0-9a-f]{8}_")
"""How names of files begin."""
SOURCE = "source"
"""Array of one string: JSON of the episode and of the settings that it was made with."""


def file_name(episode: str, place: float) -> str:
    """By its place in the order of episodes first, so that files sort in it, and by the episode's name."""
    return f"{int(place * 16**8):08x}_{re.sub(r'[^A-Za-z0-9_.-]', '_', episode)[:100]}.npz"


def write(file: Path, arrays: Mapping[str, Any], episode: str, settings: str) -> None:
    """Write a trajectory beside its place, and move it there when all of it is on the disk."""
    new, said = file.with_name(f".{file.name}.part"), np.array(json.dumps({"episode": episode, "settings": settings}))
    with new.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, source=said, **arrays)
        stream.flush()
        os.fsync(stream.fileno())
    new.replace(file)


def intact(file: Path, episode: str, settings: str, actions: Floats, frames: int) -> bool:
    """Whether a file holds these actions and so many frames of this episode, made with these settings, undamaged.

    All of it is read, so that its checksums are looked at.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            said = json.loads(str(arrays[SOURCE][()]))
            content = {name: arrays[name] for name in arrays.files}
    except UNREADABLE:
        return False
    return (
        said == {"episode": episode, "settings": settings}
        and np.array_equal(content.get("actions", ()), actions)
        and len(content.get("observations", ())) == frames
    )


def settings_of(file: Path) -> str | None:
    """Settings that a file was made with; None where it does not say."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return str(json.loads(str(arrays[SOURCE][()]))["settings"])
    except UNREADABLE:
        return None


def clear_halves(folder: Path) -> None:
    """Remove what an earlier run that was stopped has left half-written."""
    for file in folder.glob(".*.npz.part"):
        file.unlink(missing_ok=True)
