"""Draws what `make trust` measured: coverage by step, errors left when doubtful steps go, strange frames."""

from pathlib import Path

import numpy as np
from matplotlib import pyplot as plt

from loadtest.drawing import DIRECT, OURS, PEERS
from loadtest.report import Report

COLOURS = {"expected error": OURS, "disagreement": PEERS, "chance": DIRECT, "ideal": "#444444"}


def draw(report: Report, file: Path) -> None:
    """Three panels, if all of it was measured."""
    if not {"coverage_by_step", "sparsification", "ood"} <= set(report.figures):
        return
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(12, 3.2), width_ratios=(1, 1, 1.4))
    covered = 100 * np.array(report.figures["coverage_by_step"])
    left.axhspan(88, 92, color=OURS, alpha=0.12)
    left.plot(range(1, len(covered) + 1), covered, "o-", color=OURS)
    left.set(ylim=(80, 100), xlabel="model step", ylabel="errors within the 90 % radius, %")
    left.set_title("Radii hold", fontsize=10, loc="left")
    for name, curve in report.figures["sparsification"].items():
        middle.plot(curve, color=COLOURS[name], label=name, linestyle="--" if name == "ideal" else "-")
    middle.set(xlabel="most doubtful steps taken away, %", ylabel="mean error of the rest", ylim=(0, None))
    middle.legend(fontsize=7, frameon=False)
    middle.set_title("Errors are where they are expected", fontsize=10, loc="left")
    kinds = list(report.figures["ood"])[::-1]
    boxes = right.boxplot(
        [report.figures["ood"][kind] for kind in kinds], orientation="horizontal", whis=(1, 99), showfliers=False
    )
    for line in boxes["medians"]:
        line.set_color(OURS)
    right.set_xscale("log")
    right.set_yticks(range(1, len(kinds) + 1), kinds, fontsize=8)
    right.set_xlabel("score (1 to 99 %)")
    right.set_title("Strange frames score high", fontsize=10, loc="left")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(file, dpi=130)
    plt.close(figure)
