"""The serving benchmark measures what it says: real answers, counted and charged to the right processes."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from loadtest import processes
from loadtest.report import Goal, Report
from loadtest.serve import bodies, closed_loop, contenders, open_loop
from loadtest.serve.closed_loop import Target
from tests.conftest import Server


def test_all_targets_give_the_same_answer(server: Server) -> None:
    """Triton alone and the gateway on every wire read the same from the frame; making targets checks that."""
    targets = contenders.ours(server)
    assert targets.answer.readouts.shape == (3,)
    assert targets.direct.pid != targets.grpc.pid == server.process.pid


def test_open_loop_speaks_both_wires(server: Server) -> None:
    """Every request of a schedule is answered, on gRPC (gateway and Triton) as on HTTP."""
    targets = contenders.ours(server)
    for target in (targets.grpc, targets.http, targets.direct):
        latencies = open_loop.play(target, rate_per_s=100, seconds=0.5)
        assert len(latencies) == 50
        assert np.isfinite(latencies).all()
        assert (latencies > 0).all()


def test_open_loop_does_not_take_an_error_for_an_answer(server: Server) -> None:
    """A gRPC error is an HTTP 200 too: it is told by the size of its body."""
    good = contenders.ours(server).grpc
    wrong = bodies.grpc_frame(b"")
    bad = Target("bad", good.url, wrong, good.headers, good.pid, grpc=True, answer_bytes=good.answer_bytes)
    assert not np.isfinite(open_loop.play(bad, rate_per_s=100, seconds=0.1)).any()


@pytest.mark.skipif(shutil.which("h2load") is None, reason=closed_loop.INSTALL)
def test_closed_loop_counts_and_charges(server: Server) -> None:
    """Throughput, latency and CPU are all there, and an error on gRPC is found."""
    target = contenders.ours(server).grpc
    load = closed_loop.run(target, callers=2, seconds=1.0)
    assert load.requests_per_s == pytest.approx(len(load.latencies_ms), rel=0.3)
    assert load.cpu_ms > 0
    bad = Target("bad", target.url, bodies.grpc_frame(b""), target.headers, target.pid, True, target.answer_bytes)
    with pytest.raises(RuntimeError, match="bad"):
        closed_loop.warm_up(bad, callers=1, requests=3)


def test_cpu_of_children_counts() -> None:
    """A process pays for what it starts."""
    work = "sum(range(30_000_000))"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{work}']); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as parent:
        assert os.getpid() not in processes.tree(parent.pid)
        assert parent.stdin is not None
        while len(processes.tree(parent.pid)) == 1 and processes.cpu_s(parent.pid) < 0.1:
            pass
        while len(processes.tree(parent.pid)) > 1:
            pass
        assert processes.cpu_s(parent.pid) > 0.1
        parent.stdin.close()


def test_goals_know_whether_they_are_met() -> None:
    """A goal is a bound from above, or from below where it says so; the summary names what was missed."""
    report = Report({"date": "2000-01-01"})
    report.add(Goal("fast", "requests", 1.0, 1.1, at_least=True), Goal("lean", "CPU", 1.0, 1.25))
    assert report.summary() == {"fast": 1.0, "lean": 1.0, "missed": ["fast"], "date": "2000-01-01"}
    assert "MISSED" in report.text()
