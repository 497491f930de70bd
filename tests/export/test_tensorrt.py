"""TensorRT engines of every family, built here without a GPU by TensorRT-RTX; and half precisions, by their values.

The same code builds for full TensorRT, whose libraries cannot be had everywhere: its parser reads the same operators.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from wmserve import gpus
from wmserve.world import Dtype, Target
from wmserve_export import contract, external_data, families, gates, tensorrt
from wmserve_export.__main__ import main
from wmserve_export.contract import ExportOptions
from wmserve_export.engines import Engine, engines
from wmserve_export.examples import NO_EXAMPLES
from wmserve_export.external_data import ExternalData, has_external_data
from wmserve_export.families import Encoder
from wmserve_export.onnx_graphs import export_engine, traced
from wmserve_export.runtime import Runner
from wmserve_export.tensorrt import builder, half, library, profiles
from wmserve_export.tensorrt.builder import BuildError, BuildOptions

from loadtest import lewm_checkpoint
from loadtest.families.cases import CASES
from loadtest.families.parity import loaded
from loadtest.trusting import tiny
from tests.conftest import ROOT
from tests.export import linear_world, other_worlds

HORIZON = 1
ADA = ("8.9",)


def of_checkpoint(save: Callable[[Path], Path]) -> Callable[[Path], Encoder]:
    """A world by way of a checkpoint folder."""
    return lambda folder: families.load(save(folder / "checkpoint"))


TINY: Mapping[str, Callable[[Path], Encoder]] = {
    "linear": of_checkpoint(linear_world.save),
    "conv_jepa": lambda _: families.load(ROOT / "export/wmserve_export/reference/two_room"),
    "lewm": of_checkpoint(lambda folder: lewm_checkpoint.save(lewm_checkpoint.small(2), folder)),
    "tiny_jepa": of_checkpoint(tiny.checkpoint),
    "feels and sees": lambda _: other_worlds.Robot(other_worlds.CONFIGS["robot"]).eval(),
    "feels alone": lambda _: other_worlds.Blind(other_worlds.CONFIGS["blind"]).eval(),
    **{
        case.family: partial(loaded, case) for case in CASES if case.family not in ("lewm", "pldm")
    },  # one network: above
}
"""Worlds as small as they get; those of `loadtest.families.cases`, and a line for each other."""


@dataclass(frozen=True)
class Traced:
    """A world and the ONNX files of all its verbs."""

    family: Encoder
    files: Mapping[Engine, Path]


@pytest.fixture(scope="module")
def worlds() -> dict[str, Traced]:
    """Those that have been traced: tests come back to them in another order than pytest keeps fixtures for."""
    return {}


@pytest.fixture(params=TINY)
def world(
    request: pytest.FixtureRequest, worlds: dict[str, Traced], tmp_path_factory: pytest.TempPathFactory
) -> Traced:
    """Each tiny world."""
    if request.param not in worlds:
        folder = tmp_path_factory.mktemp("tiny")
        family = TINY[request.param](folder)
        wanted = engines(families.verbs(family), (HORIZON,) if family.config.action.axes else ())
        files = {engine: exported(family, engine, folder / engine.verb) for engine in wanted}
        worlds[request.param] = Traced(family, files)
    return worlds[request.param]


def exported(family: Encoder, engine: Engine, folder: Path) -> Path:
    """An engine's ONNX file."""
    folder.mkdir(exist_ok=True)
    return export_engine(family, engine, ExternalData(folder))


@pytest.fixture(scope="module")
def rtx() -> library.Library:
    """TensorRT-RTX, where it is installed."""
    pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed: pip install '.[tensorrt-rtx]'")
    return library.load("tensorrt-rtx")


BUILDS = [(name, dtype) for name in TINY for dtype in ("float32", "bfloat16")]
HALVES = [(name, "float16") for name in ("conv_jepa", "lewm")]
"""Lowered at the same places as bfloat16, and known to more kernels: two worlds are enough."""


@pytest.mark.parametrize(("world", "dtype"), BUILDS + HALVES, indirect=["world"])
def test_every_family_builds(world: Traced, dtype: Dtype, rtx: library.Library, tmp_path: Path) -> None:
    """Every verb, for every size that the contract allows."""
    options = ExportOptions(target="tensorrt-rtx", dtype=dtype, compute_capabilities=ADA, candidate_limit=64)
    digests = contract.Digests(checkpoint="sha256:" + "0" * 64, engines={})
    terms = contract.build(world.family, options, digests, tensorrt.target(options))
    assert terms.target == Target(name="tensorrt-rtx", dtype=dtype, builder=rtx.builder, compute_capabilities=ADA)
    built = tensorrt.build_engines(world.family.config, terms, world.files, tmp_path, options, show=False)
    assert built.keys() == world.files.keys()
    assert all(file.read_bytes()[:4] == b"vtrt" for file in built.values())


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precisions_keep_their_parity(world: Traced, dtype: Dtype) -> None:
    """Rounded products, on a CPU: within the limit of the type, and not exact where there is something to round."""
    files = {engine: half.rounded(file, dtype) for engine, file in world.files.items()}
    found = gates.parity(world.family, files, NO_EXAMPLES, dtype)
    found.check()
    lowered = sum(len(half.products(onnx.load(file).graph)) for file in world.files.values())
    assert (max(found.errors.values()) > 1e-5) == (lowered > 0)


@pytest.fixture(scope="module")
def lewm(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    """The plan engine of a small LeWM."""
    folder = tmp_path_factory.mktemp("lewm")
    family, engine = TINY["lewm"](folder), Engine("plan", 2)
    return Traced(family, {engine: exported(family, engine, folder / engine.verb)})


def test_what_reads_an_input_as_it_came_stays_float32(lewm: Traced) -> None:
    """Actions, whose differences a search lives by; all other products are in half precision, and nothing else is."""
    (file,) = lewm.files.values()
    found = half.products(onnx.load(file).graph)
    kept = {node.name for node in products_of(file)} - found
    assert kept
    assert all(name.startswith("action_encoder.first/") for name in kept)
    types = types_of(half.lowered(file, "float16"))
    for node in products_of(half.lowered(file, "float16")):
        wanted = onnx.TensorProto.FLOAT16 if node.name in found else onnx.TensorProto.FLOAT
        assert {types[name] for name in [*node.input, *node.output]} == {wanted}, node.name
    halves = {name for name, kind in types.items() if kind == onnx.TensorProto.FLOAT16}
    assert all(name.endswith(("/float16", "/float16_product")) for name in halves)
    assert half.lowered(file, "float32") == file


def test_a_half_is_held_to_its_own_limit(lewm: Traced) -> None:
    """What bfloat16 may do, float32 may not."""
    files = {engine: half.rounded(file, "bfloat16") for engine, file in lewm.files.items()}
    gates.parity(lewm.family, files, NO_EXAMPLES, "bfloat16").check()
    with pytest.raises(gates.GateError, match=r"^parity: plan/horizon_2.onnx:goal_distance"):
        gates.parity(lewm.family, files, NO_EXAMPLES).check()


def test_weights_beside_an_engine_are_rounded_and_built(
    lewm: Traced, rtx: library.Library, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As those inside are; what casts them has no weights of its own, and reads the same data file."""
    ((engine, inside),) = lewm.files.items()
    monkeypatch.setattr(external_data, "EXTERNAL_FROM", 2000)
    outside = exported(lewm.family, engine, tmp_path / engine.verb)
    inputs = NO_EXAMPLES.inputs(lewm.family.config, engine, {"B": 1, "S": 9}, torch.Generator().manual_seed(0))
    one, other = (Runner(half.rounded(file, "float16"))(inputs) for file in (inside, outside))
    for name, array in one.items():
        torch.testing.assert_close(torch.from_numpy(other[name]), torch.from_numpy(array), rtol=1e-3, atol=1e-3)
    terms = contract.build(
        lewm.family, ExportOptions(candidate_limit=8), contract.Digests(checkpoint="sha256:" + "0" * 64, engines={})
    )
    profile = profiles.of(lewm.family.config, terms, engine, max_batch=4)
    for file in (outside, half.lowered(outside, "float16")):
        assert has_external_data(file)
        assert file.stat().st_size < inside.stat().st_size / 2
        assert len(builder.build(rtx, file, [profile], BuildOptions(ADA))) > inside.stat().st_size / 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_is_that_of_the_type(dtype: torch.dtype, tmp_path: Path) -> None:
    """Of two layers the second's weights, inputs and outputs are rounded as torch does; the first reads the input."""
    first, second = nn.Linear(5, 64), nn.Linear(64, 3)
    values, batch = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.export.Dim("B", min=1)
    model = traced(nn.Sequential(first, nn.Tanh(), second), {"input": values}, ["y"], {"input": {0: batch}}, "two")
    file = tmp_path / "two.onnx"
    file.write_bytes(model)

    def near(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(dtype).float()

    with torch.inference_mode():
        wanted = near(near(first(values).tanh()) @ near(second.weight).T + near(second.bias))
        exact = second(first(values).tanh())
    name: Dtype = "float16" if dtype == torch.float16 else "bfloat16"
    found = torch.from_numpy(Runner(half.rounded(file, name))({"input": values})["y"])
    assert (found - wanted).abs().max() <= torch.finfo(dtype).eps * wanted.abs().max()
    assert (found == wanted).float().mean() > 0.95  # another order of sums may round to the neighbour
    assert (exact == wanted).float().mean() < 0.05


def products_of(file: Path) -> list[onnx.NodeProto]:
    """Products of a file."""
    return [node for node in onnx.load(file).graph.node if node.op_type in half.PRODUCTS]


def types_of(file: Path) -> dict[str, int]:
    """Types of all tensors of a file."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(file)).graph
    tensors = [*graph.value_info, *graph.input, *graph.output]
    return {tensor.name: tensor.type.tensor_type.elem_type for tensor in tensors} | {
        tensor.name: tensor.data_type for tensor in graph.initializer
    }


class Positive(nn.Module):
    """Has what TensorRT does not read, in a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.chosen = Chosen()

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[B, 3]` -> `[1]`."""
        total: torch.Tensor = self.chosen(values)
        return total


class Chosen(nn.Module):
    """Boolean indexing."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """`[B, 3]` -> `[1]`."""
        return values[values > 0].sum(dim=0, keepdim=True)


def test_an_operator_that_is_not_supported_is_named_with_its_node(rtx: library.Library, tmp_path: Path) -> None:
    """By the module that it is in."""
    batch = torch.export.Dim("B", min=1)
    model = traced(Positive(), {"values": torch.randn(2, 3)}, ["total"], {"values": {0: batch}}, "positive")
    file = tmp_path / "positive.onnx"
    file.write_bytes(model)
    with pytest.raises(BuildError, match=r"tensorrt-rtx [\d.]+ does not read the node chosen/NonZero \(NonZero\): "):
        builder.build(rtx, file, [{"values": ((1, 3), (2, 3), (4, 3))}], BuildOptions(ADA))


def test_a_gpu_that_is_not_known_is_named_with_those_that_are(lewm: Traced, rtx: library.Library) -> None:
    """7.0 is too old, and 8.10 is none."""
    (file,) = lewm.files.values()
    for unknown in ("7.0", "8.10"):
        with pytest.raises(BuildError, match=rf"capability {unknown}, only for 7.5, 8.0, 8.6, 8.9, 12.0"):
            builder.build(rtx, file, [], BuildOptions((unknown,)))


def test_one_engine_is_for_several_gpus_and_timings_are_kept(
    lewm: Traced, rtx: library.Library, tmp_path: Path
) -> None:
    """The cache lies where it was asked for, by the library's version, and the next build reads it."""
    ((engine, file),) = lewm.files.items()
    options = ExportOptions(candidate_limit=8)
    terms = contract.build(lewm.family, options, contract.Digests(checkpoint="sha256:" + "0" * 64, engines={}))
    profile = profiles.of(lewm.family.config, terms, engine, max_batch=4)
    for _ in range(2):
        assert builder.build(rtx, file, [profile], BuildOptions(("8.6", "12.0"), tmp_path / "timings"))
    (kept,) = (tmp_path / "timings").iterdir()
    assert kept.name == f"{rtx.builder.replace(' ', '-')}.timing"


def test_profiles_are_what_the_contract_allows(lewm: Traced) -> None:
    """Smallest, usual, largest; a plan is one call, and one plan is judged at a time."""
    config, options = lewm.family.config, ExportOptions(candidate_limit=100, max_side=512)
    terms = contract.build(lewm.family, options, contract.Digests(checkpoint="sha256:" + "0" * 64, engines={}))
    encode = profiles.of(config, terms, Engine("encode"), max_batch=4)
    assert encode["observations"] == ((1, 1, 1, 1, 3), (1, 2, 28, 28, 3), (4, 2, 512, 512, 3))
    plan, judge, rollout = (
        profiles.of(config, terms, engine, max_batch=4)["actions"]
        for engine in (Engine("plan", 5), Engine("plan", 5, "judge"), Engine("rollout", 5))
    )
    assert plan == ((1, 1, 25, 2), (1, 100, 25, 2), (1, 100, 25, 2))
    assert judge == ((1, 1, 25, 2),) * 3
    assert rollout == ((1, 1, 25, 2), (1, 100, 25, 2), (4, 100, 25, 2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtype", "float16"], "add --target tensorrt"),
        (["--compute-capability", "8.9"], "add --target tensorrt"),
        (["--target", "tensorrt-rtx", "--precision", "mixed"], "--precision mixed is for the target cpu"),
        (["--target", "tensorrt-rtx", "--compute-capability", "Ada"], "compute_capabilities"),
    ],
)
def test_what_does_not_fit_is_said(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any work."""
    if "Ada" in arguments:
        pytest.importorskip("tensorrt_rtx_bindings", reason="tensorrt-rtx is not installed")
    checkpoint = linear_world.save(tmp_path / "checkpoint")
    assert main([str(checkpoint), "--repository", str(tmp_path / "repository"), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()


def test_a_bound_that_is_broken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    """Where the command is read, before anything is opened."""
    with pytest.raises(SystemExit):
        main(["checkpoint", "--target", "tensorrt-rtx", "--max-batch", "0"])
    assert "--max-batch: must be at least 1" in capsys.readouterr().err


def test_a_tensorrt_that_is_not_there_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And how it can be had."""
    monkeypatch.setattr(library, "MODULES", {"tensorrt": ("no_tensorrt",), "tensorrt-rtx": ("no_rtx",)})
    checkpoint = linear_world.save(tmp_path / "checkpoint")
    for target, hint in (("tensorrt", "NVIDIA's containers"), ("tensorrt-rtx", "pip install 'wmserve[tensorrt-rtx]'")):
        assert main([str(checkpoint), "--repository", str(tmp_path / "repository"), "--target", target]) == 2
        assert hint in capsys.readouterr().err


def test_full_tensorrt_builds_for_the_gpu_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """And for no other: its engines are tuned on it."""
    full = library.Library("tensorrt", onnx)  # any module with a version
    with pytest.raises(BuildError, match="this machine has none; tensorrt-rtx builds for others"):
        tensorrt.compute_capabilities(full, ())
    monkeypatch.setattr(gpus, "compute_capabilities", lambda: ("9.0", "9.0"))
    assert tensorrt.compute_capabilities(full, ()) == ("9.0",)
    assert tensorrt.compute_capabilities(full, ("9.0",)) == ("9.0",)
    with pytest.raises(BuildError, match=r"this machine has 9\.0"):
        tensorrt.compute_capabilities(full, ("8.9",))
