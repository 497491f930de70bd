"""Has LeRobot's own code write a LeRobotDataset v3 and read it back; run by test_trajectories_formats.py.

    python lerobot_recorder.py FOLDER

FOLDER/dataset has a camera in videos and one in its parquet files; FOLDER/read.npz what LeRobot reads of them.
"""

import sys
import warnings
from pathlib import Path

import numpy as np

LENGTHS = (7, 5, 9)
SIDE, FPS = 32, 10


def picture(episode: int, step: int) -> np.ndarray:
    """A gradient that is brighter at each step, so that neighbours can be told apart in a video."""
    ramp = np.linspace(0, 60, SIDE)[None, :, None] + np.array([0, 20, 40])
    return (np.broadcast_to(ramp, (SIDE, SIDE, 3)) + 15 * step + 5 * episode).astype(np.uint8)


def main(folder: Path) -> None:
    """Write, then read."""
    warnings.simplefilter("ignore")  # LeRobot's imports are its own business

    import loadtest.evaluation  # noqa: F401  # lets LeRobot import torchvision

    # isort: split
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    names = ["x", "y", "gripper"]
    image = {"shape": (SIDE, SIDE, 3), "names": ["height", "width", "channels"]}
    features = {
        "observation.images.top": {"dtype": "video", **image},
        "observation.images.wrist": {"dtype": "image", **image},
        "observation.state": {"dtype": "float32", "shape": (2,), "names": {"motors": ["reach", "turn"]}},
        "action": {"dtype": "float32", "shape": (3,), "names": names},
    }
    dataset = LeRobotDataset.create("me/recorded", FPS, features, root=folder / "dataset", use_videos=True)
    for episode, length in enumerate(LENGTHS):
        for step in range(length):
            frame = picture(episode, step)
            numbers = np.array([episode, step, 0.5], np.float32)
            dataset.add_frame(
                {
                    "observation.images.top": frame,
                    "observation.images.wrist": frame[::-1],
                    "observation.state": numbers[:2],
                    "action": numbers,
                    "task": "push",
                }
            )
        dataset.save_episode()
    dataset.finalize()
    again = LeRobotDataset("me/recorded", root=folder / "dataset").hf_dataset  # its videos need a decoder of their own
    rows = [again[index] for index in range(len(again))]
    keys = ("observation.images.wrist", "observation.state", "action", "episode_index")
    np.savez(folder / "read.npz", **{key: np.stack([row[key].numpy() for row in rows]) for key in keys})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
