"""A real Triton, run as the gateway runs it, on the engines of the shipped world."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import np_to_triton_dtype
from wmserve_server.embedded import EmbeddedOptions, EmbeddedTriton

from tests.conftest import ROOT

REPOSITORY = ROOT / "model_repository"
WORLD = "two_room"
SHARED_MEMORY = Path("/dev/shm")

Arrays = dict[str, NDArray[Any]]


def embedded(repository: Path = REPOSITORY, ready_timeout_s: float = 60.0) -> EmbeddedTriton:
    """A Triton that is not started yet."""
    home = ROOT / ".triton"
    return EmbeddedTriton(EmbeddedOptions(repository, home if home.exists() else None, 2, ready_timeout_s))


@asynccontextmanager
async def running(repository: Path = REPOSITORY) -> AsyncIterator[EmbeddedTriton]:
    """A Triton that is ready, and gone afterwards."""
    triton = embedded(repository)
    try:
        await triton.start()
        yield triton
    finally:
        await triton.stop()


@pytest.fixture(scope="session")
async def triton() -> AsyncIterator[EmbeddedTriton]:
    """One Triton for all tests that leave it as it was."""
    async with running() as started:
        yield started


@pytest.fixture
async def client(triton: EmbeddedTriton) -> AsyncIterator[InferenceServerClient]:
    """A client of that Triton."""
    async with InferenceServerClient(triton.grpc_address) as connected:
        yield connected


async def infer(client: InferenceServerClient, model: str, inputs: Arrays) -> Arrays:
    """Call a model with batched tensors."""
    tensors = []
    for name, array in inputs.items():
        tensor = InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    answer = await client.infer(model, tensors)
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


async def states(client: InferenceServerClient) -> dict[str, tuple[str, str]]:
    """State and reason of each model."""
    index = await client.get_model_repository_index()
    return {model.name: (model.state, model.reason) for model in index.models}


def group(leader: int) -> set[int]:
    """Processes that live in a process group."""
    members = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        state, process_group = fields[0], int(fields[2])
        if process_group == leader and state != "Z":
            members.add(int(stat.parent.name))
    return members


def shared_memory(name: str | None) -> set[Path]:
    """Regions that the Triton of that name holds."""
    assert name is not None
    return set(SHARED_MEMORY.glob(f"{name}_*"))


def frames(count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Random frames `[count, 1, 48, 56, 3]`."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 48, 56, 3), np.uint8)


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
