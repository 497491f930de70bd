"""Draws what was measured: milliseconds of a plan, the server's beside the peer's, and what a deadline costs."""

from pathlib import Path

from matplotlib import pyplot as plt

from loadtest.drawing import OURS, bars
from loadtest.report import Report


def draw(report: Report, file: Path) -> None:
    """Three panels, if all was measured: LeWM at equal budget, Two-Room as it is served, cost against deadline."""
    if not {"lewm_ms", "two_room_ms", "anytime"} <= set(report.figures):
        return
    figure, (lewm, two_room, anytime) = plt.subplots(1, 3, figsize=(12, 2.8), width_ratios=(1, 1, 1.5))
    bars(lewm, report.figures["lewm_ms"], "LeWM, CEM 300 x 30: ms a plan", "less is better", "%.0f")
    bars(two_room, report.figures["two_room_ms"], "Two-Room, CEM 300 x 30 and as served: ms", "less is better", "%.1f")
    deadlines, costs = zip(*report.figures["anytime"], strict=True)
    anytime.plot(deadlines, costs, "o-", color=OURS)
    anytime.set_title("Two-Room: cost by deadline, ms\n", fontsize=10, loc="left")
    anytime.text(0, 1.02, "less is better", transform=anytime.transAxes, fontsize=8, color="#555555")
    anytime.spines[["top", "right"]].set_visible(False)
    note = f"{report.machine['date']}, {report.machine['machine']}; {report.noise}"
    figure.text(0.01, 0.005, note, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(file, dpi=130)
    plt.close(figure)
