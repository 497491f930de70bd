"""Seeds of the plans of one episode: all follow from the seed that the caller gives, and no two are alike.

After a refused plan and an action that changes nothing, a search with the same seed makes the same plan again, and that
is refused again.
"""

import numpy as np


def of_call(seed: int, call: int) -> int:
    """The seed of a plan of an episode: the episode's own for the first, 53 bits drawn from it for the others.

    Args:
        seed: Of the episode, 0 or more.
        call: Plans that were asked for before in this episode, refused ones and failed ones included.
    """
    if call == 0:
        return seed
    return int(np.random.SeedSequence((seed, call)).generate_state(1, np.uint64)[0]) >> 11
