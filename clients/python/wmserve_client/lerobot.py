"""Lets LeRobot's own loops drive a server: `WmservePolicy` is a `PreTrainedPolicy` whose actions are planned.

lerobot_eval.rollout -> select_action(batch) -> a plan for each row of the batch, handed out step by step
a policy server      -> predict_action_chunk(batch) -> what is to be executed before planning again

A batch is as LeRobot's loops make it: images `[B, 3, h, w]` float in [0, 1], not normalised (the world does that
itself), states `[B, Q]`; actions are `[B, A]`, environment units, likewise not normalised. A goal is an image of the
batch, under the configuration's `goal_camera`, or one for all, given to `set_goal`.

A refused plan is not executed: `safe_action` is, for a model step, and then it plans again. Without a safe action,
which is the default, `PlanRefusedError` says why; what holds still is for the caller to know, since zeros do with
velocities and not with positions.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from wmserve_client.client import DEFAULT_ADDRESS, DEFAULT_TIMEOUT_S, Client
from wmserve_client.policy import PlanningPolicy
from wmserve_client.requests import Observation, Observations, Source
from wmserve_client.results import Floats

try:
    import torch
    from lerobot.configs.policies import PreTrainedConfig
    from lerobot.policies.pretrained import PreTrainedPolicy
    from lerobot.processor import PolicyProcessorPipeline
    from lerobot.processor.converters import policy_action_to_transition, transition_to_policy_action
except ModuleNotFoundError as error:  # the plain install has no robots
    raise ModuleNotFoundError("this adapter needs: pip install 'wmserve[lerobot]'") from error

MAX_CONCURRENT_PLANS = 8
Batch = dict[str, Any]
Answer = TypeVar("Answer")
Ask = Callable[[PlanningPolicy, Observations], Answer]


@PreTrainedConfig.register_subclass("wmserve")
@dataclass
class WmserveConfig(PreTrainedConfig):  # type: ignore[misc]  # LeRobot ships no types
    """Which world to ask, and where a batch has what it is shown."""

    address: str = DEFAULT_ADDRESS
    """host:port of the server's gRPC endpoint."""
    world: str = ""
    camera: str | None = "observation.image"
    """The batch's key of what is seen; None for a world that looks at no frames."""
    state: str = "observation.state"
    """The batch's key of proprioception `[B, Q]`, asked for where the world takes it."""
    goal_camera: str = "observation.images.goal"
    """The batch's key of the goal's image, where none was set."""
    safe_action: list[float] | None = None
    """`[A]`, environment units: done for a model step where a plan is refused."""
    receding_horizon: int | None = None
    """Model steps executed before planning again; None takes the world's."""
    timeout_s: float = DEFAULT_TIMEOUT_S

    observation_delta_indices = None
    action_delta_indices = None
    reward_delta_indices = None

    def validate_features(self) -> None:
        """Nothing to hold them to: the server checks what it is sent."""

    def get_optimizer_preset(self) -> Any:
        """Raise: nothing is trained here."""
        raise NotImplementedError("a served world is trained where it is exported")

    def get_scheduler_preset(self) -> None:
        """None: nothing is trained here."""


class WmservePolicy(PreTrainedPolicy):  # type: ignore[misc]  # LeRobot ships no types
    """Acts in each row of a batch by asking a server to plan."""

    config_class = WmserveConfig
    name = "wmserve"

    def __init__(self, config: WmserveConfig, client: Client | None = None, **_: Any) -> None:
        """Ask at the configuration's address, or through a `client`; what else LeRobot passes is of its data sets."""
        super().__init__(config)
        self._client = client or Client(config.address, timeout_s=config.timeout_s)
        self._felt = len(self._client.world(config.world).observation.proprioception) > 0
        self._goal: Source | Mapping[str, float] | None = None
        self._rows: list[PlanningPolicy] = []

    def set_goal(self, goal: Source | Mapping[str, float] | None) -> None:
        """Go for one goal in all rows, a picture or wanted readouts; None for those in the batches."""
        self._goal = goal
        self.reset()

    def reset(self, rows: Sequence[int] | None = None) -> None:
        """Begin new episodes in these rows of the batches, or in all.

        LeRobot's own loops call it for all; a loop whose vector environment resets rows by themselves names those rows
        at the step after. Where another goal comes with another episode that is noticed without.
        """
        if rows is None:
            self._rows = []
        for row in rows or ():
            self._rows[row] = self._policy()

    def select_action(self, batch: Batch, **_: Any) -> torch.Tensor:
        """The next action of each row, `[B, A]`; plans where the last plan has been executed."""
        rows, seen = self._aimed(batch)
        concurrently(PlanningPolicy.prepare, rows, seen)
        return self._tensor([row.act(one) for row, one in zip(rows, seen, strict=True)], batch)

    def predict_action_chunk(self, batch: Batch, **_: Any) -> torch.Tensor:
        """Plan for each row: `[B, n, A]`, what is to be executed before planning again, and what was judged."""
        rows, seen = self._aimed(batch)
        chunks = concurrently(PlanningPolicy.chunk, rows, seen)
        shortest = min(map(len, chunks))  # what is safe where a plan was refused is shorter than a plan
        for row in rows:
            row.executed(shortest)
        return self._tensor([chunk[:shortest] for chunk in chunks], batch)

    def forward(self, batch: Batch) -> tuple[torch.Tensor, dict[str, Any] | None]:
        """Raise: there is no loss."""
        raise NotImplementedError("a served world is trained where it is exported")

    def get_optim_params(self) -> dict[str, Any]:
        """Nothing: there are no parameters on this side."""
        return {}

    def _aimed(self, batch: Batch) -> tuple[list[PlanningPolicy], list[Observations]]:
        """The policies of a batch's rows, each with its goal, and what each is shown."""
        given = self._given(batch)
        if len(self._rows) != len(given):  # another pool: its rows are of other episodes
            self._rows = [self._policy() for _ in range(len(given))]
        for index, row in enumerate(self._rows):
            row.aim(self._goal if self._goal is not None else self._goal_of(batch, index))
        return self._rows, [self._seen(batch, index) for index in range(len(given))]

    def _given(self, batch: Batch) -> torch.Tensor:
        """What a batch surely has, one a row."""
        if self.config.camera is not None:
            return batch[self.config.camera]
        if not self._felt:
            raise ValueError(f"world {self.config.world} looks at frames: name the batch's key of them, `camera`")
        return batch[self.config.state]

    def _seen(self, batch: Batch, index: int) -> Observations:
        """What a row is shown, with what the robot says of itself where the world takes that."""
        camera = self.config.camera
        seen = None if camera is None else frame(batch[camera][index])
        if self._felt:
            return Observation(seen, batch[self.config.state][index].cpu().numpy())
        assert seen is not None, "one of the two is there"
        return seen

    def _tensor(self, actions: list[Floats], batch: Batch) -> torch.Tensor:
        """Actions where the batch is."""
        return torch.from_numpy(np.stack(actions)).to(self._given(batch).device)

    def _goal_of(self, batch: Batch, index: int) -> NDArray[np.uint8]:
        key = self.config.goal_camera
        if key not in batch:
            raise ValueError(f"there is no goal: call set_goal, or have its image in the batch as `{key}`")
        return frame(batch[key][index])

    def _policy(self) -> PlanningPolicy:
        config = self.config
        return PlanningPolicy(
            self._client, config.world, receding_horizon=config.receding_horizon, safe_action=config.safe_action
        )


def frame(image: torch.Tensor) -> NDArray[np.uint8]:
    """A frame `[h, w, 3]` uint8 of an image `[3, h, w]`, float in [0, 1] or uint8; ValueError for normalised ones."""
    if image.dtype != torch.uint8:
        if float(image.min()) < 0 or float(image.max()) > 1:
            raise ValueError("images must be in [0, 1]: leave normalising to the world, which has its own statistics")
        image = (image * 255).round().to(torch.uint8)
    return image.permute(1, 2, 0).cpu().numpy()


def concurrently(ask: Ask[Answer], rows: list[PlanningPolicy], seen: list[Observations]) -> list[Answer]:
    """Ask of each row what it answers to what it sees, several at once."""
    with ThreadPoolExecutor(MAX_CONCURRENT_PLANS) as pool:
        return list(pool.map(ask, rows, seen))


def make_wmserve_pre_post_processors(config: WmserveConfig, dataset_stats: Any = None) -> tuple[Any, Any]:
    """The pipelines around the policy, found by LeRobot under this name: they change nothing."""
    del config, dataset_stats
    before = PolicyProcessorPipeline[dict[str, Any], dict[str, Any]](steps=[], name="policy_preprocessor")
    after = PolicyProcessorPipeline[torch.Tensor, torch.Tensor](
        steps=[],
        name="policy_postprocessor",
        to_transition=policy_action_to_transition,
        to_output=transition_to_policy_action,
    )
    return before, after
