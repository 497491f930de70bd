"""Versions of a world: how they and their Triton models are named, and which of them answers.

A version is one complete set, engines, contract and calibration, that is never changed once it is written. It is
numbered 1, 2, 3 …, and ``two_room@2`` addresses it (:mod:`wmserve.addresses`). Which version answers stands in the
world's :class:`Route`: JSON in the parameters of a Triton model of its own, ``two_room_route``, so that it travels to
servers as contracts do and changes by the renaming of one file. A world of one version needs none.

World names have no ``-`` and no ``@``, so no name below is that of another world.
"""

import re
from typing import Annotated, Self

from pydantic import Field, FiniteFloat, PositiveInt, model_validator

from wmserve.world import VERBS, Part, WorldName

ROUTE_PARAMETER = "wmserve_route"
"""The key in the route model's ``parameters`` under which the route's JSON stands."""
ROUTE_BACKEND = "wmserve_route"
ROUTE_SUFFIX = "_route"
MODEL = re.compile(rf"([a-z][a-z0-9_]*?)(?:-v([1-9]\d*))?_({'|'.join(VERBS)})")


class Share(Part):
    """A version that gets a part of the traffic."""

    version: PositiveInt
    share: Annotated[FiniteFloat, Field(gt=0, le=1)]
    """Of requests for a shadow, of sessions for a canary."""


class Route(Part):
    """Which versions of a world answer."""

    world: WorldName
    live: PositiveInt
    """Answers whoever names no version."""
    previous: PositiveInt | None = None
    """Was live before: what a rollback goes back to."""
    shadow: Share | None = None
    """Gets a share of the requests too, and answers nobody."""
    canary: Share | None = None
    """Answers a share of the sessions."""
    retired: dict[PositiveInt, FiniteFloat] = Field(default_factory=dict)
    """Versions that are to be removed, and since when, seconds since 1970."""

    @property
    def used(self) -> set[int]:
        """Versions that have a part in it."""
        shares = {one.version for one in (self.shadow, self.canary) if one is not None}
        return {self.live, *shares, *(() if self.previous is None else (self.previous,))}

    @model_validator(mode="after")
    def _versions_differ(self) -> Self:
        for name, one in (("shadow", self.shadow), ("canary", self.canary)):
            if one is not None and one.version == self.live:
                raise ValueError(f"version {self.live} is live, so it cannot be the {name}")
        if self.previous == self.live:
            raise ValueError(f"version {self.live} cannot be live and previous")
        return self


def parse_model(model: str) -> tuple[str, int, str] | None:
    """World, version and verb of a verb's Triton model; None for other models."""
    found = MODEL.fullmatch(model)
    return None if found is None else (found[1], int(found[2] or 1), found[3])


def route_model(name: str) -> str:
    """Name of the Triton model that carries a world's route."""
    return f"{name}{ROUTE_SUFFIX}"
