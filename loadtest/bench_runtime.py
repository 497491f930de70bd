"""Which CPU runtime runs a world's engines fastest? ONNX Runtime, OpenVINO and torch, side by side in one process.

    python loadtest/bench_runtime.py [CHECKPOINT] [--rounds 30] > loadtest/results/runtime.md

Each round runs every runtime a few times, one after the other (A B C A B C ...), so that a machine that slows down
slows all of them. Figures are medians over all rounds; ratios are medians of the ratios within a round. OpenVINO is not
among the project's needs: without it (``pip install openvino``) its rows are left out.
"""

import argparse
import datetime
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from wmserve_export import families
from wmserve_export.contract import checkpoint_digest
from wmserve_export.engines import Engine
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.external_data import ExternalData
from wmserve_export.onnx_graphs import export_engine, graph

try:
    import openvino
except ImportError:
    openvino = None

Inputs = Mapping[str, np.ndarray]
Run = Callable[[], object]
RUNS_PER_ROUND = 3
REFERENCE = Path(__file__).parent.parent / "export" / "wmserve_export" / "reference" / "two_room"


@dataclass(frozen=True)
class Case:
    """One engine and the sizes it is called with."""

    name: str
    engine: Engine
    sizes: Mapping[str, int]


CASES = (
    Case("cost, 128 candidates x horizon 5", Engine("plan", 5), {"B": 1, "S": 128}),
    Case("cost, 300 candidates x horizon 5", Engine("plan", 5), {"B": 1, "S": 300}),
    Case("encode, one 224 x 224 frame", Engine("encode"), {"B": 1, "h": 224, "w": 224}),
    Case("encode, 16 frames at once", Engine("encode"), {"B": 16, "h": 224, "w": 224}),
)


def with_onnxruntime(model: bytes, inputs: Inputs, threads: int, spinning: bool) -> Run:
    """A session as ``wmserve_onnx/model.py`` makes it, if ``spinning`` is off."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, dict(inputs))


def with_openvino(model: bytes, inputs: Inputs, threads: int, precision: str = "f32") -> Run:
    """A compiled model; its default precision is the processor's choice, bf16 where it has that."""
    settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", settings).create_infer_request()
    return lambda: request.infer(dict(inputs), share_inputs=True, share_outputs=True)


def with_torch(module: torch.nn.Module, inputs: Inputs, threads: int) -> Run:
    """The module itself."""
    tensors = {name: torch.from_numpy(array) for name, array in inputs.items()}

    def run() -> object:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            return module(**tensors)

    return run


def exported(family: families.Encoder, engine: Engine) -> bytes:
    """A small engine's file."""
    with tempfile.TemporaryDirectory() as folder:
        return export_engine(family, engine, ExternalData(Path(folder))).read_bytes()


def measure(runs: Mapping[str, Run], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each runtime, the best of a few runs in each round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_number in range(rounds + 3):
        for name, run in runs.items():
            best = float("inf")
            for _ in range(RUNS_PER_ROUND):
                began = time.perf_counter()
                run()
                best = min(best, time.perf_counter() - began)
            if round_number >= 3:  # the first warm up
                times[name].append(best * 1e3)
    return times


def table(family: families.Family, case: Case, model: bytes, threads: int, rounds: int) -> list[str]:
    """Rows of one case, whose engine is this file."""
    module = graph(family, case.engine)
    tensors = NO_EXAMPLES.inputs(family.config, case.engine, case.sizes, torch.Generator().manual_seed(1))
    inputs = {name: tensor.numpy() for name, tensor in tensors.items()}
    runs = {
        "ONNX Runtime": with_onnxruntime(model, inputs, threads, spinning=False),
        "ONNX Runtime, spinning": with_onnxruntime(model, inputs, threads, spinning=True),
        "torch": with_torch(module, inputs, threads),
    }
    if openvino is not None:
        runs["OpenVINO"] = with_openvino(model, inputs, threads)
    times = measure(runs, rounds)
    base = times["ONNX Runtime"]
    rows = []
    for name, own in times.items():
        ratio = statistics.median(ours / theirs for ours, theirs in zip(own, base, strict=True))
        low, median, high = np.percentile(own, [10, 50, 90])
        rows.append(f"| {case.name} | {threads} | {name} | {median:.2f} | {low:.2f} to {high:.2f} | {ratio:.2f} |")
    return rows


def machine() -> list[str]:
    """What it ran on; load says how busy the machine was besides."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    known = {module.__name__: module.__version__ for module in (onnxruntime, openvino, torch) if module is not None}
    versions = ", ".join(f"{name} {version.partition('-')[0]}" for name, version in known.items())
    return [
        f"- {datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {cpu.partition(': ')[2]}, {os.cpu_count()} cores",
        f"- Python {platform.python_version()}, {versions}",
        f"- load average when it began: {os.getloadavg()[0]:.1f}",
    ]


def main() -> None:
    """Print a Markdown report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", default=REFERENCE)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    family = families.load(options.checkpoint)
    print("# CPU runtimes for the engines\n", *machine(), "", sep="\n")
    print(f"World {family.config.name}, checkpoint {checkpoint_digest(options.checkpoint)[:19]}.", end=" ")
    print("Milliseconds a call, best of three in a round; the ratio is to ONNX Runtime without spinning.\n")
    print("| case | threads | runtime | median | 10 to 90 % | ratio |\n|---|---|---|---|---|---|")
    files = {engine: exported(family, engine) for engine in dict.fromkeys(case.engine for case in CASES)}
    for case in CASES:
        for threads in (1, 2):
            print(*table(family, case, files[case.engine], threads, options.rounds), sep="\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
