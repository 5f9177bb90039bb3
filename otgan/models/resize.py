"""Resizing by the conventions in which published scores were computed.

Every output pixel is a mixture of the nearest input pixels along each axis: out = rows @ image @
columns^T, with two small matrices.

Bilinear, of the two nearest pixels and without antialiasing. The conventions differ in where pixel
i of the output lies in the input, scale = input size / output size:

- `tf1`: i * scale. TensorFlow 1's `resize_bilinear(align_corners=False)`, in the graph of the
  original FID (Heusel et al. 2017).
- `half_pixel`: (i + 1/2) * scale - 1/2, not below 0. PyTorch's `interpolate(mode="bilinear",
  align_corners=False)`, in pytorch-fid.

Pixels outside the input are those of its border.

Cubic, by the kernel of Keys, "Cubic convolution interpolation for digital image processing" (1981),
whose one parameter is its slope at distance 1: `antialiased` as Pillow does it, for images, and
`sampled` as PyTorch's `interpolate(mode="bicubic")`, for position embeddings.
"""

from __future__ import annotations

from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

Convention = Literal["tf1", "half_pixel"]


def resize(
    images: Float[Array, "n h w c"], size: tuple[int, int], convention: Convention
) -> Float[Array, "n h_new w_new c"]:
    """Resize to (height, width), in the values' own units."""
    rows, columns = (
        mixtures(old, new, convention) for old, new in zip(images.shape[1:3], size, strict=True)
    )
    return mix(images, rows, columns)


def mix(
    images: Float[Array, "n h w c"],
    rows: Float[np.ndarray, "h_new h"],
    columns: Float[np.ndarray, "w_new w"],
) -> Float[Array, "n h_new w_new c"]:
    """Mix input pixels into output pixels, in the images' precision."""
    tall = jnp.einsum(
        "Hh,nhwc->nHwc", rows.astype(images.dtype), images, precision=lax.Precision.HIGHEST
    )
    return jnp.einsum(
        "Ww,nHwc->nHWc", columns.astype(images.dtype), tall, precision=lax.Precision.HIGHEST
    )


def mixtures(old: int, new: int, convention: Convention) -> Float[np.ndarray, "new old"]:
    """The share of every input pixel in every output pixel, along one axis; float64, rows sum
    to 1.
    """
    scale = old / new
    source = (
        np.arange(new) * scale
        if convention == "tf1"
        else np.maximum((np.arange(new) + 0.5) * scale - 0.5, 0)
    )
    low = np.floor(source).astype(int)
    rest = (source - low)[:, None]
    pixels = np.eye(old)
    return (1 - rest) * pixels[low] + rest * pixels[np.minimum(low + 1, old - 1)]


def antialiased(old: int, new: int) -> Float[np.ndarray, "new old"]:
    """The shares of a cubic kernel of slope -1/2, widened where an image shrinks, of pixels inside
    alone; an equal size changes nothing.
    """
    scale = old / new
    centers = (np.arange(new)[:, None] + 0.5) * scale - 0.5
    shares = keys(_distances(centers, old) / max(scale, 1), -0.5)
    return shares / shares.sum(axis=1, keepdims=True)


def sampled(old: int, new: int, scale: float) -> Float[np.ndarray, "new old"]:
    """The shares of a cubic kernel of slope -3/4 at (i + 1/2) * scale - 1/2, not widened; pixels
    outside are those of the border.
    """
    centers = (np.arange(new)[:, None] + 0.5) * scale - 0.5
    reach = 2  # pixels that the kernel looks at on either side
    shares = keys(_distances(centers + reach, old + 2 * reach), -0.75)
    inside = np.clip(np.arange(-reach, old + reach), 0, old - 1)
    return shares @ np.eye(old)[inside]


def _distances(centers: Float[np.ndarray, "new 1"], old: int) -> Float[np.ndarray, "new old"]:
    return np.abs(np.arange(old)[None] - centers)


def keys(distance: Float[np.ndarray, "new old"], slope: float) -> Float[np.ndarray, "new old"]:
    """The cubic convolution kernel: 1 at 0, 0 at 1 and from 2 on, with the given slope at 1.

    Keys 1981, equation 15, has -1/2.
    """
    t = np.minimum(distance, 2)
    near = (slope + 2) * t**3 - (slope + 3) * t**2 + 1
    far = slope * (t**3 - 5 * t**2 + 8 * t - 4)
    return np.where(t <= 1, near, far)
