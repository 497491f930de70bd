"""What the rewritten LeWM costs beside the reference, at full size: one cost call of a plan, 300 candidates x 5 steps.

    OMP_NUM_THREADS=1 python -m loadtest.bench_lewm [--rounds 15] > loadtest/results/lewm.md

In mixed precision the call is the one that a server makes: all candidates in the coarse engine, the best again in the
float32 one. The reference is asked as its own CEM solver asks it from the second iteration on: ``get_cost`` with cached
latents.
All runtimes take turns (A B C A B C ...) on one thread. Processor time is what ratios are taken from: it does not count
the time in which others had the core. OpenVINO is left out where it is not installed.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from wmserve_export import families
from wmserve_export.coarse import coarse_engine
from wmserve_export.engines import Engine
from wmserve_export.external_data import ExternalData
from wmserve_export.onnx_graphs import export_engine, graph
from wmserve_export.runtime import Runner
from wmserve_server.planner import Cost, coarse_to_fine

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
from loadtest import lewm_checkpoint, lewm_reference
from loadtest.bench_runtime import Run, exported, machine, openvino, with_onnxruntime, with_openvino, with_torch

CANDIDATES, HORIZON = 300, 5
ELITES = 30


def runs() -> dict[str, Run]:
    """What to measure, on one random problem; the reference comes first."""
    config = lewm_checkpoint.full_size()
    weights = lewm_checkpoint.random_weights(config)
    with tempfile.TemporaryDirectory() as folder:
        world = families.load(lewm_checkpoint.save(config, Path(folder), weights))
    generator, engine = torch.Generator().manual_seed(5), Engine("plan", HORIZON)
    tensors = {
        "context": torch.randn(1, 1, config.latent_dim, generator=generator),
        "goal": torch.randn(1, config.latent_dim, generator=generator),
        "actions": torch.rand(1, CANDIDATES, HORIZON * config.action.action_block, 2, generator=generator) * 2 - 1,
    }
    reference, actions = lewm_reference.build(config, weights), lewm_reference.scored(config, tensors["actions"])
    inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
    model = exported(world, engine)

    @torch.inference_mode()
    def ask_reference() -> object:
        info = lewm_reference.cached(tensors["context"], tensors["goal"], CANDIDATES)
        return reference.get_cost(info, actions).numpy()

    found: dict[str, Run] = {
        "reference, torch eager": ask_reference,
        "rewritten, torch": with_torch(graph(world, engine), inputs, 1),
        "rewritten, ONNX Runtime": with_onnxruntime(model, inputs, 1, spinning=False),
    }
    found["rewritten, ONNX Runtime, mixed"] = with_mixed(world, engine, tensors)
    if openvino is not None:
        for precision in ("f32", "bf16"):
            found[f"rewritten, OpenVINO {precision}"] = with_openvino(model, inputs, 1, precision)
    return found


def with_mixed(world: families.Encoder, engine: Engine, tensors: Mapping[str, torch.Tensor]) -> Run:
    """Both engines, as a search asks them; what comes back is costs `[S]`."""
    with tempfile.TemporaryDirectory() as folder:
        data = ExternalData(Path(folder))
        file = export_engine(world, engine, data)
        exact, coarse = Runner(file), Runner(coarse_engine(file, data.folder / "coarse.onnx", data))

    def cost_of(runner: Runner) -> Cost:
        def cost(candidates: np.ndarray) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
            scored = runner({**tensors, "actions": torch.from_numpy(candidates)[None]})
            return scored["goal_distance"][0, :, -1], {}

        return cost

    cost = coarse_to_fine(cost_of(coarse), cost_of(exact), ELITES)
    candidates = tensors["actions"][0].numpy()
    return lambda: cost(candidates)


def costs(answer: object) -> np.ndarray:
    """Costs `[S]` of whatever a runtime answers: the first output's last step."""
    first = np.asarray(answer[0])  # type: ignore[index]
    return first.reshape(CANDIDATES, -1)[:, -1]


def measure(asked: Mapping[str, Run], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Wall and processor milliseconds of each call, after one round of warming up."""
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in asked}
    for round_number in range(rounds + 1):
        for name, run in asked.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            if round_number:
                times[name].append(((time.perf_counter() - wall) * 1e3, (time.process_time() - cpu) * 1e3))
    return times


def main() -> None:
    """Print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    asked = runs()
    wanted = costs(asked["reference, torch eager"]())
    print("# LeWM: the rewritten rollout beside the reference\n", *machine(), "", sep="\n")
    best = wanted.argsort()[:ELITES]
    print(f"| | error of the {ELITES} best costs | elites shared | wall ms | processor ms | ratio (10 to 90 %) |")
    print("|---|---|---|---|---|---|")
    times = measure(asked, rounds)
    base = [cpu for _, cpu in times["reference, torch eager"]]
    for name, own in times.items():
        wall, cpu = (statistics.median(column) for column in zip(*own, strict=True))
        ratios = [theirs / ours for theirs, (_, ours) in zip(base, own, strict=True)]
        low, middle, high = np.percentile(ratios, [10, 50, 90])
        found = costs(asked[name]())
        error = np.abs(found - wanted)[best].max() / np.abs(wanted).max()
        shared = len(set(found.argsort()[:ELITES]) & set(best))
        figures = f"{error:.1e} | {shared} | {wall:.0f} | {cpu:.0f} | {middle:.2f} ({low:.2f} to {high:.2f})"
        print(f"| {name} | {figures} |", flush=True)


if __name__ == "__main__":
    main()
