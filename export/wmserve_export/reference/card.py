"""The training card: what a checkpoint was made from, how well it predicts, and how well it plans."""

import torch
from torch import Tensor

from wmserve_export.families.conv_jepa import ConvJepa
from wmserve_export.reference.collect import Trajectories


def linear_probe(latents: Tensor, targets: Tensor, test_latents: Tensor, test_targets: Tensor) -> list[float]:
    """R2 of a linear fit of targets `[..., R]` on latents `[..., D]`, on the test part."""

    def with_bias(rows: Tensor) -> Tensor:
        return torch.nn.functional.pad(rows.flatten(0, -2), (0, 1), value=1.0)

    fitted = torch.linalg.lstsq(with_bias(latents), targets.flatten(0, -2)).solution
    truth = test_targets.flatten(0, -2)
    missed = (with_bias(test_latents) @ fitted - truth).square().mean(dim=0)
    return [float(value) for value in 1 - missed / truth.var(dim=0)]


@torch.no_grad()
def readout_errors(world: ConvJepa, latents: Tensor, targets: Tensor) -> list[float]:
    """Root mean square error of each readout, its unit."""
    return [float(value) for value in (world.readout(latents) - targets).flatten(0, -2).square().mean(dim=0).sqrt()]


@torch.no_grad()
def prediction_errors(world: ConvJepa, latents: Tensor, data: Trajectories) -> dict[str, object]:
    """Errors of the ensemble's mean from the first frame, after one and five model steps.

    In latents as a part of copy-last's squared error, and in the readouts as a median, pixels.
    """
    predicted = world.predict(latents[:, :1], data.actions[:, :5].flatten(1, 2)[:, None])[:, 0].mean(dim=1)
    errors: dict[str, object] = {}
    for steps, name in ((1, "one_step"), (5, "five_steps")):
        truth, guess = latents[:, steps], predicted[:, steps - 1]
        copied = (latents[:, 0] - truth).square().mean()
        errors[f"{name}_against_copy_last"] = float((guess - truth).square().mean() / copied)
        missed = (world.readout(guess) - world.readout(truth)).abs().median(dim=0).values
        errors[f"{name}_readout_median"] = [round(float(value), 3) for value in missed]
    return errors


def parameter_counts(world: ConvJepa) -> dict[str, int]:
    """Parameters of each module."""
    return {name: sum(p.numel() for p in module.parameters()) for name, module in world.named_children()}
