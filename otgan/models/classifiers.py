"""Small networks whose inner layer serves as features: two for digits, two for small color
pictures, an untrained network.

The classifiers descend from LeNet-5 (LeCun, Bottou, Bengio and Haffner 1998), from residual
networks (He, Zhang, Ren and Sun 2016) and from the all-convolutional net (Springenberg,
Dosovitskiy, Brox and Riedmiller 2015). There are two of different build for either kind of
pictures, so that a generator that was trained on the features of one can be judged by the other.
They are trained by `scripts/train_features.py` with batch normalization, without a learned scale.
What stands here is what is left of it once that is multiplied into the kernels: convolutions,
biases, and nothing that looks at the batch.

The untrained network's features tell apart what the form of a convolutional network does by itself,
and owe nothing to any data (Naeem, Oh, Uh, Choi and Yoo 2020 embed pictures by a network of random
weights where no trained one is in place).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float

from otgan.errors import UserError
from otgan.models.layers import parameter

SMALLEST_SIDE = 8  # of a picture, for the untrained network's quarters to be of at least one pixel
RANDOM_WIDTHS = (16, 32, 32)
# numbers that a row of a convolution's window covers: with fewer the whole window is multiplied at
# once
FEW = 16

he_normal = nn.initializers.variance_scaling(2.0, "fan_in", "normal")


def convolution(
    x: Float[Array, "n h w c"], kernel: Float[Array, "k l c d"], stride: int = 1
) -> Float[Array, "n h_out w_out d"]:
    """A convolution with "SAME" padding, in float32's full precision also where the hardware would
    rather multiply coarsely.

    On a CPU it is made of matrix products: inside a loop, where training runs, XLA's own
    convolution and its gradient take 3 to 5 times as long as those.
    """
    return lax.platform_dependent(
        x, kernel, cpu=partial(_of_products, stride=stride), default=partial(_direct, stride=stride)
    )


def _direct(x: Array, kernel: Array, stride: int) -> Array:
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        precision=lax.Precision.HIGHEST,
    )


def _of_products(x: Array, kernel: Array, stride: int) -> Array:
    """Of one product for each row of the window, whose columns stand side by side.

    Of few channels, one product of the whole window.
    """
    (n, h, w, _), (k, l, c, d) = x.shape, kernel.shape
    rows, columns = -(-h // stride), -(-w // stride)
    padded = jnp.pad(x, ((0, 0), _margins(h, k, stride), _margins(w, l, stride), (0, 0)))
    # n h w_out l*c
    beside = jnp.concatenate(
        [padded[:, :, j : j + stride * (columns - 1) + 1 : stride] for j in range(l)], axis=-1
    )
    lines = [beside[:, i : i + stride * (rows - 1) + 1 : stride] for i in range(k)]
    if l * c < FEW:
        lines, kernel = [jnp.concatenate(lines, axis=-1)], kernel.reshape(1, k * l, c, d)
    parts = zip(lines, kernel, strict=True)
    products = [
        jnp.matmul(a.reshape(-1, a.shape[-1]), b.reshape(-1, d), precision=lax.Precision.HIGHEST)
        for a, b in parts
    ]
    return jnp.asarray(sum(products)).reshape(n, rows, columns, d)


def _margins(side: int, window: int, stride: int) -> tuple[int, int]:
    """What "SAME" padding adds on both sides."""
    added = max((-(-side // stride) - 1) * stride + window - side, 0)
    return added // 2, added - added // 2


def max_pool(x: Float[Array, "n h w c"]) -> Float[Array, "n h/2 w/2 c"]:
    """The largest of every 2 x 2 pixels; height and width are even."""
    n, h, w, c = x.shape
    return x.reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


class Conv(nn.Module):
    """A convolution, perhaps a 2 x 2 max-pool, and a bias."""

    features: int
    window: int
    pool: bool = False
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        """Apply to n h w c."""
        kernel = parameter(
            self, "kernel", he_normal, (self.window, self.window, x.shape[-1], self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = convolution(x, kernel, self.stride)
        return (max_pool(y) if self.pool else y) + bias.reshape(1, 1, 1, -1)


class Classifier(nn.Module):
    """What the classifiers have in common: layers with names, of which the last one's activations
    are the features.

    Attributes:
        shape: of a picture, in [-1, 1].
        layers: the names of the layers that `maps` shows, from the picture to the classes.
        layer: makes a layer from (features, window, pool, stride, name); in training one with batch
            normalization instead of a bias.
    """

    shape: ClassVar[tuple[int, int, int]]
    layers: ClassVar[tuple[str, ...]]
    layer: Callable[..., nn.Module] = Conv

    def __call__(
        self, x: Float[Array, "n h w c"]
    ) -> tuple[Float[Array, "n d"], Float[Array, "n 10"]]:
        """Features and logits of n pictures."""
        maps, logits = self.through(x)
        return maps[self.layers[-1]], logits

    def maps(self, x: Float[Array, "n h w c"]) -> dict[str, Array]:
        """Each named layer's activations, (n, h, w, c) or (n, d), of n pictures: `apply(...,
        method="maps")`.
        """
        return self.through(x)[0]

    def through(self, x: Float[Array, "n h w c"]) -> tuple[dict[str, Array], Float[Array, "n 10"]]:
        """The activations of every layer in `layers`, in their order, and the logits."""
        raise NotImplementedError


class LeNet(Classifier):
    """Features (n, 128) and logits (n, 10) of 28 x 28 x 1 pictures in [-1, 1]."""

    shape: ClassVar = (28, 28, 1)
    layers: ClassVar = ("first", "second", "dense")

    @nn.compact
    def through(self, x):
        """Two convolutions and a dense layer, which is a convolution of one pixel with many
        channels.
        """
        first = nn.relu(self.layer(16, 5, pool=True, name="first")(x))
        second = nn.relu(self.layer(32, 5, pool=True, name="second")(first))
        dense = nn.relu(self.layer(128, 1, name="dense")(second.reshape(len(x), 1, 1, -1))).reshape(
            len(x), -1
        )
        return {"first": first, "second": second, "dense": dense}, _logits()(dense)


class ResNet(Classifier):
    """Features (n, 192) and logits (n, 10) of 32 x 32 x 3 pictures in [-1, 1].

    Attributes:
        widths: channels of the stages; each halves height and width.
    """

    shape: ClassVar = (32, 32, 3)
    layers: ClassVar = ("stage_0", "stage_1", "stage_2", "pool")
    widths: tuple[int, ...] = (32, 96, 192)

    @nn.compact
    def through(self, x):
        """Whitened patches, three stages of a convolution and a residual one, the largest value
        over the picture.
        """
        maps = {}
        x = nn.relu(Conv(24, 2, name="stem")(x))
        for stage, width in enumerate(self.widths):
            x = nn.relu(self.layer(width, 3, pool=True, name=f"down_{stage}")(x))
            x = x + nn.relu(self.layer(width, 3, name=f"residual_{stage}")(x))
            maps[f"stage_{stage}"] = x
        pool = x.max(axis=(1, 2))
        return {**maps, "pool": pool}, _logits()(pool)


class AllConv(Classifier):
    """Features (n, 128) and logits (n, 10) of 28 x 28 x 1 pictures in [-1, 1], by convolutions
    alone: strided ones where others pool.

    Attributes:
        stages: of each stage its convolutions, (channels, window, stride).
    """

    shape: ClassVar = (28, 28, 1)
    layers: ClassVar = ("stage_0", "stage_1", "stage_2", "pool")
    stages: tuple[tuple[tuple[int, int, int], ...], ...] = (
        ((16, 3, 2), (32, 3, 1)),
        ((64, 3, 2), (64, 3, 1)),
        ((128, 3, 2), (128, 1, 1)),
    )

    @nn.compact
    def through(self, x):
        """Stage by stage; in the end the mean over the picture."""
        maps = {}
        for i, stage in enumerate(self.stages):
            for j, (channels, window, stride) in enumerate(stage):
                x = nn.relu(self.layer(channels, window, stride=stride, name=f"conv_{i}_{j}")(x))
            maps[f"stage_{i}"] = x
        pool = x.mean(axis=(1, 2))
        return {**maps, "pool": pool}, _logits()(pool)


class ColorAllConv(AllConv):
    """The same for 32 x 32 x 3 pictures, with 192 features: the paper's "All-CNN-C"."""

    shape: ClassVar = (32, 32, 3)
    stages: tuple[tuple[tuple[int, int, int], ...], ...] = (
        ((96, 3, 1), (96, 3, 1), (96, 3, 2)),
        ((192, 3, 1), (192, 3, 1), (192, 3, 2)),
        ((192, 3, 1), (192, 1, 1)),
    )


def _logits() -> nn.Module:
    return nn.Dense(10, precision=lax.Precision.HIGHEST, name="logits")


CLASSIFIERS: dict[str, type[Classifier]] = {
    "mnist-lenet": LeNet,
    "mnist-allconv": AllConv,
    "cifar10-resnet": ResNet,
    "cifar10-allconv": ColorAllConv,
}
"""The networks that `scripts/train_features.py` trains, by the names of the files of their weights.
"""


class RandomConv(nn.Module):
    """Features (n, 128) of pictures of at least 8 x 8 pixels in [-1, 1], with parameters that
    nobody trained.
    """

    layers: ClassVar = tuple(f"conv_{stage}" for stage in range(len(RANDOM_WIDTHS)))

    def __call__(self, x: Float[Array, "n h w c"]) -> Float[Array, "n 128"]:
        """The mean of each quarter of the last convolution's picture."""
        return quarters(self.maps(x)[self.layers[-1]])

    @nn.compact
    def maps(self, x: Float[Array, "n h w c"]) -> dict[str, Array]:
        """Each convolution's activations (n, h, w, c); two of the three halve height and width."""
        maps = {}
        for stage, width in enumerate(RANDOM_WIDTHS):
            kernel = parameter(self, f"kernel_{stage}", he_normal, (3, 3, x.shape[-1], width))
            x = maps[f"conv_{stage}"] = nn.relu(
                convolution(x, kernel, stride=2 if stage < 2 else 1)
            )
        return maps


def quarters(x: Float[Array, "n h w c"]) -> Float[Array, "n 4*c"]:
    """Means of the four quarters; an odd side's middle belongs to both of its halves."""
    _, h, w, _ = x.shape
    rows, columns = ([slice(0, (side + 1) // 2), slice(side // 2, side)] for side in (h, w))
    return jnp.concatenate([x[:, i, j].mean(axis=(1, 2)) for i in rows for j in columns], axis=1)


def random_parameters(seed: int, shape: tuple[int, int, int]) -> dict[str, Any]:
    """Parameters of `RandomConv` for pictures of shape (h, w, c): He-normal kernels that depend on
    the seed and c alone.

    They are drawn by NumPy's `RandomState`, whose stream is frozen: a score computed with them can
    be repeated in years.

    Raises:
        UserError: the pictures are smaller than 8 x 8.
    """
    h, w, channels = shape
    if min(h, w) < SMALLEST_SIDE:
        least = f"{SMALLEST_SIDE} x {SMALLEST_SIDE}"
        raise UserError(
            f"the untrained network looks at images of at least {least}, not {h} x {w}: compare"
            " their pixels instead"
        )
    rng = np.random.RandomState(seed)
    kernels = {}
    for stage, width in enumerate(RANDOM_WIDTHS):
        kernel = rng.standard_normal((3, 3, channels, width)) * np.sqrt(2 / (9 * channels))
        kernels[f"kernel_{stage}"], channels = kernel.astype(np.float32), width
    return kernels
