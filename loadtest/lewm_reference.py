"""The reference LeWM: stable-worldmodel's own modules, built from a configuration of this project.

What it is asked is what its solver asks: ``get_cost`` with the latents of context and goal cached from the first call.
"""

from functools import partial

import torch
from stable_worldmodel.wm.lewm import LeWM
from stable_worldmodel.wm.lewm.module import MLP, Embedder, Predictor
from stable_worldmodel.wm.pldm import PLDM as PLDM
from torch import Tensor, nn
from transformers import ViTConfig, ViTModel
from wmserve_export.families.lewm.config import LewmConfig, Projection

ACT2CLS = {"gelu": nn.GELU, "relu": nn.ReLU, "silu": nn.SiLU, "gelu_pytorch_tanh": partial(nn.GELU, approximate="tanh")}
ACTIVATIONS = {"gelu": "gelu", "gelu_tanh": "gelu_pytorch_tanh", "relu": "relu", "silu": "silu"}
"""What transformers calls ours."""


def build(config: LewmConfig, weights: dict[str, Tensor], kind: type[nn.Module] = LeWM) -> nn.Module:
    """A reference model with these weights, in eval mode; a PLDM has the same parts."""
    dim = config.latent_dim
    vit = ViTConfig(
        hidden_size=config.encoder_width,
        num_hidden_layers=config.encoder_depth,
        num_attention_heads=config.encoder_heads,
        intermediate_size=config.encoder_mlp_width,
        hidden_act=ACTIVATIONS[config.encoder_activation],
        layer_norm_eps=config.encoder_norm_eps,
        qkv_bias=config.encoder_qkv_bias,
        image_size=config.image_size,
        patch_size=config.patch_size,
    )
    model = kind(
        encoder=ViTModel(vit, add_pooling_layer=False),
        predictor=Predictor(
            num_frames=config.window,
            depth=config.predictor_depth,
            heads=config.predictor_heads,
            mlp_dim=config.predictor_mlp_width,
            input_dim=dim,
            hidden_dim=config.predictor_width,
            output_dim=config.predicted_width,
            dim_head=config.predictor_head_dim,
        ),
        action_encoder=Embedder(config.block_dim, config.action_width, dim, config.action_mlp_scale),
        projector=projection(config.projector, config.encoder_width, dim),
        pred_proj=projection(config.predictor_projector, config.predicted_width, dim),
    )
    model.load_state_dict(weights)
    return model.eval()


def projection(config: Projection | None, inputs: int, outputs: int) -> nn.Module | None:
    """The reference's layers after encoder or predictor."""
    if config is None:
        return None
    norm = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "none": None}[config.norm]
    made = None if norm is None else partial(norm, eps=config.norm_eps)
    return MLP(inputs, config.width, outputs, norm_fn=made, act_fn=ACT2CLS[ACTIVATIONS[config.activation]])


def encode(model: nn.Module, pixels: Tensor) -> Tensor:
    """Pixels `[B, T, 3, h, w]`, 0..1, of the native size -> latents `[B, T, D]`."""
    return model.encode({"pixels": normalised(pixels)})["emb"]


def normalised(pixels: Tensor) -> Tensor:
    """Pixels `[..., 3, h, w]`, 0..1, as the reference's training normalises them."""
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    return (pixels - mean) / std


def scored(config: LewmConfig, actions: Tensor) -> Tensor:
    """Actions `[B, S, N, A]`, environment units -> what the reference is given: z-scored blocks `[B, S, H, ...]`."""
    mean = torch.tensor([axis.mean for axis in config.action.axes])
    std = torch.tensor([axis.std for axis in config.action.axes])
    return ((actions - mean) / std).reshape(*actions.shape[:2], -1, config.block_dim)


def cached(context: Tensor, goal: Tensor, candidates: int) -> dict[str, Tensor]:
    """The solver's ``info`` from its second iteration on: context `[B, T, D]` and goal `[B, D]`, for all candidates."""
    batch, frames, dim = context.shape
    return {
        "pixels": torch.zeros(batch, candidates, frames, 1, 1, 1),  # only its number of frames is read
        "goal": goal,
        "emb": context[:, None].expand(batch, candidates, frames, dim),
        "goal_emb": goal[:, None, None].expand(batch, candidates, 1, dim),
    }
