"""Shows what a build is at, and lets Ctrl-C end it between two of its steps."""

from types import ModuleType, TracebackType
from typing import Any

from tqdm import tqdm


class Progress:
    """A line for one build; TensorRT says which phase it is in, but not how long it will take."""

    def __init__(self, trt: ModuleType, show: bool) -> None:
        self._bar = tqdm(desc="building", unit=" steps", leave=False, disable=not show)
        self.monitor = monitor(trt, self)
        self.interrupted = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
        if self.interrupted and error is None:
            raise KeyboardInterrupt

    def begin(self, phase: str) -> None:
        """A phase begins."""
        self._bar.set_postfix_str(phase, refresh=False)

    def step(self) -> bool:
        """A step is done; whether to go on. Nothing may be raised here: the caller is not Python."""
        try:
            self._bar.update()
        except KeyboardInterrupt:
            self.interrupted = True
        return not self.interrupted


def monitor(trt: ModuleType, progress: Progress) -> Any:
    """A library's own kind of monitor that passes on what it is told."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:  # noqa: ARG002
            progress.begin(phase)

        def step_complete(self, phase: str, step: int) -> bool:  # noqa: ARG002
            return progress.step()

        def phase_finish(self, phase: str) -> None:
            """Nothing to say."""

    return Monitor()
