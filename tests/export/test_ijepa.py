"""I-JEPA: the encoder is transformers', and both formats in which it is published are read."""

import json
from pathlib import Path

import pytest
import torch
import transformers  # its models can be had once loadtest.families is there
from torch import Tensor
from wmserve_export import families
from wmserve_export.__main__ import main
from wmserve_export.families import Encoder, FamilyError, facts, published
from wmserve_export.families.ijepa.adopting import HEADS, adopt
from wmserve_export.families.published import Facts
from wmserve_export.repository import REPORT_FILE

from loadtest.families import adopting
from loadtest.families.comparing import relative_error
from loadtest.families.ijepa import encoded, own_format
from loadtest.families.random_weights import randomised
from tests.export.test_export import read_config, read_world
from tests.export.test_lewm import newer_name

SIZE, SIDE, WIDTH = 28, 4, 24
CONFIG = transformers.IJepaConfig(
    image_size=SIZE,
    patch_size=SIZE // SIDE,
    hidden_size=WIDTH,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=40,
    layer_norm_eps=1e-6,
    num_labels=2,
)
FACTS = Facts(name="pictures", description="Pictures.")


@pytest.fixture(scope="module")
def reference() -> transformers.IJepaModel:
    return randomised(transformers.IJepaModel(CONFIG))


def adopted(folder: Path, facts: Facts = FACTS) -> Encoder:
    """The world of ``folder/published``."""
    return adopting.adopted("ijepa", folder / "published", facts)


def frames(side: int = SIZE) -> Tensor:
    """Noise `[2, 1, side, side, 3]`."""
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (2, 1, side, side, 3), generator=generator, dtype=torch.uint8)


def trained(model: transformers.IJepaModel) -> dict[str, object]:
    """What the authors' trainer writes; the encoder that was trained is another than the target encoder."""
    target = own_format(model)
    return {
        "encoder": {name: tensor + 1 for name, tensor in target.items()},
        "predictor": {"module.mask_token": torch.zeros(1, 1, 12)},
        "opt": {"state": {0: {"step": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]},
        "scaler": {"scale": 1.0},
        "target_encoder": target,
        "epoch": 300,
        "loss": 0.1,
    }


@pytest.mark.parametrize("side", [SIZE, 50])
def test_encode_is_transformers(side: int, reference: transformers.IJepaModel, tmp_path: Path) -> None:
    """Frames of the native size, and others, which are first brought to it by antialiased bilinear interpolation."""
    reference.save_pretrained(tmp_path / "published")
    native = frames(side)[:, 0].movedim(-1, 1).float()
    if side != SIZE:
        native = torch.nn.functional.interpolate(native, (SIZE, SIZE), mode="bilinear", antialias=True)
    with torch.inference_mode():
        latents, features = adopted(tmp_path).encode(frames(side))
        wanted = encoded(reference, native.movedim(1, -1))
    assert latents.shape == (2, 1, SIDE**2 * WIDTH)
    assert features.shape == (2, 1, WIDTH)
    assert relative_error(latents.reshape(wanted.shape), wanted) < 1e-5


@pytest.mark.parametrize("form", ["classifier", "newer names", "own", "own, in a file", "encoder alone", "bare"])
def test_every_form_is_read_as_the_same_world(form: str, reference: transformers.IJepaModel, tmp_path: Path) -> None:
    """A classifier around it, names of transformers 5, and what the trainer writes: of its encoders the target."""
    folder, file = tmp_path / "published", tmp_path / "published" / "vitx.pth.tar"
    folder.mkdir()
    (folder / "config.json").write_text(CONFIG.to_json_string())
    if form == "classifier":
        classifier = randomised(transformers.IJepaForImageClassification(CONFIG), seed=1)
        classifier.ijepa.load_state_dict(reference.state_dict())
        classifier.save_pretrained(folder)
    elif form == "newer names":
        names = {name: newer_name(f"encoder.{name}").removeprefix("encoder.") for name in reference.state_dict()}
        assert "layers.1.attention.q_proj.weight" in names.values()
        torch.save({names[name]: tensor for name, tensor in reference.state_dict().items()}, folder / "model.pt")
    elif form == "encoder alone":
        torch.save({"encoder": own_format(reference), "epoch": 3}, file)
    else:
        torch.save(own_format(reference) if form == "bare" else trained(reference), file)
    source = file if form == "own, in a file" else folder
    adopt("ijepa", published.read(source), FACTS, tmp_path / "adopted")
    with torch.inference_mode():
        wanted = encoded(reference, frames()[:, 0])
        ours = families.load(tmp_path / "adopted").encode(frames())[0]
    assert relative_error(ours.reshape(wanted.shape), wanted) < 1e-5


def test_what_is_missing_is_asked_for_by_name(reference: transformers.IJepaModel, tmp_path: Path) -> None:
    """Heads of a width that the authors have not published; theirs are known. No actions, no strange activations."""
    (tmp_path / "published").mkdir()
    torch.save(trained(reference), tmp_path / "published" / "vitx.pth.tar")
    with pytest.raises(FamilyError, match=r"heads of the encoder are missing: config\.json .* num_attention_heads"):
        adopted(tmp_path)
    assert (HEADS[1280], HEADS[1408]) == (16, 16)
    settings = tmp_path / "published" / "config.json"
    settings.write_text(json.dumps({"num_attention_heads": 3}))
    adopted(tmp_path)
    (tmp_path / "world.json").write_text(facts.example())
    with pytest.raises(FamilyError, match="a world of family ijepa knows no actions"):
        adopted(tmp_path, published.read_facts(tmp_path / "world.json"))
    settings.write_text(json.dumps({"num_attention_heads": 3, "hidden_act": "gelu_10"}))
    with pytest.raises(FamilyError, match="hidden_act: activation gelu_10 cannot be exported; known are gelu, "):
        adopted(tmp_path)
    settings.write_text(json.dumps({"num_attention_heads": 3, "hidden_size": 32}))
    with pytest.raises(FamilyError, match=r"config\.json says hidden_size 32, the tensors have \d+: which is right"):
        adopted(tmp_path)


def test_tensors_of_others_are_refused(tmp_path: Path) -> None:
    """By the name of what is missing."""
    (tmp_path / "published").mkdir()
    torch.save({"layernorm.weight": torch.ones(3)}, tmp_path / "published" / "other.pt")
    with pytest.raises(FamilyError, match=r"lacks patch_embed\.proj\.weight; is it of this family"):
        adopted(tmp_path)


def test_one_command_exports_it(reference: transformers.IJepaModel, tmp_path: Path) -> None:
    """Its one engine through the parity gate; the contract has the latents' shape, and no verb but to encode."""
    reference.save_pretrained(tmp_path / "published")
    (tmp_path / "world.json").write_text(FACTS.model_dump_json(include={"name", "description"}))
    arguments = ["--family", "ijepa", "--world", str(tmp_path / "world.json"), "--quiet"]
    assert main([str(tmp_path / "published"), *arguments, "--repository", str(tmp_path / "repository")]) == 0
    world = read_world(tmp_path / "repository", "pictures")
    assert (world.verbs, world.latent_shape, world.horizon_limit) == (("encode",), (SIDE, SIDE, WIDTH), 0)
    assert [tensor.name for tensor in read_config(tmp_path / "repository", "pictures_encode").output] == ["latents"]
    report = json.loads((tmp_path / "repository" / "pictures_encode" / REPORT_FILE).read_text())
    errors = report["parity"]["errors"]
    assert set(errors) == {f"encode/engine.onnx:{name}" for name in ("latents", "features")}
    assert max(errors.values()) < 1e-5
