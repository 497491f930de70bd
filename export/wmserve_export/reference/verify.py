"""Holds the replica of Two-Room against the environment itself: positions and pixels must be equal.

`python -m wmserve_export.reference.verify`; needs stable-worldmodel, which the replica itself does not.
"""

import numpy as np
from tqdm import trange
from wmserve.torchvision import declare_operators

from wmserve_export.reference import environment
from wmserve_export.reference.collect import DEFAULT_DOOR

SEED = 5_000_000


def register_torchvision_operators() -> None:
    """Declare the two operators that a CUDA build of torchvision looks for on import."""
    declare_operators()


def largest_differences(episodes: int = 20, steps: int = 60) -> tuple[float, int]:
    """Walk side by side behind random doors; the largest differences of positions, px, and of pixel values."""
    from stable_worldmodel.envs.two_room.env import TwoRoomEnv  # slow to import, and only needed here

    real, rng = TwoRoomEnv(), np.random.default_rng(SEED)
    moved, drawn = 0.0, 0
    for episode in trange(episodes, desc="verifying", mininterval=5):
        door = DEFAULT_DOOR if episode == 0 else int(rng.integers(35, 190))
        options = {"variation": ["agent.position"], "variation_values": {"door.position": np.full(3, door)}}
        real.reset(seed=episode, options=options)
        position, goal = environment.free_positions(rng, 1), environment.free_positions(rng, 1)
        real._set_state(position[0])
        for step in range(steps):
            action = environment.expert_action(position, goal, np.array([door], np.float32))
            action = action + rng.normal(0.0, 0.5, action.shape).astype(np.float32)
            position = environment.step(position, action, np.array([door], np.float32))
            state = real.step(action[0])[4]["state"]
            moved = max(moved, float(np.abs(state - position[0]).max()))
            if step % 10 == 0:
                frame = environment.render(position, door)[0].numpy().astype(int)
                drawn = max(drawn, int(np.abs(frame - real.render()).max()))
    return moved, drawn


def main() -> None:
    """Command line."""
    register_torchvision_operators()
    moved, drawn = largest_differences()
    print(f"largest difference: position {moved} px, pixel value {drawn}")
    if moved or drawn:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
