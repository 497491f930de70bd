"""The gate ``reference``: what is exported wrong is refused, by the family's own package and by a user's examples."""

import argparse
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from wmserve_export import convert, families
from wmserve_export.__main__ import main
from wmserve_export.families import FamilyError, published
from wmserve_export.families.published import Published
from wmserve_export.gates import GateError
from wmserve_export.pairs import read_pairs
from wmserve_export.peers import NoPeerError, building
from wmserve_export.reference_gate import Origin, reference

from loadtest.families import broken, dino_wm, tdmpc2
from loadtest.families.cases import LEWM_SETTINGS
from loadtest.families.parity import written
from tests.export import linear_world
from tests.export.test_export import read_world


@pytest.mark.parametrize("family", broken.BREAKAGES)
def test_every_broken_export_is_refused_and_the_whole_one_is_not(family: str) -> None:
    """Heads, activations, pixels, norms, windows, bins; by the package, where there is one, and by examples."""
    found = broken.run([family]).summary()
    assert found["tried"] >= len(broken.BREAKAGES[family])
    assert (found["missed"], found["whole"]) == ([], [])
    assert (family in found["held_against"]) == (family != "vjepa2-ac")


def lewm(tmp_path: Path, change: dict[str, Any] | None = None) -> tuple[Path, Path]:
    """LeWM's checkpoint, with its config.json changed, and the file of facts."""
    source, facts = written(broken.case_of("lewm"), tmp_path)
    file = source / "config.json"
    settings = json.loads(file.read_text())
    for path, value in (change or {}).items():
        *parts, last = path.split(".")
        inner = settings
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    file.write_text(json.dumps(settings))
    return source, facts


def export(source: Path, facts: Path, *options: str) -> int:
    """Through all gates, as fast as it gets."""
    arguments = ["--family", "lewm", "--world", str(facts), "--rank-problems", "1", "--horizons", "1", "--quiet"]
    arguments += ["--gate-candidates", "20"]
    return main([str(source), *arguments, "--repository", str(facts.parent / "repository"), *options])


def test_the_contract_and_the_last_line_say_what_a_world_was_held_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Package and examples, where both are there. Of the family whose export takes least."""
    case = broken.case_of("ijepa")
    source, facts = written(case, tmp_path)
    with torch.inference_mode(), broken.exported(case, tmp_path / "again") as opened:
        pairs = broken.examples(case, families.load(opened.folder), tmp_path / "pairs.npz")
    arguments = ["--family", "ijepa", "--world", str(facts), "--check", str(pairs), "--quiet"]
    assert main([str(source), *arguments, "--repository", str(tmp_path / "repository")]) == 0
    said = capsys.readouterr()
    world = read_world(tmp_path / "repository", "ijepa")
    assert world.reference_checked
    assert world.reference.startswith("transformers 4.57.1, pairs.npz: 3 examples")
    assert said.err.splitlines()[-1].startswith(f"exported ijepa, checked against {world.reference}: off by at most")
    assert max(json.loads(said.out)["reference_errors"].values()) < 1e-5


def test_settings_that_the_training_did_not_have_are_refused_by_examples(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The package believes config.json, too; what the training's own code answered tells."""
    with torch.inference_mode(), broken.exported(broken.case_of("lewm"), tmp_path / "again") as opened:
        pairs = broken.examples(broken.case_of("lewm"), families.load(opened.folder), tmp_path / "pairs.npz")
    source, facts = lewm(tmp_path, {"encoder.num_attention_heads": 4})
    assert export(source, facts, "--check", str(pairs)) == 1
    assert "refused, nothing was written: reference: latents are off by" in capsys.readouterr().err
    facts.write_text(json.dumps({**json.loads(facts.read_text()), "pixels": "none"}))
    (source / "config.json").write_text(json.dumps(LEWM_SETTINGS))
    assert export(source, facts, "--check", str(pairs)) == 1
    assert "heads, activations, norms, window, pixels" in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()


def test_a_model_that_the_package_would_build_otherwise_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A width that wmserve has no use for, so that only the package's constructor knows that it does not fit."""
    source, facts = lewm(tmp_path, {"action_encoder.mlp_scale": 7})
    assert export(source, facts) == 1
    assert "that stable-worldmodel 0.1.1 builds by config.json does not take the tensors" in capsys.readouterr().err


def test_without_package_and_examples_the_world_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An adapter's world, in the contract and in the last line."""
    checkpoint = linear_world.save(tmp_path / "checkpoint")
    arguments = [str(checkpoint), "--adapter", f"{linear_world.__name__}:load", "--horizons", "2", "--quiet"]
    repository = tmp_path / "repository"
    assert main([*arguments, "--repository", str(repository), "--rank-problems", "1", "--gate-candidates", "20"]) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("exported linear, NOT checked against a reference (reference_checked: false): ")
    assert last.endswith("--check pairs.npz gives examples of your own")
    world = read_world(repository, "linear")
    assert not world.reference_checked
    assert world.reference == "what an adapter returns has no other code to be held against"


@pytest.fixture(scope="module")
def linear(tmp_path_factory: pytest.TempPathFactory) -> tuple[linear_world.LinearWorld, dict[str, Any]]:
    """A world of an adapter, and examples of it: two frames, two environment steps in a model step."""
    world = linear_world.load(linear_world.save(tmp_path_factory.mktemp("linear")))
    random = np.random.default_rng(1)
    frames = random.integers(0, 256, (3, 2, 8, 8, 3), dtype=np.uint8)
    actions = random.uniform(-1, 1, (3, 6, 2)).astype(np.float32)
    with torch.inference_mode():
        latents = world.encode(torch.from_numpy(frames))[0]
        predicted = world.predict(latents, torch.from_numpy(actions)[:, None]).mean(dim=2)[:, 0]
    arrays = {"observations": frames, "latents": latents.numpy(), "actions": actions, "predicted": predicted.numpy()}
    return world, arrays


def test_examples_hold_an_adapters_world(
    linear: tuple[linear_world.LinearWorld, dict[str, Any]], tmp_path: Path
) -> None:
    """Right ones are what it was held against, wrong ones refuse it."""
    world, arrays = linear
    np.savez(tmp_path / "pairs.npz", **arrays)
    held = reference(world, Origin(pairs=tmp_path / "pairs.npz", adapter="mine:load"))
    assert held.against == ("pairs.npz: 3 examples",)
    np.savez(tmp_path / "pairs.npz", **{**arrays, "predicted": arrays["predicted"] + np.float32(0.01)})
    with pytest.raises(GateError, match=r"^reference: predicted are off by .* relative to pairs\.npz: 3 examples"):
        reference(world, Origin(pairs=tmp_path / "pairs.npz", adapter="mine:load"))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"predicted": None}, "actions and predicted are needed, for this world predicts"),
        ({"observations": None}, "observations is missing"),
        ({"extra": np.zeros(3)}, "extra is not asked for; this world has latents, observations, actions, predicted"),
        ({"observations": np.zeros((3, 2, 8, 8, 3), np.float32)}, "float32, .* uint8 is needed"),
        ({"observations": np.zeros((3, 1, 8, 8, 3), np.uint8)}, r"shape \(3, 1, 8, 8, 3\) uint8, \[3, 2, h, w, 3\]"),
        ({"actions": np.zeros((3, 5, 2), np.float32)}, r"\(T - 1 \+ H\) x 2 environment steps are needed, T = 2"),
        ({"latents": np.full((3, 2, 3), np.nan, np.float32)}, "numbers that are not finite"),
        ({"latents": np.zeros((3, 2, 3), np.float32)}, "latents of all examples are the same"),
        ({"latents": np.array([[{}]])}, "holds objects"),
    ],
)
def test_examples_that_do_not_fit_are_refused_by_name(
    change: dict[str, Any],
    complaint: str,
    linear: tuple[linear_world.LinearWorld, dict[str, Any]],
    tmp_path: Path,
) -> None:
    """Missing, strange, of another shape, and a pickle, which is not opened."""
    world, arrays = linear
    arrays = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    np.savez(tmp_path / "pairs.npz", **arrays)
    with pytest.raises(FamilyError, match=complaint):
        read_pairs(tmp_path / "pairs.npz", world)


def test_what_would_not_fit_into_memory_is_not_unpacked(
    linear: tuple[linear_world.LinearWorld, dict[str, Any]], tmp_path: Path
) -> None:
    """A file of a few kilobytes that says it holds terabytes; and one that is no such file."""
    with zipfile.ZipFile(tmp_path / "pairs.npz", "w") as packed, packed.open("latents.npy", "w") as part:
        np.lib.format.write_array_header_1_0(part, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with pytest.raises(FamilyError, match=r"holds 4000000000000 bytes, at most 1073741824 are read"):
        read_pairs(tmp_path / "pairs.npz", linear[0])
    (tmp_path / "pairs.npz").write_bytes(b"nothing")
    with pytest.raises(FamilyError, match=r"pairs\.npz is no \.npz file"):
        read_pairs(tmp_path / "pairs.npz", linear[0])


@pytest.mark.parametrize(
    "name", ["os.system", "torch.nn.functional.relu", "torch.load", "stable_worldmodel.wm.utils.Path"]
)
def test_what_settings_name_is_not_run_unless_it_is_of_the_families_package(name: str) -> None:
    """Hydra would call anything."""
    with pytest.raises(NoPeerError, match=r"config\.json builds"):
        building.instantiated({"encoder": {"_target_": name, "command": "false"}})


def test_settings_are_built_as_hydra_builds_them() -> None:
    """Classes by name, whole or in part."""
    made = building.instantiated(
        {
            "_target_": "stable_worldmodel.wm.lewm.module.MLP",
            "input_dim": 2,
            "hidden_dim": 3,
            "norm_fn": {"_target_": "torch.nn.BatchNorm1d", "_partial_": True, "eps": 0.5},
            "act_fn": {"_target_": "hydra.utils.get_class", "path": "torch.nn.ReLU"},
        }
    )
    assert (type(made).__name__, made.net[1].eps, type(made.net[2]).__name__) == ("MLP", 0.5, "ReLU")


def test_a_converted_module_is_held_against_what_it_carried() -> None:
    """No config.json: numbers that the modules had are settings."""
    heads = {"predictor.heads": 4, "encoder.config.num_attention_heads": 3}
    attributes = {**heads, "projector.net.2.type": "torch.nn.ReLU"}
    assert building.settings_of(Published({}, {}, attributes)) == {
        "predictor": {"heads": 4},
        "encoder": {"config": {"num_attention_heads": 3}},
        "projector": {"net": {"2": {"type": "torch.nn.ReLU"}}},
    }
    with pytest.raises(NoPeerError, match=r"no config\.json"):
        building.settings_of(Published({}, {}, {}))


@pytest.mark.parametrize("family", ["tdmpc2", "dino-wm"])
def test_converted_modules_are_held_against_their_package(family: str, tmp_path: Path) -> None:
    """Whole modules, whose tensors have lost their order; LeWM's are in ``test_published``."""
    both, felt = {"pixels": 8, "state": 12}, {"proprio": 4, "action": 6}
    model, facts = (
        (tdmpc2.reference(tdmpc2.settings(both)), tdmpc2.facts(both))
        if family == "tdmpc2"
        else (dino_wm.small(felt), dino_wm.facts(proprioception=True))
    )
    torch.save(model, tmp_path / "object.ckpt")
    arguments = argparse.Namespace(checkpoint=tmp_path / "object.ckpt", out=tmp_path / "out")
    assert convert.inside(arguments) == 0
    found = published.read(tmp_path / "out")
    families.named(families.PUBLISHED[family])(family, found, facts, tmp_path / "adopted")
    held = reference(families.load(tmp_path / "adopted"), Origin(family, found, facts))
    assert held.against == ("stable-worldmodel 0.1.1",)


def test_origin_of_a_family_that_wmserve_defines_is_its_own_reference() -> None:
    """The shipped world's; an adapter's with the same name is not."""
    world = linear_world.LinearWorld(linear_world.LinearConfig(family="linear"))
    assert not reference(world, Origin()).checked
    world.config = world.config.model_copy(update={"family": "conv_jepa"})
    assert reference(world, Origin()).said == "wmserve defines the family conv_jepa"
    assert not reference(world, replace(Origin(), adapter="mine:load")).checked
