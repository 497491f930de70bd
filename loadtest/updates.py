"""Calls of a world while it is exported, calibrated, promoted and rolled back: how many of them fail?

    python -m loadtest.updates --calls 10000 [--short]

Serves a small world from a repository of its own and asks it over HTTP, without retries, from several callers at once;
each encodes, rolls out by that handle, and plans from it. Meanwhile the commands that change versions are run, as a
user runs them. Prints JSON; exit status 1 where a call failed.
"""

import argparse
import base64
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from loadtest.serving import Server, running

CHECKPOINT, WORLD = Path("loadtest/trusting/pit_world"), "two_room_pit"
CALLERS = 4
SWITCH_S = 180.0
"""Longest that a switch may take to be seen; seconds are usual, where the machine is not busy."""
MOST_FAILURES = 20
"""Failures that are kept in words."""
EXPORT = ("--rank-problems", "1", "--gate-candidates", "20", "--quiet")
FEW_ENGINES = ("--horizons", "5")
"""Of a short run: half the engines."""


@dataclass
class Tally:
    """What came of the calls."""

    calls: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)
    slowest_s: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, verb: str, answer: httpx.Response | None, error: str, took_s: float) -> int:
        """Count a call; the version that answered, 0 for none."""
        version = 0
        if answer is not None and answer.status_code == 200:
            version = answer.json()["version"]
        with self.lock:
            self.calls += 1
            self.slowest_s = max(self.slowest_s, took_s)
            if version:
                self.versions[version] += 1
            else:
                self.failed += 1
                said = error if answer is None else f"{answer.status_code} {answer.text[:300]}"
                self.failures += [f"{verb}: {said}"] if len(self.failures) < MOST_FAILURES else []
        return version


@dataclass(frozen=True)
class Bodies:
    """Requests to one world, as JSON."""

    world: str
    frames: Any
    actions: Any
    history: Any
    search: Mapping[str, int]

    @classmethod
    def of(cls, server: Server, world: str) -> "Bodies":
        """Read the contract and make requests that fit it."""
        contract = httpx.get(f"{server.http}/v1/worlds/{world}", timeout=60).raise_for_status().json()
        seen, acting, frames = contract["observation"], contract["action"], contract["context_length"]
        rng, block = np.random.default_rng(0), acting["action_block"]
        size = (frames, seen["native_height"], seen["native_width"], 3)
        width = len(acting["axes"])
        history = np.zeros(((frames - 1) * block, width)).tolist() if frames > 1 else None
        search = {"horizon": contract["engine_horizons"][0], "candidate_count": 16, "iterations": 2, "elite_count": 4}
        actions = np.zeros((2, block, width)).tolist()
        pixels = rng.integers(0, 256, size, np.uint8)
        return cls(world, [as_json(frame) for frame in pixels], actions, history, search)

    def encode(self) -> dict[str, Any]:
        """Frames."""
        return {"world": self.world, "observations": self.frames}

    def context(self, latents_id: str) -> dict[str, Any]:
        """What was encoded."""
        known = {"latents_id": latents_id, "action_history": self.history}
        return {name: value for name, value in known.items() if value is not None}

    def rollout(self, latents_id: str) -> dict[str, Any]:
        """Of what was encoded."""
        return {"world": self.world, "context": self.context(latents_id), "actions": self.actions}

    def plan(self, latents_id: str) -> dict[str, Any]:
        """From what was encoded, to a frame."""
        goal = {"observation": self.frames[-1]}
        return {"world": self.world, "context": self.context(latents_id), "goal": goal, "planner": self.search}


def as_json(frame: NDArray[np.uint8]) -> str:
    """A frame as JSON carries it: a PNG in base64."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


@contextmanager
def load(server: Server, world: str, callers: int = CALLERS, pause_s: float = 0.0) -> Iterator[Tally]:
    """Ask a world until the block is over; what came of it is in the tally."""
    tally, ended, bodies = Tally(), threading.Event(), Bodies.of(server, world)

    def ask() -> None:
        with httpx.Client(base_url=server.http, timeout=60) as client:
            while not ended.is_set():
                encoded = post(client, tally, "encode", bodies.encode())
                for verb in ("rollout", "plan") if encoded else ():
                    post(client, tally, verb, getattr(bodies, verb)(encoded))
                time.sleep(pause_s)

    threads = [threading.Thread(target=ask) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield tally
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def post(client: httpx.Client, tally: Tally, verb: str, body: Mapping[str, Any]) -> str:
    """One call; the handle of latents in its answer, empty where it failed."""
    began, answer, error = time.monotonic(), None, ""
    try:
        answer = client.post(f"/v1/{verb}", json=body)
    except httpx.HTTPError as failure:
        error = repr(failure)
    answered = tally.add(verb, answer, error, time.monotonic() - began)
    return str(answer.json().get("latents_id", "")) if answered and answer is not None else ""


def until(tally: Tally, version: int) -> float:
    """Wait until a version answers; seconds that it took. TimeoutError names what answered instead."""
    began, before = time.monotonic(), tally.versions[version]
    while tally.versions[version] == before:
        if time.monotonic() - began > SWITCH_S:
            raise TimeoutError(f"version {version} does not answer; {dict(tally.versions)}, {tally.failures}")
        time.sleep(0.05)
    return time.monotonic() - began


def command(module: str, *words: str) -> None:
    """Run a command of wmserve; CalledProcessError where it fails."""
    subprocess.run([sys.executable, "-W", "ignore", "-m", module, *words], check=True, stdout=subprocess.DEVNULL)


def versions(name: str, *words: str) -> None:
    """Run ``wmserve promote`` or ``wmserve rollback``."""
    code = f"import sys; from wmserve_export.versions import {name}; sys.exit({name}())"
    subprocess.run([sys.executable, "-c", code, *words], check=True, stdout=subprocess.DEVNULL)


def calibrate(repository: Path) -> None:
    """Calibrate the world on a few logs of its environment."""
    code = "import sys; from pathlib import Path; from loadtest.trusting.trap import NAME, calibrate_world, logs; "
    code += "calibrate_world(Path(sys.argv[1]), NAME, logs(300), 300, show=False)"
    subprocess.run([sys.executable, "-c", code, str(repository)], check=True, stdout=subprocess.DEVNULL)


def say(line: str) -> None:
    """Tell a person how far it is."""
    print(line, file=sys.stderr)


def steps(repository: Path, chosen: Sequence[str], short: bool) -> Sequence[tuple[str, Callable[[], None], int]]:
    """What is done under load, and the version that answers afterwards."""
    place = ("--repository", str(repository))
    export = ("export", lambda: command("wmserve_export", str(CHECKPOINT), *place, *chosen), 2)
    if short:
        return (
            export,
            ("rollback", lambda: versions("rollback", WORLD, *place), 1),
            ("promote", lambda: versions("promote", f"{WORLD}@2", *place), 2),
        )
    return (
        export,
        ("calibrate", lambda: calibrate(repository), 3),
        ("rollback", lambda: versions("rollback", WORLD, *place), 2),
        ("promote", lambda: versions("promote", f"{WORLD}@3", *place), 3),
        ("export again", lambda: command("wmserve_export", str(CHECKPOINT), *place, *chosen), 4),
    )


def main(argv: list[str] | None = None) -> int:
    """0 where no call failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000, help="least calls (default: %(default)s)")
    parser.add_argument("--callers", type=int, default=CALLERS, help="who ask at once (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="a smoke test: one export, no calibration")
    options = parser.parse_args(argv)
    took, chosen = dict[str, float](), (*EXPORT, *(FEW_ENGINES if options.short else ()))
    with tempfile.TemporaryDirectory() as folder:
        repository = Path(folder) / "repository"
        command("wmserve_export", str(CHECKPOINT), "--repository", str(repository), *chosen)
        with running(Path(folder) / "log", model_repository=str(repository)) as server:
            server.wait_ready()
            with load(server, WORLD, options.callers) as tally:
                for name, change, version in steps(repository, chosen, options.short):
                    change()
                    took[name] = round(until(tally, version), 2)
                    say(f"{name}: version {version} answers after {took[name]} s, {tally.calls} calls")
                turns = cycle((version - 1, version))
                while tally.calls < options.calls:
                    versions("rollback", WORLD, "--repository", str(repository))
                    until(tally, next(turns))
    report = {"calls": tally.calls, "update_failed": tally.failed, "failures": tally.failures, "switch_s": took}
    by_version = {str(version): count for version, count in sorted(tally.versions.items())}
    print(json.dumps({**report, "answered_by": by_version, "slowest_s": round(tally.slowest_s, 3)}, indent=2))
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
