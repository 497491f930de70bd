"""What one Triton has for itself on this machine: a temporary folder, and a prefix of names in shared memory.

The owner holds a lock on a file in the folder for as long as it lives, and the kernel lets go of it however the owner
ends. So a folder whose lock can be taken was left behind, and goes, with the shared memory of its name.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PREFIX = "wmserve_triton_"
LOCK = "lock"
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Scratch:
    """A locked folder; its name is also the prefix in shared memory."""

    folder: Path
    lock: int
    """File descriptor that holds the lock."""

    @property
    def name(self) -> str:
        """Prefix of this server's regions in shared memory."""
        return self.folder.name

    @classmethod
    def create(cls) -> "Scratch":
        """Make a new one, and sweep those whose owner is gone."""
        sweep()
        made = Path(tempfile.mkdtemp(prefix="wmserve_new_"))
        lock = os.open(made / LOCK, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX)
        # Only a folder that is locked bears the name that others sweep.
        return cls(made.rename(made.with_name(made.name.replace("wmserve_new_", PREFIX))), lock)

    def unlink_shared_memory(self) -> None:
        """Remove regions that a killed Triton left."""
        for region in regions(self.name):
            region.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove everything."""
        self.unlink_shared_memory()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.lock)


def regions(name: str) -> Iterator[Path]:
    """Regions in shared memory of the server with that name."""
    return SHARED_MEMORY.glob(f"{name}_*")


def folders() -> Iterator[Path]:
    """Folders of all servers on this machine."""
    return Path(tempfile.gettempdir()).glob(f"{PREFIX}*")


def sweep() -> None:
    """Remove what owners that were killed have left."""
    for folder in folders():
        with contextlib.suppress(OSError):  # another owner's, or gone meanwhile
            if folder.stat().st_uid != os.getuid():
                continue
            lock = os.open(folder / LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                Scratch(folder, os.dup(lock)).remove()
            finally:
                os.close(lock)
