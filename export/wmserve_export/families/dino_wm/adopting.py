"""DINO-WM checkpoints as their authors publish them: what ``formats`` recognises becomes a checkpoint of this project.

Sizes are those of the tensors. Statistics and bounds of actions and proprioception are in no checkpoint.
"""

import re
from pathlib import Path

from wmserve.world import GoalMetric

from wmserve_export.families import CONFIG_FILE, FamilyError
from wmserve_export.families.dino_wm.config import ACTION, DinoWmConfig, Embedding
from wmserve_export.families.dino_wm.formats import POSITIONS, Format, recognise
from wmserve_export.families.dino_wm.weights import shapes
from wmserve_export.families.lewm.weights import fitting, write
from wmserve_export.families.published import Facts, Published

PUBLISHED_HEADS = {384: 6, 768: 12, 1024: 16}
"""Heads of DINOv2's sizes, by width."""
PUBLISHED_PATCHES = (196, 256)
"""Patches of a frame of 224 pixels: one for every 16 of them in dino_wm, for every 14 in jepa-wms."""
HEAD_DIM = 64
"""Of the predictor, in all three codes (``dim_head``)."""
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
    embeddings, size = embedded(found, facts, dim), patch * round(patches**0.5)
    positions = source.shape("predictor.pos_embedding")[1] // patches
    heads, width = predictor_heads(source), source.shape(f"{block}.0.0.to_qkv.weight")[0] // 3
    weight = found.proprioception_weight
    return DinoWmConfig(
        name=facts.name,
        description=facts.description,
        image_size=size,
        resized_from=found.resized_from or size,
        patch_size=patch,
        pixel_mean=found.pixel_mean,
        pixel_std=found.pixel_std,
        backbone_dim=dim,
        backbone_depth=source.layers(layer),
        backbone_heads=backbone_heads(source, dim),
        backbone_mlp_width=source.shape(f"{layer}.0.mlp.fc1.weight")[0],
        backbone_norm_eps=source.setting("backbone.config.layer_norm_eps", "backbone.backbone.config.layer_norm_eps")
        or 1e-6,
        embeddings=embeddings,
        positions=positions,
        window=found.window or positions,
        predictor_depth=source.layers(block),
        predictor_heads=heads,
        predictor_head_dim=width // heads,
        predictor_mlp_width=source.shape(f"{block}.0.1.net.1.weight")[0],
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


def backbone_heads(source: Published, dim: int) -> int:
    """By the backbone's settings, else by its width; FamilyError for a width that was never published."""
    heads = source.setting("backbone.config.num_attention_heads", "backbone.backbone.config.num_attention_heads")
    if heads is None and dim not in PUBLISHED_HEADS:
        raise FamilyError(f"heads of the backbone are missing: {ASKED} backbone.config.num_attention_heads")
    return int(heads or PUBLISHED_HEADS[dim])


def predictor_heads(source: Published) -> int:
    """By their number, else by their width; FamilyError where that does not divide the predictor's."""
    heads = source.setting("predictor.heads", "predictor.transformer.layers.0.0.heads")
    width = source.shape("predictor.transformer.layers.0.0.to_qkv.weight")[0] // 3
    if heads is None and width % HEAD_DIM:
        raise FamilyError(f"heads of the predictor are missing: {ASKED} predictor.heads")
    return int(heads or width // HEAD_DIM)
