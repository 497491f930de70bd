"""Fits how far latents are from a goal: model steps, from trajectories alone.

    slow      linear: latents are whitened and turned so that each direction has a variance of its own in one model
              step; directions that change slowly count more, by the third power of how slowly
    temporal  a network embeds latents so that the distance of two embeddings is the least number of model steps between
              them: latents of any two frames are pushed apart, while frames that are k model steps apart in a
              trajectory may be no farther from each other than k

The second is quasimetric learning (Wang et al., 2023, arXiv 2304.01203) with a symmetric distance. What it says of two
frames that no trajectory has joined is the length of the shortest way over frames that some have.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import trange

from wmserve_export.engines import Engine
from wmserve_export.fit.encoding import Track
from wmserve_export.fit.engines_before import Before
from wmserve_export.fit.heads import Distance, Stack, linear
from wmserve_export.fit.reducing import Reduction

POWER = 3
STEPS, BATCH, RATE = 3000, 256, 1e-3
WIDTH, EMBEDDED = 128, 32
FARTHEST = 12
"""Model steps of the longest pairs that are held to their number of steps."""
SOFTNESS = 4.0
"""Over how many model steps pushing apart fades out, beyond the longest trajectory."""
ALLOWED = 0.02
"""Mean square by which pairs may be farther apart than they are, relative to their number of steps."""
PRICE_RATE = 0.02
ROLLOUTS = 100
"""From which the error of predictions is taken."""


def slow(tracks: Sequence[Track], reduction: Reduction) -> Distance:
    """The linear one."""
    paths = [reduction(torch.from_numpy(one.latents)).double() for one in tracks]
    latents = torch.cat(paths)
    moves = torch.cat([path[1:] - path[:-1] for path in paths])
    variances, directions = torch.linalg.eigh(torch.cov(latents.T))
    kept = variances > 1e-6 * variances.max()
    whitening = directions[:, kept] / variances[kept].sqrt()
    pace, turned = torch.linalg.eigh((moves @ whitening).T @ (moves @ whitening) / len(moves))
    weight = whitening @ turned / pace.clamp(min=1e-4 * float(pace.max())) ** (POWER / 2)
    # In model steps, roughly: a typical move of one step has a distance of one.
    scale = (moves @ weight).square().sum(dim=1).median().sqrt()
    return Distance(reduction.before(Stack(linear((weight / scale).float()))), squared=True)


def temporal(tracks: Sequence[Track], reduction: Reduction, noise: Tensor, seed: int, show: bool) -> Distance:
    """The network.

    Args:
        tracks: To learn from.
        reduction: Of latents.
        noise: Error `[D]` of the world's own predictions after one model step, since what is scored is predicted.
        seed: Of weights and batches.
        show: Whether to show progress.
    """
    torch.manual_seed(seed)
    frames = Frames(tracks, reduction)
    spread = (noise.square() @ reduction.matrix.square()).sqrt()
    stack = Stack(nn.Linear(frames.width, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, EMBEDDED))
    metric, price = Distance(stack, squared=False), torch.tensor(1.0)
    optimiser = torch.optim.AdamW(stack.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=STEPS, pct_start=0.1)
    progress = trange(STEPS, desc="goal metric", mininterval=2, disable=not show)
    for _ in progress:
        here, following, later, steps = frames.draw()
        embedded = stack(torch.cat([here + spread * torch.randn_like(here), following, later]))
        ours, following, later = embedded.chunk(3)
        apart = functional.softplus((frames.longest - metric.of(ours, later.roll(1, dims=0))) / SOFTNESS).mean()
        over = functional.relu(metric.of(ours, following) - 1).square().mean()
        over = over + functional.relu(metric.of(ours, later) / steps - 1).square().mean()
        loss = SOFTNESS * apart + price * over
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        # The price of being too far apart rises until it is kept to what is allowed.
        price = price * float(np.exp(PRICE_RATE * np.clip(float(over.detach()) / ALLOWED - 1, -1.0, 1.0)))
        progress.set_postfix(over=f"{float(over.detach()):.3f}", price=f"{float(price):.1f}", refresh=False)
    return Distance(reduction.before(stack), squared=False).eval()


class Frames:
    """Reduced latents of trajectories, and pairs of them."""

    def __init__(self, tracks: Sequence[Track], reduction: Reduction) -> None:
        tracks = [one for one in tracks if len(one.latents) > 1]
        self._latents = reduction(torch.from_numpy(np.concatenate([one.latents for one in tracks])))
        lengths = torch.tensor([len(one.latents) for one in tracks])
        ends = lengths.cumsum(0)
        # Of each frame that has one after it: its row, and how many follow.
        rows = [torch.arange(int(end - length), int(end) - 1) for length, end in zip(lengths, ends, strict=True)]
        self._rows = torch.cat(rows)
        self._left = torch.cat([int(end) - 1 - some for some, end in zip(rows, ends, strict=True)])
        self.longest = 2.0 * float(lengths.max() - 1)
        self.width = self._latents.shape[1]

    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Frames `[P, W]`, those after them, some later ones in the same trajectories, and how much later `[P]`."""
        chosen = torch.randint(len(self._rows), (BATCH,))
        row, left = self._rows[chosen], self._left[chosen].clamp(max=FARTHEST)
        steps = 1 + (torch.rand(BATCH) * left).long().clamp(max=left - 1)
        return self._latents[row], self._latents[row + 1], self._latents[row + steps], steps.float()


def prediction_noise(before: Before, tracks: Sequence[Track]) -> Tensor:
    """Root mean square `[D]` of what the world's predictions are off by after one model step."""
    world = before.world
    known, block, horizon = world.context_length, world.action.action_block, world.engine_horizons[0]
    run, errors = before.runner(Engine("rollout", horizon)), []
    for track in [one for one in tracks if len(one.latents) > known][:ROLLOUTS]:
        start = (len(track.latents) - known - 1) // 2
        first = start + known
        asked = np.zeros((horizon * block, len(world.action.axes)), np.float32)
        taken = track.actions[(first - 1) * block :][: horizon * block]
        asked[: len(taken)] = taken
        given = {"context": track.latents[start:first], "actions": asked[None]}
        if known > 1:
            given["action_history"] = track.actions[start * block : (first - 1) * block]
        answer = run({name: torch.from_numpy(np.ascontiguousarray(one))[None] for name, one in given.items()})
        errors.append(np.square(answer["latents"][0, 0, 0] - track.latents[first]))
    if not errors:
        return torch.zeros(tracks[0].latents.shape[1])
    return torch.from_numpy(np.sqrt(np.mean(errors, axis=0)))
