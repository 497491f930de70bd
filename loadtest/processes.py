"""What a server costs: CPU seconds and memory of a process and everything that it has started, from ``/proc``."""

import contextlib
import os
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def stat(pid: int) -> list[str]:
    """Fields of ``/proc/<pid>/stat`` from the third, the state, on: the second may hold spaces."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(root: int) -> set[int]:
    """The process and its living descendants."""
    parents: dict[int, int] = {}
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):  # gone meanwhile
            parents[pid] = int(stat(pid)[1])
    found, new = set(), {root}
    while new:
        found |= new
        new = {pid for pid, parent in parents.items() if parent in found} - found
    return found


def cpu_s(root: int) -> float:
    """CPU seconds, user and system, that the tree has used; those of children that ended count with their parent."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += sum(int(ticks) for ticks in stat(pid)[11:15])
    return total / TICKS_PER_S


def resident_bytes(root: int) -> int:
    """Resident memory of the tree, the sum over its processes; what they share counts once for each."""
    total = 0
    for pid in tree(root):
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def descendant(root: int, program: str) -> int:
    """The process in the tree whose command is ``program``; RuntimeError when there is none."""
    for pid in tree(root):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() == program:
                return pid
    raise RuntimeError(f"process {root} has started no {program}")


def option(pid: int, name: str) -> str:
    """The value of ``--name=value`` on a process' command line; RuntimeError when it is not there."""
    for word in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    raise RuntimeError(f"process {pid} has no option --{name}")
