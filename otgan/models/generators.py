"""The generator, from latents to points or pictures.

The convolutional one has the shape of DCGAN (Radford, Metz and Chintala 2016), with the choices of
`otgan.models.networks`. The residual one has that of SN-GAN (Miyato, Kataoka, Koyama and Yoshida
2018), with one change for speed: in a block's branch the 3 x 3 convolution comes before the
doubling, which then is a 4 x 4 transposed convolution, so that both products run on the small grid.
Its channels are as many on every grid, as in SN-GAN's for CIFAR-10: doubled away from the image
they made a step three times as long on two CPU cores.

From a latent to the smallest grid goes one dense layer, so that what far places have to do with
each other is little more than linear in it. A mapping network before that (Karras, Laine and Aila
2019) lets them agree at next to no cost. To an MLP it is so many more layers. A mapping makes
samples less varied, so the latents may go on beside what it makes of them.

What makes a texture on every grid from one vector repeats it from cell to cell. Where the latents
have a normal number for every place as well (Karras, Laine and Aila 2019), it need not.
"""

import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.nn.initializers import Initializer
from jaxtyping import Float

from otgan import config
from otgan.models.layers import FlatConv, UpConv, doubled, smooth
from otgan.models.networks import (
    Network,
    Params,
    Precision,
    apply_net,
    check_halvings,
    variance_over_inputs,
)

# of the generator's pixels before tanh, at the start: contrast, and gradients that tanh does not
# quench
IMAGE_VARIANCE = 0.25


def make_generator(
    config: config.Generator,
    shape: tuple[int, ...],
    center: Any,
    scale: Any,
    precision: Precision = "float32",
) -> Network:
    """The generator: n latents -> n *shape.

    Points start where the data are: the network's output is multiplied by `scale` and moved by
    `center`. Pictures end in tanh.

    Args:
        config: the section `generator`.
        shape: of one sample: (d,), or (height, width, colors).
        center: mean of the data, (d,); unused with pictures.
        scale: standard deviation of the data, a number; unused with pictures.
        precision: of what its layers compute.

    Raises:
        UserError: a convolutional network cannot make samples of this shape.
    """
    if config.kind == "identity":
        return Network(init=lambda key: {}, apply=lambda params, x: x)
    image = len(shape) == 3
    rest: dict[str, Any] = {
        "width": config.width,
        "depth": config.depth,
        "mapping": Mapping((config.mapping_width,) * config.mapping_depth, config.mapping_skip),
        "normalization": config.normalization,
        "variance": IMAGE_VARIANCE if image else 1.0,
        "initial_sd": config.initial_sd,
    }
    if config.kind == "mlp":
        net = MLPGenerator(math.prod(shape), **rest)
    else:
        check_halvings("generator", shape, config.depth, config.kind)
        net = {"conv": ConvGenerator, "residual": ResidualGenerator}[config.kind](
            shape, smooth=config.smooth, noise=config.noise, **rest
        )
    size = latents_of(config, shape)

    def apply(params: Params, z: Float[Array, "n latents"]) -> Float[Array, "n ..."]:
        out = apply_net(net, params, z, precision).reshape(-1, *shape)
        return (
            jnp.tanh(out) if image else jnp.asarray(center, out.dtype).reshape(1, -1) + scale * out
        )

    return Network(init=lambda key: net.init(key, jnp.zeros((1, size))), apply=apply)


def latents_of(config: config.Generator, shape: tuple[int, ...]) -> int:
    """How many normal numbers a sample of a shape is made of: the latents, and the noise of its
    grids.
    """
    return config.latent_dim + (
        sum(map(math.prod, grids(shape, config.depth))) if config.noise else 0
    )


def grids(shape: tuple[int, ...], depth: int) -> list[tuple[int, int]]:
    """Height and width on the way to a picture of a shape, doubled `depth` times: the last is not
    among them.
    """
    base = [-(-side // 2**depth) for side in shape[:2]]
    return [(base[0] * 2**k, base[1] * 2**k) for k in range(depth)]


# --- networks -------------------------------------------------------------------------------------


class Mapping(NamedTuple):
    """What latents go through first."""

    widths: tuple[int, ...]  # of its layers
    skip: bool  # whether the latents themselves go on beside what comes out


class MLPGenerator(nn.Module):
    """`depth` hidden layers of `width`."""

    size: int
    width: int
    depth: int
    mapping: Mapping
    normalization: Literal["none", "layer", "adaptive"]
    variance: float  # of the output at the start
    initial_sd: float | None  # of all kernels, in place of what the variance asks for

    @nn.compact
    def __call__(self, z):
        """N latent_dim -> n size."""
        x = z = _mapped(z, self.mapping, self.initial_sd)
        for _ in range(self.depth):
            x = nn.Dense(self.width, kernel_init=_kernel(self.initial_sd, 2.0))(x)
            x = nn.relu(_normalized(self.normalization, x, z))
        return nn.Dense(self.size, kernel_init=_kernel(self.initial_sd, self.variance))(x)


class PictureGenerator(nn.Module):
    """What generators of pictures share: their sizes, and their way to the smallest grid."""

    shape: tuple[int, ...]
    width: int
    depth: int
    mapping: Mapping
    normalization: Literal["none", "layer", "adaptive"]
    variance: float  # of the output at the start
    initial_sd: float | None  # of all kernels, in place of what the variance asks for
    smooth: bool  # whether doublings start by interpolating
    noise: bool  # whether every grid has noise

    def first_grid(self, z: Array, channels: int) -> tuple[Array, Array, list[Array]]:
        """The smallest grid; the latents as its layers see them; and the noise of each grid.

        Called inside `__call__`, to which the layers belong.
        """
        sizes = grids(self.shape, self.depth)
        z, noise = _apart(z, sizes, self.noise)
        z = _mapped(z, self.mapping, self.initial_sd)
        dense = nn.Dense(math.prod(sizes[0]) * channels, kernel_init=_kernel(self.initial_sd, 1.0))
        return dense(z).reshape(-1, *sizes[0], channels), z, noise


class ConvGenerator(PictureGenerator):
    """A dense layer onto the smallest grid, then `depth` doublings.

    What exceeds the image's size is cut off.
    """

    @nn.compact
    def __call__(self, z):
        """N latents -> n h w c."""
        h, w, colors = self.shape
        channels = [self.width * 2**k for k in reversed(range(self.depth))]
        x, z, noise = self.first_grid(z, channels[0])
        for k, features in enumerate([*channels[1:], colors]):
            x = _with_noise(x, noise, k)
            # An output pixel of an UpConv sees 4 of the 16 taps that the initializer counts.
            gain = 4 * 2.0 * (self.variance if k == self.depth - 1 else 1.0)
            x = UpConv(features, _up_kernel(self.smooth, self.initial_sd, gain))(
                nn.relu(_normalized(self.normalization, x, z))
            )
        return x[:, :h, :w]


class ResidualGenerator(PictureGenerator):
    """A dense layer onto the smallest grid, `depth` blocks that double it, a 3 x 3 convolution to
    the colors; what exceeds is cut off.
    """

    @nn.compact
    def __call__(self, z):
        """N latents -> n h w c."""
        h, w, colors = self.shape
        x, z, noise = self.first_grid(z, self.width)
        for k in range(self.depth):
            x = _with_noise(x, noise, k)
            x = UpBlock(self.width, self.normalization, self.initial_sd, self.smooth)(x, z)
        x = FlatConv(colors, _kernel(self.initial_sd, 2.0 * self.variance))(
            nn.relu(_normalized(self.normalization, x, z))
        )
        return x[:, :h, :w]


def _mapped(z: Array, mapping: Mapping, initial_sd: float | None) -> Array:
    """Latents through a mapping.

    Called inside a module's `__call__`, to which the layers then belong.
    """
    x = z
    for k, width in enumerate(mapping.widths):
        x = nn.relu(nn.Dense(width, kernel_init=_kernel(initial_sd, 2.0), name=f"mapping_{k}")(x))
    return jnp.concatenate([z, x], axis=1) if mapping.skip and mapping.widths else x


def _apart(z: Array, grids: list[tuple[int, int]], noise: bool) -> tuple[Array, list[Array]]:
    """The latents of a whole picture, and the noise of each grid, (n, h, w, 1), if it has any."""
    if not noise:
        return z, []
    sizes = [math.prod(grid) for grid in grids]
    z, *maps = jnp.split(z, z.shape[1] - np.cumsum(sizes[::-1])[::-1], axis=1)
    return z, [part.reshape(-1, *grid, 1) for part, grid in zip(maps, grids, strict=True)]


def _with_noise(x: Array, noise: list[Array], k: int) -> Array:
    """The k-th grid with its noise, of which every channel has some: none at the start.

    Called inside a module's `__call__`, to which the strengths then belong.
    """
    return x + PlaceNoise(name=f"noise_{k}")(x, noise[k]) if noise else x


class PlaceNoise(nn.Module):
    """What noise adds to the channels of a grid."""

    @nn.compact
    def __call__(self, x, noise):
        """N h w c and n h w 1 -> n h w c."""
        strength = self.param("strength", nn.initializers.zeros, (x.shape[-1],))
        return strength[None, None, None] * noise


class UpBlock(nn.Module):
    """Double height and width: a 1 x 1 convolution of the nearest neighbor, plus norm, ReLU, 3 x 3,
    norm, ReLU, 4 x 4 transposed.

    Each of the two starts with half of the input's variance, so that their sum has that of the
    input, however many blocks there are.
    """

    features: int
    normalization: Literal["none", "layer", "adaptive"]
    initial_sd: float | None
    smooth: bool = False

    @nn.compact
    def __call__(self, x, z):
        """N h w c and the latents -> n 2h 2w features."""
        # first, on the small grid
        shortcut = nn.Dense(
            self.features, use_bias=False, kernel_init=_kernel(self.initial_sd, 0.5)
        )(x)
        branch = FlatConv(self.features, _kernel(self.initial_sd, 2.0))(
            nn.relu(_normalized(self.normalization, x, z))
        )
        # An output pixel of an UpConv sees 4 of the 16 taps that the initializer counts.
        up = UpConv(self.features, _up_kernel(self.smooth, self.initial_sd, 4 * 2.0 * 0.5))
        return doubled(shortcut) + up(nn.relu(_normalized(self.normalization, branch, z)))


# --- their parts ----------------------------------------------------------------------------------


class AdaptiveNorm(nn.Module):
    """Layer normalization over the last axis whose scale and shift are linear in the latents, so
    that what is of a whole picture, such as its colors, need not be carried through every layer.

    It starts as a plain one. (Huang and Belongie 2017 have scale and shift from another network so,
    Karras, Laine and Aila 2019 from a generator's latents.)
    """

    @nn.compact
    def __call__(self, x, z):
        """N ... d and n k -> n ... d."""
        made = nn.Dense(2 * x.shape[-1], kernel_init=nn.initializers.zeros)(z)
        scale, shift = jnp.split(made.reshape(len(x), *[1] * (x.ndim - 2), -1), 2, axis=-1)
        return (1 + scale) * nn.LayerNorm(use_scale=False, use_bias=False)(x) + shift


def _normalized(normalization: str, x: Array, z: Array | None = None) -> Array:
    """The normalization that the config asks for, if it does; z are the latents of an adaptive
    one.
    """
    match normalization:
        case "layer":
            return nn.LayerNorm()(x)
        case "adaptive":
            return AdaptiveNorm()(x, z)
        case _:
            return x


def _kernel(sd: float | None, scale: float) -> Initializer:
    """Normal, of a given standard deviation, or of the variance `scale / fan_in`."""
    return variance_over_inputs(scale) if sd is None else nn.initializers.normal(sd)


def _up_kernel(starts_smooth: bool, sd: float | None, scale: float) -> Initializer:
    """Of an `UpConv`."""
    return smooth(_kernel(sd, scale)) if starts_smooth else _kernel(sd, scale)
