"""A client of a running server, or of one that is started for the occasion and ended with it."""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from wmserve_client.client import Client
from wmserve_client.environments import EnvironmentFault, processes
from wmserve_client.errors import NotFound, Overloaded, Unavailable, WmserveError
from wmserve_client.results import World

T = TypeVar("T")
LONG_S = 600.0
"""Longest wait for an answer: searches of large models take long without a GPU."""
START_TIMEOUT_S = 180.0
POLL_S = 0.2
PATIENCE = 20
"""Tries of a call that a busy server, or one whose repository changes, says no to."""
SERVE = (sys.executable, "-m", "wmserve_client.cli", "serve")


def patiently(call: Callable[[], T]) -> T:
    """Ask again while the server is busy or away for a moment."""
    for tries in range(PATIENCE):
        try:
            return call()
        except (Overloaded, Unavailable) as error:
            if tries == PATIENCE - 1:
                raise
            time.sleep(error.retry_after_s or min(2.0, 0.1 * 2**tries))
    raise AssertionError("unreachable")


@contextmanager
def connected(server: str | None, repository: Path, world: str, calibration: str | None = None) -> Iterator[Client]:
    """A client that finds `world` served, with the calibration of that digest where one is named.

    Args:
        server: host:port of a running server; None starts one on `repository`.
        repository: What a server that is started serves.
        world: Name of the world.
        calibration: Digest that the contract's calibration must have; None takes any.

    Raises:
        EnvironmentFault: The server does not start, or does not serve that.
        WmserveError: Nobody answers at `server`.
    """
    if server is not None:
        with Client(server, timeout_s=LONG_S) as client:
            await_world(client, world, calibration)
            yield client
        return
    if not repository.is_dir():
        raise EnvironmentFault(f"there is no model repository {repository}: name --repository, or a running --server")
    with (
        tempfile.TemporaryDirectory() as folder,
        started(repository, Path(folder) / "log") as (address, alive),
        Client(address, timeout_s=LONG_S) as client,
    ):
        await_world(client, world, calibration, alive)
        yield client


@contextmanager
def started(repository: Path, log: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A server's address, and a function that raises once it has ended."""
    grpc_port, http_port = processes.free_port(), processes.free_port()
    settings = {"model_repository": repository.resolve(), "grpc_port": grpc_port, "http_port": http_port}
    process = processes.start(SERVE, log, settings)

    def alive() -> None:
        if process.poll() is not None:
            said = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise EnvironmentFault(f"the server that was started has ended: {said[-1]}")

    try:
        yield f"localhost:{grpc_port}", alive
    finally:
        processes.end(process)


def await_world(client: Client, name: str, calibration: str | None, alive: Callable[[], None] | None = None) -> World:
    """The contract, once the world is served with that calibration; EnvironmentFault when it is not in time."""
    deadline = time.monotonic() + START_TIMEOUT_S
    why = "nobody answered"
    while time.monotonic() < deadline:
        if alive is not None:
            alive()
        try:
            world = client.world(name, timeout_s=5)
            if calibration is None or world.calibration.digest == calibration:
                return world
            why = f"it is served with calibration {world.calibration.digest or 'none'}"
        except NotFound as error:
            why = str(error)
            if alive is None and calibration is None:
                raise
        except WmserveError as error:
            why = str(error)
            if alive is None:
                raise
        time.sleep(POLL_S)
    wanted = "" if calibration is None else f" with calibration {calibration}"
    raise EnvironmentFault(f"world {name}{wanted} is not served: {why}")
