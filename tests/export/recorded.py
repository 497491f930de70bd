"""Recordings of the linear world in which actions do what the world predicts, and files of them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, from_numpy

from tests.export import linear_world

COLOURS = np.array([[0.04, 0.0, 0.02], [0.0, 0.04, -0.02]], np.float32)
"""What each axis of an action adds to a frame's red, green and blue in one environment step."""


@dataclass(frozen=True)
class Episode:
    """`[L, 8, 8, 3]` uint8, `[L, 2]` of which row t leads on from frame t, and `[L]`."""

    pixels: NDArray[np.uint8]
    action: NDArray[np.float32]
    height: NDArray[np.float32]


def save_world(folder: Path) -> Path:
    """A checkpoint of the linear world that knows `COLOURS`."""
    linear_world.save(folder)
    file = folder / "weights.safetensors"
    weights: dict[str, Tensor] = load_file(file)
    step = from_numpy(COLOURS) @ weights["encoder.weight"].T
    for member, part in zip(weights["move"], (0.9, 1.0, 1.1), strict=True):  # they agree on the whole, not each
        member[:2] = member[2:] = part * step
    save_file(weights, file)
    return folder


def episodes(lengths: Sequence[int], seed: int = 0, smooth: bool = False) -> list[Episode]:
    """Random actions and what they lead to; smooth ones never change within an episode."""
    rng, found = np.random.default_rng(seed), []
    for length in lengths:
        action = rng.uniform(-1, 1, (1 if smooth else length, 2)).astype(np.float32)
        action = np.broadcast_to(action, (length, 2)).copy()
        moved = np.concatenate([np.zeros((1, 3)), (action[:-1] @ COLOURS).cumsum(axis=0)])
        colour = np.clip(rng.uniform(0.4, 0.6, 3) + moved, 0, 1)
        pixels = np.broadcast_to((colour * 255).round().astype(np.uint8)[:, None, None], (length, 8, 8, 3)).copy()
        pixels[:, 0, 0] = np.arange(length, dtype=np.uint8)[:, None]  # so that no two frames are equal
        found.append(Episode(pixels, action, colour.mean(axis=1).astype(np.float32)))
    return found


def shifted(episode: Episode, shift: int) -> NDArray[np.float32]:
    """Actions as somebody records them whose rows are off by a shift; what is not known there is not a number."""
    recorded = np.roll(episode.action, shift, axis=0)
    if shift > 0:
        recorded[:shift] = np.nan
    if shift < 0:
        recorded[shift:] = np.nan
    return recorded


def save_columns(file: Path, recorded: Sequence[Mapping[str, NDArray[np.generic]]]) -> Path:
    """As stable-worldmodel lays out its HDF5 files."""
    lengths = [len(next(iter(one.values()))) for one in recorded]
    with h5py.File(file, "w") as content:
        for key in recorded[0]:
            content[key] = np.concatenate([one[key] for one in recorded])
        content["ep_len"] = np.array(lengths, np.int32)
        content["ep_offset"] = np.cumsum([0, *lengths[:-1]]).astype(np.int64)
    return file


def columns(recorded: Sequence[Episode], shift: int = 0) -> list[dict[str, NDArray[np.generic]]]:
    """By key."""
    return [{"pixels": one.pixels, "action": shifted(one, shift), "height": one.height[:, None]} for one in recorded]


def read(folder: Path) -> Iterator[dict[str, NDArray[np.generic]]]:
    """What was written, without its source, by the number in its episode's name."""
    for file in sorted(folder.glob("*.npz"), key=lambda one: one.name.partition("_")[2]):
        with np.load(file, allow_pickle=False) as arrays:
            yield {name: arrays[name] for name in arrays.files if name != "source"}
