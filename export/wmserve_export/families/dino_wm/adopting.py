"""DINO-WM checkpoints as their authors publish them: what ``formats`` recognises becomes a checkpoint of this project.

Sizes are those of the tensors, and what settings say of them must agree. Statistics and bounds of actions and
proprioception are in no checkpoint.
"""

import re
from pathlib import Path

from wmserve.world import GoalMetric

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.activations import activation
from wmserve_export.families.dino_wm.config import ACTION, DinoWmConfig, Embedding
from wmserve_export.families.dino_wm.formats import POSITIONS, Format, recognise
from wmserve_export.families.dino_wm.weights import shapes
from wmserve_export.families.lewm.weights import fitting, write
from wmserve_export.families.published import Facts, Published

BACKBONES = {"small": (384, 6), "base": (768, 12), "large": (1024, 16)}
"""Width and heads of DINOv2 by the size in the names that its backbones are loaded by."""
NAMED = re.compile(r"^(?:facebook/)?dinov2[-_](small|base|large)$")
PUBLISHED_PATCHES = (196, 256)
"""Patches of a frame of 224 pixels: one for every 16 of them in dino_wm, for every 14 in jepa-wms."""
MASK = "predictor.transformer.layers.0.0.bias"
MASKS = re.compile(r"^predictor\.transformer\.layers\.\d+\.0\.bias$")
"""Of attention: which patches of a window each patch attends to, `[1, 1, places, places]`."""
ASKED = f"{CONFIG_FILE} should have them as"
METRIC = "mean_squared_latent_difference"


def adopt(family: str, source: Published, facts: Facts, folder: Path) -> None:  # noqa: ARG001
    """Write it as a checkpoint of this project; FamilyError says what is missing or does not fit."""
    found = recognise(source)
    config = configuration(found, facts)
    tensors = {name: tensor for name, tensor in found.source.tensors.items() if not MASKS.match(name)}
    tensors[POSITIONS] = found.positions(config.image_size // config.patch_size)
    weights = fitting({name: tensor.float().contiguous() for name, tensor in tensors.items()}, shapes(config))
    write(folder, config, weights)


def configuration(found: Format, facts: Facts) -> DinoWmConfig:
    """Sizes of the tensors, heads of the settings, what the format fixes, the rest of the facts."""
    source, layer, block = found.source, "backbone.encoder.layer", "predictor.transformer.layers"
    dim, _, patch, _ = source.shape("backbone.embeddings.patch_embeddings.projection.weight")
    patches = patch_count(source)
    embeddings, own = embedded(found, facts, dim), found.resized_from is None
    sides = ("image_size", "img_size") if own else ()
    size = source.fixed_side(facts if own else facts.model_copy(update={"image_size": None}), patch, patches, *sides)
    resized = size if found.resized_from is None else facts.image_size or found.resized_from
    positions = source.shape("predictor.pos_embedding")[1] // patches
    width, weight = source.shape(f"{block}.0.0.to_qkv.weight")[0] // 3, found.proprioception_weight
    heads = predictor_heads(source, width, found.head_dim)
    mean, std = source.pixels(facts, (found.pixel_mean, found.pixel_std))
    where, act = source.stated(*of_backbone("hidden_act"))
    mlp, predictor_mlp = (source.shape(f"{name}.weight")[0] for name in (f"{layer}.0.mlp.fc1", f"{block}.0.1.net.1"))
    return DinoWmConfig(
        name=facts.name,
        description=facts.description,
        image_size=size,
        resized_from=resized,
        patch_size=source.agreed(patch, *of_backbone("patch_size")),
        pixel_mean=mean,
        pixel_std=std,
        backbone_dim=source.agreed(dim, *of_backbone("hidden_size")),
        backbone_depth=source.agreed(source.layers(layer), *of_backbone("num_hidden_layers")),
        backbone_heads=backbone_heads(source, dim),
        backbone_mlp_width=mlp,
        backbone_norm_eps=source.positive(1e-6, *of_backbone("layer_norm_eps")),
        backbone_activation="gelu" if act is None else activation(act, where),
        backbone_qkv_bias=f"{layer}.0.attention.attention.query.bias" in source.tensors,
        embeddings=embeddings,
        positions=positions,
        window=found.window or positions,
        predictor_depth=source.agreed(source.layers(block), "predictor.depth"),
        predictor_heads=heads,
        predictor_head_dim=width // heads,
        predictor_mlp_width=source.agreed(predictor_mlp, "predictor.mlp_dim"),
        proprioception_weight=weight,
        proprioception_patches=found.proprioception_patches,
        context_length=facts.context_length,
        action=facts.known_action(),
        proprioception=facts.proprioception,
        goal_metric=GoalMetric(name=METRIC, unit="1", needs_proprioception=bool(facts.proprioception) and weight > 0),
        planner=facts.planner or found.planner,
    )


def patch_count(source: Published) -> int:
    """Patches of a frame, of the predictor's positions for some frames: by its masks, by those frames, or as published.

    FamilyError where nothing tells it.
    """
    places, mask = source.shape("predictor.pos_embedding")[1], source.tensors.get(MASK)
    if mask is not None:  # the first patch attends to those of its own frame
        return int(mask[0, 0, 0].sum())
    frames = source.setting("wm.history_size", "history_size", "num_hist", "predictor.num_frames")
    for patches in (places // frames,) if isinstance(frames, int) and frames > 0 else PUBLISHED_PATCHES:
        if places % patches == 0 and round(patches**0.5) ** 2 == patches:
            return patches
    raise FamilyError(f"frames that the predictor has {places} positions for are missing: {ASKED} num_hist")


def embedded(found: Format, facts: Facts, dim: int) -> tuple[Embedding, ...]:
    """What is concatenated to the `dim` features of a patch; FamilyError where facts or predictor do not fit."""
    embeddings = tuple(embedding(found.source, name) for name in found.order if encoder(name) in found.source.tensors)
    done = sum(part.inputs for part in embeddings if part.name == ACTION)
    sensed = sum(part.inputs for part in embeddings) - done
    facts.fitting_action(done)
    if len(facts.proprioception) != sensed:
        raise FamilyError(
            f"the checkpoint takes {sensed} axes of proprioception, the facts have {len(facts.proprioception)}: "
            "they stand in the file of --world as proprioception, a list of axes like the action's"
        )
    width, known = found.source.shape("predictor.pos_embedding")[2], dim + sum(part.width for part in embeddings)
    if width != known:
        raise FamilyError(
            f"the predictor takes {width} numbers a patch, its encoders give {known}: only what concatenates each of "
            f"them once to every patch can be exported"
        )
    return embeddings


def embedding(source: Published, name: str) -> Embedding:
    """One of the encoders, by its tensors."""
    width, inputs, _ = source.shape(encoder(name))
    return Embedding(name=name, inputs=inputs, width=width)


def encoder(name: str) -> str:
    """The tensor that tells an encoder's sizes."""
    return f"extra_encoders.{name}.patch_embed.weight"


def of_backbone(name: str) -> tuple[str, ...]:
    """Where settings and converted modules say something of the backbone."""
    return f"backbone.config.{name}", f"backbone.{name}", f"encoder.config.{name}", f"backbone.backbone.config.{name}"


def backbone_heads(source: Published, dim: int) -> int:
    """By the backbone's settings, else by the name that it was loaded by, if it is as wide; FamilyError asks for it."""
    asked = of_backbone("num_attention_heads")
    name = source.setting("backbone.name", "encoder.name", "backbone_name")
    match = NAMED.match(str(name)) if source.stated(*asked)[1] is None and name is not None else None
    width, heads = BACKBONES[match[1]] if match else (0, 0)
    if match and width != dim:
        raise FamilyError(f"{CONFIG_FILE} says backbone.name {name}, {width} wide; the tensors are {dim} wide")
    return heads or source.number("heads of the backbone", *asked)


def predictor_heads(source: Published, width: int, fixed: int | None) -> int:
    """By their number, else by their width, that of the settings or that the code fixes; FamilyError asks for it."""
    names, head_dim = (
        ("predictor.heads", "predictor.transformer.layers.0.0.heads"),
        source.setting("predictor.dim_head"),
    )
    (where, heads), one = source.stated(*names), head_dim or fixed
    if heads is None and isinstance(one, int) and one > 0 and width % one == 0:
        return width // one
    heads = source.number("heads of the predictor", *names)
    if width % heads or (head_dim and heads * head_dim != width):
        raise FamilyError(
            f"{CONFIG_FILE} says {where} {heads} and predictor.dim_head {head_dim}, "
            f"the tensors have {width} numbers for all heads: which is right?"
        )
    return heads
