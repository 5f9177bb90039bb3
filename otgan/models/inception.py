"""The Inception-v3 that FID and the Inception Score are computed with (Heusel et al. 2017; Salimans
et al. 2016).

The architecture is that of Szegedy et al., "Rethinking the Inception Architecture for Computer
Vision" (2015), in the variant that TensorFlow released on 2015-12-05 and pytorch-fid ports: 1,008
classes, batch normalization with epsilon 1e-3, average pools that do not count the padding, and a
max pool in the last block's pool branch where its twin has an average pool.

Layers are called as in pytorch-fid's file of weights. At inference batch normalization is an affine
map of every channel, so it is folded into the convolution before it, in float64, when weights are
imported (`otgan.weights.inception`): kernel and bias are then all there is, and the only rounding
is one of every parameter to float32.
"""

from __future__ import annotations

from functools import partial
from typing import ClassVar, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

SIDE = 299  # of the pictures that the network was trained on, in pixels
CLASSES = 1008
PADDING = {1: "SAME", 2: "VALID"}  # by stride


class Outputs(NamedTuple):
    """What scores are computed from.

    Attributes:
        pool3: the features of FID, the mean of the last block over its positions.
        logits: of the classes; see `Inception`.
    """

    pool3: Float[Array, "n 2048"]
    logits: Float[Array, "n 1008"]


class Conv(NamedTuple):
    """A convolution with bias and ReLU.

    Those of stride 1 pad by zeros to keep height and width, those of stride 2 do not pad.
    """

    name: str
    features: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1


class Crop(NamedTuple):
    """Cut off the outermost pixels, after the two 3 x 3 convolutions of stride 1 that are not
    padded.

    XLA's CPU backend takes two to three times as long over an unpadded one as over a padded one and
    this cut, to the same bits.
    """


class Chain(NamedTuple):
    """Steps one after the other."""

    steps: tuple[Step, ...]


class Fork(NamedTuple):
    """Branches side by side from the same input, their outputs joined along the channels.

    The name is put before those of their layers.
    """

    name: str
    branches: tuple[Step, ...]


class Pool(NamedTuple):
    """A 3 x 3 pool over the pixels inside the picture alone, at its border as well.

    Padding as with convolutions.
    """

    kind: str  # "average" or "max"
    stride: int = 1


Step = Conv | Crop | Pool | Chain | Fork

HALVE = Pool("max", stride=2)


def _chain(*steps: Step) -> Chain:
    return Chain(steps)


def _block_a(name: str, pooled: int) -> Fork:
    """35 x 35: branches of 1 x 1, 5 x 5, two 3 x 3, and a pool."""
    double = _chain(
        Conv("3x3dbl_1", 64), Conv("3x3dbl_2", 96, (3, 3)), Conv("3x3dbl_3", 96, (3, 3))
    )
    fives = _chain(Conv("5x5_1", 48), Conv("5x5_2", 64, (5, 5)))
    return Fork(
        f"{name}.branch",
        (Conv("1x1", 64), fives, double, _chain(Pool("average"), Conv("_pool", pooled))),
    )


def _block_b(name: str) -> Fork:
    """35 x 35 to 17 x 17."""
    double = _chain(
        Conv("3x3dbl_1", 64), Conv("3x3dbl_2", 96, (3, 3)), Conv("3x3dbl_3", 96, (3, 3), 2)
    )
    return Fork(f"{name}.branch", (Conv("3x3", 384, (3, 3), 2), double, HALVE))


def _block_c(name: str, width: int) -> Fork:
    """17 x 17: 7 x 7 convolutions taken apart into rows and columns."""
    row, column = (1, 7), (7, 1)
    single = _chain(Conv("7x7_1", width), Conv("7x7_2", width, row), Conv("7x7_3", 192, column))
    shapes = ((width, column), (width, row), (width, column), (192, row))
    double = _chain(
        Conv("7x7dbl_1", width),
        *(Conv(f"7x7dbl_{i}", *shape) for i, shape in enumerate(shapes, start=2)),
    )
    return Fork(
        f"{name}.branch",
        (Conv("1x1", 192), single, double, _chain(Pool("average"), Conv("_pool", 192))),
    )


def _block_d(name: str) -> Fork:
    """17 x 17 to 8 x 8."""
    single = _chain(Conv("3x3_1", 192), Conv("3x3_2", 320, (3, 3), 2))
    sevens = _chain(
        Conv("7x7x3_1", 192),
        Conv("7x7x3_2", 192, (1, 7)),
        Conv("7x7x3_3", 192, (7, 1)),
        Conv("7x7x3_4", 192, (3, 3), 2),
    )
    return Fork(f"{name}.branch", (single, sevens, HALVE))


def _block_e(name: str, pool: Pool) -> Fork:
    """8 x 8: branches that fork once more, into a row and a column."""
    single = _chain(
        Conv("3x3_1", 384), Fork("3x3_2", (Conv("a", 384, (1, 3)), Conv("b", 384, (3, 1))))
    )
    ends = Fork("3x3dbl_3", (Conv("a", 384, (1, 3)), Conv("b", 384, (3, 1))))
    double = _chain(Conv("3x3dbl_1", 448), Conv("3x3dbl_2", 384, (3, 3)), ends)
    return Fork(
        f"{name}.branch", (Conv("1x1", 320), single, double, _chain(pool, Conv("_pool", 192)))
    )


STAGES = {
    "block_64": _chain(
        Conv("Conv2d_1a_3x3", 32, (3, 3), 2),
        Conv("Conv2d_2a_3x3", 32, (3, 3)),
        Crop(),
        Conv("Conv2d_2b_3x3", 64, (3, 3)),
        HALVE,
    ),
    "block_192": _chain(
        Conv("Conv2d_3b_1x1", 80), Conv("Conv2d_4a_3x3", 192, (3, 3)), Crop(), HALVE
    ),
    "block_768": _chain(
        _block_a("Mixed_5b", 32),
        _block_a("Mixed_5c", 64),
        _block_a("Mixed_5d", 64),
        _block_b("Mixed_6a"),
        _block_c("Mixed_6b", 128),
        _block_c("Mixed_6c", 160),
        _block_c("Mixed_6d", 160),
        _block_c("Mixed_6e", 192),
    ),
    "block_2048": _chain(
        _block_d("Mixed_7a"),
        _block_e("Mixed_7b", Pool("average")),
        _block_e("Mixed_7c", Pool("max")),
    ),
}
"""One after the other, named by the channels that come out, as the layers that FID is also computed
on.
"""


class Inception(nn.Module):
    """The network, for inference.

    Products are in full float32 on every device: an accelerator's faster formats would give other
    scores.

    Attributes:
        class_bias: whether the last layer adds its bias to the logits. Without it (torch-fidelity's
            `logits_unbiased`) their softmax is that of the literature's Inception Scores, because
            Salimans et al.'s own code multiplied pool3 by the kernel alone; with it (`logits`
            there, and in pytorch-fid's network as a whole) they are the network's own
            classification.
        layers: those that `maps` returns, in order of depth.
    """

    layers: ClassVar[tuple[str, ...]] = ("block_64", "block_192", "block_768", "pool")
    class_bias: bool = False

    def __call__(self, x: Float[Array, "n 299 299 3"]) -> Outputs:
        """Apply to pictures in [-1, 1]: byte / 127.5 - 1 with pytorch-fid, (byte - 128) / 128 in
        TensorFlow's graph.
        """
        return self._look(x)[1]

    def maps(self, x: Float[Array, "n 299 299 3"]) -> dict[str, Array]:
        """The activations of `layers`: 73 x 73, 35 x 35 and 17 x 17 positions of so many channels,
        and pool3.
        """
        found, outputs = self._look(x)
        return {name: found.get(name, outputs.pool3) for name in self.layers}

    @nn.compact
    def _look(self, x: Float[Array, "n 299 299 3"]) -> tuple[dict[str, Array], Outputs]:
        found = {}
        for name, stage in STAGES.items():
            x = found[name] = _apply(stage, x)
        pool3 = jnp.mean(x, axis=(1, 2))
        return found, Outputs(pool3, _Classifier(self.class_bias, name="fc")(pool3))


class _Classifier(nn.Module):
    """The last layer; its bias is among the parameters in any case."""

    with_bias: bool

    @nn.compact
    def __call__(self, x: Float[Array, "n d"]) -> Float[Array, "n 1008"]:
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], CLASSES))
        bias = self.param("bias", nn.initializers.zeros, (CLASSES,))
        product = jnp.matmul(x, kernel, precision=lax.Precision.HIGHEST)
        return product + bias.reshape(1, -1) if self.with_bias else product


def _apply(
    step: Step, x: Float[Array, "n h w c"], prefix: str = ""
) -> Float[Array, "n h_out w_out d"]:
    match step:
        case Conv(name, features, kernel, stride):
            conv = nn.Conv(
                features,
                kernel,
                stride,
                PADDING[stride],
                precision=lax.Precision.HIGHEST,
                name=prefix + name,
            )
            return nn.relu(conv(x))
        case Crop():
            return x[:, 1:-1, 1:-1]
        case Pool(kind, stride):
            pool = nn.max_pool if kind == "max" else partial(nn.avg_pool, count_include_pad=False)
            return pool(x, (3, 3), (stride, stride), PADDING[stride])
        case Fork(name, branches):
            return jnp.concatenate(
                [_apply(branch, x, prefix + name) for branch in branches], axis=-1
            )
        case Chain(steps):
            for each in steps:
                x = _apply(each, x, prefix)
            return x
