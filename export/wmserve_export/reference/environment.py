"""`swm/TwoRoom-v1` of stable-worldmodel 0.1.1 for many agents at once: its dynamics, its frames, its expert.

A replica, because the environment itself steps and draws one agent at a time (2 ms a frame). The replica follows
the same float32 operations in the same order; `verify` steps both side by side and compares positions and pixels.

Positions `[M, 2]` float32 are (x, y) in pixels of the 224 x 224 frame; actions `[M, 2]` float32 in [-1, 1] move an
agent by SPEED pixels each axis; a door is the y of its centre, pixels. Two rooms, left and right of a wall at WALL.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

SIZE = 224
SPEED = 5.0
WALL = 112.0
WALL_HALF = 5
RADIUS = 7.0
DOOR_HALF = 14
DOOR_MARGIN = 1.75
BORDER = 14
LINE = 4
SUCCESS_RADIUS = 16.0
LOW, HIGH = BORDER + RADIUS, SIZE - BORDER - RADIUS
"""Where an agent can walk; it may be set down up to RADIUS outside."""
START_LOW, START_HIGH = 14.0, 209.0
LEFT_STOP, RIGHT_STOP = WALL - WALL_HALF - RADIUS, WALL + WALL_HALF + RADIUS
DOT = 42
"""Reach of the agent's dot, pixels: beyond it its opacity is lost in float32."""


def step(position: Floats, action: Floats, door: Floats) -> Floats:
    """Move agents `[M, 2]` one environment step; walls and borders stop them as in the environment."""
    moved = position + np.clip(action, -1.0, 1.0).astype(np.float32) * np.float32(SPEED)
    x, y = np.clip(moved, LOW, HIGH).astype(np.float32).T
    blocked = np.abs(y - door) > DOOR_HALF + DOOR_MARGIN
    left = position[:, 0] < WALL
    x = np.where(left & (x > LEFT_STOP) & blocked, LEFT_STOP - 0.5, x)
    x = np.where(~left & (x < RIGHT_STOP) & blocked, RIGHT_STOP + 0.5, x)
    return np.stack([x, y], axis=1).astype(np.float32)


def expert_action(position: Floats, goal: Floats, door: Floats) -> Floats:
    """Unit actions `[M, 2]` of the environment's own expert: to the door's centre, then to the goal."""
    gate = np.stack([np.full_like(door, WALL), door], axis=1)
    through = (position[:, 0] > WALL) != (goal[:, 0] > WALL)
    far = np.linalg.norm(gate - position, axis=1) > 10.5
    direction = np.where((through & far)[:, None], gate, goal) - position
    norm = np.linalg.norm(direction, axis=1, keepdims=True)
    return np.where(norm > 1e-8, direction / np.maximum(norm, 1e-8), 0.0).astype(np.float32)


def free_positions(rng: np.random.Generator, count: int) -> Floats:
    """Positions `[M, 2]` anywhere outside the wall, as the environment draws them at reset."""
    position = rng.uniform(START_LOW, START_HIGH, (count, 2)).astype(np.float32)
    inside = (position[:, 0] >= LEFT_STOP) & (position[:, 0] <= RIGHT_STOP)
    position[inside] = free_positions(rng, int(inside.sum())) if inside.any() else position[inside]
    return position


def layout(door: int) -> Tensor:
    """The empty rooms `[224, 224, 3]` uint8: white, black border lines, black wall with a door."""
    frame = torch.full((SIZE, SIZE, 3), 255, dtype=torch.uint8)
    middle, half = int(WALL), WALL_HALF
    frame[:, middle - half : middle + half + 1] = 0
    frame[max(door - DOOR_HALF, 0) : door + DOOR_HALF + 1, middle - half : middle + half + 1] = 255
    for edge in (BORDER - LINE, SIZE - BORDER):
        frame[edge : edge + LINE] = 0
        frame[:, edge : edge + LINE] = 0
    return frame


def render(position: Floats, door: int) -> Tensor:
    """Frames `[M, 224, 224, 3]` uint8 of agents `[M, 2]` in one layout."""
    count, width = len(position), 2 * DOT + 1
    frames = layout(door).expand(count, -1, -1, -1).clone()
    place = torch.from_numpy(position)
    corner = (place.round().long() - DOT).clamp(0, SIZE - width)
    columns = corner[:, :1] + torch.arange(width)
    rows = corner[:, 1:] + torch.arange(width)
    dx = columns[:, None, :].float() - place[:, 0, None, None]
    dy = rows[:, :, None].float() - place[:, 1, None, None]
    dot = torch.exp(-(dx * dx + dy * dy) / (2.0 * RADIUS * RADIUS))
    opacity = (dot / dot.amax(dim=(1, 2), keepdim=True)).clamp(0, 1)[..., None]
    at = (torch.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :])
    red = torch.tensor([255.0, 0.0, 0.0])
    frames[at] = (frames[at].float() * (1.0 - opacity) + red * opacity).to(torch.uint8)
    return frames
