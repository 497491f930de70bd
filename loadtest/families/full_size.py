"""Families at their published size with random weights, beside their reference.

    python -m loadtest.families.full_size vjepa2

Prints figures as JSON: relative errors of outputs, seconds of processor time, and the most memory that was in use.
A family is a module of this package with a function ``run() -> dict``.
"""

import argparse
import importlib
import json
import resource
from collections.abc import Callable

import torch


def measure(run: Callable[[], dict[str, float]], threads: int) -> None:
    """Print what a family's ``run`` finds, and the peak of memory, GB."""
    torch.set_num_threads(threads)
    figures = run()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({**figures, "threads": threads, "peak_memory_gb": peak * 1024 / 1e9}, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("family", help="such as vjepa2 or dino_wm")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    measure(importlib.import_module(f"loadtest.families.{options.family}").run, options.threads)
