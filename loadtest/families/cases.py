"""Every family in every format that its users have, as small as they get and with random weights, and its reference.

A case writes a checkpoint as its authors publish theirs, says what the checkpoint does not, and asks the reference
implementation what the world's engines are asked. Adding a format is adding a case.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors.torch import save_file
from torch import Tensor
from wmserve_export.families.lewm.config import LewmConfig

from loadtest import lewm_checkpoint, lewm_reference
from loadtest.families import dino_wm, ijepa, tdmpc2, vjepa2, vjepa2_ac_random
from loadtest.families import dino_wm_formats as formats
from loadtest.families import vjepa2_ac_plain as plain
from loadtest.families.random_weights import randomised

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Case:
    """A family in a format."""

    family: str
    form: str
    """What its users have, in words."""
    write: Callable[[Path], Path]
    """Writes the checkpoint into an empty folder and returns what to export."""
    facts: Mapping[str, Any]
    """What the checkpoint does not say, the content of ``world.json``, without name and description."""
    reference: Callable[[str, Tensors], Tensors]
    """Verb, and the inputs of its engine by name, `B` = 1 -> the reference's outputs by name, shaped as the engine's.

    Of ``plan`` it is ``cost`` `[1, S]`, all model steps added up.
    """

    @property
    def name(self) -> str:
        """As a test calls it."""
        return f"{self.family}-{self.form}"


# -- lewm, pldm: stable_worldmodel's own modules

LEWM = lewm_checkpoint.small(name="lewm")
LEWM_WEIGHTS = lewm_checkpoint.random_weights(LEWM)
LEWM_SETTINGS = {
    "encoder": {
        "size": "tiny",  # of which the keywords beside it leave nothing
        "patch_size": LEWM.patch_size,
        "image_size": LEWM.image_size,
        "hidden_size": LEWM.encoder_width,
        "num_hidden_layers": LEWM.encoder_depth,
        "num_attention_heads": LEWM.encoder_heads,
        "intermediate_size": LEWM.encoder_mlp_width,
        "use_mask_token": False,
    },
    "predictor": {"heads": LEWM.predictor_heads, "dim_head": LEWM.predictor_head_dim},
}


def lewm_folder(file: str) -> Callable[[Path], Path]:
    """Settings as Hydra writes them, and a state dict."""

    def write(folder: Path) -> Path:
        (folder / "config.json").write_text(json.dumps(LEWM_SETTINGS))
        save = save_file if file.endswith(".safetensors") else torch.save
        save(LEWM_WEIGHTS, folder / file)
        return folder

    return write


def lewm(kind: type[torch.nn.Module]) -> Callable[[str, Tensors], Tensors]:
    """What stable-worldmodel answers."""

    def answer(verb: str, given: Tensors, config: LewmConfig = LEWM) -> Tensors:
        model = lewm_reference.build(config, LEWM_WEIGHTS, kind)
        if verb == "encode":
            pixels = (given["observations"] / 255.0).movedim(-1, -3)
            return {"latents": lewm_reference.encode(model, pixels)}
        goal, count = given.get("goal", torch.zeros(1, config.latent_dim)), given["actions"].shape[1]
        info = lewm_reference.cached(given["context"], goal, count)
        if kind is lewm_reference.PLDM:  # keeps no latents: what it encodes has been encoded already
            model.encode = lambda seen: {**seen, "emb": seen["pixels"]}
            info = {"pixels": info["emb"], "goal": info["goal_emb"], "action": torch.zeros(1, count, 1, 1)}
        costs = model.get_cost(info, lewm_reference.scored(config, given["actions"]))
        return {"cost": costs} if verb == "plan" else {"latents": info["predicted_emb"][:, :, 1:]}

    return answer


LEWM_FACTS = {"action": LEWM.action.model_dump(mode="json")}
LEWM_CASES = [
    Case(family, form, lewm_folder(file), LEWM_FACTS, lewm(kind))
    for family, kind in (("lewm", lewm_reference.LeWM), ("pldm", lewm_reference.PLDM))
    for form, file in (("stable-worldmodel folder", "weights.pt"), ("safetensors", "model.safetensors"))
]

# -- vjepa2, ijepa: transformers

CLIPS = randomised(
    transformers.VJEPA2Model(
        transformers.VJEPA2Config(
            crop_size=32,
            patch_size=8,
            frames_per_clip=6,
            hidden_size=40,
            num_attention_heads=2,
            num_hidden_layers=2,
            pred_hidden_size=28,
            pred_num_attention_heads=2,
            pred_num_hidden_layers=3,
            pred_num_mask_tokens=3,
        )
    )
)
PICTURES = randomised(
    transformers.IJepaModel(
        transformers.IJepaConfig(
            image_size=28,
            patch_size=7,
            hidden_size=24,
            num_hidden_layers=2,
            num_attention_heads=3,
            intermediate_size=40,
            layer_norm_eps=1e-6,
        )
    )
)


def pretrained(model: transformers.PreTrainedModel, shard: str = "1GB") -> Callable[[Path], Path]:
    """A Hugging Face folder."""

    def write(folder: Path) -> Path:
        model.save_pretrained(folder, max_shard_size=shard)
        return folder

    return write


def own(file: str, content: Callable[[], object], settings: Mapping[str, object]) -> Callable[[Path], Path]:
    """A file as the authors' trainer writes it, and settings beside it, since these sizes are not the published."""

    def write(folder: Path) -> Path:
        torch.save(content(), folder / file)
        (folder / "config.json").write_text(json.dumps(settings))
        return folder

    return write


def clips(verb: str, given: Tensors) -> Tensors:
    """What transformers' modules answer."""
    if verb == "encode":
        return {"latents": vjepa2.encoded(CLIPS, given["observations"]).reshape(1, 3, -1)}
    latents, surprise = vjepa2.filled(CLIPS, given["observations"], given["hidden"])
    return {"latents": latents.reshape(1, 3, -1), "surprise": surprise.reshape(1, 3, -1)}


def pictures(verb: str, given: Tensors) -> Tensors:
    """What transformers' modules answer."""
    del verb  # there is one
    return {"latents": ijepa.encoded(PICTURES, given["observations"][:, 0]).reshape(1, 1, -1)}


def trained_pictures() -> object:
    """Encoder and target encoder, of which the target is used downstream."""
    target = ijepa.own_format(PICTURES)
    encoder = {name: tensor + 1 for name, tensor in target.items()}
    return {"encoder": encoder, "predictor": {}, "target_encoder": target, "epoch": 300}


# -- vjepa2-ac: a plain reading, which was held against the authors' code (tests/export/test_vjepa2_ac.py)

ROBOT_SETTINGS = {"img_size": 48, "encoder": {"num_heads": 2}, "predictor": {"num_heads": 3}}
ROBOT = vjepa2_ac_random.random_weights(vjepa2_ac_random.small())
BLIND_ROBOT = {name: tensor for name, tensor in ROBOT.items() if "state_encoder" not in name}
"""Of jepa-wms: it does not see the pose."""


def robot(weights: Tensors) -> Callable[[str, Tensors], Tensors]:
    """What the plain reading answers."""

    def answer(verb: str, given: Tensors) -> Tensors:
        if verb == "encode":
            frames = [plain.layer_normed(plain.encoded(frame, weights, 2)) for frame in given["observations"][0]]
            return {"latents": plain.joined(torch.stack(frames), given["proprioception"][0])[None]}
        width = len(weights["encoder.norm.weight"])
        history = given.get("action_history", given["actions"][:, 0, :0])
        patches = given["context"][0].unflatten(1, (-1, width))
        frames, poses = list(patches[:, :-1]), list(patches[:, -1, :7])
        paths = [
            plain.rolled_out(frames, poses, torch.cat([history[0], actions]), weights, 3)
            for actions in given["actions"][0]
        ]
        latents = torch.stack([plain.joined(*map(torch.stack, zip(*path, strict=True))) for path in paths])
        if verb == "rollout":
            return {"latents": latents[None]}
        return {"cost": (latents - given["goal"])[:, -1, :-width].abs().mean(dim=1)[None]}

    return answer


def apart(folder: Path) -> Path:
    """Encoder and predictor in files of their own."""
    vjepa2_ac_random.save_apart(BLIND_ROBOT, folder, ROBOT_SETTINGS)
    return folder


REACH = {"proprioception": vjepa2_ac_random.reach()}
ROBOT_CASES = [
    Case(
        "vjepa2-ac",
        "authors' .pt",
        own("vjepa2-ac-vitg.pt", lambda: vjepa2_ac_random.published(ROBOT), ROBOT_SETTINGS),
        REACH,
        robot(ROBOT),
    ),
    Case("vjepa2-ac", "jepa-wms' .pth.tar", apart, {**REACH, "context_length": 2}, robot(BLIND_ROBOT)),
]

# -- dino-wm, tdmpc2: stable_worldmodel's own modules, in formats of several projects

SENSING = dino_wm.small({"proprio": 4, "action": 6})
SEEING = dino_wm.small({"action": 6})


def dino_wm_case(
    form: str, write: Callable[[Path], Path], reference: Callable[..., Tensors], feels: bool = True
) -> Case:
    """One of DINO-WM's, with proprioception or without."""
    facts = dino_wm.facts(feels).model_dump(mode="json", include={"action", "proprioception"})
    return Case("dino-wm", form, write, facts, reference)


def jepa_wms(verb: str, given: Tensors) -> Tensors:
    """Two frames at a time, and another cost."""
    model = formats.as_authors(SENSING, window=2)
    if verb != "plan":
        return dino_wm.answered(model, verb, given, formats.halved)
    path = dino_wm.answered(model, "rollout", given)["latents"][:, :, -1].unflatten(-1, (9, 28))
    return {"cost": formats.cost(path, given["goal"].unflatten(-1, (9, 28))[:, None], width=24)}


DINO_WM_CASES = [
    dino_wm_case("stable-worldmodel folder", partial(dino_wm.save, SENSING), partial(dino_wm.answered, SENSING)),
    dino_wm_case(
        "the same without proprioception", partial(dino_wm.save, SEEING), partial(dino_wm.answered, SEEING), False
    ),
    dino_wm_case(
        "authors' .pth, converted",
        partial(formats.converted, SENSING),
        partial(dino_wm.answered, formats.as_authors(SENSING), pixels=formats.halved),
    ),
    dino_wm_case("jepa-wms .pth.tar", partial(formats.jepa_wms, SENSING), jepa_wms),
]


def tdmpc2_case(form: str, encoding: dict[str, int], settings: Mapping[str, Any], write: Callable[..., Path]) -> Case:
    """One of TD-MPC2's, by what it observes."""
    model, known = tdmpc2.reference(settings), tdmpc2.facts(encoding)
    facts = known.model_dump(mode="json", include={"action", "proprioception"})
    answer = partial(tdmpc2.answered, model, axes=known.proprioception)
    return Case("tdmpc2", form, partial(write, model), facts, answer)


OWN_SETTINGS = tdmpc2.settings({"state": 16}, tdmpc2.SMALL | {"simnorm_dim": 8})
OWN_SETTINGS["wm"] |= {"vmin": -10, "vmax": 10, "uncertainty_penalty": 0.0}


def own_states(model: torch.nn.Module, folder: Path) -> Path:
    """As its authors save it, with the discount, which depends on the task, beside."""
    torch.save({"model": tdmpc2.own_format(model.state_dict())}, folder / "step.pt")
    (folder / "config.json").write_text(json.dumps({"discount": OWN_SETTINGS["wm"]["discount"]}))
    return folder


BOTH, STATES = {"pixels": 8, "state": 12}, {"state": 8, "goal_state": 4}
TDMPC2_CASES = [
    tdmpc2_case("stable-worldmodel folder, frames and states", BOTH, tdmpc2.settings(BOTH), tdmpc2.save),
    tdmpc2_case("stable-worldmodel folder, states", STATES, tdmpc2.settings(STATES), tdmpc2.save),
    tdmpc2_case("authors' .pt", {"state": 16}, OWN_SETTINGS, own_states),
]

CLIP_FACTS = {"context_length": 6}
CLIP_SETTINGS = json.loads(CLIPS.config.to_json_string())
CASES: list[Case] = [
    *LEWM_CASES,
    *ROBOT_CASES,
    Case(
        "vjepa2",
        "authors' .pt",
        own("vitl.pt", lambda: vjepa2.own_format(CLIPS), CLIP_SETTINGS),
        CLIP_FACTS,
        clips,
    ),
    Case(
        "ijepa", "authors' .pth.tar", own("latest.pth.tar", trained_pictures, {"num_attention_heads": 3}), {}, pictures
    ),
    Case("vjepa2", "Hugging Face folder", pretrained(CLIPS), CLIP_FACTS, clips),
    Case("vjepa2", "Hugging Face folder, shards", pretrained(CLIPS, "50KB"), CLIP_FACTS, clips),
    Case("ijepa", "Hugging Face folder", pretrained(PICTURES), {}, pictures),
    *DINO_WM_CASES,
    *TDMPC2_CASES,
]
