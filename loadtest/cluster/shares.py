"""Who answered how much: counts of each gateway and each Triton, each half second."""

import asyncio
import re
import time
from dataclasses import dataclass, field

from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from loadtest.cluster.members import Cluster, Gateway

PERIOD_S = 0.5
WINDOW = 4
"""Periods over which shares are looked at."""
EVEN = 0.6
"""Of a fair share, the least that the least of them has where load is called even."""
COUNT = re.compile(r'^wmserve_request_seconds_count\{code="ok",[^}]*\} (\S+)$', re.MULTILINE)


Counts = list[float | None]


@dataclass
class Shares:
    """Calls answered in each period, by member; 0 where it did not say."""

    began: float = field(default_factory=time.monotonic)
    at_s: list[float] = field(default_factory=list)
    gateways: list[list[float]] = field(default_factory=list)
    tritons: list[list[float]] = field(default_factory=list)

    async def watch(self, cluster: Cluster) -> None:
        """Take counts until it is cancelled."""
        clients = [InferenceServerClient(triton.grpc_address) for triton in cluster.tritons]
        last = await counts(cluster, clients)
        try:
            while True:
                await asyncio.sleep(PERIOD_S)
                now = await counts(cluster, clients)
                self.at_s.append(time.monotonic() - self.began)
                for series, *two in zip((self.gateways, self.tritons), last, now, strict=True):
                    series.append([gained(*pair) for pair in zip(*two, strict=True)])
                last = now
        finally:
            for client in clients:
                await client.close()

    def least(self, series: list[list[float]]) -> float:
        """The least share of the last periods, over a fair one."""
        recent = series[-WINDOW:]
        totals = [sum(column) for column in zip(*recent, strict=True)]
        return min(totals) * len(totals) / max(sum(totals), 1.0)

    async def even_within(self, limit_s: float) -> float | None:
        """Seconds until all members have had their share for a window; None if that took longer than the limit."""
        began = time.monotonic()
        while time.monotonic() - began < limit_s:
            await asyncio.sleep(PERIOD_S / 2)
            if min(self.least(self.gateways), self.least(self.tritons)) >= EVEN:
                return time.monotonic() - began
        return None


async def counts(cluster: Cluster, clients: list[InferenceServerClient]) -> tuple[Counts, Counts]:
    """Calls answered by each gateway and each Triton since it started; None where it is away."""
    asked = [*(of_gateway(one) for one in cluster.gateways), *(of_triton(one) for one in clients)]
    found = await asyncio.gather(*asked)
    return found[: len(cluster.gateways)], found[len(cluster.gateways) :]


async def of_gateway(gateway: Gateway) -> float | None:
    """Calls that a gateway has answered."""
    if gateway.server is None:
        return None
    status, text = await asyncio.to_thread(gateway.server.get, "/metrics")
    return sum(float(count) for count in COUNT.findall(text)) if status == 200 else None


async def of_triton(client: InferenceServerClient) -> float | None:
    """Requests that a Triton has run."""
    try:
        answer = await client.get_inference_statistics(client_timeout=1.0)
    except InferenceServerException:
        return None
    return float(sum(model.inference_count for model in answer.model_stats))


def gained(before: float | None, now: float | None) -> float:
    """What was added; a member that was started again begins at 0."""
    if now is None:
        return 0.0
    return now - before if before is not None and before <= now else now
