"""Whether a Triton can still answer, for Kubernetes' liveness probe: status 0, else 1 and the reason.

Triton runs engines in processes of its own. When one of them dies, Triton neither replaces it nor stops calling itself
alive, and fails every call of that engine. It reaps those of engines that it unloads, a moment later: so one look that
finds a dead one means nothing, several in a row do, and counting them is Kubernetes' (`failureThreshold`).

    python3 triton_alive.py [PID of Triton, 1] [its HTTP port, 8000]

Only the standard library: it runs in NVIDIA's container.
"""

import sys
import urllib.request
from pathlib import Path


def dead_children(pid: int) -> list[int]:
    """Children of a process that have ended and were not reaped."""
    children = [
        int(child) for listing in Path(f"/proc/{pid}/task").glob("*/children") for child in listing.read_text().split()
    ]
    return [child for child in children if state(child) == "Z"]


def state(pid: int) -> str:
    """State of a process, as the kernel's letter; empty where it has gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def main(pid: int = 1, port: int = 8000) -> str | None:
    """What is wrong; None where nothing is."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=5).close()
    except OSError as error:
        return f"Triton does not answer: {error}"
    dead = dead_children(pid)
    return f"processes that run engines have died: {dead}" if dead else None


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
