"""Calls a second of each gateway and each Triton over time, with what happened to them."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import pyplot

from loadtest import drawing
from loadtest.cluster.shares import PERIOD_S, Shares

COLOURS = (drawing.OURS, drawing.PEERS, "#7a9e5f")


def draw(shares: Shares, events: Sequence[tuple[float, str]], path: Path) -> None:
    """Write the picture; events are seconds since the shares began, and words."""
    figure, both = pyplot.subplots(2, 1, figsize=(9, 4.6), sharex=True, layout="constrained")
    parts = {"calls a second, by gateway": shares.gateways, "engine runs a second, by Triton": shares.tritons}
    for axes, (title, series) in zip(both, parts.items(), strict=True):
        for number, (column, colour) in enumerate(zip(zip(*series, strict=True), COLOURS, strict=False)):
            axes.plot(shares.at_s, [count / PERIOD_S for count in column], color=colour, label=str(number), lw=1.4)
        axes.set_title(title, fontsize=10, loc="left", pad=26 if axes is both[0] else 6)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=8, ncols=3, loc="lower right")
        for at, _ in events:
            axes.axvline(at, color="#555555", lw=0.8, ls=":")
    for number, (at, words) in enumerate(events):
        where = {"transform": both[0].get_xaxis_transform(), "fontsize": 7.5, "color": "#555555"}
        both[0].text(at, 1.12 - 0.09 * (number % 2), words, **where)
    both[1].set_xlabel("seconds", fontsize=9)
    figure.savefig(path, dpi=140)
    pyplot.close(figure)
