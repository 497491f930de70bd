"""The client of a wmserve server: numpy in and out, a deadline on every call; grpcio, numpy and protobuf, no more.

with Client("localhost:8081") as client:
    plan = client.plan("two_room", context=frame, goal={"agent_x": 180.0, "agent_y": 60.0})
"""

from wmserve_client.client import AsyncClient, Client
from wmserve_client.control import AsyncControl, Control
from wmserve_client.errors import (
    BackendFault,
    DeadlineExceeded,
    HandleOutdated,
    InvalidRequest,
    NotFound,
    Overloaded,
    PlanRefusedError,
    Unavailable,
    WmserveError,
)
from wmserve_client.policy import PlanningPolicy
from wmserve_client.requests import Acted, ActionLimits, Constraint, Context, Guard, Observation, PlannerOptions
from wmserve_client.results import Encoded, Observed, Plan, Rollout, Turn, World, WorldVersion

__all__ = [
    "Acted",
    "ActionLimits",
    "AsyncClient",
    "AsyncControl",
    "BackendFault",
    "Client",
    "Constraint",
    "Context",
    "Control",
    "DeadlineExceeded",
    "Encoded",
    "Guard",
    "HandleOutdated",
    "InvalidRequest",
    "NotFound",
    "Observation",
    "Observed",
    "Overloaded",
    "Plan",
    "PlanRefusedError",
    "PlannerOptions",
    "PlanningPolicy",
    "Rollout",
    "Turn",
    "Unavailable",
    "WmserveError",
    "World",
    "WorldVersion",
]
