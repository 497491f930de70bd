"""Measure LeWM planning on a GPU: CEM and iCEM, 128 candidates x 3 and 300 x 30, horizon 5, 1, 8 and 32 plans at once.

    python -m loadtest.gpu.lewm_plan [--dry-run] [--only WORD ...]

Full-size LeWM with random weights, latents given (encoding is not timed). Every engine is checked before it is timed:
its costs against the reference's, its captured plan against the uncaptured one. Writes
`loadtest/results/gpu_lewm_plan.json` and `.md` as it goes along; the last line is JSON. See README.md beside this file.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch

from loadtest.gpu import floor
from loadtest.gpu.engines import Variant, variants
from loadtest.gpu.floor import Peak
from loadtest.gpu.precision import BF16, FLOAT32, TF32
from loadtest.gpu.report import floors
from loadtest.gpu.session import DRY, FULL, Session, say
from loadtest.gpu.skipped import Skipped

RESULTS = Path(__file__).parent.parent / "results"
DRY_RESULTS = Path(__file__).parent.parent.parent / "build" / "gpu_dry_run"


def peak(arguments: argparse.Namespace) -> Peak:
    """The device's peak figures, those given on the command line first."""
    found = floor.peak_of("" if arguments.dry_run else torch.cuda.get_device_name())
    given = {name: getattr(arguments, f"peak_{name}") for name in ("float32", "tf32", "half", "bandwidth")}
    return dataclasses.replace(found, **{name: value for name, value in given.items() if value is not None})


def run(session: Session, wanted: list[Variant]) -> int:
    """Build, check and time; the exit code is 1 if an engine was wrong."""
    for workload in session.options.workloads()[:2]:
        named = {f"{workload.name}, {p.name}": p for p in (FLOAT32, TF32, BF16)}
        say(*floors({n: floor.floor(session.config, workload, p, session.peak) for n, p in named.items()}))
    engines = session.prepare(wanted)
    for workload in session.options.workloads():
        with session.noting(f"{workload.name}, batch {workload.batch}"):
            if session.left_s() < session.expected_s(workload, len(engines)):
                raise Skipped("too little time is left")
            session.measure(workload, engines)
            say(f"timed: {workload.name}, batch {workload.batch}, {session.left_s():.0f} s left")
    session.report.save()
    say(session.report.markdown())
    say(json.dumps(session.report.summary()))
    return 1 if session.report.wrong else 0


def parse(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="a small LeWM on the CPU, everything but CUDA")
    parser.add_argument("--budget-s", type=float, default=450.0, help="seconds that all of it may take")
    parser.add_argument("--only", nargs="+", default=[""], help="engines with one of these words in their names")
    parser.add_argument("--compile-mode", default="max-autotune-no-cudagraphs", help="of the engine compiled longest")
    parser.add_argument("--out", type=Path, help="folder of the results")
    for name, unit in (("float32", "TFLOP/s"), ("tf32", "TFLOP/s"), ("half", "TFLOP/s"), ("bandwidth", "TB/s")):
        parser.add_argument(f"--peak-{name}", type=float, help=f"{unit}, instead of the datasheet's")
    return parser.parse_args(given)


def main() -> int:
    """Measure as the command line says."""
    arguments = parse()
    if not arguments.dry_run and not torch.cuda.is_available():
        sys.exit("there is no CUDA device; --dry-run does without one")
    wanted = [own for own in variants(arguments.compile_mode) if any(word in own.label for word in arguments.only)]
    folder = arguments.out or (DRY_RESULTS if arguments.dry_run else RESULTS)
    session = Session(DRY if arguments.dry_run else FULL, arguments.budget_s, peak(arguments), folder)
    return run(session, wanted)


if __name__ == "__main__":
    sys.exit(main())
