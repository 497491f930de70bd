"""A plain reading of V-JEPA 2-AC, for tests: slow, one candidate and one rotation at a time, nothing kept or fused.

Written from the published formulas: what ``src/models/ac_predictor.py``, ``src/models/utils/modules.py``,
``src/models/vision_transformer.py`` and ``notebooks/utils`` of facebookresearch/vjepa2 compute, not how.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

Weights = Mapping[str, Tensor]
Place = tuple[int, int, int] | tuple[int]
"""Frame, row and column of a patch; an action and a pose have a frame alone."""
Floats = NDArray[np.float64]


def turned(vector: Tensor, position: int) -> Tensor:
    """A part `[d]` of a query or key at a position, pair by pair, with the frequencies of the authors' weights."""
    half, result = len(vector) // 2, vector.clone()
    for index in range(len(vector)):
        angle = position * 10_000.0 ** -((index % half) / half)
        other = -vector[index + 1] if index % 2 == 0 else vector[index - 1]
        result[index] = vector[index] * math.cos(angle) + other * math.sin(angle)
    return result


def placed(vector: Tensor, place: Place) -> Tensor:
    """A query or key `[K]` of one head, turned by where it is."""
    part, result = 2 * (len(vector) // 3 // 2), vector.clone()
    for axis, position in enumerate(place):
        result[axis * part : (axis + 1) * part] = turned(vector[axis * part : (axis + 1) * part], position)
    return result


def attention(tokens: Tensor, places: list[Place], weights: Weights, name: str, heads: int) -> Tensor:
    """Tokens `[N, W]`: each attends to all of its own and of earlier frames."""
    wide = functional.linear(tokens, weights[f"{name}.qkv.weight"], weights[f"{name}.qkv.bias"])
    query, key, value = wide.unflatten(1, (3, heads, -1)).unbind(dim=1)
    frames = torch.tensor([place[0] for place in places])
    out = []
    for head in range(heads):
        queries = torch.stack([placed(vector, place) for vector, place in zip(query[:, head], places, strict=True)])
        keys = torch.stack([placed(vector, place) for vector, place in zip(key[:, head], places, strict=True)])
        scores = queries @ keys.T / math.sqrt(keys.shape[1])
        scores[frames[:, None] < frames[None, :]] = -math.inf
        out.append(scores.softmax(dim=1) @ value[:, head])
    return functional.linear(torch.cat(out, dim=1), weights[f"{name}.proj.weight"], weights[f"{name}.proj.bias"])


def norm(tokens: Tensor, weights: Weights, name: str) -> Tensor:
    """A layer norm of the checkpoint."""
    return functional.layer_norm(tokens, tokens.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6)


def linear(tokens: Tensor, weights: Weights, name: str) -> Tensor:
    """A linear layer of the checkpoint."""
    return functional.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])


def block(tokens: Tensor, places: list[Place], weights: Weights, name: str, heads: int) -> Tensor:
    """One transformer layer, `[N, W]` -> `[N, W]`."""
    tokens = tokens + attention(norm(tokens, weights, f"{name}.norm1"), places, weights, f"{name}.attn", heads)
    hidden = functional.gelu(linear(norm(tokens, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1"))
    return tokens + linear(hidden, weights, f"{name}.mlp.fc2")


def count(weights: Weights, prefix: str) -> int:
    """Layers under a name."""
    return len({name.removeprefix(prefix).split(".")[0] for name in weights if name.startswith(prefix)})


def joined(patches: Tensor, poses: Tensor) -> Tensor:
    """Latents as an engine has them, flat `[M, D]`, of patches `[M, P, C]` and poses `[M, 7]`."""
    row = torch.zeros(len(patches), 1, patches.shape[2])
    row[:, 0, :7] = poses
    return torch.cat([patches, row], dim=1).flatten(1)


def layer_normed(tokens: Tensor) -> Tensor:
    """Without gain and shift."""
    return functional.layer_norm(tokens, tokens.shape[-1:])


def patches_of(frame: int, side: int) -> list[Place]:
    """Places of a frame's patches, row by row."""
    return [(frame, row, column) for row in range(side) for column in range(side)]


def encoded(frame: Tensor, weights: Weights, heads: int) -> Tensor:
    """A frame `[h, w, 3]` uint8 of the native size, shown twice -> the encoder's output `[P, C]`."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = ((frame / 255.0 - mean) / std).permute(2, 0, 1)
    clip = torch.stack([pixels, pixels], dim=1)[None]
    kernel, bias = weights["encoder.patch_embed.proj.weight"], weights["encoder.patch_embed.proj.bias"]
    patches = functional.conv3d(clip, kernel, bias, stride=kernel.shape[2:])
    tokens, places = patches[0].flatten(1).T, patches_of(0, patches.shape[-1])
    for index in range(count(weights, "encoder.blocks.")):
        tokens = block(tokens, places, weights, f"encoder.blocks.{index}", heads)
    return norm(tokens, weights, "encoder.norm")


def predicted(frames: list[Tensor], actions: Tensor, poses: list[Tensor], weights: Weights, heads: int) -> Tensor:
    """Latents `[P, C]` of the frame after these, each with its action and pose; not yet normed."""
    size = len(frames[0])
    tokens, places = [], list[Place]()
    for time, frame in enumerate(frames):
        tokens.append(linear(actions[time : time + 1], weights, "predictor.action_encoder"))
        if "predictor.state_encoder.weight" in weights:
            tokens.append(linear(poses[time][None], weights, "predictor.state_encoder"))
            places.append((time,))
        tokens.append(linear(frame, weights, "predictor.predictor_embed"))
        places += [(time,), *patches_of(time, math.isqrt(size))]
    sequence = torch.cat(tokens)
    for index in range(count(weights, "predictor.predictor_blocks.")):
        sequence = block(sequence, places, weights, f"predictor.predictor_blocks.{index}", heads)
    return linear(norm(sequence[-size:], weights, "predictor.predictor_norm"), weights, "predictor.predictor_proj")


def rolled_out(
    frames: list[Tensor], poses: list[Tensor], actions: Tensor, weights: Weights, heads: int
) -> list[tuple[Tensor, Tensor]]:
    """Latents `[P, C]` and poses `[7]` of a candidate; the first of actions `[T - 1 + H, 7]` follows frame one.

    Everything is computed anew for every step.
    """
    frames, poses, known = list(frames), list(poses), len(frames)
    for time in range(known - 1, len(actions)):
        frames.append(layer_normed(predicted(frames, actions[: time + 1], poses, weights, heads)))
        poses.append(torch.from_numpy(new_pose(poses[-1].numpy(), actions[time].numpy()).astype(np.float32)))
    return list(zip(frames[known:], poses[known:], strict=True))


def matrix(angles: Floats) -> Floats:
    """``Rz(yaw) Ry(pitch) Rx(roll)``: scipy's ``from_euler("xyz")``."""
    (a, b, c), (s, t, u) = np.cos(angles), np.sin(angles)
    roll = np.array([[1, 0, 0], [0, a, -s], [0, s, a]])
    pitch = np.array([[b, 0, t], [0, 1, 0], [-t, 0, b]])
    yaw = np.array([[c, -u, 0], [u, c, 0], [0, 0, 1]])
    return yaw @ pitch @ roll


def euler(rotation: Floats) -> Floats:
    """Scipy's ``as_euler("xyz")``: the inverse, with a yaw of 0 where pitch is within 1e-7 of +-pi/2."""
    pitch = np.arctan2(-rotation[2, 0], np.hypot(rotation[2, 1], rotation[2, 2]))
    if np.pi / 2 - abs(pitch) <= 1e-7:
        return np.array([np.arctan2(-rotation[1, 2], rotation[1, 1]), pitch, 0.0])
    yaw = np.arctan2(rotation[1, 0], rotation[0, 0])
    return np.array([np.arctan2(rotation[2, 1], rotation[2, 2]), pitch, yaw])


def new_pose(pose: NDArray[np.float32], action: NDArray[np.float32]) -> Floats:
    """The pose `[7]` after an action `[7]`, in float64."""
    before, change = pose.astype(np.float64), action.astype(np.float64)
    turned_by = euler(matrix(change[3:6]) @ matrix(before[3:6]))
    return np.concatenate([before[:3] + change[:3], turned_by, np.clip(before[6:] + change[6:], 0, 1)])


def action_between(start: NDArray[np.float32], end: NDArray[np.float32]) -> Floats:
    """The action `[7]` that leads from one pose `[7]` to another."""
    before, after = start.astype(np.float64), end.astype(np.float64)
    turn = euler(matrix(after[3:6]) @ matrix(before[3:6]).T)
    return np.concatenate([after[:3] - before[:3], turn, after[6:] - before[6:]])
