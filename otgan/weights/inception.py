"""Inception's weights: pytorch-fid's release `fid_weights`, a port of TensorFlow's network of
2015-12-05.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache as remembered
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from otgan.models.inception import SIDE, Inception
from otgan.weights import published
from otgan.weights.fitting import COUNTER, dense, folded_convolution, require, without_counters
from otgan.weights.published import Published
from otgan.weights.store import Weights

__all__ = ["COUNTER", "PUBLISHED", "cached", "convert", "expected_shapes", "find", "import_file"]

NAME = "pt_inception-2015-12-05-6726825d.pth"
ADDRESS = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{NAME}"
# its SHA-256, as several public projects state it
DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"

EPSILON = 1e-3  # of batch normalization
KERNEL, SCALE, SHIFT, MEAN, VARIANCE = (
    "conv.weight",
    "bn.weight",
    "bn.bias",
    "bn.running_mean",
    "bn.running_var",
)


def convert(state: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Fold PyTorch's arrays into the network's parameters, every array used exactly once.

    Args:
        state: the published file's arrays, by their names there.

    Returns:
        `{layer: {"kernel": ..., "bias": ...}}`, float32.

    Raises:
        UserError: arrays are missing, left over, or of another shape; the first few are named.
    """
    state, shapes = without_counters(state), expected_shapes()
    require(state, shapes, "Inception", NAME)
    convolutions = [name.removesuffix(f".{KERNEL}") for name in shapes if name.endswith(KERNEL)]
    parts = {
        name: [state[f"{name}.{part}"] for part in (KERNEL, SCALE, SHIFT, MEAN, VARIANCE)]
        for name in convolutions
    }
    parameters = {
        name: folded_convolution(*arrays, epsilon=EPSILON) for name, arrays in parts.items()
    }
    return parameters | {"fc": dense(state["fc.weight"], state["fc.bias"])}


@remembered
def expected_shapes() -> dict[str, tuple[int, ...]]:
    """Names and shapes of the published file's arrays, but for the counters."""
    image = jax.ShapeDtypeStruct((1, SIDE, SIDE, 3), jnp.float32)
    layers: Mapping[str, Any] = jax.eval_shape(Inception().init, jax.random.key(0), image)["params"]
    shapes: dict[str, tuple[int, ...]] = {}
    for name, layer in layers.items():
        *window, inputs, outputs = layer["kernel"].shape
        if name == "fc":
            shapes |= {"fc.weight": (outputs, inputs), "fc.bias": (outputs,)}
        else:
            shapes |= {f"{name}.{KERNEL}": (outputs, inputs, *window)}
            shapes |= {f"{name}.{part}": (outputs,) for part in (SCALE, SHIFT, MEAN, VARIANCE)}
    return shapes


PUBLISHED = Published(
    "inception", "Inception", NAME, ADDRESS, DIGEST, "inception-6726825d.safetensors", convert
)
find = partial(published.find, PUBLISHED)


def cached(cache: Path) -> Path:
    """Where the converted file is kept."""
    return cache / PUBLISHED.kept


def import_file(path: Path, out: Path, *, digest: str | None = DIGEST) -> Weights:
    """As `published.import_file`, of the published file alone unless told otherwise."""
    return published.import_file(PUBLISHED, path, out, digest=digest)
