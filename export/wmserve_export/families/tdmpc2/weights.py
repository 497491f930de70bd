"""Weights of a TD-MPC2: names and shapes of the tensors that a checkpoint of this project holds.

They are those of ``stable_worldmodel.wm.tdmpc2.TDMPC2.state_dict()`` as far as plans need them, but for encoders of
proprioception: the norm after their last layer is called that layer's ``ln``, as all others are.
"""

from itertools import pairwise

from wmserve_export.families.lewm.weights import Shapes, linear, norm
from wmserve_export.families.tdmpc2.config import CHANNELS, CONVOLUTIONS, Tdmpc2Config


def shapes(config: Tdmpc2Config) -> Shapes:
    """Names and shapes of every tensor."""
    latents, actions, hidden = config.latent_dim, len(config.action.axes), (config.mlp_width, config.mlp_width)
    found = frame_shapes(config) if config.image_size else {}
    for encoder in config.encoders:
        name, widths = f"extra_encoders.{encoder.name}", (encoder.inputs, *encoder.hidden, encoder.width)
        found |= perceptron(name, *widths) | norm(f"{name}.{len(encoder.hidden)}.ln", encoder.width)
    found |= perceptron("dynamics", latents + actions, *hidden, latents) | norm("dynamics.2.ln", latents)
    found |= perceptron("reward", latents + actions, *hidden, config.bins)
    found |= perceptron("pi", latents, *hidden, 2 * actions)
    for critic in range(config.critics):
        found |= perceptron(f"qs.{critic}", latents + actions, *hidden, config.bins)
    return found


def frame_shapes(config: Tdmpc2Config) -> Shapes:
    """Convolutions, and the linear layer after them."""
    found, channels = Shapes(), 3
    for index, (kernel, _) in enumerate(CONVOLUTIONS):
        name = f"cnn.{2 * index}"
        found |= {f"{name}.weight": (CHANNELS, channels, kernel, kernel), f"{name}.bias": (CHANNELS,)}
        channels = CHANNELS
    return found | linear("pixel_encoder", CHANNELS * config.convolved_side**2, config.pixel_width)


def perceptron(name: str, *widths: int) -> Shapes:
    """Linear layers, each but the last with a layer norm."""
    found = Shapes()
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
        found |= linear(f"{name}.{index}", inputs, outputs)
        if index < len(widths) - 2:
            found |= norm(f"{name}.{index}.ln", outputs)
    return found
