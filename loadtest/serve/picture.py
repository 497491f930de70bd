"""Draws what was measured: the gateway beside Triton alone, and beside the peers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt

from loadtest.drawing import bars


def draw(figures: Mapping[str, Any], note: str, file: Path) -> None:
    """Four panels: throughput and CPU against Triton alone, and against the peers where there are any."""
    panels = [
        (figures["throughput_64"], "Requests per second, 64 callers", "more is better", "%.0f"),
        (figures["cpu_ms_64"], "Server CPU per request, ms, 64 callers", "less is better", "%.2f"),
        (figures.get("peer_throughput"), "Binary input: requests per second, 64 callers", "more is better", "%.0f"),
        (figures.get("peer_json_cpu_ms"), "JSON with base64: server CPU per request, ms", "less is better", "%.2f"),
    ]
    drawn = [panel for panel in panels if panel[0]]
    figure, grid = plt.subplots(len(drawn) // 2, 2, figsize=(10, 2.6 * (len(drawn) // 2) + 0.6), squeeze=False)
    for axes, (values, title, better, number) in zip(grid.flat, drawn, strict=True):
        bars(axes, values, title, better, number)
    figure.suptitle("Encoding one 64 x 64 frame", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.text(0.01, 0.005, note, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 0.99))
    figure.savefig(file, dpi=130)
    plt.close(figure)
