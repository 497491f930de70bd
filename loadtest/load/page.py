"""The page: throughput, latency, what was shed and how sure the world was while it was under load; and the knee."""

import html
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from loadtest.drawing import DIRECT, OURS, PEERS
from loadtest.load.knee import Second, Step
from loadtest.load.open_rates import Rate
from loadtest.load.samples import Sample


def draw(
    seconds: Sequence[Second], samples: Sequence[Sample], steps: Sequence[Step], knee: Step, rates: Sequence[Rate]
) -> "plt.Figure":
    """All six pictures."""
    figure, axes = plt.subplots(3, 2, figsize=(11, 10), layout="constrained")
    began = seconds[0].at_s
    at = [second.at_s - began for second in seconds]
    throughput, latency, curve, loops, shed, trust = axes.flat
    title(throughput, "Answers a second, while users come", "seconds")
    throughput.plot(at, [second.requests_per_s for second in seconds], color=OURS, label="requests/s")
    throughput.plot(at, [second.users for second in seconds], color=DIRECT, drawstyle="steps", label="users")
    throughput.legend(frameon=False, fontsize=8)
    title(latency, "Latency, closed loop, ms", "seconds")
    for name, colour in (("p50_ms", DIRECT), ("p95_ms", OURS), ("p99_ms", PEERS)):
        latency.plot(at, [getattr(second, name) for second in seconds], color=colour, label=name[:3])
    latency.set_yscale("log")
    latency.legend(frameon=False, fontsize=8)
    title(curve, f"The knee: {knee.users} users, {knee.requests_per_s:.0f} requests/s", "requests/s")
    curve.plot([s.requests_per_s for s in steps], [s.p95_ms for s in steps], "o-", color=OURS, label="p95, ms")
    curve.set_yscale("log")
    curve.annotate("knee", (knee.requests_per_s, knee.p95_ms), xytext=(0, 14), textcoords="offset points", ha="center")
    curve.plot([knee.requests_per_s], [knee.p95_ms], "o", color=PEERS, markersize=11, fillstyle="none")
    title(loops, "The same server by schedule (open loop): rollouts, ms", "requests/s asked for")
    answered = [rate for rate in rates if rate.p99_ms < float("inf")]
    for name, colour in (("p50_ms", DIRECT), ("p99_ms", OURS)):
        loops.plot(
            [r.requests_per_s for r in answered],
            [getattr(r, name) for r in answered],
            "o-",
            color=colour,
            label=name[:3],
        )
    loops.set_yscale("log")
    loops.legend(frameon=False, fontsize=8)
    moments = [sample.at_s - began for sample in samples]
    title(shed, "Shed, and reasons to refuse plans, a second", "seconds")
    for name, colour in (("shed", PEERS), ("refused", OURS)):
        shed.plot(moments, [sample.rates[name] for sample in samples], color=colour, label=name)
    shed.legend(frameon=False, fontsize=8)
    title(trust, "How sure the world was: mean radius of its answers, latent units", "seconds")
    trust.plot(moments, [sample.means["radius"] for sample in samples], color=OURS)
    trust.set_ylim(bottom=0)
    return figure


def title(axes: Axes, text: str, below: str) -> None:
    """What a picture shows."""
    axes.set_title(text, fontsize=10, loc="left")
    axes.set_xlabel(below, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def write(folder: Path, summary: Mapping[str, Any], reports: Sequence[str]) -> Path:
    """The page with its picture, beside locust's own reports."""
    links = "".join(f'<li><a href="{name}">{name}</a>, by locust</li>' for name in reports)
    said = html.escape(json.dumps(summary, indent=1))
    file = folder / "index.html"
    file.write_text(
        f"""<!doctype html><html lang="en"><meta charset="utf-8"><title>wmserve under load</title>
<body style="font-family: sans-serif; max-width: 70em; margin: 2em auto">
<h1>wmserve under load</h1>
<p>Users of locust wait for an answer before they ask again (a closed loop): a server that is slow is asked less, and
what would queue is not seen. The fourth picture asks by schedule whatever comes back (an open loop), and times each
request from when it should have left.</p>
<img src="load.png" alt="Throughput, latency, knee, open loop, sheds, radius" style="width: 100%">
<ul>{links}</ul><pre>{said}</pre></body></html>
"""
    )
    return file
