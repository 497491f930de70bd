"""Threads that act at once: each has an environment of its own, and all of them are closed in the end."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from wmserve_client.environments.opening import Opening
from wmserve_client.environments.stage import Stage


class Stages:
    """One stage for each thread, opened when the thread first asks."""

    def __init__(self, chosen: Opening) -> None:
        self._chosen = chosen
        self._own, self._lock = threading.local(), threading.Lock()
        self._opened: list[Stage] = []

    def own(self) -> Stage:
        """This thread's."""
        if not hasattr(self._own, "stage"):
            with self._lock:  # libraries behind environments are rarely fond of being loaded twice at once
                self._own.stage = self._chosen.stage()
                self._opened.append(self._own.stage)
        stage: Stage = self._own.stage
        return stage

    def close(self) -> None:
        """Close all; the threads have ended."""
        for stage in self._opened:
            stage.close()
        self._opened.clear()


@contextmanager
def stages(chosen: Opening) -> Iterator[Stages]:
    """Stages that are closed in the end."""
    made = Stages(chosen)
    try:
        yield made
    finally:
        made.close()
