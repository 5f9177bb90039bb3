"""Bilinear resizing without antialiasing, by the two conventions in which published scores were computed.

Every output pixel is a mixture of the two nearest input pixels along each axis: out = rows @ image @ columns^T, with two small matrices.
The conventions differ in where pixel i of the output lies in the input, scale = input size / output size:

- `tf1`: i * scale. TensorFlow 1's `resize_bilinear(align_corners=False)`, in the graph of the original FID (Heusel et al. 2017).
- `half_pixel`: (i + 1/2) * scale - 1/2, not below 0. PyTorch's `interpolate(mode="bilinear", align_corners=False)`, in pytorch-fid.

Pixels outside the input are those of its border.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

Convention = Literal["tf1", "half_pixel"]


def resize(images: Float[Array, "n h w c"], size: tuple[int, int], convention: Convention) -> Float[Array, "n h_new w_new c"]:
    """Resize to (height, width), in the values' own units."""
    rows, columns = (mixtures(old, new, convention).astype(images.dtype) for old, new in zip(images.shape[1:3], size, strict=True))
    tall = jnp.einsum("Hh,nhwc->nHwc", rows, images, precision=lax.Precision.HIGHEST)
    return jnp.einsum("Ww,nHwc->nHWc", columns, tall, precision=lax.Precision.HIGHEST)


def mixtures(old: int, new: int, convention: Convention) -> Float[np.ndarray, "new old"]:
    """The share of every input pixel in every output pixel, along one axis; float64, rows sum to 1."""
    scale = old / new
    source = np.arange(new) * scale if convention == "tf1" else np.maximum((np.arange(new) + 0.5) * scale - 0.5, 0)
    low = np.floor(source).astype(int)
    rest = (source - low)[:, None]
    pixels = np.eye(old)
    return (1 - rest) * pixels[low] + rest * pixels[np.minimum(low + 1, old - 1)]
