"""Both sides of the comparison, ready to be asked: the server with its client, and the peer's process."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from wmserve_client import Client

from loadtest.planning.peer import ANSWER
from loadtest.serving import ROOT, Server, running

Frame = NDArray[np.uint8]
THREADS = 2
LONG_S = 600.0


class Peer:
    """The peer's process; one question at a time."""

    def __init__(self, process: "subprocess.Popen[str]", folder: Path) -> None:
        self._process = process
        self._folder = folder

    def ask(self, start: Frame, goal: Frame, seed: int, **more: Any) -> dict[str, float]:
        """Solve for the actions from one frame to another."""
        files = {"start": start, "goal": goal}
        for name, frame in files.items():
            np.save(self._folder / f"{name}.npy", frame)
        request = {name: str(self._folder / f"{name}.npy") for name in files} | {"seed": seed, **more}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            if line.startswith(ANSWER):
                answer: dict[str, float] = json.loads(line.removeprefix(ANSWER))
                return answer
        raise RuntimeError("the peer's process ended; its error is above")


@contextmanager
def peer(name: str, checkpoint: Path) -> Iterator[Peer]:
    """The peer's solver in its own process, with the threads that the server's engines have."""
    command = [sys.executable, "-W", "ignore", "-m", "loadtest.planning.peer", name, str(checkpoint), str(THREADS)]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield Peer(process, Path(folder))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(30)


@contextmanager
def server(repository: Path) -> Iterator[tuple[Client, Server]]:
    """A server of the worlds in a repository, ready, with a patient client."""
    with (
        tempfile.TemporaryDirectory() as folder,
        running(Path(folder) / "log", model_repository=str(repository), triton_threads=str(THREADS)) as started,
    ):
        started.wait_ready()
        with Client(started.grpc, timeout_s=LONG_S) as client:
            yield client, started
