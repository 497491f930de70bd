"""Recorded episodes of stable-worldmodel in memory, and the clips that a LeWM learns from."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from tqdm import tqdm

BLOCK = 5
"""Environment steps in one model step."""
FRAMES = 4
"""Of a clip: three to predict from, and the last; a model step apart."""
ROWS = (FRAMES - 1) * BLOCK


@dataclass(frozen=True)
class Episodes:
    """Episodes one after the other."""

    frames: Tensor
    """`[N, 3, h, w]` uint8."""
    actions: Tensor
    """`[N, A]`; that of row t leads from frame t to frame t + 1, that of an episode's last row leads nowhere."""
    lengths: tuple[int, ...]

    def starts(self) -> Tensor:
        """Rows at which a whole clip starts."""
        first = np.cumsum([0, *self.lengths[:-1]])
        return torch.cat(
            [torch.arange(row, row + max(0, n - ROWS)) for row, n in zip(first, self.lengths, strict=True)]
        )

    def clips(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Frames `[B, 4, 3, h, w]`, and the actions between them `[B, 3, BLOCK x A]`."""
        frames = self.frames[starts[:, None] + torch.arange(FRAMES) * BLOCK]
        return frames, self.actions[starts[:, None] + torch.arange(ROWS)].reshape(len(starts), FRAMES - 1, -1)

    def known_actions(self) -> Tensor:
        """Actions `[M, A]` that lead anywhere."""
        keep = torch.ones(len(self.actions), dtype=torch.bool)
        keep[torch.tensor(self.lengths).cumsum(0) - 1] = False
        return self.actions[keep]


def read(paths: Sequence[Path]) -> Episodes:
    """Every episode of these datasets, by the peer's own reader."""
    from stable_worldmodel.data import load_dataset

    frames: list[Tensor] = []
    actions: list[Tensor] = []
    lengths: list[int] = []
    for path in paths:
        dataset = load_dataset(str(path.absolute()), keys_to_load=["pixels", "action"])
        frames.append(decoded(dataset.get_col_data("pixels"), path.name))
        actions.append(torch.from_numpy(np.asarray(dataset.get_col_data("action"), np.float32)))
        lengths += [int(length) for length in dataset.lengths]
    return Episodes(torch.cat(frames), torch.cat(actions), tuple(lengths))


def decoded(column: NDArray[np.generic], name: str) -> Tensor:
    """Frames `[N, 3, h, w]` of a column of pixels: JPEG in Lance, plain in HDF5."""
    if column.dtype == object:
        shown = tqdm(column, desc=f"reading {name}", unit="frame", mininterval=5)
        column = np.stack([np.asarray(Image.open(io.BytesIO(blob)).convert("RGB")) for blob in shown])
    return torch.from_numpy(column).permute(0, 3, 1, 2).contiguous()
