"""Checkpoints as their authors publish them: what is read, asked for and refused; pickles are converted."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from wmserve_export import convert, families
from wmserve_export.__main__ import main
from wmserve_export.families import FamilyError, published
from wmserve_export.families.lewm.adopting import adopt
from wmserve_export.families.lewm.config import LewmConfig
from wmserve_export.reference_gate import Origin, reference

import loadtest.evaluation  # noqa: F401  # lets stable-worldmodel import torchvision
from loadtest import lewm_checkpoint, lewm_reference
from tests.export.test_export import read_world
from tests.export.test_lewm import newer_name

CONFIG = lewm_checkpoint.small(name="adopted")


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return lewm_checkpoint.random_weights(CONFIG)


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """What a checkpoint does not say."""
    file = tmp_path / "world.json"
    content = {"name": CONFIG.name, "description": CONFIG.description, "action": CONFIG.action.model_dump()}
    file.write_text(json.dumps(content))
    return file


def settings() -> dict[str, object]:
    """The part of a published ``config.json`` that is read, as Hydra writes it."""
    return {
        "_target_": "stable_worldmodel.wm.lewm.LeWM",
        "encoder": {
            "_target_": "stable_pretraining.backbone.utils.vit_hf",
            "size": "tiny",
            "patch_size": 7,
            "image_size": 28,
            "hidden_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 40,
            "use_mask_token": False,
        },
        "predictor": {"_target_": "stable_worldmodel.wm.lewm.module.Predictor", "heads": 4, "dim_head": 8},
    }


def checkpoint(folder: Path, weights: dict[str, Tensor], file: str = "weights.pt") -> Path:
    """A published checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(settings()))
    if file.endswith(".safetensors"):
        save_file(weights, folder / file)
    else:
        torch.save(weights, folder / file)
    return folder


@pytest.mark.parametrize("form", ["weights.pt", "epoch_10.pt", "model.safetensors", "newer names", "wrapped", "a file"])
def test_every_form_is_read_as_the_same_world(
    form: str, weights: dict[str, Tensor], world: Path, tmp_path: Path
) -> None:
    """State dicts under both spellings, wrapped or not, as .pt or safetensors, by folder or by file."""
    stored: dict[str, object] = dict(weights)
    if form == "newer names":
        stored = {newer_name(name): tensor for name, tensor in weights.items()}
    if form == "wrapped":
        stored = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in weights.items()}}
    folder = checkpoint(tmp_path / "published", stored, form if "." in form else "weights.pt")  # type: ignore[arg-type]
    source = folder / "weights.pt" if form == "a file" else folder
    adopt("lewm", published.read(source), published.read_facts(world), tmp_path / "adopted")
    family, frames = families.load(tmp_path / "adopted"), torch.full((1, 1, 28, 28, 3), 9, dtype=torch.uint8)
    assert isinstance(family.config, LewmConfig)
    sizes = {name: value for name, value in family.config.model_dump().items() if name != "planner"}
    known = {**CONFIG.model_dump(), "encoder_dim": 24, "predictor_dim": 24, "predicted_dim": 24}
    assert sizes == {name: value for name, value in known.items() if name != "planner"}
    reference = lewm_reference.build(CONFIG, weights)
    with torch.inference_mode():
        wanted = lewm_reference.encode(reference, (frames / 255.0).permute(0, 1, 4, 2, 3))
        torch.testing.assert_close(family.encode(frames)[0], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("context_length", [1, 2])
def test_a_pldm_is_the_references(context_length: int, weights: dict[str, Tensor], world: Path, tmp_path: Path) -> None:
    """From its own checkpoint, whose ``config.json`` is that of its training: from pixels to costs, every step.

    One problem at a time: the reference's cost fails on several.
    """
    folder = checkpoint(tmp_path / "published", weights)
    (folder / "config.json").write_text(
        json.dumps({"encoder_scale": "tiny", "encoder": {"num_attention_heads": 3}, "predictor": {"heads": 4}})
    )
    world.write_text(json.dumps(json.loads(world.read_text()) | {"context_length": context_length}))
    adopt("pldm", published.read(folder), published.read_facts(world), tmp_path / "adopted")
    family = families.load(tmp_path / "adopted")
    assert family.config.family == "pldm"
    generator, block = torch.Generator().manual_seed(5), CONFIG.action.action_block
    frames = torch.randint(0, 256, (1, context_length + 1, 28, 28, 3), generator=generator, dtype=torch.uint8)
    actions = torch.rand(1, 3, (context_length - 1 + 4) * block, 2, generator=generator) * 2 - 1
    actions[:, :, : (context_length - 1) * block] = actions[:, :1, : (context_length - 1) * block]
    pixels = lewm_reference.normalised((frames / 255.0).permute(0, 1, 4, 2, 3))[:, None].expand(-1, 3, -1, -1, -1, -1)
    scored = lewm_reference.scored(CONFIG, actions)
    info = {"pixels": pixels[:, :, :-1], "goal": pixels[:, :, -1:], "action": scored[:, :, :context_length]}
    with torch.inference_mode():
        wanted = lewm_reference.build(CONFIG, weights, lewm_reference.PLDM).get_cost(info, scored)
        latents, _ = family.encode(frames)
        path = family.predict(latents[:, :-1], actions)
        costs = family.goal_distance(path, latents[:, -1])
    predicted = info["predicted_emb"][:, :, context_length:]
    torch.testing.assert_close(path[:, :, 0], predicted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(costs[:, :, -1], wanted, rtol=1e-4, atol=1e-4)


def test_one_command_exports_it(weights: dict[str, Tensor], world: Path, tmp_path: Path) -> None:
    """Through the gates, with the planner that its authors published."""
    folder = checkpoint(tmp_path / "published", weights)
    repository = tmp_path / "repository"
    arguments = ["--family", "lewm", "--world", str(world), "--repository", str(repository), "--rank-problems", "2"]
    assert main([str(folder), *arguments, "--horizons", "5", "--quiet"]) == 0
    exported = read_world(repository, "adopted")
    assert exported.name == "adopted"
    planner = exported.planner
    assert (planner.algorithm, planner.candidate_count, planner.iterations) == ("cem", 300, 30)
    assert exported.action == CONFIG.action


def test_what_is_missing_is_asked_for_by_name(
    weights: dict[str, Tensor], world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No facts at all; a statistic left out; a world of other actions; heads that nobody has written down."""
    folder = checkpoint(tmp_path / "published", weights)
    assert main([str(folder), "--family", "lewm"]) == 2
    said = capsys.readouterr().err
    assert "name, description and action" in said
    assert '"std"' in said, "an example shows what it looks like"
    facts = json.loads(world.read_text())
    del facts["action"]["axes"][0]["std"]
    world.write_text(json.dumps(facts))
    with pytest.raises(FamilyError, match=r"action\.axes\.0\.std: Field required"):
        published.read_facts(world)
    world.write_text(json.dumps({key: value for key, value in facts.items() if key != "action"}))
    with pytest.raises(
        FamilyError, match=r"action: Field required; the checkpoint does not say it; [\s\S]*action_block"
    ):
        adopt("lewm", published.read(folder), published.read_facts(world), tmp_path / "adopted")
    facts["action"]["axes"] = CONFIG.action.model_dump()["axes"][:1]
    world.write_text(json.dumps(facts))
    with pytest.raises(FamilyError, match="takes 10 numbers a model step, the facts have 5"):
        adopt("lewm", published.read(folder), published.read_facts(world), tmp_path / "adopted")
    (folder / "config.json").unlink()
    facts["action"]["axes"] = CONFIG.action.model_dump()["axes"]
    world.write_text(json.dumps(facts))
    for said, missing in (
        ({}, r"heads of the encoder are missing: config\.json .* encoder\.num_attention_heads"),
        (
            {"encoder": {"num_attention_heads": 3}},
            r"heads of the predictor are missing: config\.json .* predictor\.heads",
        ),
    ):
        (folder / "config.json").write_text(json.dumps(said))
        with pytest.raises(FamilyError, match=missing):
            adopt("lewm", published.read(folder), published.read_facts(world), tmp_path / "adopted")


def test_what_is_no_checkpoint_is_said(tmp_path: Path) -> None:
    """Nothing, two files, something else, and tensors of another model."""
    with pytest.raises(FamilyError, match="there: none"):
        published.read(tmp_path)
    (tmp_path / "a.pt").write_bytes(b"nothing")
    with pytest.raises(FamilyError, match=r"a\.pt"):
        published.read(tmp_path)
    torch.save([1, 2], tmp_path / "a.pt")
    with pytest.raises(FamilyError, match="no state dict"):
        published.read(tmp_path)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(FamilyError, match=r"there: b\.safetensors, a\.pt"):
        published.read(tmp_path)


def test_shards_are_read_as_one(weights: dict[str, Tensor], tmp_path: Path) -> None:
    """By the index beside them, which lies if one is missing; it names files of its own folder and no others."""
    names = sorted(weights)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, part in shards.items():
        save_file({name: weights[name] for name in part}, tmp_path / file)
    index, outside = tmp_path / "model.safetensors.index.json", f"../{tmp_path.name}/a.safetensors"
    index.write_text(json.dumps({"weight_map": {name: file for file, part in shards.items() for name in part}}))
    read = published.read(tmp_path).tensors
    assert read.keys() == weights.keys()
    assert all(torch.equal(read[name], tensor) for name, tensor in weights.items())
    index.write_text(json.dumps({"weight_map": {"x": outside, "y": "c.safetensors"}}))
    with pytest.raises(FamilyError, match=r"names files that are not there: c\.safetensors$"):
        published.read(tmp_path)
    index.write_text("{}")
    with pytest.raises(FamilyError, match="has no weight_map"):
        published.read(tmp_path)


def test_state_dicts_of_several_modules_are_read_by_their_names(tmp_path: Path) -> None:
    """What trainers put beside them, such as an optimiser, is left out."""
    content = {
        "epoch": 3,
        "encoder": {"module.norm.weight": torch.ones(2)},
        "predictor": {"norm.weight": torch.zeros(2)},
        "opt": {"state": {0: torch.zeros(9)}, "param_groups": []},
        "scaler": None,
    }
    torch.save(content, tmp_path / "latest.pth.tar")
    for source in (tmp_path, tmp_path / "latest.pth.tar"):
        tensors = published.read(source).tensors
        assert {name: float(tensor.sum()) for name, tensor in tensors.items()} == {
            "encoder.norm.weight": 2,
            "predictor.norm.weight": 0,
        }


class Trap:
    """What a pickle may hold: loading it writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.file),)


def test_a_pickle_is_not_opened_by_an_export(tmp_path: Path) -> None:
    """It says what to do instead, and nothing has run."""
    torch.save({"weights": Trap(tmp_path / "it_ran")}, tmp_path / "evil.pt")
    with pytest.raises(FamilyError, match=r"wmserve convert evil\.pt"):
        published.read(tmp_path / "evil.pt")
    assert not (tmp_path / "it_ran").exists()


def test_converting_says_what_it_trusts_and_runs_nothing_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The names in the pickle; and of what is no checkpoint, that."""
    torch.save({"weights": Trap(tmp_path / "it_ran")}, tmp_path / "evil.pt")
    assert convert.main([str(tmp_path / "evil.pt"), "--out", str(tmp_path / "out")]) == 1
    assert "posix.mkdir" in capsys.readouterr().err
    assert not (tmp_path / "it_ran").exists()
    assert not (tmp_path / "out").exists()
    (tmp_path / "none.ckpt").write_bytes(b"nothing")
    assert convert.main([str(tmp_path / "none.ckpt"), "--out", str(tmp_path / "out"), "--trust"]) == 2
    assert "no checkpoint of torch" in capsys.readouterr().err


class Calls(nn.Module):
    """A module whose pickle tries to reach the network while it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[tuple[str, int], float]]:
        import socket

        return socket.create_connection, (("127.0.0.1", 9), 0.5)


def test_converting_has_no_network(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Not even loopback: there it would be refused, here it cannot be reached."""
    torch.save(Calls(), tmp_path / "calls.ckpt")
    status = convert.main([str(tmp_path / "calls.ckpt"), "--out", str(tmp_path / "out"), "--trust"])
    said = capfd.readouterr().err
    assert status == 2
    assert "unreachable" in said or convert.NO_NETWORK in said


def test_a_converted_object_is_the_same_world(
    weights: dict[str, Tensor],
    world: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """stable-worldmodel's ``_object.ckpt``; heads come from what the modules carried, and its package agrees.

    In the environment as it is: the process of its own imports stable-worldmodel without help from here.
    """
    torch.save(lewm_reference.build(CONFIG, weights), tmp_path / "lewm_object.ckpt")
    arguments = [str(tmp_path / "lewm_object.ckpt"), "--out", str(tmp_path / "out"), "--trust"]
    status = convert.main(arguments)
    if status and convert.NO_NETWORK in capfd.readouterr().err:
        status = convert.main([*arguments, "--with-network"])
    assert status == 0
    found, facts = published.read(tmp_path / "out"), published.read_facts(world)
    adopt("lewm", found, facts, tmp_path / "adopted")
    family = families.load(tmp_path / "adopted")
    assert reference(family, Origin("lewm", found, facts)).checked
    assert isinstance(family.config, LewmConfig)
    assert (family.config.encoder_heads, family.config.predictor_heads) == (3, 4)
    tensors = published.read(tmp_path / "adopted").tensors
    assert tensors.keys() == weights.keys()
    for name, tensor in weights.items():
        np.testing.assert_array_equal(tensors[name].numpy(), tensor.numpy())
    assert pickle.PROTO not in (tmp_path / "out" / "weights.safetensors").read_bytes()[:1]
