"""V-JEPA 2-AC at its published size with random weights, beside its authors' code where a checkout of that is named.

    python -m loadtest.families.vjepa2_ac --reference CHECKOUT

CHECKOUT is a working tree of facebookresearch/vjepa2. Without it there is no parity: what has its sizes is built, run
and timed. Two frames are encoded, and a few candidates are rolled out for two steps, as its planner does. Poses of the
reference are those of the plain reading (scipy's, which the authors' notebook uses, are the same); of timm, which its
modules import for training, nothing is called, so it need not be there.

Prints figures as JSON: relative errors, seconds of processor time, peak memory; takes 11 GB of disk besides.
"""

import argparse
import gc
import sys
import tempfile
import time
import types
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from wmserve_export.families import published
from wmserve_export.families.vjepa2_ac import VJepa2Ac

from loadtest.families import adopting
from loadtest.families import vjepa2_ac_plain as plain
from loadtest.families import vjepa2_ac_random as drawn
from loadtest.families.comparing import normalised, relative_error
from loadtest.families.full_size import measure
from loadtest.families.random_weights import randomised

CANDIDATES, STEPS = 4, 2
Figures = dict[str, float]
T = TypeVar("T")


def run(reference: Path | None = None) -> Figures:
    """Relative errors, if there is a reference, and seconds of processor time."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (1, 2, 256, 256, 3), generator=generator, dtype=torch.uint8)
    start, bound = torch.rand(1, 2, 7, generator=generator), torch.tensor([0.1, 0.1, 0.1, 0.2, 0.2, 0.2, 1.5])
    actions = (torch.rand(1, CANDIDATES, STEPS, 7, generator=generator) - 0.5) * bound
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        wanted, figures = write(reference, frames, start[0, 0], actions[0], Path(folder))
        gc.collect()
        world = adopted(Path(folder))
        latents, figures["encode_cpu_s"] = timed(lambda: world.encode(frames, start)[0])
        path, figures["rollout_cpu_s"] = timed(lambda: world.predict(latents[:, :1], actions))
        distance = world.goal_distance(path, latents[:, 1])
    if wanted:
        patches, poses = world.parted(path[0, :, 0])
        figures |= {
            "encode_error": relative_error(world.parted(latents[0])[0], wanted["encoded"]),
            "rollout_error": relative_error(patches, wanted["patches"]),
            "distance_error": relative_error(distance[0], wanted["distance"]),
            "pose_error": float((poses - wanted["poses"]).abs().max()),
        }
    return {**figures, "parameters": float(sum(tensor.numel() for tensor in world.state_dict().values()))}


def write(
    reference: Path | None, frames: Tensor, pose: Tensor, actions: Tensor, folder: Path
) -> tuple[Mapping[str, Tensor], Figures]:
    """Write a checkpoint as the authors do, and ask their model, if it is there, what it makes of the problem."""
    (folder / "published").mkdir()
    file = folder / "published" / "vjepa2-ac-vitg.pt"
    if reference is None:
        weights = drawn.random_weights(drawn.full_size())
        torch.save({part: drawn.of(weights, part) for part in ("encoder", "predictor")}, file)
        return {}, {}
    encoder, predictor = built(reference)
    clips = normalised(frames[0])[:, :, None].expand(-1, -1, 2, -1, -1)
    encoded, encode_s = timed(lambda: plain.layer_normed(encoder(clips)))
    (patches, poses), rollout_s = timed(lambda: rolled_out(predictor, encoded[0], pose, actions))
    torch.save({"encoder": encoder.state_dict(), "predictor": predictor.state_dict()}, file)
    distance = (patches - encoded[1]).abs().mean(dim=(2, 3))
    answers = {"encoded": encoded, "patches": patches, "poses": poses, "distance": distance}
    return answers, {"reference_encode_cpu_s": encode_s, "reference_rollout_cpu_s": rollout_s}


def built(reference: Path) -> tuple[nn.Module, nn.Module]:
    """The authors' encoder and predictor, as ``src/hub/backbones.py`` builds them."""
    warnings.simplefilter("ignore")  # of deprecated names that their code uses
    layers = types.ModuleType("timm.models.layers")
    layers.drop_path = None  # type: ignore[attr-defined]
    for name, module in {"timm": types.ModuleType("timm"), "timm.models": types.ModuleType("timm.models")}.items():
        sys.modules.setdefault(name, module)
    sys.modules.setdefault("timm.models.layers", layers)
    sys.path.insert(0, str(reference))
    from src.models.ac_predictor import vit_ac_predictor
    from src.models.vision_transformer import vit_giant_xformers

    sizes = {"img_size": (256, 256), "patch_size": 16, "num_frames": 64, "tubelet_size": 2}
    encoder = randomised(vit_giant_xformers(**sizes, use_rope=True, use_sdpa=True, uniform_power=False))
    return encoder, randomised(vit_ac_predictor(**sizes, embed_dim=encoder.embed_dim))


def rolled_out(predictor: nn.Module, latents: Tensor, pose: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
    """Patches `[S, H, P, C]` and poses `[S, H, 7]`, as ``notebooks/utils/world_model_wrapper.py`` rolls out."""
    size, frames = len(latents), latents.expand(len(actions), -1, -1)
    poses = pose.expand(len(actions), 1, -1)
    for step in range(actions.shape[1]):
        predicted = plain.layer_normed(predictor(frames, actions[:, : step + 1], poses)[:, -size:])
        following = [plain.new_pose(*pair) for pair in zip(poses[:, -1].numpy(), actions[:, step].numpy(), strict=True)]
        frames = torch.cat([frames, predicted], dim=1)
        poses = torch.cat([poses, torch.tensor(following, dtype=torch.float32)[:, None]], dim=1)
    return frames.unflatten(1, (-1, size))[:, 1:], poses[:, 1:]


def adopted(folder: Path) -> VJepa2Ac:
    """The world of ``folder/published``."""
    facts = published.Facts(name="vjepa2_ac_random", description="Random.", proprioception=drawn.PROPRIOCEPTION[:3])
    world = adopting.adopted("vjepa2-ac", folder / "published", facts)
    assert isinstance(world, VJepa2Ac)
    return world


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the seconds of processor time that it takes."""
    began = time.process_time()
    return work(), time.process_time() - began


def main() -> None:
    """Print figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", type=Path, metavar="CHECKOUT", help="a working tree of facebookresearch/vjepa2")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    measure(partial(run, options.reference), options.threads)


if __name__ == "__main__":
    main()
