"""What the benchmarks' pictures share."""

from collections.abc import Mapping

import matplotlib

matplotlib.use("Agg")
from matplotlib.axes import Axes

OURS, DIRECT, PEERS = "#1f6f8b", "#9a9a9a", "#d8a25e"


def bars(axes: Axes, values: Mapping[str, float], title: str, better: str, number: str) -> None:
    """Horizontal bars with their values, first on top; our own stand out."""
    names = list(values)[::-1]
    colours = [OURS if name.startswith("wmserve") else DIRECT if name.startswith("Triton") else PEERS for name in names]
    drawn = axes.barh(names, [values[name] for name in names], color=colours)
    axes.bar_label(drawn, fmt=number, padding=3, fontsize=8)
    axes.set_title(f"{title}\n", fontsize=10, loc="left")
    axes.text(0, 1.02, better, transform=axes.transAxes, fontsize=8, color="#555555")
    axes.margins(x=0.18)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0, labelsize=9)
