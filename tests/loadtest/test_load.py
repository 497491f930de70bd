"""Load by locust: shapes, the knee, and a short run against a real server."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.load import shapes
from loadtest.load.knee import Second, Step, knee, steps
from loadtest.load.samples import Reading
from tests.conftest import ROOT


def step(users: int, requests_per_s: float, p95_ms: float = 20) -> Step:
    return Step(users, requests_per_s, 10, p95_ms, 30)


def test_the_knee_is_where_more_users_are_no_more_answers() -> None:
    """Or where answers come late; without either it is the last step."""
    growing = [step(10, 100), step(20, 200), step(30, 290)]
    assert knee(growing) == growing[-1]
    assert knee([*growing, step(40, 295)]) == growing[-1]
    assert knee([*growing[:2], step(30, 290, p95_ms=101), step(40, 400)]) == growing[1]
    with pytest.raises(ValueError, match="no step"):
        knee([])


def test_a_step_is_told_by_its_second_half() -> None:
    """Its first seconds still count what was before."""
    seconds = [Second(at, 8, rate, 1, p95, 3) for at, (rate, p95) in enumerate([(10, 99), (50, 50), (80, 5), (80, 5)])]
    assert steps(seconds) == [Step(8, 80, 1, 5, 3)]


def test_shapes_rise_stay_and_burst() -> None:
    """And end when their time is over."""
    ramp = [shapes.users("ramp", second, 80, 16) for second in range(80)]
    assert (ramp[0], ramp[-1], sorted(ramp, key=int)) == (2, 16, ramp)
    assert {shapes.users("steady", second, 80, 16) for second in range(80)} == {8}
    burst = [shapes.users("burst", second, 80, 16) for second in range(80)]
    assert (set(burst), burst.count(16)) == ({4, 16}, 20)
    assert shapes.users("soak", 80, 80, 16) is None


def test_readings_tell_what_happened_between_them() -> None:
    """Rates of what grows, means of what was told since."""
    text = """
wmserve_request_seconds_count{transport="http",verb="plan",world="w",code="ok"} %d
wmserve_request_seconds_count{transport="http",verb="plan",world="w",code="overloaded"} %d
wmserve_radius_sum{verb="plan",world="w"} %g
wmserve_radius_count{verb="plan",world="w"} %d
"""
    before, after = (Reading.of(text % numbers) for numbers in ((5, 1, 2.0, 4), (25, 2, 5.0, 6)))
    sample = after.since(Reading(after.at_s - 2, before.counters, before.sums))
    assert (sample.rates["answered"], sample.rates["shed"]) == (10, 0.5)
    assert sample.means["radius"] == 1.5


def test_a_short_run(tmp_path: Path) -> None:
    """Users of every kind come, are answered, and end in a page and a line of JSON."""
    command = [sys.executable, "-m", "loadtest.load", "--seconds", "12", "--peak", "8", "--rates", "20"]
    ended = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    summary = json.loads(ended.stdout.splitlines()[-1])
    assert (summary["ok"], summary["failed"]) == (True, 0)
    assert summary["checked"] > summary["ramp"]["requests"]
    assert summary["ramp"]["requests"] > 50
    assert not summary["ramp"]["failures"]
    asked = {line.split(",")[1] for line in (tmp_path / "ramp_stats.csv").read_text().splitlines()[1:]}
    assert {"encode", "rollout", "turn"} <= asked
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    assert "ramp.html" in (tmp_path / "index.html").read_text()
