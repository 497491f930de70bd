"""The parts of ``make cluster-test``.

members   three Tritons, three gateways and a Redis, as plain processes on loopback; killed, drained and started again
load      callers that use everything that outlives a call, through one balanced address
shares    who answered how much, each half second
picture   calls a second of each gateway and each Triton, with what happened to them
"""
