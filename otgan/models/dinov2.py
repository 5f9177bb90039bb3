"""DINOv2's vision transformers (Oquab et al., "DINOv2: Learning robust visual features without
supervision", 2023), for inference.

The architecture is that of Dosovitskiy et al. (2021) with patches of 14 x 14 pixels, no registers,
and a learned scale after every attention and every perceptron (Touvron et al., "Going deeper with
image transformers", 2021). Such a scale is part of the layer before it: it is multiplied into its
kernel and bias when weights are imported (`otgan.weights.dinov2`).

Features are the class token after the last normalization: FD-DINOv2 (Stein et al., "Exposing flaws
of generative model evaluation metrics and their unfair treatment of diffusion models", 2023) is the
Frechet distance on those of ViT-L/14.
"""

from __future__ import annotations

import math
from typing import ClassVar

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

from otgan.models.layers import parameter
from otgan.models.resize import mix, sampled

PATCH = 14  # pixels
EPSILON = 1e-6  # of the normalizations
# of a patch, by which the official code enlarges the grid of positions that it interpolates
OFFSET = 0.1


class DinoV2(nn.Module):
    """The network; its defaults are ViT-S/14.

    Products are in full float32 on every device: an accelerator's faster formats would give other
    scores.

    Attributes:
        layers: those that `maps` returns, in order of depth.
        width: of a token.
        depth: blocks.
        heads: of attention.
        grid: patches along a side of the images that the position embeddings were trained on: 37 of
            518 pixels.
    """

    layers: ClassVar[tuple[str, ...]] = ("block_3", "block_6", "block_9", "block_12", "class")
    width: int = 384
    depth: int = 12
    heads: int = 6
    grid: int = 37

    def __call__(self, x: Float[Array, "n h w 3"]) -> Float[Array, "n width"]:
        """The normalized class token of images with ImageNet's mean and deviation.

        Sides are multiples of 14.
        """
        return self._look(x)["class"]

    def maps(self, x: Float[Array, "n h w 3"]) -> dict[str, Array]:
        """The activations of `layers`: a block's patch tokens as n h/14 w/14 width, and the
        normalized class token as n width.
        """
        found = self._look(x)
        return {name: found[name] for name in self.layers}

    @nn.compact
    def _look(self, x: Float[Array, "n h w 3"]) -> dict[str, Array]:
        n, h, w, _ = x.shape
        if h % PATCH or w % PATCH:
            raise ValueError(
                f"an image of {h} x {w} pixels is not made of patches of {PATCH} x {PATCH}"
            )
        rows, columns = h // PATCH, w // PATCH
        patches = nn.Conv(
            self.width,
            (PATCH, PATCH),
            PATCH,
            "VALID",
            precision=lax.Precision.HIGHEST,
            name="patch_embed",
        )(x)
        start = self.param("cls_token", nn.initializers.zeros, (1, 1, self.width))
        embeddings = parameter(
            self, "pos_embed", nn.initializers.normal(0.02), (1, 1 + self.grid**2, self.width)
        )
        tokens = jnp.concatenate(
            [jnp.broadcast_to(start, (n, 1, self.width)), patches.reshape(n, -1, self.width)],
            axis=1,
        )
        tokens = tokens + positions(embeddings, rows, columns)
        found = {}
        for i in range(1, self.depth + 1):
            tokens = Block(self.heads, name=f"block_{i}")(tokens)
            found[f"block_{i}"] = tokens[:, 1:].reshape(n, rows, columns, self.width)
        return found | {"class": _norm("norm")(tokens)[:, 0]}


class DinoV2Large(DinoV2):
    """ViT-L/14: twice as deep, so that its quarters end elsewhere."""

    layers: ClassVar[tuple[str, ...]] = ("block_6", "block_12", "block_18", "block_24", "class")
    width: int = 1024
    depth: int = 24
    heads: int = 16


NETWORKS: dict[str, DinoV2] = {
    "dinov2-s": DinoV2(),
    "dinov2-b": DinoV2(width=768, heads=12),
    "dinov2-l": DinoV2Large(),
}
"""The networks by otgan's names of them."""


class Block(nn.Module):
    """Attention and a perceptron of one hidden layer, each added to what it looks at."""

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """Apply to tokens."""
        width = x.shape[-1]
        x = x + Attention(self.heads, name="attn")(_norm("norm1")(x))
        hidden = nn.gelu(_dense(4 * width, "fc1")(_norm("norm2")(x)), approximate=False)
        return x + _dense(width, "fc2")(hidden)


class Attention(nn.Module):
    """Every token looks at all: softmax(q k^T / sqrt(d)) v for each head's d numbers (Vaswani et
    al. 2017, equation 1).
    """

    heads: int

    @nn.compact
    def __call__(self, x: Float[Array, "n t d"]) -> Float[Array, "n t d"]:
        """Apply to tokens."""
        n, t, width = x.shape
        parts = _dense(3 * width, "qkv")(x).reshape(n, t, 3, self.heads, width // self.heads)
        q, k, v = (parts[:, :, i] for i in range(3))
        likeness = jnp.einsum("nqhd,nkhd->nhqk", q, k, precision=lax.Precision.HIGHEST) / math.sqrt(
            width // self.heads
        )
        seen = jnp.einsum(
            "nhqk,nkhd->nqhd", nn.softmax(likeness), v, precision=lax.Precision.HIGHEST
        )
        return _dense(width, "proj")(seen.reshape(n, t, width))


def _dense(width: int, name: str) -> nn.Dense:
    return nn.Dense(width, precision=lax.Precision.HIGHEST, name=name)


def _norm(name: str) -> nn.LayerNorm:
    # E[x^2] - E[x]^2, Flax's faster variance, loses digits in the deeper blocks, where a few
    # channels are large.
    return nn.LayerNorm(EPSILON, use_fast_variance=False, name=name)


def positions(embeddings: Float[Array, "1 m d"], rows: int, columns: int) -> Float[Array, "1 t d"]:
    """The embeddings of the class token and of rows x columns patches, interpolated from a square
    grid of them.

    As the official code has it: bicubic without antialiasing, where another grid is asked for than
    there is; the step between samples is that of a grid larger by `OFFSET`, from a time when this
    kept rounding errors away.
    """
    _, m, width = embeddings.shape
    side = math.isqrt(m - 1)
    if rows == columns == side:
        return embeddings
    grid = embeddings[:, 1:].reshape(1, side, side, width)
    shares = (sampled(side, count, side / (count + OFFSET)) for count in (rows, columns))
    return jnp.concatenate([embeddings[:, :1], mix(grid, *shares).reshape(1, -1, width)], axis=1)
