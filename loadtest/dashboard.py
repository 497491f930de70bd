"""Draws the dashboard as somebody would have seen it while three things happened to a robot.

    python -m loadtest.dashboard      two minutes; writes docs/dashboard.png

A real server and a real Prometheus: episodes of Two-Room that go well, then a wall that is nearer than it looks, then a
camera that has become noisy. Panels, queries, places and units are those of `deploy/chart/files/dashboard.json`.
"""

import argparse
import re
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from matplotlib import pyplot as plt
from matplotlib import ticker
from matplotlib.axes import Axes
from tqdm import tqdm
from wmserve_client import Client
from wmserve_export.reference import collect

from loadtest.execute_plans import path, picture
from loadtest.monitoring import PANELS, answered, filled_in, prometheus
from loadtest.serving import ROOT, running
from loadtest.trusting.episodes import CHANGES, opposite_positions
from loadtest.trusting.rollouts import WORLD

OUT = ROOT / "docs" / "dashboard.png"
INTERVAL_S, STEP_S = 12, 1
NOISE = 40
MODEL_STEPS = 10
STORY = (("all is well", "none", 0), ("the wall has moved", "wall moved, unseen", 0), ("a noisy camera", "none", NOISE))
"""What is said of it, what the environment does, and the noise of its camera."""
LEFT_OUT = {"Calibrated", "Age of the calibration"}
"""Panels about trust with nothing to see in such a story; of the others the requests are drawn."""
COLUMNS = 4
TRUST = next(number for number, panel in enumerate(PANELS) if panel["title"].startswith("Strange"))
UNITS = {"reqps": "{x:g}/s", "s": "{x:g} s", "percentunit": "{x:.0%}", "short": "{x:g}"}


def episode(client: Client, change: str, noise: int, rng: np.random.Generator) -> None:
    """Play one in a loop of the server's; an agent whose plan is refused stays where it is."""
    door = int(collect.any_doors(rng, 1)[0])
    place, goal = opposite_positions(rng)

    def seen() -> np.ndarray[Any, np.dtype[np.uint8]]:
        frame = picture(place, door)
        return np.clip(frame + rng.normal(0, noise, frame.shape), 0, 255).astype(np.uint8)

    with client.control(WORLD, picture(goal, door)) as loop:
        for _ in range(MODEL_STEPS):
            plan = loop.step(seen()).plan
            if plan.actions is not None:
                place = path(place, plan.actions[: collect.ACTION_BLOCK], door, CHANGES[change])[-1:]
    client.rollout(WORLD, seen(), rng.uniform(-1, 1, (16, 25, 2)))


def play(server: str, seconds: float) -> list[float]:
    """Each part of the story for so long; when each began."""
    began, rng = [], np.random.default_rng(0)
    with Client(server) as client, tqdm(total=len(STORY) * seconds, unit="s", desc="playing") as bar:
        for _, change, noise in STORY:
            began.append(time.time())
            while (passed := time.time() - began[-1]) < seconds:
                episode(client, change, noise, rng)
                bar.update(min(time.time() - began[-1], seconds) - passed)
    return began


def draw_panel(axes: Axes, panel: dict[str, Any], api: httpx.Client, began: list[float], end: float) -> None:
    """One panel: its series, by their legends."""
    for target in panel["targets"]:
        expression = filled_in(target["expr"], INTERVAL_S)
        for series in answered(api, "query_range", query=expression, start=began[0], end=end, step=STEP_S):
            name = re.sub(r"{{(\w+)}}", lambda match: series["metric"].get(match[1], ""), target["legendFormat"])  # noqa: B023
            moments, values = np.float64(series["values"]).T
            axes.plot(moments - began[0], values, linewidth=1.2, label=name)
    for moment in began[1:]:
        axes.axvline(moment - began[0], color="#888888", linewidth=0.7, linestyle=":")
    axes.set_title(panel["title"], fontsize=9, loc="left")
    unit = panel["fieldConfig"]["defaults"]["unit"]
    axes.yaxis.set_major_formatter(ticker.StrMethodFormatter(UNITS[unit]))
    axes.set_ylim(0, 1.3 * axes.get_ylim()[1])
    for (text, _, _), moment in zip(STORY, began, strict=True):
        place = axes.get_xaxis_transform()
        axes.text(moment - began[0] + 1, 0.99, text, transform=place, fontsize=6, color="#777777", va="top")
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=6, frameon=False, loc="upper left", ncols=2, bbox_to_anchor=(0, 0.94))
    axes.spines[["top", "right"]].set_visible(False)


def draw(api: httpx.Client, began: list[float], end: float, file: Path) -> None:
    """All panels that have something to say."""
    first, trust = PANELS[0], PANELS[TRUST:]
    panels = [first, *(panel for panel in trust if panel["title"] not in LEFT_OUT)]
    rows = -(-len(panels) // COLUMNS)
    figure, grid = plt.subplots(rows, COLUMNS, figsize=(16, 2.3 * rows), sharex=True)
    for axes, panel in zip(grid.flat, panels, strict=False):
        draw_panel(axes, panel, api, began, end)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    for axes in grid[-1]:
        axes.set_xlabel("seconds", fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110)
    plt.close(figure)


def main() -> None:
    """Play and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40, help="length of each part of the story")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "server.log") as server:
        server.wait_ready()
        with prometheus(Path(folder), server.http.removeprefix("http://")) as api:
            began = play(server.grpc, arguments.seconds)
            draw(api, began, time.time(), arguments.out)
    print(f"drawn: {arguments.out}")


if __name__ == "__main__":
    main()
