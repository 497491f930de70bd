"""Examples of what a world should answer: what is given, and latents that the family's own code makes of it.

A family's own package makes them (:mod:`wmserve_export.peers`), or a user does, by the code that trained the model,
and names the file with ``wmserve export --check pairs.npz``. Its arrays, `M` examples of each (at least `FEWEST`):

    observations    [M, T, h, w, 3]  uint8    as the camera gave them, T = context_length; if it looks at any
    proprioception  [M, T, Q]        float32  environment units; if the world knows any
    latents         [M, L, D]        float32  of those frames, before anything is predicted; L = T / tubelet_size
    actions         [M, N, A]        float32  environment units, N = (T - 1 + H) x action_block: between the frames,
                                              then those of H model steps; if it knows actions
    hidden          [M, L, P]        uint8    1 where a patch is hidden; if it fills clips
    predicted       [M, H, D]        float32  latents after each model step; or [M, L, D] of the filled clip
    costs           [M]              float32  minus the return of the whole plan; if it knows rewards; may be left out

`D` is flat or has the axes of the contract's ``latent_shape``. Two lines make such a file, in the training's own code:

    latents, predicted = model.encode(frames), model.rollout(frames, actions)    # float32, on a CPU or without TF32
    np.savez("pairs.npz", observations=raw_frames, latents=latents, actions=raw_actions, predicted=predicted)

``raw_frames`` are uint8 before any preparation, best of the size that training resizes to: 8-bit resizing rounds.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib import format as npy
from torch import Tensor

from wmserve_export.engines import latent_dim
from wmserve_export.examples import values_like
from wmserve_export.families import Encoder, FamilyConfig, FamilyError, Filler, Predictor, Rewarded

FEWEST, MOST = 2, 256
LARGEST = 1 << 30
"""Bytes of all arrays, unpacked."""
KINDS: Mapping[str, str] = {"observations": "u", "hidden": "ub"}
"""Kinds of numbers of an array, as numpy calls them; of all others, floating."""


@dataclass(frozen=True)
class Pairs:
    """What is given, and what a world should answer; of what does not concern a world, None."""

    observations: Tensor | None
    proprioception: Tensor | None
    actions: Tensor | None
    hidden: Tensor | None
    latents: Tensor
    """`[M, L, D]`."""
    predicted: Tensor | None
    """`[M, H, D]`, or `[M, L, D]` of filled clips."""
    costs: Tensor | None
    """`[M]`."""

    @property
    def observed(self) -> list[Tensor]:
        """Arguments of a family's ``encode``."""
        return [part for part in (self.observations, self.proprioception) if part is not None]


def read_pairs(file: Path, family: Encoder) -> Pairs:
    """Examples in a file; FamilyError names what is missing or does not fit. No pickle is opened."""
    config, arrays = family.config, read_arrays(file)
    count = len(next(iter(arrays.values())))
    dim, frames = latent_dim(config), config.context_length
    wanted: dict[str, tuple[int | str, ...]] = {"latents": (count, frames // config.tubelet_size, dim)}
    if config.image_size:
        wanted["observations"] = (count, frames, "h", "w", 3)
    if config.proprioception:
        wanted["proprioception"] = (count, frames, len(config.proprioception))
    if isinstance(family, Filler):
        wanted["hidden"] = (count, frames // config.tubelet_size, math.prod(config.latent_shape[:-1]))
        wanted["predicted"] = wanted["latents"]
    if isinstance(family, Predictor):
        steps = horizon(config, arrays, file)
        wanted["actions"] = (count, (frames - 1 + steps) * config.action.action_block, len(config.action.axes))
        wanted["predicted"] = (count, steps, dim)
    if isinstance(family, Rewarded) and "costs" in arrays:
        wanted["costs"] = (count,)
    if strange := sorted(arrays.keys() - wanted.keys()):
        raise FamilyError(f"{file.name}: {', '.join(strange)} is not asked for; this world has {', '.join(wanted)}")
    found = {name: fitted(file.name, name, arrays, shape, config.latent_shape) for name, shape in wanted.items()}
    if not FEWEST <= count <= MOST:
        raise FamilyError(f"{file.name} has {count} examples, {FEWEST} to {MOST} are needed")
    if torch.equal(found["latents"], found["latents"][:1].expand_as(found["latents"])):
        raise FamilyError(f"{file.name}: latents of all examples are the same: that would show nothing")
    return Pairs(**{name: found.get(name) for name in Pairs.__dataclass_fields__})  # type: ignore[arg-type]


def horizon(config: FamilyConfig, arrays: Mapping[str, Any], file: Path) -> int:
    """Model steps of the examples; FamilyError where they have no predictions, which would go unchecked."""
    if "predicted" not in arrays or "actions" not in arrays:
        raise FamilyError(f"{file.name}: actions and predicted are needed, for this world predicts what actions do")
    blocks, rest = divmod(arrays["actions"].shape[1] if arrays["actions"].ndim == 3 else 0, config.action.action_block)
    if rest or blocks < config.context_length:
        raise FamilyError(
            f"{file.name}: actions has shape {arrays['actions'].shape}; (T - 1 + H) x {config.action.action_block} "
            f"environment steps are needed, T = {config.context_length} frames and at least one model step H"
        )
    return blocks - config.context_length + 1


def read_arrays(file: Path) -> dict[str, Any]:
    """Arrays of an ``.npz`` file, none of which was unpacked before its size was known to be in bounds."""
    try:
        with zipfile.ZipFile(file) as packed:
            sizes = {name: header(packed, name) for name in packed.namelist()}
        if (total := sum(sizes.values())) > LARGEST:
            raise FamilyError(f"{file.name} holds {total} bytes, at most {LARGEST} are read: give fewer examples")
        with np.load(file, allow_pickle=False) as opened:
            arrays = {name: opened[name] for name in opened.files}
    except (OSError, ValueError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        if isinstance(error, FamilyError):
            raise
        raise FamilyError(f"{file.name} is no .npz file of plain arrays: {error}") from None
    if not arrays or any(array.ndim == 0 for array in arrays.values()):
        raise FamilyError(f"{file.name} has no arrays of examples")
    return arrays


def header(packed: zipfile.ZipFile, name: str) -> int:
    """Bytes of an array, by what its header says; ValueError for objects, whose reading would run code."""
    with packed.open(name) as part:
        version = npy.read_magic(part)
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, _, dtype = read(part)
    if dtype.hasobject:
        raise ValueError(f"{name} holds objects")
    return int(math.prod(shape) * dtype.itemsize)


def fitted(
    file: str, name: str, arrays: Mapping[str, Any], shape: tuple[int | str, ...], latent_shape: tuple[int, ...]
) -> Tensor:
    """One array as a tensor of a shape, whose letters are any size; FamilyError where it is another."""
    if name not in arrays:
        raise FamilyError(f"{file}: {name} is missing; the arrays are described by: wmserve export --help")
    array = arrays[name]
    if name in ("latents", "predicted") and array.shape[2:] == latent_shape:
        array = array.reshape(*array.shape[:2], -1)
    if name in ("observations", "latents") and array.ndim == len(shape) - 1 and shape[1] == 1:
        array = array[:, None]  # of one frame its axis may be left out
    fits = array.ndim == len(shape) and all(
        isinstance(wanted, str) or have == wanted for have, wanted in zip(array.shape, shape, strict=True)
    )
    if not fits or array.dtype.kind not in KINDS.get(name, "f"):
        axes, kind = ", ".join(map(str, shape)), "uint8" if name in KINDS else "float32"
        raise FamilyError(f"{file}: {name} has shape {arrays[name].shape} {array.dtype}, [{axes}] {kind} is needed")
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise FamilyError(f"{file}: {name} has numbers that are not finite")
    return torch.from_numpy(np.ascontiguousarray(array, np.uint8 if name in KINDS else np.float32))


def drawn(family: Encoder, count: int, steps: int, side: int) -> Pairs:
    """Random inputs for a world, with frames of a side; answers are to be added."""
    config, generator = family.config, torch.Generator().manual_seed(3)
    frames = config.context_length
    observations = proprioception = actions = hidden = None
    if config.image_size:
        pictures = (count, frames, side, side, 3)
        observations = torch.randint(0, 256, pictures, generator=generator, dtype=torch.uint8)
    if config.proprioception:
        proprioception = values_like(config.proprioception, (count, frames, len(config.proprioception)), generator)
    if isinstance(family, Predictor):
        path = (count, (frames - 1 + steps) * config.action.action_block, len(config.action.axes))
        actions = values_like(config.action.axes, path, generator)
    if isinstance(family, Filler):
        patches = (count, frames // config.tubelet_size, math.prod(config.latent_shape[:-1]))
        hidden = (torch.rand(patches, generator=generator) < 0.6).to(torch.uint8)
        hidden[:, 0, :2] = torch.tensor([0, 1], dtype=torch.uint8)  # something is visible, something is not
    return Pairs(observations, proprioception, actions, hidden, torch.empty(0), None, None)


def answered(family: Encoder, given: Pairs) -> Mapping[str, Tensor]:
    """What a world answers to what is given: latents, and, where it has them, predicted and costs."""
    with torch.inference_mode():
        latents, _ = family.encode(*given.observed)
        found = {"latents": latents}
        if isinstance(family, Filler) and given.hidden is not None:
            assert given.observations is not None, "clips are of frames"
            found["predicted"] = family.fill(given.observations, given.hidden)[0]
        if isinstance(family, Predictor) and given.actions is not None:
            actions = given.actions[:, None]
            path = family.predict(latents, actions)
            found["predicted"] = path.mean(dim=2)[:, 0]
            if isinstance(family, Rewarded):
                found["costs"] = family.negative_return(latents, actions, path)[:, 0, -1]
    return found
