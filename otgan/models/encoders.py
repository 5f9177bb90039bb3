"""The encoder of pictures that no network knows: three convolutions, then principal components of
their means.

It is trained without labels by `otgan.learning`, and rebuilt from its sizes alone, which its file
of weights states. A convolution is one matrix product (see `otgan.models.layers`), so that it is
quick on a CPU. Nothing in it looks at the batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import flax.linen as nn
from jax import Array, lax
from jaxtyping import Float

from otgan.errors import UserError
from otgan.models.classifiers import SMALLEST_SIDE, he_normal, quarters
from otgan.models.layers import DownConv

NETWORK = "encoder"
"""What a file of weights calls it."""

SEEN_SIDE = 32
"""Larger pictures are shrunk by a whole number before they are looked at, so far that the shorter
side keeps this many pixels.
"""


class Encoder(nn.Module):
    """Features (n, features) of pictures of one shape in [-1, 1].

    Attributes:
        layers: the names of what `maps` gives, in order of depth.
        shape: of a picture, (h, w, c).
        widths: channels of the convolutions.
        features: how many.
    """

    layers: ClassVar[tuple[str, ...]] = ("conv_0", "conv_1", "conv_2", "features")
    shape: tuple[int, int, int]
    widths: tuple[int, int, int] = (32, 64, 128)
    features: int = 128

    @nn.compact
    def maps(self, x: Float[Array, "n h w c"]) -> dict[str, Array]:
        """Every layer's activations: of the convolutions (n, h, w, c), of the last layer (n,
        features).
        """
        found, x = {}, shrink(x, shrinking(self.shape))
        for name, width in zip(self.layers, self.widths, strict=False):
            x = found[name] = nn.relu(DownConv(width, he_normal, name=name)(x))
        found["features"] = nn.Dense(
            self.features, precision=lax.Precision.HIGHEST, name="features"
        )(quarters(x))
        return found

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n features"]:
        """The last layer."""
        return self.maps(x)["features"]


def sizes(encoder: Encoder) -> dict[str, str]:
    """What a file of weights must state for `rebuilt` to make the same encoder."""
    joined = {"shape": encoder.shape, "widths": encoder.widths}
    return {
        "network": NETWORK,
        "features": str(encoder.features),
        **{key: " ".join(map(str, value)) for key, value in joined.items()},
    }


def rebuilt(facts: Mapping[str, str]) -> Encoder:
    """The encoder that a file's facts describe.

    Raises:
        UserError: they describe none.
    """
    try:
        h, w, c = map(int, facts["shape"].split())
        first, second, third = map(int, facts["widths"].split())
        encoder = Encoder((h, w, c), (first, second, third), int(facts["features"]))
    except (KeyError, ValueError, AttributeError):
        raise UserError(
            "the file of weights does not state the sizes of its encoder: train it again by `otgan"
            " features train`"
        ) from None
    if min(h, w) < SMALLEST_SIDE or min(c, *encoder.widths, encoder.features) < 1:
        raise UserError(
            "the file of weights states sizes that no encoder has: train it again by `otgan"
            " features train`"
        )
    return encoder


def shrinking(shape: tuple[int, ...]) -> int:
    """By what number pictures of shape (h, w, c) are shrunk before they are looked at."""
    return max(1, min(shape[:2]) // SEEN_SIDE)


def shrink(x: Float[Array, "n h w c"], factor: int) -> Float[Array, "n h//{factor} w//{factor} c"]:
    """Means of blocks of factor x factor pixels.

    Rows and columns at the end that fill no block are left out.
    """
    if factor == 1:
        return x
    n, h, w, c = x.shape
    rows, columns = h // factor, w // factor
    return (
        x[:, : rows * factor, : columns * factor]
        .reshape(n, rows, factor, columns, factor, c)
        .mean(axis=(2, 4))
    )
