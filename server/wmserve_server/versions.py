"""Which version of a world answers: what its route asks for, as far as the engines are ready for it.

route: live 2          version 2 is complete        -> 2 answers
                       it is not, another answered  -> that one goes on, and the problem is named
                       nothing has answered yet     -> the previous version, once 2 has had FALLBACK_S
no route               what answered goes on; at first the highest version
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from wmserve.addresses import address
from wmserve.versions import Route, Share
from wmserve.world import World

FALLBACK_S = 30.0
"""Seconds for which a server that has just started waits for the live version before it serves the previous one."""


@dataclass(frozen=True)
class Versions:
    """Versions of one world that are served, and which of them answers whom."""

    worlds: Mapping[int, World]
    live: int
    route: Route

    @property
    def answering(self) -> World:
        """The version that answers whoever names none."""
        return self.worlds[self.live]

    def of_session(self, session: str) -> World:
        """The version that answers a session: the canary its share of them, always the same ones; the live the rest."""
        canary = self.route.canary
        if canary is None or not session or canary.version not in self.worlds:
            return self.answering
        drawn = hashlib.sha256(f"{self.route.world}@{canary.version} {session}".encode()).digest()
        inside = int.from_bytes(drawn[:8], "big") < canary.share * 2**64
        return self.worlds[canary.version] if inside else self.answering

    @property
    def shares(self) -> tuple[int, Share | None, Share | None]:
        """What is compared: numbers of before a change of this are about something else."""
        return self.live, self.route.shadow, self.route.canary

    def part(self, version: int) -> tuple[str, float]:
        """What part a version has, empty where it answers only who names it; and its share of that, 0 where all."""
        if version == self.live:
            return "live", 0.0
        for name, one in (("canary", self.route.canary), ("shadow", self.route.shadow)):
            if one is not None and one.version == version:
                return name, one.share
        return ("previous", 0.0) if version == self.route.previous else ("", 0.0)

    def describe(self) -> str:
        """Versions by number, and the one that is live."""
        return ", ".join(f"{n} (live)" if n == self.live else str(n) for n in sorted(self.worlds))


def shares(found: Versions | None) -> tuple[int, Share | None, Share | None] | None:
    """What is compared of a world; None of one that was not served."""
    return None if found is None else found.shares


def choose(
    name: str, worlds: Mapping[int, World], route: Route | None, before: Versions | None, waited_s: float
) -> Versions | None:
    """Versions of a world as they are served now; None while none is to answer.

    `before` is what was served until now, and so many seconds have passed since the world was first looked for.
    """
    if route is None:
        known = before is not None and before.live in worlds
        live = before.live if known and before is not None else max(worlds, default=0)
        return Versions(worlds, live, Route(world=name, live=live)) if worlds else None
    if route.live in worlds:
        return Versions(worlds, route.live, route)
    if before is not None and before.live in worlds:
        return Versions(worlds, before.live, route)
    if waited_s > FALLBACK_S and route.previous in worlds and route.previous is not None:
        return Versions(worlds, route.previous, route)
    return None


def amiss(name: str, found: Versions | None, route: Route | None) -> str | None:
    """What is amiss with a route; None where the version answers that it names."""
    if route is None or (found is not None and found.live == route.live):
        return None
    instead = "nothing" if found is None else address(name, found.live)
    return f"{address(name, route.live)} is to be live and is not ready: {instead} answers"
