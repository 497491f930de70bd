"""Healthy encoders of other families, widths and data, trained here in seconds: none of them may be called collapsed.

    arm, slider, dot -> frames [M, L, 32, 32, 3] and actions -> an encoder and its predictor -> what they make of both

They are small and they predict; nothing else is asked of them. The data have one, two and two degrees of freedom, so
low rank is healthy here. Axes as in `wmserve_export.calibration`; `S` is the side of a frame.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from wmserve_export.reference.losses import sigreg

SIDE, LENGTH, TRAIN, HELD_OUT = 32, 11, 600, 400
STEPS, BATCH, RATE = 300, 32, 2e-3
Floats = NDArray[np.float32]
Draw = Callable[[Floats], Floats]
"""Places `[..., A]` in 0 to 1 to frames `[..., S, S, 3]` in 0 to 1."""
GRID = np.stack(np.meshgrid(np.linspace(0, 1, SIDE), np.linspace(0, 1, SIDE), indexing="ij"), axis=-1)


def blob(centre: Floats, width: float) -> Floats:
    """A soft spot `[..., S, S]` at `[..., 2]` in 0 to 1."""
    apart = np.square(GRID - centre[..., None, None, :]).sum(axis=-1)
    return np.exp(-apart / (2 * width**2)).astype(np.float32)


def coloured(*layers: tuple[Floats, tuple[float, float, float]]) -> Floats:
    """Layers `[..., S, S]`, each in its colour, on grey."""
    picture = sum(layer[..., None] * np.float32(colour) for layer, colour in layers)
    return np.clip(np.float32(0.2) + picture, 0, 1).astype(np.float32)


def dot(places: Floats) -> Floats:
    """A dot anywhere in a square."""
    return coloured((blob(0.1 + 0.8 * places, 0.06), (0.8, 0.1, 0.1)))


def slider(places: Floats) -> Floats:
    """A bead on a rail: one degree of freedom."""
    rail = np.broadcast_to(
        (np.abs(GRID[..., 0] - 0.5) < 0.03).astype(np.float32) * 0.3, (*places.shape[:-1], SIDE, SIDE)
    )
    centre = np.stack([np.full(places.shape[:-1], 0.5, np.float32), 0.1 + 0.8 * places[..., 0]], axis=-1)
    return coloured((rail, (0.5, 0.5, 0.5)), (blob(centre, 0.08), (0.1, 0.7, 0.3)))


def arm(places: Floats) -> Floats:
    """An arm of two joints, seen from above."""
    first = 2 * np.pi * places[..., 0]
    second = first + np.pi * (places[..., 1] - 0.5)
    elbow = 0.5 + 0.22 * np.stack([np.sin(first), np.cos(first)], axis=-1)
    hand = elbow + 0.2 * np.stack([np.sin(second), np.cos(second)], axis=-1)
    return coloured(
        (blob((0.5 + (elbow - 0.5) / 2).astype(np.float32), 0.05), (0.6, 0.6, 0.6)),
        (blob(elbow.astype(np.float32), 0.05), (0.1, 0.2, 0.9)),
        (blob(hand.astype(np.float32), 0.06), (0.9, 0.6, 0.1)),
    )


def walks(rng: np.random.Generator, count: int, axes: int) -> tuple[Floats, Floats]:
    """Places `[M, L, A]` that bounce off 0 and 1, and the moves `[M, L - 1, A]` in between as they were asked for."""
    moves = rng.uniform(-1, 1, (count, LENGTH - 1, axes)).astype(np.float32)
    places = [rng.random((count, axes), np.float32)]
    for step in range(LENGTH - 1):
        there = places[-1] + 0.15 * moves[:, step]
        places.append(1 - np.abs(1 - np.abs(there)))
    return np.stack(places, axis=1), moves


class Vit(nn.Module):
    """A small vision transformer: patches of 8, two layers, the mean of the tokens."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 64, 8, stride=8)
        self.places = nn.Parameter(torch.randn(1, (SIDE // 8) ** 2, 64) / 8)
        layer = nn.TransformerEncoderLayer(64, 4, 128, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, dim))

    def forward(self, frames: Tensor) -> Tensor:
        """Frames `[B, 3, S, S]` -> latents `[B, D]`."""
        latents: Tensor = self.head(self.layers(self.patches(frames).flatten(2).mT + self.places).mean(dim=1))
        return latents


def convolutions(dim: int) -> nn.Module:
    """Three convolutions and a linear map."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * (SIDE // 8) ** 2, dim),
    )


def perceptron(dim: int) -> nn.Module:
    """Two hidden layers over all pixels."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE**2, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, dim)
    )


def vicreg(latents: Tensor) -> Tensor:
    """Variance and covariance terms of VICReg (arXiv 2105.04906) of latents `[B, D]`."""
    centred = latents - latents.mean(dim=0)
    covariance = centred.T @ centred / (len(latents) - 1)
    off = covariance - covariance.diagonal().diag()
    deviation = (covariance.diagonal() + 1e-4).sqrt()
    return torch.relu(1 - deviation).mean() + off.square().sum() / len(covariance) / 25


def spread(latents: Tensor) -> Tensor:
    """SIGReg of latents `[B, D]`, with the weight that the reference world is trained with."""
    return 10 * sigreg(latents)


@dataclass(frozen=True)
class Kind:
    """One encoder: its data, network, width, and what keeps it from collapsing."""

    draw: Draw
    axes: int
    network: Callable[[int], nn.Module]
    dim: int
    keep: Callable[[Tensor], Tensor]


KINDS: Mapping[str, Kind] = {
    "transformer with SIGReg, 64-d, dot": Kind(dot, 2, Vit, 64, spread),
    "convolutions with SIGReg, 128-d, arm": Kind(arm, 2, convolutions, 128, spread),
    "perceptron with VICReg, 8-d, dot": Kind(dot, 2, perceptron, 8, vicreg),
    "convolutions with VICReg, 24-d, slider": Kind(slider, 1, convolutions, 24, vicreg),
}


@dataclass(frozen=True)
class Seen:
    """What an encoder and its predictor made of held-out data."""

    frames: NDArray[np.uint8]
    """`[M, S, S, 3]`, from which rollouts start."""
    start: Floats
    """`[M, D]`."""
    predicted: Floats
    """`[M, H, D]`."""
    truth: Floats
    """`[M, H, D]`."""


def pictures(kind: Kind, places: Floats) -> Tensor:
    """Frames `[..., 3, S, S]` of places `[..., A]`, as the networks take them."""
    return torch.from_numpy(kind.draw(places)).movedim(-1, -3) - 0.2


def train(kind: Kind, seed: int = 0) -> Seen:
    """Train encoder and predictor together, on two steps of a rollout, and roll out what they have not seen."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    places, moves = walks(rng, TRAIN, kind.axes)
    encoder = kind.network(kind.dim)
    predictor = nn.Sequential(nn.Linear(kind.dim + kind.axes, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU())
    predictor.append(nn.Linear(256, kind.dim))
    optimiser = torch.optim.AdamW([*predictor.parameters(), *encoder.parameters()], RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS)

    def step(latents: Tensor, move: Tensor) -> Tensor:
        return latents + predictor(torch.cat([latents, move], dim=-1))  # type: ignore[no-any-return]

    for _ in range(STEPS):
        rows, first = rng.integers(0, TRAIN, BATCH), int(rng.integers(LENGTH - 3))
        frames = pictures(kind, places[rows, first : first + 3])
        latents = encoder(frames.flatten(0, 1)).unflatten(0, (BATCH, 3))
        asked = torch.from_numpy(moves[rows, first : first + 2])
        once = step(latents[:, 0], asked[:, 0])
        twice = step(once, asked[:, 1])
        loss = (once - latents[:, 1]).square().mean() + (twice - latents[:, 2]).square().mean()
        loss = loss + kind.keep(latents.flatten(0, 1))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    places, moves = walks(np.random.default_rng(seed + 1), HELD_OUT, kind.axes)
    encoder.eval()
    with torch.inference_mode():
        truth = torch.stack([encoder(pictures(kind, places[:, step])) for step in range(LENGTH)], dim=1)
        path = [truth[:, 0]]
        for number in range(LENGTH - 1):
            path.append(step(path[-1], torch.from_numpy(moves[:, number])))
    frames = np.rint(255 * kind.draw(places[:, 0])).astype(np.uint8)
    return Seen(frames, truth[:, 0].numpy(), torch.stack(path[1:], dim=1).numpy(), truth[:, 1:].numpy())


def encoders() -> Iterator[tuple[str, Seen]]:
    """All of them, by name."""
    for name, kind in KINDS.items():
        yield name, train(kind)
