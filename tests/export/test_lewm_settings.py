"""LeWM and PLDM as stable-worldmodel's constructors allow them: read as those build them, or refused in words.

Each is a model of the package's own, with random weights; the gate ``reference`` holds ours against it.
"""

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from wmserve_export import families
from wmserve_export.families import FamilyError, published
from wmserve_export.families.facts import Facts, Pixels
from wmserve_export.families.lewm import Lewm
from wmserve_export.families.lewm.adopting import adopt
from wmserve_export.peers.building import vit_hf
from wmserve_export.peers.stable_worldmodel import MLP, Embedder, LeWM, Predictor
from wmserve_export.reference_gate import Origin, reference

from loadtest.families.random_weights import randomised
from loadtest.lewm_checkpoint import ACTION

ENCODER = {"size": "tiny", "patch_size": 7, "image_size": 28, "hidden_size": 24, "num_hidden_layers": 1}
HEADS = {"num_attention_heads": 4, "intermediate_size": 40}
PREDICTOR = {"num_frames": 3, "depth": 1, "heads": 2, "dim_head": 8, "mlp_dim": 40}
HYDRA = {"norm_fn": {"_target_": "torch.nn.LayerNorm", "_partial_": True, "eps": 1e-3}, "act_fn": "torch.nn.SiLU"}
FACTS = Facts(name="lewm", description="of a test", action=ACTION, context_length=2)


def save(
    folder: Path,
    encoder: dict[str, Any] | None = None,
    predictor: dict[str, Any] | None = None,
    latents: int = 24,
    projector: Any = nn.BatchNorm1d,
    said: dict[str, Any] | None = None,
    activation: Any = nn.GELU,
) -> Path:
    """A checkpoint of a model that differs from the usual one, and settings that its constructors got."""
    vit, causal = ENCODER | HEADS | (encoder or {}), PREDICTOR | (predictor or {})
    width = causal.setdefault("hidden_dim", latents)
    out = causal.setdefault("output_dim", width)
    model = LeWM(
        encoder=vit_hf(**vit),
        predictor=Predictor(input_dim=latents, **causal),
        action_encoder=Embedder(10, 7, latents, 2),
        projector=projector and MLP(vit["hidden_size"], 30, latents, projector, activation),
        pred_proj=projector and MLP(out, 31, latents, projector, activation),
    )
    randomised(model)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=torch.Generator().manual_seed(1)) + 0.5)
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), folder / "weights.pt")
    settings = {"encoder": vit, "predictor": {"input_dim": latents, **causal}}
    for part in ("projector", "pred_proj"):
        settings[part] = said
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def checked(source: Path, facts: Facts = FACTS) -> Lewm:
    """The world that is made of it, after the gate."""
    found = published.read(source)
    adopt("lewm", found, facts, source / "adopted")
    world = families.load(source / "adopted")
    assert isinstance(world, Lewm)
    held = reference(world, Origin("lewm", found, facts))
    assert held.checked
    assert max(held.errors.values()) < 1e-5
    return world


def test_keywords_beside_a_size_count_before_it(tmp_path: Path) -> None:
    """Size tiny has 3 heads and is 192 wide; the keywords say 4 and 24."""
    assert checked(save(tmp_path)).config.encoder_heads == 4


def test_a_mask_token_is_left_out(tmp_path: Path) -> None:
    """``use_mask_token`` is true where nobody says otherwise; no latents depend on it."""
    source = save(tmp_path, {"use_mask_token": True})
    assert "encoder.embeddings.mask_token" in torch.load(source / "weights.pt", weights_only=True)
    checked(source)


@pytest.mark.parametrize(
    ("norm", "said"),
    [
        (nn.LayerNorm, None),
        (partial(nn.LayerNorm, eps=1e-3), {"norm_fn": HYDRA["norm_fn"]}),
        (None, {"norm_fn": None}),
    ],
    ids=["LayerNorm", "LayerNorm, another epsilon", "none"],
)
def test_projections_of_other_norms_are_read(norm: Any, said: dict[str, Any] | None, tmp_path: Path) -> None:
    """By their tensors; an epsilon by the settings."""
    world = checked(save(tmp_path, projector=norm or (lambda _: nn.Identity()), said=said))
    assert world.config.projector is not None
    assert world.config.projector.norm == ("layer" if norm else "none")


def test_projections_of_other_activations_are_read(tmp_path: Path) -> None:
    """By a class's name, as the package's ``MLP`` takes one."""
    world = checked(save(tmp_path, said={"act_fn": HYDRA["act_fn"]}, activation=nn.SiLU))
    assert world.config.projector is not None
    assert world.config.projector.activation == "silu"


def test_no_projections_at_all_are_read(tmp_path: Path) -> None:
    """Latents are then class tokens."""
    assert checked(save(tmp_path, projector=None)).config.projector is None


@pytest.mark.parametrize("predictor", [{"hidden_dim": 20, "output_dim": 20}, {"hidden_dim": 20, "output_dim": 16}])
def test_latents_narrower_than_the_encoder_are_read(predictor: dict[str, Any], tmp_path: Path) -> None:
    """Projected to 12; the predictor brings them to a width of its own, and back."""
    world = checked(save(tmp_path, predictor=predictor, latents=12))
    assert (world.config.latent_dim, world.config.encoder_width, world.config.predictor_width) == (12, 24, 20)


def test_one_head_as_wide_as_the_predictor_is_read(tmp_path: Path) -> None:
    """The package leaves out a layer then."""
    checked(save(tmp_path, predictor={"heads": 1, "dim_head": 24}))


@pytest.mark.parametrize(
    "encoder", [{"hidden_act": "relu"}, {"hidden_act": "gelu_new"}, {"layer_norm_eps": 0.1}, {"qkv_bias": False}]
)
def test_other_encoders_are_read(encoder: dict[str, Any], tmp_path: Path) -> None:
    """Activations, epsilons and biases that ``vit_hf`` hands on."""
    checked(save(tmp_path, encoder))


def test_frames_need_not_be_a_multiple_of_patches(tmp_path: Path) -> None:
    """Of 31 pixels, four patches of seven are looked at, in frames of 31 and no others."""
    assert checked(save(tmp_path, {"image_size": 31})).config.image_size == 31


def test_training_may_have_shown_frames_of_another_size(tmp_path: Path) -> None:
    """Positions are interpolated then, as the package does; only the training knows, so the facts say it."""
    world = checked(save(tmp_path), FACTS.model_copy(update={"image_size": 42}))
    assert (world.config.image_size, world.encoder.positions.shape[1]) == (42, 36)


def test_pixels_are_prepared_as_the_facts_say(tmp_path: Path) -> None:
    """A training of one's own may know nothing of ImageNet."""
    facts = FACTS.model_copy(update={"pixels": Pixels.model_validate("none")})
    assert checked(save(tmp_path), facts).config.pixel_mean == (0, 0, 0)


def test_settings_of_a_whole_training_are_read(tmp_path: Path) -> None:
    """Under ``model``, with interpolations that nobody has resolved."""
    source = save(tmp_path)
    settings = json.loads((source / "config.json").read_text())
    settings["predictor"]["num_frames"] = "${wm.history_size}"
    (source / "config.json").write_text(json.dumps({"wm": {"history_size": 3}, "model": settings}))
    found = published.read(source)
    adopt("lewm", found, FACTS, tmp_path / "adopted")
    assert families.load(tmp_path / "adopted").config.context_length == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            {"encoder.num_attention_heads": None, "encoder.size": "tiny"},
            "'tiny', which is 192 wide, .* 24 wide",
        ),
        (
            {"encoder.num_attention_heads": None, "encoder.size": None},
            "heads of the encoder are missing",
        ),
        ({"encoder.num_attention_heads": 4, "encoder.config.num_attention_heads": 3}, r"4, and .* 3: which is it\?"),
        ({"encoder.hidden_size": 48}, r"says encoder\.hidden_size 48, the tensors have 24: which is right\?"),
        ({"encoder.image_size": 56}, r"image_size 56, the tensors have 4 x 4 patches of 7 pixels; .* of --world"),
        ({"encoder.hidden_act": "gelu_10"}, r"encoder\.hidden_act: activation gelu_10 cannot be exported; known are"),
        ({"encoder.layer_norm_eps": "small"}, r"encoder\.layer_norm_eps 'small', a number over 0 is needed"),
        ({"predictor.num_frames": 4}, r"says predictor\.num_frames 4, the tensors have 3"),
        ({"predictor.heads": 3}, r"heads 3 and predictor\.dim_head 8, the tensors have 16 numbers for all heads"),
        (
            {"projector": {"norm_fn": "torch.nn.LayerNorm"}},
            r"norm_fn torch\.nn\.LayerNorm, the tensors have a batch norm",
        ),
    ],
)
def test_what_is_missing_or_contradicts_is_said_by_name(change: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    """In the words of the file that says it."""
    source = save(tmp_path)
    settings = json.loads((source / "config.json").read_text())
    for path, value in change.items():
        *parts, last = path.split(".")
        inner = settings
        for part in parts:
            inner = inner.setdefault(part, {})
        inner[last] = value
    (source / "config.json").write_text(json.dumps(settings))
    with pytest.raises(FamilyError, match=complaint):
        adopt("lewm", published.read(source), FACTS, tmp_path / "adopted")


def test_norms_that_are_not_read_are_named(tmp_path: Path) -> None:
    """RMSNorm has no bias."""
    with pytest.raises(FamilyError, match="the norm of projector has weight: only BatchNorm1d and LayerNorm"):
        checked(save(tmp_path, projector=nn.RMSNorm))
