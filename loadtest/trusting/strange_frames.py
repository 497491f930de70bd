"""Frames that the world was never made for, each kind drawn many times from healthy ones."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from wmserve_export.reference import collect, environment

Frame = NDArray[np.uint8]
BACKGROUND = 200
WALL = slice(int(environment.WALL) - environment.WALL_HALF, int(environment.WALL) + environment.WALL_HALF + 1)
INSIDE = slice(environment.BORDER, environment.SIZE - environment.BORDER)
MOVED = 40
"""Pixels by which the wall is moved."""


def noise(strength: float) -> Callable[[Tensor, int, np.random.Generator], Tensor]:
    """A noisy camera; strength in standard deviations of a pixel."""

    def change(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
        del door
        noisy = frame.numpy() + strength * rng.standard_normal(frame.shape)
        return torch.from_numpy(noisy.clip(0, 255).astype(np.uint8))

    return change


def blue_agent(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """The agent in another colour."""
    del door, rng
    return frame[..., [2, 1, 0]]


def tinted(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """Another background."""
    del door, rng
    changed = frame.clone()
    changed[(frame > BACKGROUND).all(dim=-1)] = torch.tensor([200, 220, 255], dtype=torch.uint8)
    return changed


def dark(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """Less light."""
    del door, rng
    return (0.7 * frame).to(torch.uint8)


def nobody(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """An agent that is not there."""
    del frame, rng
    return environment.layout(door)


def two_doors(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """A second door, elsewhere in the wall."""
    changed, second = frame.clone(), door
    while abs(second - door) < 3 * environment.DOOR_HALF:
        second = int(rng.integers(35, 190))
    opening = changed[second - environment.DOOR_HALF : second + environment.DOOR_HALF + 1, WALL]
    opening[(opening == 0).all(dim=-1)] = 255
    return changed


def no_door(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """A wall without a door."""
    del door, rng
    changed = frame.clone()
    changed[INSIDE, WALL] = 0
    return changed


def moved_wall(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """The wall, elsewhere."""
    del rng
    changed = frame.clone()
    changed[INSIDE, WALL] = 255
    place = slice(WALL.start + MOVED, WALL.stop + MOVED)
    changed[INSIDE, place] = 0
    changed[door - environment.DOOR_HALF : door + environment.DOOR_HALF + 1, place] = 255
    return changed


def turned(frame: Tensor, door: int, rng: np.random.Generator) -> Tensor:
    """A wall that lies."""
    del door, rng
    return frame.transpose(0, 1)


KINDS: Mapping[str, Mapping[str, Callable[[Tensor, int, np.random.Generator], Tensor]]] = {
    "noise": {"noise of 20": noise(20), "noise of 60": noise(60)},
    "changed colours": {"blue agent": blue_agent, "tinted": tinted, "dark": dark},
    "an agent that is not there": {"nobody": nobody},
    "an unseen layout": {
        "two doors": two_doors,
        "no door": no_door,
        "the wall moved": moved_wall,
        "the wall turned": turned,
    },
}


def draw(count: int, seed: int) -> tuple[list[Frame], dict[str, dict[str, list[Frame]]]]:
    """Healthy frames, and those of each kind made of them."""
    rng = np.random.default_rng(seed)
    doors = collect.any_doors(rng, count)
    places = environment.free_positions(rng, count)
    healthy = [environment.render(places[i : i + 1], int(door))[0] for i, door in enumerate(doors)]
    strange = {
        kind: {
            name: [
                change(frame, int(door), rng).contiguous().numpy() for frame, door in zip(healthy, doors, strict=True)
            ]
            for name, change in changes.items()
        }
        for kind, changes in KINDS.items()
    }
    return [frame.numpy() for frame in healthy], strange
