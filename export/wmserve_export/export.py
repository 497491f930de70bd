"""The way of a world: load -> reference -> trace -> (coarse ->) parity -> rank -> (build for TensorRT ->) write."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnxruntime
import torch
from tqdm import tqdm
from wmserve.world import Digests, Precision, Target, World

from wmserve_export import contract, families, gates, repository, tensorrt
from wmserve_export.coarse import coarse_engine
from wmserve_export.contract import ExportOptions
from wmserve_export.engines import Engine, engines
from wmserve_export.examples import Examples
from wmserve_export.external_data import ExternalData, has_external_data
from wmserve_export.onnx_graphs import export_engine
from wmserve_export.reference_gate import Origin, Reference, reference
from wmserve_export.tensorrt import half
from wmserve_export.triton_models import data_files


def export_world(
    checkpoint: Path,
    place: Path,
    options: ExportOptions,
    adapter: str | None = None,
    show: bool = True,
    origin: Origin | None = None,
    placing: repository.Placing | None = None,
) -> dict[str, object]:
    """Export a checkpoint into the repository at `place`, as a version beside others, and return the report.

    `origin` says what the world is held against. FamilyError when it cannot be loaded, GateError when a gate refuses
    it, BuildError when TensorRT does; then nothing is written.
    """
    family = families.load(checkpoint, adapter)
    known = Digests(checkpoint=contract.checkpoint_digest(checkpoint, show), engines={})
    # Before the work: a contract that does not fit is known at once.
    target = tensorrt.target(options)
    held = reference(family, origin or Origin(adapter=adapter))
    draft = contract.build(family, options, known, target, held)
    with repository.staging(place) as staged:
        files = write_engines(family, draft, staged / "onnx", show)
        figures = try_gates(family, files, Examples.load(checkpoint, family), options, show)
        if target.name != "cpu":
            files = tensorrt.build_engines(family.config, draft, files, staged / "built", options, show)
        everything = keyed(target, files)
        engine_digests = {key: contract.file_digest(file, show) for key, file in everything.items()}
        world = contract.build(family, options, known.model_copy(update={"engines": engine_digests}), target, held)
        report = {**as_report(world, everything), **figures, **reference_report(held)}
        written = repository.write(staged, place, world, family.config, files, report, options.max_batch, placing)
    return {**report, "version": written.version}


def write_engines(family: families.Encoder, world: World, place: Path, show: bool) -> dict[Engine, Path]:
    """Write all engines of a world as ONNX files, in a folder of `place` for each verb."""
    folders: dict[str, ExternalData] = {}
    for verb in world.verbs:
        (place / verb).mkdir(parents=True)
        folders[verb] = ExternalData(place / verb, show)
    files: dict[Engine, Path] = {}
    wanted = engines(world.verbs, world.engine_horizons, world.plan_precision)
    for engine in tqdm(wanted, "tracing engines", disable=not show):
        data = folders[engine.verb]
        files[engine] = (
            coarse_engine(files[engine.beside("exact")], data.folder / engine.file, data)
            if engine.kind == "coarse"
            else export_engine(family, engine, data)
        )
    return files


def keyed(target: Target, files: Mapping[Engine, Path]) -> dict[str, Path]:
    """Engines and the files of weights beside them, by their keys in a contract."""
    data = {f"{verb}/{file.name}": file for verb, file in data_files(files).items()}
    return {engine.key_of(target): file for engine, file in files.items()} | data


def try_gates(
    family: families.Encoder, files: Mapping[Engine, Path], examples: Examples, options: ExportOptions, show: bool
) -> dict[str, object]:
    """Figures of both gates; GateError from the first that refuses. Halves are tried by their values."""
    files = {engine: half.rounded(file, options.dtype) for engine, file in files.items()}
    large = any(map(has_external_data, files.values()))
    with contextlib.nullcontext() if large else one_thread():
        parity = gates.parity(family, files, examples, options.dtype, options.gate_candidates, show)
        parity.check()
        rank: Mapping[Precision, gates.Rank] = {}
        if "plan" in families.verbs(family):
            problems = tqdm(range(options.problems), "rank gate", disable=not show)
            rank = gates.rank(family, files, examples, problems, options.dtype, options.gate_candidates)
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


def reference_report(held: Reference) -> dict[str, object]:
    """Figures of the reference gate."""
    return {"reference_checked": held.checked, "reference": held.said, "reference_errors": dict(held.errors)}


def as_report(world: World, files: Mapping[str, Path]) -> dict[str, object]:
    """What was exported, and with what."""
    return {
        "world": world.name,
        "target": world.target.model_dump(),
        "digests": world.digests.model_dump(),
        "bytes": {key: file.stat().st_size for key, file in files.items()},
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    }
