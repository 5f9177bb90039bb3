"""An encoder made layer by layer of what its patches look like: no gradient, seconds.

Coates and Ng (ICML 2011, "The importance of encoding versus training with sparse coding and vector quantization"), and for several layers
Coates, Karpathy and Ng (NIPS 2012): patches of what a layer sees are whitened and their directions gathered into clusters; each channel
measures a patch along one cluster's direction, less a threshold. All of this is linear but for the ReLU, so that it is a layer of
`otgan.models.encoders`.

| here | meaning |
|---|---|
| P | patches, a row each |
| W | whitens them: P W has covariance near 1 |
| D | directions of the clusters, rows of length 1 |
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from otgan.models.encoders import Encoder
from otgan.models.layers import down_patches

PATCHES = 20_000  # of a layer, at most
ROUNDS = 10  # of gathering
FLOOR = 0.1  # of the mean variance, added to all: directions without signal are not blown up
ACTIVE = 0.25  # share of the patches that a channel answers to
SHORTEST = 0.01  # of a patch that has a direction, in lengths of the longest
TINY = 1e-6


def clustered(encoder: Encoder, pictures: Float[np.ndarray, "n h w c"], seed: int) -> dict[str, Any]:
    """The parameters of an encoder's convolutions.

    Args:
        encoder: whose convolutions they are.
        pictures: in [-1, 1], of the encoder's shape.
        seed: of the choice of patches and of the first clusters.
    """
    rng, x, made = np.random.default_rng(seed), pictures, {}
    for name, width in zip(encoder.layers, encoder.widths, strict=False):
        patches = np.asarray(down_patches(jnp.asarray(x)))
        kernel, bias = _layer(_some(patches.reshape(-1, patches.shape[-1]), PATCHES, rng), width, rng)
        made[name] = {"kernel": kernel.reshape(4, 4, -1, width), "bias": bias}
        x = np.maximum(patches @ kernel + bias, 0)
    return made


def _some(rows: np.ndarray, most: int, rng: np.random.Generator) -> np.ndarray:
    return rows if len(rows) <= most else rows[rng.choice(len(rows), most, replace=False)]


def _layer(P: np.ndarray, width: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (d, width) and bias (width,): channels measure P along clusters, and have mean square 1."""
    mean = P.mean(axis=0)
    variances, directions = np.linalg.eigh(np.cov(P.T.astype(np.float64)))
    scale = np.sqrt(np.maximum(variances, 0) + FLOOR * max(variances.mean(), TINY))
    W = ((directions / scale) @ directions.T).astype(np.float32)
    Z = (P - mean) @ W
    D = gather(Z, width, rng)
    along = Z @ D.T
    threshold = np.quantile(along, 1 - ACTIVE, axis=0).astype(np.float32)
    size = np.sqrt((np.maximum(along - threshold, 0) ** 2).mean(axis=0)) + TINY
    kernel = W @ D.T / size
    return kernel.astype(np.float32), (-mean @ kernel - threshold / size).astype(np.float32)


def gather(Z: Float[np.ndarray, "n d"], width: int, rng: np.random.Generator) -> Float[np.ndarray, "width d"]:
    """Directions of `width` clusters of rows by cosine.

    Rows that are nearly zero have no direction, and a cluster that loses all of its rows begins anew at one of them.
    """
    length = np.linalg.norm(Z, axis=1, keepdims=True)
    N = (Z / (length + TINY))[length[:, 0] > SHORTEST * length.max()]
    D = N[rng.choice(len(N), width, replace=len(N) < width)]
    for _ in range(ROUNDS):
        nearest = (N @ D.T).argmax(axis=1)
        members = np.eye(width, dtype=np.float32)[nearest]
        total = members.T @ N
        lost = members.sum(axis=0) == 0
        total[lost] = N[rng.choice(len(N), int(lost.sum()))]
        D = total / (np.linalg.norm(total, axis=1, keepdims=True) + TINY)
    return D
