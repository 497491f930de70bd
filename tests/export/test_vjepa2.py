"""V-JEPA 2: encoded as transformers does, filled as its authors train it, from all that they publish it in."""

import json
from pathlib import Path

import pytest
import torch
import transformers  # its models can be had once loadtest.families is there
from pydantic import ValidationError
from torch import Tensor
from wmserve_client import Client
from wmserve_export import families
from wmserve_export.__main__ import main
from wmserve_export.families import FamilyError, facts, published
from wmserve_export.families.published import Facts, Published
from wmserve_export.families.vjepa2 import VJepa2
from wmserve_export.families.vjepa2.adopting import PATCHES, adopt, published_settings
from wmserve_export.repository import REPORT_FILE

from loadtest.families import adopting
from loadtest.families.comparing import relative_error
from loadtest.families.random_weights import randomised
from loadtest.families.vjepa2 import encoded, filled, own_format
from loadtest.serving import running
from tests.export.test_export import read_config, read_world

FRAMES, SIDE, PATCH, TUBELETS = 6, 4, 8, 3
CONFIG = transformers.VJEPA2Config(
    crop_size=SIDE * PATCH,
    patch_size=PATCH,
    frames_per_clip=FRAMES,
    hidden_size=40,  # heads of 20: three parts of 6 turn, 2 do not
    num_attention_heads=2,
    num_hidden_layers=2,
    mlp_ratio=1.5,
    pred_hidden_size=28,  # heads of 14: three parts of 4 turn, 2 do not
    pred_num_attention_heads=2,
    pred_num_hidden_layers=3,
    pred_num_mask_tokens=3,
    pred_mlp_ratio=2,
    num_labels=3,
)
FACTS = Facts(name="clips", description="Clips.")


@pytest.fixture(scope="module")
def reference() -> transformers.VJEPA2Model:
    return randomised(transformers.VJEPA2Model(CONFIG))


@pytest.fixture(scope="module")
def world(reference: transformers.VJEPA2Model, tmp_path_factory: pytest.TempPathFactory) -> VJepa2:
    folder = tmp_path_factory.mktemp("vjepa2")
    reference.save_pretrained(folder / "published")
    return adopted(folder)


def adopted(folder: Path, facts: Facts = FACTS) -> VJepa2:
    """The world of ``folder/published``."""
    world = adopting.adopted("vjepa2", folder / "published", facts)
    assert isinstance(world, VJepa2)
    return world


def clips(count: int = 2, side: int = SIDE * PATCH, seed: int = 1) -> Tensor:
    """Noise `[count, T, side, side, 3]`."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, FRAMES, side, side, 3), generator=generator, dtype=torch.uint8)


def hidden(*shares: float) -> Tensor:
    """Of each clip another share of patches, anywhere, `[B, L, P]`."""
    drawn = torch.rand(len(shares), TUBELETS, SIDE**2, generator=torch.Generator().manual_seed(2))
    return (drawn < torch.tensor(shares)[:, None, None]).to(torch.uint8)


@pytest.mark.parametrize("side", [SIDE * PATCH, 50])
def test_encode_is_transformers(side: int, reference: transformers.VJEPA2Model, world: VJepa2) -> None:
    """Frames of the native size, and others, which are first brought to it by antialiased bilinear interpolation."""
    frames = clips(side=side)
    native = frames.flatten(0, 1).movedim(-1, 1).float()
    if side != SIDE * PATCH:
        native = torch.nn.functional.interpolate(native, (SIDE * PATCH,) * 2, mode="bilinear", antialias=True)
    with torch.inference_mode():
        latents, features = world.encode(frames)
        wanted = encoded(reference, native.movedim(1, -1).unflatten(0, (2, FRAMES)))
    assert latents.shape == (2, TUBELETS, SIDE**2 * CONFIG.hidden_size)
    assert features.shape == (2, TUBELETS, CONFIG.hidden_size)
    assert relative_error(latents.reshape(wanted.shape), wanted) < 1e-5


def test_fill_is_what_training_does(reference: transformers.VJEPA2Model, world: VJepa2) -> None:
    """Latents of the visible alone, predictions from them and the loss of each, for clips that hide more and less."""
    frames, away = clips(3), hidden(0.2, 0.5, 0.9)
    with torch.inference_mode():
        latents, surprise = world.fill(frames, away)
        wanted, loss = filled(reference, frames, away)
    assert relative_error(latents.reshape(wanted.shape), wanted) < 1e-5
    assert relative_error(surprise.reshape(loss.shape), loss) < 1e-5
    assert not surprise[away == 0].any()
    assert surprise[away == 1].all()


def test_what_is_hidden_reaches_nothing_but_the_surprise(reference: transformers.VJEPA2Model, world: VJepa2) -> None:
    """Other pixels there change no latents of a fill. In transformers' own forward pass they do: it masks too late."""
    away = torch.zeros(1, TUBELETS, SIDE, SIDE, dtype=torch.uint8)
    away[:, 1:, :2] = 1
    one, other = clips(1), clips(1)
    other[:, 2:, : 2 * PATCH] = 255 - other[:, 2:, : 2 * PATCH]
    with torch.inference_mode():
        fills = [world.fill(frames, away.flatten(2)) for frames in (one, other)]
        late = [encoded(reference, frames)[:, away.flatten() == 0] for frames in (one, other)]
    torch.testing.assert_close(fills[0][0], fills[1][0], rtol=0, atol=1e-6)
    assert (fills[0][1] - fills[1][1]).abs().max() > 0.01
    assert (late[0] - late[1]).abs().max() > 0.1


def test_clips_of_which_nothing_or_all_is_hidden_are_filled(world: VJepa2) -> None:
    """Nothing: what encode says, no surprise. All: finite numbers, the same whatever there was to see."""
    nothing, everything = torch.zeros(2, TUBELETS, SIDE**2), torch.ones(2, TUBELETS, SIDE**2)
    with torch.inference_mode():
        latents, surprise = world.fill(clips(), nothing.to(torch.uint8))
        blind, surprised = world.fill(clips(), everything.to(torch.uint8))
        seen = world.encode(clips())[0]
    torch.testing.assert_close(latents, seen, rtol=0, atol=1e-6)
    assert not surprise.any()
    assert blind.isfinite().all()
    assert surprised.isfinite().all()
    torch.testing.assert_close(blind[0], blind[1])


@pytest.mark.parametrize("form", ["shards", "classifier", "own", "own, in a file", "target encoder alone"])
def test_every_form_is_read_as_the_same_world(
    form: str, reference: transformers.VJEPA2Model, world: VJepa2, tmp_path: Path
) -> None:
    """Shards with their index, a classifier around it, and what the authors' trainer writes, with settings beside."""
    folder = tmp_path / "published"
    folder.mkdir()
    if form == "shards":
        reference.save_pretrained(folder, max_shard_size="40KB")
        assert len(list(folder.glob("model-0000?-of-0000?.safetensors"))) > 2
    elif form == "classifier":
        classifier = randomised(transformers.VJEPA2ForVideoClassification(CONFIG), seed=1)
        classifier.vjepa2.load_state_dict(reference.state_dict())
        classifier.save_pretrained(folder)
    else:
        stored: dict[str, object] = {**own_format(reference), "epoch": 3, "scaler": None, "loss": 0.5}
        stored["opt"] = {"state": {0: {"step": torch.zeros(1)}}, "param_groups": [{"lr": 0.1}]}
        if form == "target encoder alone":
            stored["target_encoder"] = stored.pop("encoder")
        else:
            stored["target_encoder"] = {name: tensor + 1 for name, tensor in own_format(reference)["encoder"].items()}
        torch.save(stored, folder / "vitx.pt")
        (folder / "config.json").write_text(CONFIG.to_json_string())
    if form == "own, in a file":
        adopt("vjepa2", published.read(folder / "vitx.pt"), FACTS, tmp_path / "adopted")
        read = families.load(tmp_path / "adopted")
        assert isinstance(read, VJepa2)
    else:
        read = adopted(tmp_path)
    assert read.config == world.config
    with torch.inference_mode():
        for ours, wanted in zip(
            read.fill(clips(), hidden(0.4, 0.6)), world.fill(clips(), hidden(0.4, 0.6)), strict=True
        ):
            torch.testing.assert_close(ours, wanted, rtol=0, atol=0)


def test_clips_are_of_a_length_that_is_chosen_at_export(reference: transformers.VJEPA2Model, tmp_path: Path) -> None:
    """Shorter ones than in training: positions are relative to nothing but the clip. Halves of tubelets are none."""
    reference.save_pretrained(tmp_path / "published")
    short = adopted(tmp_path, FACTS.model_copy(update={"context_length": 4}))
    frames = clips()[:, :4]
    with torch.inference_mode():
        wanted = encoded(reference, frames)
        assert relative_error(short.encode(frames)[0].reshape(wanted.shape), wanted) < 1e-5
    with pytest.raises(ValidationError, match=r"context_length 5 .* a multiple of 2 frames .*frames_per_clip"):
        adopted(tmp_path, FACTS.model_copy(update={"context_length": 5}))


def test_what_is_missing_is_asked_for_by_name(reference: transformers.VJEPA2Model, tmp_path: Path) -> None:
    """The authors' files have no settings: those of another width than theirs, and which of two sizes of frames."""
    (tmp_path / "published").mkdir()
    torch.save(own_format(reference), tmp_path / "published" / "vitx.pt")
    settings = tmp_path / "published" / "config.json"
    known: dict[str, object] = {}
    for what, setting, value in [
        ("sides of frames", "crop_size", SIDE * PATCH),
        ("heads of the encoder", "num_attention_heads", 2),
        ("heads of the predictor", "pred_num_attention_heads", 2),
    ]:
        with pytest.raises(FamilyError, match=rf"{what}.* missing: config\.json should have them as {setting}"):
            adopted(tmp_path)
        known[setting] = value
        settings.write_text(json.dumps(known))
    assert adopted(tmp_path).config.context_length == 64, "as in the authors' hub"
    settings.write_text(json.dumps(known | {"hidden_act": "silu"}))
    assert adopted(tmp_path).config.activation == "silu"
    settings.write_text(json.dumps(known | {"tubelet_size": 4}))
    with pytest.raises(FamilyError, match="says tubelet_size 4, the tensors have 2: which is right"):
        adopted(tmp_path)


@pytest.mark.parametrize(("width", "heads", "size"), [(1024, 16, 256), (1280, 16, 256), (1408, 22, None)])
def test_settings_of_published_sizes_are_known(width: int, heads: int, size: int | None) -> None:
    """Of the widest there are two, for frames of 256 and of 384 pixels: which it is must be said."""
    tensors = {PATCHES: torch.empty(width, device="meta"), "predictor.predictor_embed.weight": torch.empty(384, 1)}
    settings = published_settings(Published(tensors, {}, {}))
    assert (settings["num_attention_heads"], settings.get("crop_size")) == (heads, size)
    assert (settings["pred_num_attention_heads"], settings["frames_per_clip"]) == (12, 64)


def test_actions_and_tensors_of_others_are_refused(reference: transformers.VJEPA2Model, tmp_path: Path) -> None:
    """It knows no actions; without a predictor it is none."""
    reference.save_pretrained(tmp_path / "published")
    (tmp_path / "world.json").write_text(facts.example())
    with pytest.raises(FamilyError, match="knows no actions: leave out action and planner"):
        adopted(tmp_path, published.read_facts(tmp_path / "world.json"))
    stored = own_format(reference)
    del stored["predictor"]
    (tmp_path / "published" / "model.safetensors").unlink()
    torch.save(stored, tmp_path / "published" / "vitx.pt")
    with pytest.raises(FamilyError, match=r"lacks predictor\.predictor_embed\.weight; is it of this family"):
        adopted(tmp_path)


@pytest.fixture(scope="module")
def repository(reference: transformers.VJEPA2Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Exported by one command, through the parity gate."""
    folder = tmp_path_factory.mktemp("exported")
    reference.save_pretrained(folder / "published")
    (folder / "world.json").write_text(FACTS.model_dump_json(include={"name", "description"}))
    arguments = ["--family", "vjepa2", "--world", str(folder / "world.json"), "--quiet"]
    assert main([str(folder / "published"), *arguments, "--repository", str(folder / "repository")]) == 0
    return folder / "repository"


def test_one_command_exports_it(repository: Path) -> None:
    """Both engines; the contract says how long clips are, and that it knows no actions."""
    world = read_world(repository, "clips")
    assert world.verbs == ("encode", "rollout")
    assert (world.latent_shape, world.context_length, world.latent_count) == ((SIDE, SIDE, 40), FRAMES, TUBELETS)
    assert not world.action.axes
    inputs = {tensor.name: list(tensor.dims) for tensor in read_config(repository, "clips_rollout").input}
    assert inputs == {"observations": [FRAMES, -1, -1, 3], "hidden": [TUBELETS, SIDE**2]}
    errors = json.loads((repository / "clips_encode" / REPORT_FILE).read_text())["parity"]["errors"]
    assert set(errors) == {
        *(f"encode/engine.onnx:{name}" for name in ("latents", "features")),
        *(f"rollout/engine.onnx:{name}" for name in ("latents", "surprise")),
    }
    assert max(errors.values()) < 1e-5


def test_it_is_served(repository: Path, world: VJepa2, tmp_path: Path) -> None:
    """Frames of another size than the native one, encoded and filled as here."""
    frames, away = clips(1, side=50), hidden(0.5)
    with torch.inference_mode():
        seen, (latents, surprise) = world.encode(frames)[0], world.fill(frames, away)
    with running(tmp_path / "log", model_repository=str(repository), triton_threads="1") as server:
        server.wait_ready()
        with Client(server.grpc) as client:
            encoded = client.encode("clips", frames[0].numpy(), return_latents=True)
            blocks = away[0].reshape(TUBELETS, SIDE, SIDE).numpy()
            filled = client.rollout("clips", frames[0].numpy(), hidden=blocks, return_latents=True)
    for answer, wanted in ((encoded.latents, seen), (filled.latents, latents), (filled.surprise, surprise)):
        assert answer is not None
        assert relative_error(torch.tensor(answer).reshape(wanted.shape), wanted) < 1e-5
