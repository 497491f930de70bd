"""The way of a world: load -> trace -> (make coarse ->) parity -> rank -> write."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnxruntime
import torch
from tqdm import tqdm
from wmserve.world import Precision, World

from wmserve_export import contract, families, gates, repository
from wmserve_export.coarse import coarse_engine
from wmserve_export.contract import ExportOptions
from wmserve_export.engines import Engine, engines
from wmserve_export.examples import Examples
from wmserve_export.onnx_graphs import export_engine


def export_world(
    checkpoint: Path, place: Path, options: ExportOptions, adapter: str | None = None, show: bool = True
) -> dict[str, object]:
    """Export a checkpoint into the repository at `place` and return the report.

    FamilyError when it cannot be loaded, GateError when a gate refuses it; then nothing is written.
    """
    family = families.load(checkpoint, adapter)
    wanted = engines(families.verbs(family), contract.engine_horizons(family.config, options), options.precision)
    # Before the work: a contract that does not fit is known at once.
    contract.build(family, options, contract.digests(checkpoint, {}))
    files: dict[Engine, bytes] = {}
    for engine in tqdm(wanted, "tracing engines", disable=not show):
        files[engine] = (
            coarse_engine(files[engine.beside("exact")]) if engine.kind == "coarse" else export_engine(family, engine)
        )
    world = contract.build(
        family, options, contract.digests(checkpoint, {engine.key: file for engine, file in files.items()})
    )
    figures = try_gates(family, files, Examples.load(checkpoint, family), options.rank_problems, show)
    report = {**as_report(world, files), **figures}
    repository.write(place, world, family.config, files, report)
    return report


def try_gates(
    family: families.Encoder, files: Mapping[Engine, bytes], examples: Examples, rank_problems: int, show: bool
) -> dict[str, object]:
    """Figures of both gates; GateError from the first that refuses."""
    with one_thread():
        parity = gates.parity(family, files, examples)
        parity.check()
        rank: Mapping[Precision, gates.Rank] = {}
        if "plan" in families.verbs(family):
            problems = tqdm(range(rank_problems), "rank gate", disable=not show)
            rank = gates.rank(family, files, examples, problems)
        for agreement in rank.values():
            agreement.check()
    return gates.as_report(parity, rank)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: on a busy machine its threads wait for each other, and calls here are small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def as_report(world: World, files: Mapping[Engine, bytes]) -> dict[str, object]:
    """What was exported, and with what."""
    return {
        "world": world.name,
        "digests": world.digests.model_dump(),
        "bytes": {engine.key: len(file) for engine, file in files.items()},
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }
