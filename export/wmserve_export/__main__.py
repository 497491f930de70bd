"""``wmserve export``: a checkpoint becomes a world in a Triton model repository.

    wmserve export CHECKPOINT                                    all in float32
    wmserve export CHECKPOINT --precision mixed                  plans of large worlds come sooner
    wmserve export --family lewm --template > world.json         what no checkpoint says, to fill in
    wmserve export CHECKPOINT --family lewm --world world.json   as its authors published it
    wmserve export CHECKPOINT --family lewm --world world.json --check pairs.npz
                                                                 held against examples of your own, too
    wmserve export CHECKPOINT --target tensorrt-rtx              for NVIDIA GPUs (see wmserve_export.tensorrt)
    wmserve export CHECKPOINT --adapter my_world:load            a family of your own (see wmserve_export.families)

In mixed precision ``plan`` scores all candidates in 8-bit integers and the best again in float32, so that plans are as
good as in float32 and their costs are float32's. It pays where an engine's time goes into large products; small worlds
gain nothing.

A world is held against its family's own package, where that is installed and the checkpoint has its settings, and
against examples that you give (see wmserve_export.pairs). The last line says which; a world that was held against
neither says so wherever it is described (``reference_checked``).

TensorRT engines are built for certain GPUs and read by the version that built them. ``tensorrt`` is for NVIDIA's Triton
and builds on the GPU that is to run them; ``tensorrt-rtx`` builds on any machine, and is not run by a server yet.
"""

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError
from wmserve.world import Dtype, Precision, TargetName

from wmserve_export import versions
from wmserve_export.contract import EXACT, ROUNDED, ExportOptions
from wmserve_export.export import export_world
from wmserve_export.families import PUBLISHED, FamilyError, named, published
from wmserve_export.families.facts import read_facts
from wmserve_export.families.template import template
from wmserve_export.gates import FEWEST_CANDIDATES, GateError
from wmserve_export.reference_gate import Origin
from wmserve_export.tensorrt import BuildError

GATE_FAILED, UNUSABLE = 1, 2


def main(argv: list[str] | None = None) -> int:
    """Export; 0 when the world is in place, 1 when a gate refused it, 2 when there was nothing to export."""
    known = parser()
    options = known.parse_args(argv)
    if options.template:
        if options.family is None:
            known.error("--template needs --family")
        print(template(options.family))
        return 0
    if options.checkpoint is None:
        known.error("a checkpoint is needed, or --family F --template")
    sys.path.append(str(Path.cwd()))  # for an adapter that lies here, as `python -m` would find it
    chosen = ExportOptions(
        name=options.name,
        horizons=tuple(options.horizons) if options.horizons else None,
        candidate_limit=options.candidate_limit,
        plan_budget=options.plan_budget,
        precision=options.precision,
        rank_problems=options.rank_problems,
        gate_candidates=options.gate_candidates,
        target=options.target,
        dtype=options.dtype,
        compute_capabilities=tuple(options.compute_capability or ()),
        max_batch=options.max_batch,
        timing_cache=options.timing_cache,
    )
    try:
        check(chosen)
        with checkpoint(options.checkpoint, options.family, options.world) as opened:
            origin = replace(opened.origin, pairs=options.check, adapter=options.adapter)
            place, show, placing = options.repository, not options.quiet, versions.placing(options)
            report = export_world(opened.folder, place, chosen, options.adapter, show, origin, placing)
    except GateError as error:
        print(f"refused, nothing was written: {error}", file=sys.stderr)
        return GATE_FAILED
    except (FamilyError, BuildError, ValidationError, OSError) as error:
        print(f"cannot export: {error}", file=sys.stderr)
        return UNUSABLE
    print(json.dumps(report, indent=2), flush=True)
    print(versions.told(options.repository, str(report["world"])), file=sys.stderr)
    print(last_line(report), file=sys.stderr)
    return 0


def last_line(report: Mapping[str, Any]) -> str:
    """What was exported, and what it was held against."""
    if not report["reference_checked"]:
        return (
            f"exported {report['world']}, NOT checked against a reference (reference_checked: false): "
            f"{report['reference']}; --check pairs.npz gives examples of your own"
        )
    worst = max(report["reference_errors"].values(), default=0.0)
    return f"exported {report['world']}, checked against {report['reference']}: off by at most {worst:.1e}"


def check(options: ExportOptions) -> None:
    """FamilyError where options do not fit each other."""
    if options.target == "cpu" and (options.dtype != "float32" or options.compute_capabilities):
        raise FamilyError("--dtype and --compute-capability are TensorRT's; add --target tensorrt or tensorrt-rtx")
    if options.target != "cpu" and options.precision == "mixed":
        raise FamilyError("--precision mixed is for the target cpu; TensorRT has --dtype float16 and bfloat16")


@dataclass(frozen=True)
class Opened:
    """A checkpoint folder of this project, and what it was made of."""

    folder: Path
    origin: Origin


@contextlib.contextmanager
def checkpoint(source: Path, family: str | None, world: Path | None) -> Iterator[Opened]:
    """A checkpoint folder of this project, made of one that was published, where its family is named."""
    if family is None:
        yield Opened(source, Origin())
        return
    adopt = named(PUBLISHED[family])
    facts, found = read_facts(world), published.read(source)
    with tempfile.TemporaryDirectory() as folder:
        adopt(family, found, facts, Path(folder))
        yield Opened(Path(folder), Origin(family, found, facts))


def parser() -> argparse.ArgumentParser:
    """Arguments of the command."""
    parser = argparse.ArgumentParser(
        prog="wmserve export",
        description="Export a checkpoint into a Triton model repository: ONNX engines, contract, gates.",
        epilog="Exit status: 0 exported, 1 a gate refused the world, 2 the checkpoint or the arguments do not fit.",
    )
    defaults = ExportOptions()
    add = parser.add_argument
    add("checkpoint", type=Path, nargs="?", help="folder with config.json and weights, or what family or adapter read")
    read = parser.add_mutually_exclusive_group()
    read.add_argument(
        "--family", choices=sorted(PUBLISHED), help="read the checkpoint as this family's authors publish theirs"
    )
    read.add_argument(
        "--adapter", metavar="MODULE:FUNCTION", help="read it by a function of your own, which returns torch modules"
    )
    add("--world", type=Path, metavar="FILE", help="JSON or YAML of what such a checkpoint does not say: name, actions")
    add("--template", action="store_true", help="print such a file for --family, with comments, to fill in, and stop")
    add(
        "--check",
        type=Path,
        metavar="PAIRS.npz",
        help="examples that the training's own code made, which the world must answer alike: observations "
        "[M, T, h, w, 3] uint8 and latents [M, T, D]; where it predicts, actions [M, (T - 1 + H) x action_block, A] "
        "and predicted [M, H, D]; all is described in wmserve_export.pairs",
    )
    add("--repository", type=Path, default=Path("model_repository"), help="where Triton reads (default: %(default)s)")
    add("--name", help="name to serve the world under (default: the checkpoint's)")
    add(
        "--horizons",
        type=int,
        nargs="+",
        metavar="H",
        help="model steps to unroll to (default: the planner's, twice it)",
    )
    add("--candidate-limit", type=int, default=defaults.candidate_limit, help="most candidates of a call (%(default)s)")
    add(
        "--plan-budget",
        type=int,
        default=defaults.plan_budget,
        help="most candidates x iterations x horizon (%(default)s)",
    )
    add(
        "--precision",
        choices=get_args(Precision),
        default=defaults.precision,
        help="how plans score candidates: all in float32, or (mixed) all in 8-bit integers and the best again in "
        "float32, which is faster for large worlds (default: %(default)s)",
    )
    add(
        "--rank-problems",
        type=at_least(1),
        help="random planning problems of the rank gate; large models take seconds for each "
        f"({EXACT} in float32, else {ROUNDED})",
    )
    add(
        "--gate-candidates",
        type=at_least(FEWEST_CANDIDATES),
        default=defaults.gate_candidates,
        help="candidates of the largest population that the gates try, a tenth of them elites; fewer for models that "
        "take seconds for one (%(default)s)",
    )
    gpu = parser.add_argument_group("engines for NVIDIA GPUs")
    gpu.add_argument(
        "--target",
        choices=get_args(TargetName),
        default=defaults.target,
        help="what to build for (default: %(default)s)",
    )
    gpu.add_argument(
        "--dtype",
        choices=get_args(Dtype),
        default=defaults.dtype,
        help="of products; the first ones of all inputs, norms and softmax stay float32 (default: %(default)s)",
    )
    gpu.add_argument(
        "--compute-capability",
        nargs="+",
        metavar="X.Y",
        help="GPUs to build for (default: tensorrt this machine's, tensorrt-rtx 8.6 8.9 12.0)",
    )
    gpu.add_argument(
        "--max-batch",
        type=at_least(1),
        default=defaults.max_batch,
        help="most calls that an encode or rollout engine takes at once; takes GPU memory (default: %(default)s)",
    )
    gpu.add_argument("--timing-cache", type=Path, metavar="DIR", help="kernels' times (default: ~/.cache/wmserve)")
    versions.add_placing(parser)
    add("--quiet", action="store_true", help="show no progress")
    return parser


def at_least(fewest: int) -> Callable[[str], int]:
    """A whole number from there on."""

    def number(text: str) -> int:
        if int(text) < fewest:
            raise argparse.ArgumentTypeError(f"must be at least {fewest}")
        return int(text)

    number.__name__ = "int"  # argparse names it when a text is none
    return number


if __name__ == "__main__":
    sys.exit(main())
