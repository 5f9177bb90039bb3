"""Random views of pictures: cut out and enlarged, mirrored, in another light.

Every picture of a batch is seen in its own way.

A view is linear in rows and in columns, so that cutting, enlarging and mirroring are one small
matrix for each: two matrix products.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Float, Key

LEAST_SIDE = 0.5  # of a cutting, in sides of the picture
STRETCH = 0.2  # of its ratio of sides, on the logarithm
LIGHT = 0.4  # the most that brightness moves, and the logarithm of contrast
TINT = 0.2  # the most that a color channel moves by itself
GRAY_SHARE = 0.2  # of the color pictures that are seen in gray


def view(key: Key[Array, ""], x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """A cutting of each picture in another light.

    Only color pictures are mirrored: gray ones may be of signs, whose side matters.
    """
    cutting, light = jax.random.split(key)
    return relit(light, cut(cutting, x))


def cut(key: Key[Array, ""], x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """A rectangle of each picture, enlarged to its size.

    Color pictures mirrored in half of the cases.
    """
    n, h, w, c = x.shape
    sides, ratios, top, left, mirror = jax.random.split(key, 5)
    side = jax.random.uniform(sides, (n, 1), minval=LEAST_SIDE)
    stretch = jnp.exp(jax.random.uniform(ratios, (n, 1), minval=-STRETCH, maxval=STRETCH))
    rows, columns = _places(top, h, side * stretch), _places(left, w, side / stretch)
    if c == 3:
        columns = jnp.where(jax.random.bernoulli(mirror, 0.5, (n, 1)), columns[:, ::-1], columns)
    x = jnp.einsum("nih,nhwc->niwc", _interpolation(rows, h), x)
    return jnp.einsum("njw,niwc->nijc", _interpolation(columns, w), x)


def relit(key: Key[Array, ""], x: Float[Array, "n h w c"]) -> Float[Array, "n h w c"]:
    """Other contrast and brightness; of color pictures also a tint, or none of the color."""
    n, _, _, c = x.shape
    contrast, brightness, tint, gray = jax.random.split(key, 4)
    mean = x.mean(axis=(1, 2, 3), keepdims=True)
    gain = jnp.exp(jax.random.uniform(contrast, (n, 1, 1, 1), minval=-LIGHT, maxval=LIGHT))
    x = (
        (x - mean) * gain
        + mean
        + jax.random.uniform(brightness, (n, 1, 1, 1), minval=-LIGHT, maxval=LIGHT)
    )
    if c == 3:
        x = x + jax.random.uniform(tint, (n, 1, 1, c), minval=-TINT, maxval=TINT)
        x = jnp.where(
            jax.random.bernoulli(gray, GRAY_SHARE, (n, 1, 1, 1)), x.mean(axis=3, keepdims=True), x
        )
    return x


def _places(key: Key[Array, ""], size: int, share: Float[Array, "n 1"]) -> Float[Array, "n size"]:
    """Where in a picture the rows (or columns) of its view lie: an interval of a share of its
    length, anywhere in it.
    """
    length = jnp.minimum(share, 1) * (size - 1)
    start = jax.random.uniform(key, share.shape) * (size - 1 - length)
    return start + length * jnp.linspace(0, 1, size).reshape(1, -1)


def _interpolation(places: Float[Array, "n out"], size: int) -> Float[Array, "n out size"]:
    """The matrices that read linearly between the two nearest of `size` rows."""
    return jnp.maximum(0, 1 - jnp.abs(places[:, :, None] - jnp.arange(size).reshape(1, 1, -1)))
