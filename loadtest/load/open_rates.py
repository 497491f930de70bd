"""The open loop beside locust's closed one: rollouts leave on a schedule, faster and faster, whatever comes back.

Latency counts from when a request should have left, so what waits behind a slow answer is seen as slow, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from wmserve.arrays import to_tensor
from wmserve.v1 import world_model_pb2 as pb
from wmserve_client import Client

from loadtest.load.bodies import PROTOBUF_HEADERS, START, WORLD, actions, frame
from loadtest.serve import open_loop
from loadtest.serve.closed_loop import Target
from loadtest.serving import Server

RATES = (25, 50, 100, 150, 200, 300, 400, 600, 800, 1200)
CANDIDATES = 8
LATE_MS, MISSED = 1000.0, 0.01
"""No faster rate is tried where a hundredth of the requests takes longer, or is not answered."""


@dataclass(frozen=True)
class Rate:
    """What became of requests that left so often; infinite where over a hundredth was not answered."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    missed: float
    """Part that was refused or not answered."""


def measured(server: Server, seconds: float, rates: Sequence[int] = RATES) -> Iterator[Rate]:
    """One rate after the other, so many seconds each."""
    with Client(server.grpc) as client:
        latents_id = client.encode(WORLD, frame(START)).latents_id
    asked = pb.RolloutRequest(
        world=WORLD, context=pb.Context(latents_id=latents_id), actions=to_tensor(actions(CANDIDATES))
    )
    target = Target(
        "rollout", f"{server.http}/v1/rollout", asked.SerializeToString(), PROTOBUF_HEADERS, server.process.pid
    )
    for rate in rates:
        latencies = open_loop.run(target, rate, seconds)
        p50, p99 = (float(value) for value in np.percentile(latencies, (50, 99), method="higher"))
        found = Rate(rate, p50, p99, float(np.mean(~np.isfinite(latencies))))
        yield found
        if p99 > LATE_MS or found.missed > MISSED:
            return
