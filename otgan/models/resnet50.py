"""ResNet-50 (He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2016), for
inference.

It is the variant whose blocks halve height and width in their 3 x 3 convolution and not in the 1 x
1 before it, as in torchvision and timm: supervised, MoCo v2 (Chen et al. 2020) and SwAV (Caron et
al. 2020) weights share it. Batch normalization is an affine map of every channel at inference, so
it is folded into the convolution before it when weights are imported (`otgan.weights.resnet50`).
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

EXPANSION = 4  # of the channels that leave a block to those inside it


class Outputs(NamedTuple):
    """What scores are computed from.

    Attributes:
        features: the mean of the last stage over its positions.
        logits: of the classes.
    """

    features: Float[Array, "n 2048"]
    logits: Float[Array, "n classes"]


class ResNet50(nn.Module):
    """The network.

    Products are in full float32 on every device: an accelerator's faster formats would give other
    scores.

    Attributes:
        layers: those that `maps` returns, in order of depth.
        classes: 0 for weights without a classifier, those of self-supervised networks.
        width: channels of the first convolution; stage i has blocks of width * 2^(i - 1) channels
            inside and four times as many outside.
        blocks: of each stage.
    """

    layers: ClassVar[tuple[str, ...]] = ("stage_1", "stage_2", "stage_3", "stage_4", "pool")
    classes: int = 1000
    width: int = 64
    blocks: tuple[int, ...] = (3, 4, 6, 3)

    def __call__(self, x: Float[Array, "n h w 3"]) -> Outputs | Float[Array, "n d"]:
        """Apply to images with ImageNet's mean and deviation.

        Without a classifier there are features alone.
        """
        found = self._look(x)
        return Outputs(found["pool"], found["logits"]) if self.classes else found["pool"]

    def maps(self, x: Float[Array, "n h w 3"]) -> dict[str, Array]:
        """The activations of `layers`: the stages' as n h w c, at a quarter, 1/8, 1/16 and 1/32 of
        the image's sides, and the features.
        """
        found = self._look(x)
        return {name: found[name] for name in self.layers}

    @nn.compact
    def _look(self, x: Float[Array, "n h w 3"]) -> dict[str, Array]:
        x = nn.relu(_convolution(self.width, 7, 2, "conv1")(x))
        x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType] - it takes pairs as well
        found = {}
        for i, count in enumerate(self.blocks):
            for j in range(count):
                x = Bottleneck(
                    self.width * 2**i, 2 if i and j == 0 else 1, name=f"layer{i + 1}_{j}"
                )(x)
            found[f"stage_{i + 1}"] = x
        found["pool"] = jnp.mean(x, axis=(1, 2))
        if self.classes:
            found["logits"] = nn.Dense(self.classes, precision=lax.Precision.HIGHEST, name="fc")(
                found["pool"]
            )
        return found


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut, which is a convolution itself where channels or sides
    change.
    """

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n h_out w_out d"]:
        """Apply to an image's activations."""
        outside = EXPANSION * self.width
        y = nn.relu(_convolution(self.width, 1, 1, "conv1")(x))
        y = nn.relu(_convolution(self.width, 3, self.stride, "conv2")(y))
        y = _convolution(outside, 1, 1, "conv3")(y)
        if self.stride > 1 or x.shape[-1] != outside:
            x = _convolution(outside, 1, self.stride, "downsample")(x)
        return nn.relu(x + y)


def _convolution(features: int, window: int, stride: int, name: str) -> nn.Conv:
    """Padded by zeros as PyTorch does, alike on both sides.

    "SAME" would put more of them below and to the right.
    """
    padding = ((window // 2, window // 2),) * 2
    return nn.Conv(
        features, (window, window), stride, padding, precision=lax.Precision.HIGHEST, name=name
    )
