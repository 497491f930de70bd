"""What users send: the frames of `docs/`, and actions within the bounds of the reference world."""

import base64
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.serving import ROOT

WORLD = "two_room"
START, GOAL = ROOT / "docs" / "start.png", ROOT / "docs" / "goal.png"
STEPS, WIDTH = 25, 2
ROBOT_TURNS_PER_S = 5
PLANNER = {"algorithm": "icem", "candidate_count": 32, "iterations": 2}
"""The reference world's own search."""
PROTOBUF_HEADERS = {"content-type": "application/x-protobuf"}


@cache
def frame(picture: Path) -> NDArray[np.uint8]:
    """A picture's pixels `[h, w, 3]`."""
    return np.asarray(Image.open(picture).convert("RGB"))


@cache
def picture(file: Path) -> str:
    """A picture file in base64."""
    return base64.b64encode(file.read_bytes()).decode()


def actions(candidates: int) -> NDArray[np.float32]:
    """Random candidates `[S, N, A]`, environment units, in two decimals as a caller writes them."""
    return np.random.default_rng().uniform(-1, 1, (candidates, STEPS, WIDTH)).round(2).astype(np.float32)
