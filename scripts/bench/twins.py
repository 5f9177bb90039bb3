"""Our convolutional generator and encoder in PyTorch, with our weights: same layers, same order,
same numbers.

A picture's channels come last in our arrays. In PyTorch memory may be laid out so too, which its
convolutions can make use of, or with channels first: both are there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Literal

import jax
import numpy as np

from otgan import config
from otgan.models.layers import SMALLEST_SQUARE
from otgan.models.networks import SLOPE

Tensor = Any
Tensors = dict[str, Tensor]  # by our names, such as "UpConv_0.kernel"
Layout = Literal["channels last", "channels first"]
LAYOUTS: tuple[Layout, ...] = ("channels last", "channels first")
NORM_EPSILON = 1e-6  # of Flax's layer normalization


def tensors(parameters: Mapping[str, Any], device: str = "cpu") -> Tensors:
    """Our parameters, or a gradient in them, as PyTorch's layers want them."""
    torch = import_module("torch")
    found = {}
    for layer, arrays in parameters["params"].items():
        for path, array in arrays.items():
            # a weight normalization's scale is called by its layer: "Dense_0/kernel/scale"
            name = f"{layer}.{path}" if "/" not in path else path.replace("/kernel/", ".length_")
            array = _laid_out(layer, path, np.asarray(array))
            found[name] = torch.from_numpy(np.array(array)).to(device)
    return found


def _laid_out(layer: str, path: str, array: np.ndarray) -> np.ndarray:
    if path != "kernel":
        return array
    match layer.partition("_")[0]:
        case "UpConv":  # ours correlates, theirs sends
            return array[::-1, ::-1].transpose(2, 3, 0, 1)
        case "DownConv":
            return array.transpose(3, 2, 0, 1)
        case _:
            return array.T


def generator(
    section: config.Generator, shape: tuple[int, ...], layout: Layout
) -> Callable[[Tensors, Tensor], Tensor]:
    """`otgan.models.generators.ConvGenerator`, with layer normalization: n latents -> n h w c."""
    assert section.kind == "conv"
    assert section.normalization == "layer"
    assert not section.noise
    assert not section.mapping_skip
    f = import_module("torch").nn.functional
    h, w, _ = shape
    base = [-(-side // 2**section.depth) for side in (h, w)]

    def apply(p: Tensors, z: Tensor) -> Tensor:
        for k in range(section.mapping_depth):
            z = f.relu(f.linear(z, p[f"mapping_{k}.kernel"], p[f"mapping_{k}.bias"]))
        x = f.linear(z, p["Dense_0.kernel"], p["Dense_0.bias"]).reshape(len(z), *base, -1)
        for k in range(section.depth):
            norm = p[f"LayerNorm_{k}.scale"], p[f"LayerNorm_{k}.bias"]
            x = f.relu(f.layer_norm(x, x.shape[-1:], *norm, NORM_EPSILON))
            kernel = p[f"UpConv_{k}.kernel"], p[f"UpConv_{k}.bias"]
            x = f.conv_transpose2d(_moved(x, layout), *kernel, stride=2, padding=1)
            x = x.permute(0, 2, 3, 1)
        return x[:, :h, :w].tanh()

    return apply


def encoder(section: config.Encoder, layout: Layout) -> Callable[[Tensors, Tensor], Tensor]:
    """`otgan.models.networks.ConvEncoder`, with weight normalization: n h w c -> n features, of
    length 1.
    """
    assert section.kind == "conv"
    assert section.normalization == "weight"
    f = import_module("torch").nn.functional

    def apply(p: Tensors, x: Tensor) -> Tensor:
        for k in range(section.depth):
            h, w = x.shape[1:3]
            padded = f.pad(_moved(x, layout), (1, 1 + w % 2, 1, 1 + h % 2))
            x = f.conv2d(padded, _normed(p, f"DownConv_{k}"), p[f"DownConv_{k}.bias"], stride=2)
            x = f.leaky_relu(x, SLOPE).permute(0, 2, 3, 1)
        x = f.linear(x.reshape(len(x), -1), _normed(p, "Dense_0"), p["Dense_0.bias"])
        return x * (x.square().sum(1, keepdim=True) + SMALLEST_SQUARE).rsqrt()

    return apply


def _moved(x: Tensor, layout: Layout) -> Tensor:
    """PyTorch's order of axes, n c h w."""
    x = x.permute(0, 3, 1, 2)
    return x if layout == "channels last" else x.contiguous()


def _normed(p: Tensors, layer: str) -> Tensor:
    kernel, length = p[f"{layer}.kernel"], p[f"{layer}.length_scale"]
    rest = [1] * (kernel.ndim - 1)
    return kernel * (length / kernel.flatten(1).norm(dim=1)).reshape(-1, *rest)


def device() -> str:
    """Where PyTorch computes: on a GPU, if it has one."""
    return "cuda" if import_module("torch").cuda.is_available() else "cpu"


def finish(device: str) -> None:
    """Wait for what PyTorch has begun."""
    if device == "cuda":
        import_module("torch").cuda.synchronize()


def moving(found: Tensors) -> Tensors:
    """Copies that gradients are asked for."""
    return {name: tensor.clone().requires_grad_() for name, tensor in found.items()}


def difference(ours: Any, theirs: Tensor) -> float:
    """The largest, over the largest of our values."""
    a, b = np.asarray(ours), theirs.detach().cpu().numpy()
    return float(np.abs(a - b).max() / np.abs(a).max())


def differences(ours: Mapping[str, Any], theirs: Tensors) -> float:
    """The largest of all arrays of a tree like our parameters."""
    expected = tensors(jax.device_get(ours))
    return max(difference(expected[name].numpy(), theirs[name]) for name in expected)
