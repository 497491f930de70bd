"""Threads that act at once, each in an environment of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from wmserve_client.environments.opening import Opening
from wmserve_client.environments.stage import Stage

T = TypeVar("T")
P = ParamSpec("P")


class Stages:
    """Does work in threads; a thread's stage is opened when it first asks, and closed by that thread in the end.

    What draws for an environment often belongs to one thread: closed by another it fails.
    """

    def __init__(self, chosen: Opening, at_once: int) -> None:
        self._chosen, self._at_once = chosen, at_once
        self._own, self._lock = threading.local(), threading.Lock()
        self._pool = ThreadPoolExecutor(at_once)
        self._begun: set[Future[Any]] = set()

    def own(self) -> Stage:
        """This thread's."""
        if not hasattr(self._own, "stage"):
            with self._lock:  # libraries behind environments are rarely fond of being loaded twice at once
                self._own.stage = self._chosen.stage()
        stage: Stage = self._own.stage
        return stage

    def submit(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have it done by one of the threads."""
        future = self._pool.submit(work, *args, **kwargs)
        self._begun.add(future)
        future.add_done_callback(self._begun.discard)
        return future

    def __enter__(self) -> "Stages":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Leave undone what was not begun, and close every stage."""
        for future in list(self._begun):
            future.cancel()
        together = threading.Barrier(self._at_once)  # so that every thread gets one of these
        wait([self._pool.submit(self._close, together) for _ in range(self._at_once)])
        self._pool.shutdown()

    def _close(self, together: threading.Barrier) -> None:
        together.wait()
        if hasattr(self._own, "stage"):
            self._own.stage.close()
            del self._own.stage
