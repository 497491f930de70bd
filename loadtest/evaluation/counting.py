"""How many plans a policy asked for, and how many of them were refused."""

from dataclasses import dataclass, field

from wmserve_client import Client, PlanningPolicy
from wmserve_client.requests import Observations
from wmserve_client.results import Floats

HOLDING_STILL = (0.0, 0.0)
"""What is safe in Two-Room where a plan is refused: velocity zero."""


@dataclass
class Tally:
    """Plans by their status; threads share it."""

    statuses: list[str] = field(default_factory=list)

    def add(self, status: str) -> None:
        """Count one plan."""
        self.statuses.append(status)

    @property
    def asked(self) -> int:
        """Plans."""
        return len(self.statuses)

    @property
    def refused(self) -> int:
        """Plans that were refused, and not executed."""
        return self.statuses.count("refused")


class ServedPolicy(PlanningPolicy):
    """The served world as it is by default; it holds still for a model step where a plan is refused."""

    def __init__(self, client: Client, world: str, tally: Tally) -> None:
        super().__init__(client, world, safe_action=HOLDING_STILL)
        self._tally = tally

    def chunk(self, observation: Observations) -> Floats:
        """Plan now, and count the plan."""
        actions = super().chunk(observation)
        assert self.last_plan is not None, "it has just been made"
        self._tally.add(self.last_plan.status)
        return actions
