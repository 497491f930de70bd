"""Builds one TensorRT engine from an ONNX file. Networks are strongly typed: precisions are those of the file.

ONNX -> parse -> profiles, compute capabilities, timing cache -> build -> bytes
"""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wmserve_export.tensorrt.library import BuildError, Library, log
from wmserve_export.tensorrt.progress import Progress

Shape = tuple[int, ...]
Profile = Mapping[str, tuple[Shape, Shape, Shape]]
"""By input: the smallest shape, the one to choose kernels for, and the largest."""


@dataclass(frozen=True)
class BuildOptions:
    """How to build, besides what the file says."""

    compute_capabilities: tuple[str, ...] = ()
    """GPUs to build for, such as `8.9`; empty for the one of this machine. Only TensorRT-RTX builds for others."""
    timing_cache: Path | None = None
    """Folder for what builds learn of kernels' times, so that the next one is shorter; None for none."""
    tf32: bool = False
    """Whether float32 products may be rounded to TF32's 10 bits."""


def build(
    library: Library, model: Path, profiles: Sequence[Profile], options: BuildOptions, show: bool = False
) -> bytes:
    """An engine; BuildError where the file has what TensorRT does not read, or where it cannot be built."""
    trt, logger = library.module, log(library.module)
    logger.errors.clear()
    builder = trt.Builder(logger)
    network = parsed(library, builder, model)
    config = builder.create_builder_config()
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    set_compute_capabilities(library, config, options.compute_capabilities)
    for profile in profiles:
        config.add_optimization_profile(optimization_profile(builder, profile))
    with timing_cache(library, config, options.timing_cache), Progress(trt, show) as progress:
        config.progress_monitor = progress.monitor
        engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise BuildError(f"{library.builder} does not build the engine: {last_words(logger.errors)}")
    return bytes(engine)


def parsed(library: Library, builder: Any, model: Path) -> Any:
    """A network; BuildError names the node that the parser does not read."""
    trt, logger = library.module, log(library.module)
    strongly = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # the only kind in newer versions
    network = builder.create_network(0 if strongly is None else 1 << int(strongly))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(model)):  # which finds weights that lie beside it
        found = parser.get_error(0)
        raise BuildError(
            f"{library.builder} does not read the node {found.node_name()} ({found.node_operator()}): "
            f"{found.desc().splitlines()[0]}"
        )
    return network


def optimization_profile(builder: Any, profile: Profile) -> Any:
    """A profile as the library has it."""
    made = builder.create_optimization_profile()
    for name, shapes in profile.items():
        made.set_shape(name, *shapes)
    return made


def set_compute_capabilities(library: Library, config: Any, wanted: tuple[str, ...]) -> None:
    """Name the GPUs to build for; BuildError where the library does not know one, or builds for this machine's only."""
    if not wanted:
        return
    if not hasattr(config, "num_compute_capabilities"):
        raise BuildError(f"{library.builder} builds for the GPU of this machine only")
    known = {name: value for name, value in library.module.ComputeCapability.__members__.items() if name[:2] == "SM"}
    config.num_compute_capabilities = len(wanted)
    for place, capability in enumerate(wanted):
        name = f"SM{capability.replace('.', '')}"
        if name not in known:
            there = ", ".join(f"{other[2:-1]}.{other[-1]}" for other in known)
            raise BuildError(f"{library.builder} does not build for compute capability {capability}, only for {there}")
        config.set_compute_capability(known[name], place)


@contextmanager
def timing_cache(library: Library, config: Any, folder: Path | None) -> Iterator[None]:
    """Let a build use and extend what is known of kernels' times. TensorRT-RTX, which times none, adds nothing."""
    if folder is None:
        yield
        return
    file = folder / f"{library.builder.replace(' ', '-')}.timing"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # TensorRT-RTX's word on that
        config.set_timing_cache(config.create_timing_cache(file.read_bytes() if file.is_file() else b""), False)
        yield
        folder.mkdir(parents=True, exist_ok=True)
        new = file.with_name(f".{file.name}.{os.getpid()}")
        new.write_bytes(config.get_timing_cache().serialize())
        new.replace(file)


def default_timing_cache() -> Path:
    """Where timings are kept if nobody says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wmserve"


def last_words(errors: Sequence[str]) -> str:
    """What the library said of a failure."""
    return errors[-1].splitlines()[0] if errors else "it gives no reason"
