"""TensorRT engines of a world: ONNX files, lowered to a precision, built for certain GPUs.

    ONNX files -> half.lowered -> builder.build (profiles.of, library.load) -> engines, and the contract's Target

Full TensorRT builds on the GPU that is to run the engines; TensorRT-RTX builds for several GPUs, on any machine.
"""

from collections.abc import Mapping
from pathlib import Path

from tqdm import tqdm
from wmserve import gpus
from wmserve.world import Target, World

from wmserve_export.contract import ExportOptions
from wmserve_export.engines import Engine
from wmserve_export.families import FamilyConfig
from wmserve_export.tensorrt import builder, half, library, profiles
from wmserve_export.tensorrt.library import BuildError

__all__ = ["BuildError", "build_engines", "target"]

RTX_COMPUTE_CAPABILITIES = ("8.6", "8.9", "12.0")
"""GPUs that TensorRT-RTX engines are built for if nobody says: GeForce RTX 30, 40 and 50, and their workstation kin."""


def target(options: ExportOptions) -> Target:
    """What is to be built, for the contract; BuildError where this machine cannot build it."""
    if options.target == "cpu":
        return Target()
    found = library.load(options.target)
    return Target(
        name=options.target,
        dtype=options.dtype,
        builder=found.builder,
        compute_capabilities=compute_capabilities(found, options.compute_capabilities),
    )


def compute_capabilities(found: library.Library, asked: tuple[str, ...]) -> tuple[str, ...]:
    """What to build for; full TensorRT builds on the GPU that is to run the engines, and for no other."""
    if found.name == "tensorrt-rtx":
        return asked or RTX_COMPUTE_CAPABILITIES
    here = gpus.compute_capabilities()[:1]
    if not here or asked not in ((), here):
        raise BuildError(
            "tensorrt builds engines on the GPU that is to run them, and this machine has "
            f"{here[0] if here else 'none'}; tensorrt-rtx builds for others, and without a GPU"
        )
    return here


def build_engines(
    config: FamilyConfig,
    world: World,
    files: Mapping[Engine, Path],
    place: Path,
    options: ExportOptions,
    show: bool = True,
) -> dict[Engine, Path]:
    """Build every ONNX file, into a folder of `place` for each verb; BuildError names the first that cannot be."""
    chosen = world.target
    found = library.load(chosen.name)
    how = builder.BuildOptions(
        compute_capabilities=chosen.compute_capabilities if found.name == "tensorrt-rtx" else (),
        timing_cache=options.timing_cache or builder.default_timing_cache(),
    )
    built = {}
    for engine, file in tqdm(files.items(), "building engines", disable=not show):
        profile = profiles.of(config, world, engine, options.max_batch)
        try:
            content = builder.build(found, half.lowered(file, chosen.dtype), [profile], how, show)
        except BuildError as error:
            raise BuildError(f"engine {engine.key}: {error}") from None
        built[engine] = place / engine.key_of(chosen)
        built[engine].parent.mkdir(parents=True, exist_ok=True)
        built[engine].write_bytes(content)
    return built
