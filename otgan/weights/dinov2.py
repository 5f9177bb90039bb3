"""DINOv2's published weights: the layout of the official files, which timm's share."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from otgan.models.dinov2 import NETWORKS, PATCH, DinoV2
from otgan.weights.fitting import dense, require
from otgan.weights.published import Published

MASK = "mask_token"  # of training; timm's files lack it

DIGESTS = {  # the files' SHA-256, as several public projects state them
    "dinov2-s": "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
    "dinov2-b": "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
    "dinov2-l": "d5383ea8f4877b2472eb973e0fd72d557c7da5d3611bd527ceeb1d7162cbf428",
}


def file_name(network: str) -> str:
    """The published file's, such as `dinov2_vits14_pretrain.pth`."""
    return f"dinov2_vit{network[-1]}14_pretrain.pth"


def convert(state: Mapping[str, np.ndarray], network: str) -> dict[str, Any]:
    """Arrange PyTorch's arrays as the network's parameters, the learned scales multiplied into the
    layers before them.

    Args:
        state: the published file's arrays, by their names there.
        network: otgan's name of the one that they are for.

    Raises:
        UserError: arrays are missing, left over, or of another shape; the first few are named.
    """
    module = NETWORKS[network]
    state = {name: value for name, value in state.items() if name != MASK}
    require(state, expected_shapes(module), f"{network} without registers", file_name(network))
    kernel, bias = (
        state["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        state["patch_embed.proj.bias"],
    )
    return {
        "cls_token": state["cls_token"].astype(np.float32),
        "pos_embed": state["pos_embed"].astype(np.float32),
        "patch_embed": {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)},
        **{f"block_{i + 1}": _block(state, f"blocks.{i}") for i in range(module.depth)},
        "norm": _norm(state, "norm"),
    }


def _block(state: Mapping[str, np.ndarray], name: str) -> dict[str, Any]:
    def layer(part: str, scale: str | None = None) -> dict[str, np.ndarray]:
        gamma = None if scale is None else state[f"{name}.{scale}.gamma"]
        return dense(state[f"{name}.{part}.weight"], state[f"{name}.{part}.bias"], gamma)

    return {
        "norm1": _norm(state, f"{name}.norm1"),
        "attn": {"qkv": layer("attn.qkv"), "proj": layer("attn.proj", "ls1")},
        "norm2": _norm(state, f"{name}.norm2"),
        "fc1": layer("mlp.fc1"),
        "fc2": layer("mlp.fc2", "ls2"),
    }


def _norm(state: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {
        "scale": state[f"{name}.weight"].astype(np.float32),
        "bias": state[f"{name}.bias"].astype(np.float32),
    }


def expected_shapes(module: DinoV2) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file's arrays, but for the token of training."""
    d = module.width
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, d),
        "pos_embed": (1, 1 + module.grid**2, d),
    }
    shapes |= {"patch_embed.proj.weight": (d, 3, PATCH, PATCH), "patch_embed.proj.bias": (d,)}
    for i in range(module.depth):
        sizes = {
            "attn.qkv": (3 * d, d),
            "attn.proj": (d, d),
            "mlp.fc1": (4 * d, d),
            "mlp.fc2": (d, 4 * d),
        }
        for name, size in sizes.items():
            shapes |= {f"blocks.{i}.{name}.weight": size, f"blocks.{i}.{name}.bias": size[:1]}
        vectors = (
            "norm1.weight",
            "norm1.bias",
            "ls1.gamma",
            "norm2.weight",
            "norm2.bias",
            "ls2.gamma",
        )
        shapes |= {f"blocks.{i}.{name}": (d,) for name in vectors}
    return shapes | {"norm.weight": (d,), "norm.bias": (d,)}


def _published(network: str) -> Published:
    file = file_name(network)
    address = f"https://dl.fbaipublicfiles.com/dinov2/{file.removesuffix('_pretrain.pth')}/{file}"
    return Published(
        network,
        network,
        file,
        address,
        DIGESTS[network],
        f"{network}.safetensors",
        partial(convert, network=network),
    )


PUBLISHED = {network: _published(network) for network in NETWORKS}
