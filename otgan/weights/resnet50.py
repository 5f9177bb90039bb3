"""ResNet-50's weights, in torchvision's layout: supervised ones are published there, MoCo v2's and
SwAV's come as other files.

Those of self-supervised networks have a prefix before every name, arrays of other networks beside
them, and projection heads where a classifier would be. Of all this the network itself is taken.
What is left is a classifier where it has ImageNet's 1,000 classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from otgan.models.resnet50 import EXPANSION, ResNet50
from otgan.weights.fitting import dense, folded_convolution, require, without_counters
from otgan.weights.published import Published

NETWORK = "resnet50"
NAME = "resnet50-0676ba61.pth"
ADDRESS = f"https://download.pytorch.org/models/{NAME}"
# its SHA-256, as several public projects state it
DIGEST = "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"

EPSILON = 1e-5  # of batch normalization
PREFIXES = ("", "module.encoder_q.", "module.", "encoder_q.", "backbone.", "encoder.")
# of which only a classifier of the network's classes is taken
HEADS = ("fc.", "projection_head.", "prototypes.")
NORMALIZATION = ("weight", "bias", "running_mean", "running_var")


class _Convolution(NamedTuple):
    """A convolution with its batch normalization.

    Attributes:
        path: of names, in our parameters.
        convolution: its name in the file.
        normalization: likewise.
        shape: of its kernel there.
    """

    path: tuple[str, ...]
    convolution: str
    normalization: str
    shape: tuple[int, int, int, int]


def convert(state: Mapping[str, np.ndarray], module: ResNet50 | None = None) -> dict[str, Any]:
    """Fold PyTorch's arrays into the network's parameters.

    Args:
        state: a file's arrays, by their names there.
        module: which they are for; None is ResNet-50 itself.

    Returns:
        Parameters, with `fc` only where the file has a classifier of the network's classes.

    Raises:
        UserError: arrays are missing, left over, or of another shape; the first few are named.
    """
    module = module or ResNet50()
    state = _encoder(without_counters(state))
    heads = {name: value for name, value in state.items() if name.startswith(HEADS)}
    state = {name: value for name, value in state.items() if name not in heads}
    require(state, expected_shapes(module), "ResNet-50", NAME)
    parameters: dict[str, Any] = {}
    for part in _convolutions(module):
        arrays = [state[f"{part.normalization}.{name}"] for name in NORMALIZATION]
        layer = folded_convolution(state[f"{part.convolution}.weight"], *arrays, epsilon=EPSILON)
        *above, last = part.path
        branch = parameters
        for name in above:
            branch = branch.setdefault(name, {})
        branch[last] = layer
    return parameters | _classifier(heads, module)


def _encoder(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The network's own arrays, by their names without a prefix."""
    prefix = next((prefix for prefix in PREFIXES if f"{prefix}conv1.weight" in state), "")
    return {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }


def _classifier(heads: Mapping[str, np.ndarray], module: ResNet50) -> dict[str, Any]:
    inside = module.width * 2 ** (len(module.blocks) - 1) * EXPANSION
    fits = heads.keys() == {"fc.weight", "fc.bias"} and heads["fc.weight"].shape == (
        module.classes,
        inside,
    )
    return {"fc": dense(heads["fc.weight"], heads["fc.bias"])} if fits else {}


def expected_shapes(module: ResNet50) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a file's arrays, but for counters, prefixes and heads."""
    shapes: dict[str, tuple[int, ...]] = {}
    for part in _convolutions(module):
        shapes |= {f"{part.convolution}.weight": part.shape}
        shapes |= {f"{part.normalization}.{name}": part.shape[:1] for name in NORMALIZATION}
    return shapes


def _convolutions(module: ResNet50) -> Iterator[_Convolution]:
    yield _Convolution(("conv1",), "conv1", "bn1", (module.width, 3, 7, 7))
    inputs = module.width
    for i, count in enumerate(module.blocks):
        width, outside = module.width * 2**i, module.width * 2**i * EXPANSION
        for j in range(count):
            there, here = f"layer{i + 1}.{j}", f"layer{i + 1}_{j}"
            shapes = ((width, inputs, 1, 1), (width, width, 3, 3), (outside, width, 1, 1))
            for k, shape in enumerate(shapes, start=1):
                yield _Convolution((here, f"conv{k}"), f"{there}.conv{k}", f"{there}.bn{k}", shape)
            if j == 0:
                yield _Convolution(
                    (here, "downsample"),
                    f"{there}.downsample.0",
                    f"{there}.downsample.1",
                    (outside, inputs, 1, 1),
                )
            inputs = outside


PUBLISHED = Published(
    NETWORK, "ResNet-50", NAME, ADDRESS, DIGEST, f"{NETWORK}.safetensors", convert
)
