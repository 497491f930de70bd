"""Triton as a child: started, killed, brought back, ended; nothing of it is left behind."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException
from wmserve_server import triton_install, triton_scratch
from wmserve_server.embedded import EmbeddedError, EmbeddedOptions, EmbeddedTriton
from wmserve_server.triton_install import InstallError
from wmserve_server.triton_process import TritonProcess

from tests.conftest import ROOT
from tests.embedded.conftest import REPOSITORY, WORLD, alive, embedded, frames, group, infer, running, shared_memory

OWNER = """
import asyncio, sys
from pathlib import Path
from tests.embedded.conftest import embedded
async def main():
    triton = embedded()
    await triton.start()
    print(triton.pid, triton.name, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


async def until_ready(triton: EmbeddedTriton) -> None:
    async with asyncio.timeout(30):
        while triton.unready_reason() is not None:
            await asyncio.sleep(0.05)


async def test_stopping_leaves_nothing_behind() -> None:
    """No process, no shared memory, no folder; and the address refuses."""
    async with running() as triton:
        pid, name, address = triton.pid, triton.name, triton.grpc_address
        assert pid is not None
        assert len(group(pid)) == 4  # Triton, and a stub for each engine
        assert len(shared_memory(name)) == 3
        assert triton.unready_reason() is None
    assert group(pid) == set()
    assert not shared_memory(name)
    assert name not in {folder.name for folder in triton_scratch.folders()}
    async with InferenceServerClient(address) as client:
        with pytest.raises(InferenceServerException):
            await client.is_server_live(client_timeout=1.0)


async def test_a_killed_triton_is_reported_and_brought_back(caplog: pytest.LogCaptureFixture) -> None:
    """After `kill -9`: not ready with a reason, then ready at the same address; its stubs and memory are gone."""
    async with running() as triton, InferenceServerClient(triton.grpc_address) as client:
        killed, address = triton.pid, triton.grpc_address
        assert killed is not None
        old_regions, old_processes = shared_memory(triton.name), group(killed)
        os.kill(killed, signal.SIGKILL)
        async with asyncio.timeout(5):
            while triton.unready_reason() is None:
                await asyncio.sleep(0.01)
        assert triton.unready_reason() == "Triton ended (killed by SIGKILL) and is being restarted"
        await until_ready(triton)
        assert triton.pid not in old_processes
        assert not any(alive(pid) for pid in old_processes)
        assert len(old_regions) == len(shared_memory(triton.name)) == 3
        assert not shared_memory(triton.name) & old_regions
        assert triton.grpc_address == address
        answer = await infer(client, f"{WORLD}_encode", {"observations": frames(1)})
        assert np.isfinite(answer["latents"]).all()
    assert "killed by SIGKILL" in caplog.text


async def test_a_stub_that_dies_is_brought_back(caplog: pytest.LogCaptureFixture) -> None:
    """Triton would stay ready and fail every call, for good; it is started again."""
    async with running() as triton, InferenceServerClient(triton.grpc_address) as client:
        before = triton.pid
        assert before is not None
        os.kill(max(group(before) - {before}), signal.SIGKILL)
        async with asyncio.timeout(30):
            while triton.pid == before or triton.unready_reason() is not None:
                await asyncio.sleep(0.05)
        answer = await infer(client, f"{WORLD}_encode", {"observations": frames(1)})
        assert np.isfinite(answer["latents"]).all()
    assert "one of its stub processes died" in caplog.text


async def test_a_killed_gateway_takes_triton_with_it() -> None:
    """The kernel kills Triton, its stubs follow, and what they left in memory is swept by the next gateway."""
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", OWNER, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    assert owner.stdout is not None
    number, name = (await owner.stdout.readline()).decode().split()
    pid = int(number)
    assert len(group(pid)) == 4
    owner.kill()
    await owner.wait()
    async with asyncio.timeout(5):
        while group(pid):
            await asyncio.sleep(0.05)
    triton_scratch.sweep()  # as the next gateway does first
    assert not shared_memory(name)
    assert name not in {folder.name for folder in triton_scratch.folders()}


async def test_the_terminals_interrupt_does_not_reach_triton(triton: EmbeddedTriton) -> None:
    """The gateway gets Ctrl-C alone and drains first: Triton has a session of its own."""
    assert triton.pid is not None
    assert os.getsid(triton.pid) != os.getsid(0)


async def test_engines_are_told_their_threads_and_listen_on_loopback_only(triton: EmbeddedTriton) -> None:
    """What the options say is what the process has."""
    environment = Path(f"/proc/{triton.pid}/environ").read_bytes().split(b"\0")
    assert b"WMSERVE_TRITON_THREADS=2" in environment
    assert b"OMP_NUM_THREADS=2" in environment
    assert triton.grpc_address.startswith("127.0.0.1:")


async def test_without_the_wheel_it_says_what_to_run(tmp_path: Path) -> None:
    """A fresh machine has no Triton."""
    triton = EmbeddedTriton(EmbeddedOptions(REPOSITORY, tmp_path, 1, 10.0))
    with pytest.raises(InstallError, match="no Triton in WMSERVE_TRITON_HOME; run: python -m pip install"):
        await triton.start()
    await triton.stop()


async def test_without_a_repository_it_says_so(tmp_path: Path) -> None:
    """Triton itself would end with a page of log."""
    triton = embedded(tmp_path / "nowhere")
    with pytest.raises(EmbeddedError, match="WMSERVE_MODEL_REPOSITORY"):
        await triton.start()
    await triton.stop()


async def test_triton_that_is_not_ready_in_time_is_taken_down(caplog: pytest.LogCaptureFixture) -> None:
    """The reason says how long it was given; its last words are in the log."""
    triton = embedded(ready_timeout_s=0.05)
    with pytest.raises(EmbeddedError, match=r"not ready in 0\.05 s"):
        await triton.start()
    assert triton.pid is None
    assert "last words" in caplog.text
    await triton.stop()


def test_what_living_owners_hold_is_not_swept() -> None:
    """A folder is swept when its lock can be taken, and its owner holds the lock."""
    mine = triton_scratch.Scratch.create()
    other = triton_scratch.Scratch.create()
    assert mine.folder.is_dir()
    os.close(mine.lock)
    triton_scratch.sweep()
    assert not mine.folder.exists()
    assert other.folder.is_dir()
    other.remove()
    assert not other.folder.exists()


def test_a_python_without_a_shared_library_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stub would otherwise fail with the loader's message in Triton's log."""
    monkeypatch.setattr(triton_install, "PYTHON", "3.99")
    monkeypatch.setattr(triton_install.sys, "version_info", (3, 12, 0))
    with pytest.raises(InstallError, match=r"libpython3\.99\.so\.1\.0.*apt install libpython3\.99"):
        triton_install.libpython()


async def test_an_end_is_seen_although_a_stub_lives_on() -> None:
    """A stub that hangs holds Triton's output open, and must not hide that Triton has ended."""
    script = ["/bin/sh", "-c", "sleep 300 & sleep 0.2; kill -9 $$"]
    process = await TritonProcess.launch(script, os.environ, "127.0.0.1:1")
    leader = process.pid
    assert leader is not None
    async with asyncio.timeout(5):
        assert await process.wait() == "killed by SIGKILL"
    assert group(leader)
    await process.end()
    async with asyncio.timeout(5):
        while group(leader):
            await asyncio.sleep(0.01)
