"""``make cluster-test``: three gateways, three Tritons and a Redis on loopback, under load while members come and go.

    steady -> a Triton killed -> it is back -> a gateway drained -> back -> a gateway killed -> back -> all is counted

No call may fail but those in flight on what was killed; handles, sessions and keyed answers survive; load is even
within ten seconds of each return. Ends with one line of JSON, and keeps that in
loadtest/results/cluster.json with a picture in docs/cluster.png.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmserve_client import AsyncClient, Encoded, Plan, WmserveError

from loadtest import machine
from loadtest.cluster import load, picture
from loadtest.cluster.members import Cluster
from loadtest.cluster.shares import Shares
from loadtest.serving import ROOT, redis_command

HANDLES = 10
KEY = "a plan that is asked for again and again"


@dataclass(frozen=True)
class Pace:
    """How large a cluster is tested, and how long."""

    members: int = 3
    steady_s: float = 6.0
    away_s: float = 3.0
    even_within_s: float = 10.0
    killed_s: float = 1.0
    """How long after a kill a call may fail that was in flight then."""


SHORT = Pace(members=2, steady_s=1.0, away_s=0.5, even_within_s=60.0, killed_s=10.0)
"""On a machine that has other things to do."""


class Run:
    """One test of one cluster."""

    def __init__(self, cluster: Cluster, client: AsyncClient, pace: Pace) -> None:
        self._cluster = cluster
        self._pace = pace
        self._client = client
        self.shares = Shares()
        self.tally = load.Tally()
        self.events: list[tuple[float, str]] = []
        self.checks: dict[str, str | None] = {}
        """What was checked, and what was wrong with it, if anything was."""
        self.even_s: dict[str, float] = {}
        self._kept: list[tuple[Encoded, bytes]] = []
        self._plan: Plan | None = None
        self._forgiven: list[tuple[float, int]] = []
        """When members were killed, and how many calls were in flight."""

    async def all(self) -> None:
        """Every step, under load."""
        stop = asyncio.Event()
        watching = asyncio.create_task(self.shares.watch(self._cluster))
        callers = load.start(self._client, self.tally, stop)
        try:
            await self._steady()
            await self._triton_killed()
            await self._gateway_drained()
            await self._gateway_killed()
        finally:
            stop.set()
            await asyncio.gather(*callers)
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
        self._count()

    async def _steady(self) -> None:
        for number in range(HANDLES):
            encoded = await self._client.encode(load.WORLD, load.frame(100 + number))
            self._kept.append((encoded, await self._rolled(self._client, encoded)))
        self._plan = await self._planned(self._client)
        await asyncio.sleep(self._pace.steady_s)
        await self._check_all("steady")

    async def _triton_killed(self) -> None:
        self._mark("Triton 0 killed", killed=True)
        self._cluster.kill_triton(0)
        returning = asyncio.create_task(self._triton_returns())
        await self._check_kept("with a Triton away")
        await returning
        await self._check_all("after a Triton was killed")

    async def _triton_returns(self) -> None:
        await asyncio.sleep(1.0)  # who supervises it has seen by then that it is gone
        while self._cluster.tritons[0].unready_reason() is not None:
            await asyncio.sleep(0.1)
        self._mark("back")

    async def _gateway_drained(self) -> None:
        self._mark("gateway 1 drained")
        gateway = self._cluster.gateways[1]
        status = await gateway.drain()
        self._check("a drained gateway ends well", None if status == 0 else f"exit status {status}")
        await asyncio.sleep(self._pace.away_s)
        await self._check_kept("with a gateway away")
        gateway.begin()
        await gateway.ready()
        self._mark("back")
        await self._check_all("after a gateway was drained")

    async def _gateway_killed(self) -> None:
        gateway = self._cluster.gateways[-1]
        self._mark(f"gateway {self._pace.members - 1} killed", killed=True)
        await gateway.kill()
        await asyncio.sleep(self._pace.away_s)
        gateway.begin()
        await gateway.ready()
        self._mark("back")
        await self._check_all("after a gateway was killed")

    def _mark(self, words: str, killed: bool = False) -> None:
        self.events.append((time.monotonic() - self.shares.began, words))
        print(f"{self.events[-1][0]:6.1f} s  {words}", flush=True)
        if killed:
            self._forgiven.append((time.monotonic(), self.tally.in_flight))

    def _check(self, what: str, wrong: str | None) -> None:
        self.checks[what] = wrong
        print(f"          ok: {what}" if wrong is None else f"          WRONG: {what}: {wrong}", flush=True)

    async def _check_all(self, when: str) -> None:
        even_s = await self.shares.even_within(self._pace.even_within_s)
        least = self.shares.least(self.shares.gateways), self.shares.least(self.shares.tritons)
        wrong = f"least shares, of a fair one: gateway {least[0]:.2f}, Triton {least[1]:.2f}"
        self._check(f"load is even {when}", wrong if even_s is None else None)
        if even_s is not None:
            self.even_s[when] = round(even_s, 1)
        await self._check_kept(when)

    async def _check_kept(self, when: str) -> None:
        """Handles and the keyed plan mean the same to each gateway."""
        strange, replanned = [], []
        for number, gateway in enumerate(self._cluster.gateways):
            if gateway.server is None:
                continue
            async with AsyncClient(gateway.address) as client:
                for encoded, rolled in self._kept:
                    try:
                        same = await self._rolled(client, encoded) == rolled
                    except WmserveError as error:
                        strange.append(f"gateway {number}: {error}")
                    else:
                        strange += [] if same else [f"gateway {number} answers something else"]
                if await self._planned(client) != self._plan:
                    replanned.append(f"gateway {number} plans anew")
        self._check(f"handles survive {when}", "; ".join(strange) or None)
        self._check(f"a keyed plan is answered as before {when}", "; ".join(replanned) or None)

    async def _rolled(self, client: AsyncClient, encoded: Encoded) -> bytes:
        rolled = await client.rollout(load.WORLD, encoded, load.actions(0), return_latents=True)
        assert rolled.latents is not None
        return rolled.latents.tobytes()

    async def _planned(self, client: AsyncClient) -> Any:
        """What a repeated plan says, of which no two plans say the same."""
        found = await client.plan(load.WORLD, self._kept[0][0], load.GOAL, planner=load.PLANNER, idempotency_key=KEY)
        return found.decision_id, found.timing

    def _count(self) -> None:
        """Failed calls, and sessions that lost or invented an observation."""
        excused, wrong = dict.fromkeys(range(len(self._forgiven)), 0), []
        for at, verb, why in self.tally.failed:
            after = [one for one, (when, _) in enumerate(self._forgiven) if when <= at < when + self._pace.killed_s]
            kill = after[-1] if after else None
            if kill is None or excused[kill] >= self._forgiven[kill][1]:
                wrong.append(f"{verb} at {at - self.shares.began:.1f} s: {why}")
            else:
                excused[kill] += 1
        self._check("no call failed but those in flight on what was killed", "; ".join(wrong[:5]) or None)
        lost = {
            session: f"{self.tally.sessions[session]} of {told}"
            for session, told in self.tally.observed.items()
            if self.tally.sessions[session] < told or self.tally.sessions[session] > told + len(self._forgiven)
        }
        self._check("sessions lost no observation", f"{lost}" if lost else None)

    def result(self) -> dict[str, Any]:
        """All figures."""
        failed = [what for what, wrong in self.checks.items() if wrong is not None]
        calls = sum(self.tally.answered.values())
        return {
            "ok": not failed,
            "checked": len(self.checks),
            "failed": failed,
            "calls": calls,
            "calls_by_verb": self.tally.answered,
            "calls_failed": len(self.tally.failed),
            "observations": sum(self.tally.observed.values()),
            "even_after_s": self.even_s,
            "seconds": round(time.monotonic() - self.shares.began, 1),
        }


async def run(keep: bool, pace: Pace) -> dict[str, Any]:
    """Start everything, test it, take it down."""
    with tempfile.TemporaryDirectory(prefix="wmserve_cluster_") as folder:
        print(f"starting {pace.members} Tritons, {pace.members} gateways and a Redis", flush=True)
        async with Cluster(Path(folder), pace.members) as cluster, AsyncClient(cluster.address) as client:
            test = Run(cluster, client, pace)
            try:
                await test.all()
            except Exception as error:
                test.checks["the test came to its end"] = f"{type(error).__name__}: {error}"
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            result = test.result()
    if keep:
        wrong = {what: said for what, said in test.checks.items() if said is not None}
        kept = machine.describe("redis") | result | {"checks": list(test.checks), "wrong": wrong, "events": test.events}
        (ROOT / "loadtest/results/cluster.json").write_text(json.dumps(kept, indent=2) + "\n")
        picture.draw(test.shares, test.events, ROOT / "docs/cluster.png")
    return result


def main() -> int:
    """0 when all holds."""
    parser = argparse.ArgumentParser(description="Test a cluster of plain processes on loopback.")
    parser.add_argument("--keep", action="store_true", help="write loadtest/results/cluster.json and docs/cluster.png")
    parser.add_argument("--short", action="store_true", help="a smoke test: fewer members, less time; writes nothing")
    options = parser.parse_args()
    if redis_command() is None:
        missing = "neither redis-server nor valkey-server is installed"
        print(json.dumps({"ok": False, "checked": 0, "failed": [missing]}))
        return 1
    keep = options.keep and not options.short
    result = asyncio.run(run(keep, SHORT if options.short else Pace()))
    print(json.dumps(result))
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
