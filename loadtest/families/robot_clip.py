"""A real robot's clip through V-JEPA 2 and V-JEPA 2-AC at their published sizes, from checkpoint to answer.

    python -m loadtest.families.robot_clip --clip franka_example_traj.npz

Weights are random, so answers mean nothing; what is shown is that checkpoints of these sizes are exported, served and
asked on a CPU, and what that takes. The clip is of the authors' repository (``notebooks/franka_example_traj.npz`` of
facebookresearch/vjepa2): two frames `[1, 2, 256, 256, 3]` uint8 and the gripper's pose at both, `[1, 2, 7]`. Each
family is written as its users have it, exported by the command, served by a process of its own and asked over gRPC.

Prints one JSON object for each family, which ``--results`` keeps. Takes 22 GB of disk, 16 GB of memory, and half an
hour of two cores, most of it in the exporter's gates.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from wmserve_client import Client, Observation, PlannerOptions

from loadtest import machine, processes
from loadtest.families import vjepa2_ac_plain as plain
from loadtest.families import vjepa2_ac_random as drawn
from loadtest.serving import ROOT, Server, running

RESULTS = ROOT / "loadtest" / "results" / "robot_clip.json"
ENGINE_TIMEOUT_S = 900.0
GATES = ("--horizons", "1", "--gate-candidates", "20", "--rank-problems", "1", "--candidate-limit", "20", "--quiet")
PLANNER = PlannerOptions(candidate_count=20, elite_count=4, iterations=2, horizon=1, seed=0)
ROBOT = {"proprioception": drawn.reach(), "action": drawn.moves()}
"""What the checkpoint does not say of this arm, which moves by 9 cm between the frames, over the authors' bounds."""
Figures = dict[str, Any]
T = TypeVar("T")


class Clip:
    """Two frames and poses."""

    def __init__(self, file: Path) -> None:
        with np.load(file, allow_pickle=False) as arrays:
            self.frames, self.poses = arrays["observations"][0], arrays["states"][0]

    def at(self, index: int) -> Observation:
        """One moment of it."""
        return Observation(self.frames[index : index + 1], self.poses[index : index + 1])


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and seconds."""
    began = time.perf_counter()
    return work(), round(time.perf_counter() - began, 1)


def write_clips(folder: Path) -> dict[str, object]:
    """V-JEPA 2 ViT-L, as transformers keeps it; its facts."""
    from transformers import VJEPA2Config, VJEPA2Model

    from loadtest.families.random_weights import randomised

    randomised(VJEPA2Model(VJEPA2Config())).save_pretrained(folder)
    return {"name": "vjepa2", "description": "Random weights.", "context_length": 2}


def write_robot(folder: Path) -> dict[str, object]:
    """V-JEPA 2-AC, as its authors keep it; its facts."""
    import torch

    weights = drawn.random_weights(drawn.full_size())
    torch.save({part: drawn.of(weights, part) for part in ("encoder", "predictor")}, folder / "vjepa2-ac-vitg.pt")
    return {"name": "vjepa2_ac", "description": "Random weights.", **ROBOT}


def ask_clips(client: Client, clip: Clip) -> Figures:
    """Encode the clip; hide every second patch of it, and predict those."""
    hidden = np.zeros((1, *client.world("vjepa2").latent_shape[:-1]), np.uint8)
    hidden[..., ::2] = 1
    seen, encode_s = timed(lambda: client.encode("vjepa2", clip.frames, return_latents=True))
    filled, rollout_s = timed(lambda: client.rollout("vjepa2", clip.frames, hidden=hidden))
    assert seen.latents is not None
    assert filled.surprise is not None
    surprise = filled.surprise[hidden.astype(bool)]
    assert np.isfinite(seen.latents).all()
    assert (surprise > 0).all()
    return {
        "encode_s": encode_s,
        "rollout_s": rollout_s,
        "latents": list(seen.latents.shape),
        "surprise_mean": float(surprise.mean()),
    }


def ask_robot(client: Client, clip: Clip) -> Figures:
    """Encode both frames; roll out what the arm did; plan from the first to the second."""
    (start, encode_s), (goal, again_s) = (timed(lambda at=at: client.encode("vjepa2_ac", clip.at(at))) for at in (0, 1))
    did = plain.action_between(*clip.poses).astype(np.float32)
    rollout, rollout_s = timed(lambda: client.rollout("vjepa2_ac", start, did[None]))
    plan, plan_s = timed(lambda: client.plan("vjepa2_ac", start, goal, planner=PLANNER, deadline_ms=600_000))
    np.testing.assert_allclose(start.readouts[0], clip.poses[0], atol=1e-6)
    np.testing.assert_allclose(rollout.readouts[0, 0], clip.poses[1], atol=1e-6)
    assert np.isfinite(plan.cost)
    return {
        "encode_s": [encode_s, again_s],
        "rollout_s": rollout_s,
        "plan_s": plan_s,
        "plan_candidates": PLANNER.candidate_count,
        "plan_iterations": PLANNER.iterations,
        "plan_horizon": PLANNER.horizon,
        "cost": plan.cost,
        "actions": plan.actions.tolist() if plan.actions is not None else None,
    }


FAMILIES = {"vjepa2": (write_clips, ask_clips), "vjepa2-ac": (write_robot, ask_robot)}


def run(family: str, clip: Clip, folder: Path) -> Figures:
    """Write, export, serve and ask."""
    write, ask = FAMILIES[family]
    (folder / "published").mkdir()
    facts = write(folder / "published")
    (folder / "world.json").write_text(json.dumps(facts))
    repository = folder / "repository"
    _, export_s = timed(lambda: export(family, folder, repository))
    export_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    files = [file.stat().st_size for file in repository.rglob("*") if file.is_file()]
    with served(folder, repository) as (server, ready_s), Client(server.grpc, timeout_s=3600) as client:
        answers = ask(client, clip)
        memory_gb = processes.resident_bytes(server.process.pid) / 1e9
    return {
        "family": family,
        "export_s": export_s,
        "export_peak_gb": round(export_gb, 1),
        "repository_gb": round(sum(files) / 1e9, 2),
        "ready_s": ready_s,
        "server_resident_gb": round(memory_gb, 1),
        **answers,
    }


def export(family: str, folder: Path, repository: Path) -> None:
    """By the command, in a process whose memory is its own."""
    command = [sys.executable, "-m", "wmserve_export", str(folder / "published"), "--family", family]
    command += ["--world", str(folder / "world.json"), "--repository", str(repository), *GATES]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def served(folder: Path, repository: Path) -> Iterator[tuple[Server, float]]:
    """A server of it, and the seconds until it was ready."""
    settings = {
        "model_repository": str(repository),
        "engine_timeout_s": str(ENGINE_TIMEOUT_S),
        "default_timeout_s": str(ENGINE_TIMEOUT_S),
        "triton_ready_timeout_s": str(ENGINE_TIMEOUT_S),
    }
    with running(folder / "log", **settings) as server:
        _, ready_s = timed(lambda: server.wait_ready(ENGINE_TIMEOUT_S))
        yield server, ready_s


def main() -> None:
    """Print figures, and keep them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, default=ROOT.parent / "shared" / "data" / "franka_example_traj.npz")
    parser.add_argument("--family", choices=FAMILIES, nargs="+", default=list(FAMILIES))
    parser.add_argument("--work", type=Path, default=ROOT / "build", help="where there is room (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    clip, found = Clip(options.clip), {}
    options.work.mkdir(exist_ok=True)
    for family in options.family:
        with tempfile.TemporaryDirectory(dir=options.work) as folder:
            found[family] = run(family, clip, Path(folder))
        print(json.dumps(found[family]), flush=True)
    kept = json.loads(options.results.read_text()) if options.results.is_file() else {}
    options.results.write_text(json.dumps({**kept, **found, "machine": machine.describe("torch")}, indent=1) + "\n")


if __name__ == "__main__":
    main()
