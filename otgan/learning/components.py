"""The encoder's last layer: the principal components of what its convolutions make of pictures."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan.batches import as_floats
from otgan.models.classifiers import quarters
from otgan.models.encoders import Encoder

PICTURES = 5_000  # to look at, at most
CHUNK = 500


def pooled(encoder: Encoder, parameters: Any, x: Float[Array, "n h w c"]) -> Float[Array, "n d"]:
    """What the last layer sees: the quarters' means of the last convolution."""
    maps: Any = encoder.apply({"params": parameters}, x, method="maps")
    return quarters(maps[encoder.layers[-2]])


def with_components(
    encoder: Encoder, parameters: dict[str, Any], pictures: np.ndarray
) -> dict[str, Any]:
    """Parameters whose last layer are the components of the largest variance, of length 1, centered
    at the pictures' mean.

    Args:
        encoder: whose parameters they are.
        parameters: the last layer's are replaced.
        pictures: (n, h, w, c) uint8; evenly chosen ones are looked at.
    """
    look = jax.jit(partial(pooled, encoder))
    chosen = pictures[:: -(-len(pictures) // PICTURES)]
    seen = [
        look(parameters, as_floats(jnp.asarray(chosen[i : i + CHUNK])))
        for i in range(0, len(chosen), CHUNK)
    ]
    rows = np.concatenate(seen).astype(np.float64)
    _, directions = np.linalg.eigh(np.cov(rows.T))
    kernel = directions[:, ::-1][:, : encoder.features]
    last = {
        "kernel": kernel.astype(np.float32),
        "bias": (-rows.mean(axis=0) @ kernel).astype(np.float32),
    }
    return {**parameters, encoder.layers[-1]: last}
