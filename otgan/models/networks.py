"""The generator, from latents to points or pictures, and the encoder, from those to the unit
sphere.

The convolutional ones have the shape of DCGAN (Radford, Metz and Chintala 2016). Nothing in them
looks at the batch: no batch statistics, hence no state, and a sample does not depend on its
neighbors. Without batch normalization DCGAN's initial N(0, 0.02) would let the signal die out, so
kernels start with He's variance, which keeps its size from layer to layer. The residual generator
has that of SN-GAN (Miyato, Kataoka, Koyama and Yoshida 2018), with one change for speed: in a
block's branch the 3 x 3 convolution comes before the doubling, which then is a 4 x 4 transposed
convolution, so that both products run on the small grid. Its channels are as many on every grid, as
in SN-GAN's for CIFAR-10: doubled away from the image they made a step three times as long on two
CPU cores.

From a latent to the smallest grid goes one dense layer, so that what far places have to do with
each other is little more than linear in it. A mapping network before that (Karras, Laine and Aila
2019) lets them agree at next to no cost. To an MLP it is so many more layers. A mapping makes
samples less varied, so the latents may go on beside what it makes of them.
"""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array
from jax.nn.initializers import Initializer
from jaxtyping import Float

from otgan import config
from otgan.errors import UserError
from otgan.models.classifiers import CLASSIFIERS
from otgan.models.layers import DownConv, FlatConv, UpConv, doubled, smooth, unit

Params = Any  # a pytree of arrays
Precision = Literal["float32", "bfloat16"]
SLOPE = 0.2  # of the encoder's leaky ReLU

# of the generator's pixels before tanh, at the start: contrast, and gradients that tanh does not
# quench
IMAGE_VARIANCE = 0.25


class Network(NamedTuple):
    """A pure function with parameters."""

    init: Callable[[Array], Params]  # from a key
    # (parameters, input); the leading axis of input and output is the sample. Of a cost: groups
    apply: Callable[[Params, Array], Any]


def make_generator(
    config: config.Generator,
    shape: tuple[int, ...],
    center: Any,
    scale: Any,
    precision: Precision = "float32",
) -> Network:
    """The generator: n latent_dim -> n *shape.

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
            shape, smooth=config.smooth, **rest
        )

    def apply(params: Params, z: Float[Array, "n latent_dim"]) -> Float[Array, "n ..."]:
        out = apply_net(net, params, z, precision).reshape(-1, *shape)
        return (
            jnp.tanh(out) if image else jnp.asarray(center, out.dtype).reshape(1, -1) + scale * out
        )

    return Network(init=lambda key: net.init(key, jnp.zeros((1, config.latent_dim))), apply=apply)


def make_encoder(
    config: config.Encoder,
    shape: tuple[int, ...],
    center: Any,
    scale: Any,
    precision: Precision = "float32",
) -> Network:
    """The encoder: n *shape -> n features, of length 1.

    Points come in at mean 0 and variance 1, with a 1 behind their coordinates. Without it all
    points of a ray would start with the same features: with its biases at zero the network
    multiplies with its input, and the sphere takes lengths away.

    Args:
        config: the section `cost.encoder`.
        shape: of one sample: (d,), or (height, width, colors).
        center: mean of the data, (d,); unused with pictures.
        scale: standard deviation of the data, a number; unused with pictures.
        precision: of what its layers compute.

    Raises:
        UserError: a convolutional network or a classifier cannot read samples of this shape.
    """
    match config.kind:
        case "mlp":
            net = MLPEncoder(config.features, config.width, config.depth, config.normalization)
        case "conv":
            check_halvings("cost.encoder", shape, config.depth)
            net = ConvEncoder(config.features, config.width, config.depth, config.normalization)
        case _:
            net = CLASSIFIERS[config.kind]()
            if shape != net.shape:
                raise UserError(
                    f"the encoder {config.kind} reads examples of shape {net.shape}, not {shape}"
                )

    def seen(x: Array) -> Array:
        if len(shape) == 3:
            return x
        return jnp.concatenate(
            [(x - jnp.asarray(center, x.dtype).reshape(1, -1)) / scale, jnp.ones_like(x[:, :1])],
            axis=1,
        )

    def apply(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n features"]:
        out = apply_net(net, params, seen(x), precision)
        # a classifier's second output are its classes
        return unit(out[0] if config.kind in CLASSIFIERS else out)

    return Network(init=lambda key: net.init(key, seen(jnp.zeros((1, *shape)))), apply=apply)


def apply_net(net: nn.Module, params: Params, x: Array, precision: Precision = "float32") -> Any:
    """Flax's `apply`, which is typed to return an array or a pair: here what the module returns.

    Computed in a precision, handed back in that of x; so are gradients in that of the parameters.
    """
    if precision == "float32":
        return net.apply(params, x)
    coarse, x_coarse = jax.tree.map(lambda leaf: leaf.astype(precision), (params, x))
    return jax.tree.map(lambda out: out.astype(x.dtype), net.apply(coarse, x_coarse))


def check_halvings(section: str, shape: tuple[int, ...], depth: int, kind: str = "conv") -> None:
    """See that a convolutional network of a depth can serve examples of a shape.

    Raises:
        UserError: it cannot.
    """
    if len(shape) != 3:
        raise UserError(
            f"{section}.kind = {kind!r} needs images, and the data are points of {shape[0]}"
            " coordinates: use 'mlp'"
        )
    if min(shape[:2]) < 2**depth:
        most = int(math.log2(min(shape[:2])))
        raise UserError(
            f"{section}.depth = {depth} halves {shape[0]} x {shape[1]} images too often: use at"
            f" most {most}"
        )


# --- generators -----------------------------------------------------------------------------------


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


class ConvGenerator(nn.Module):
    """A dense layer onto the smallest grid, then `depth` doublings.

    What exceeds the image's size is cut off.
    """

    shape: tuple[int, ...]
    width: int
    depth: int
    mapping: Mapping
    normalization: Literal["none", "layer", "adaptive"]
    variance: float  # of the output at the start
    initial_sd: float | None  # of all kernels, in place of what the variance asks for
    smooth: bool  # whether doublings start by interpolating

    @nn.compact
    def __call__(self, z):
        """N latent_dim -> n h w c."""
        h, w, colors = self.shape
        base = [-(-side // 2**self.depth) for side in (h, w)]
        channels = [self.width * 2**k for k in reversed(range(self.depth))]
        z = _mapped(z, self.mapping, self.initial_sd)
        x = nn.Dense(math.prod(base) * channels[0], kernel_init=_kernel(self.initial_sd, 1.0))(z)
        x = x.reshape(-1, *base, channels[0])
        for k, features in enumerate([*channels[1:], colors]):
            # An output pixel of an UpConv sees 4 of the 16 taps that the initializer counts.
            gain = 4 * 2.0 * (self.variance if k == self.depth - 1 else 1.0)
            x = UpConv(features, _up_kernel(self.smooth, self.initial_sd, gain))(
                nn.relu(_normalized(self.normalization, x, z))
            )
        return x[:, :h, :w]


class ResidualGenerator(nn.Module):
    """A dense layer onto the smallest grid, `depth` blocks that double it, a 3 x 3 convolution to
    the colors; what exceeds is cut off.
    """

    shape: tuple[int, ...]
    width: int
    depth: int
    mapping: Mapping
    normalization: Literal["none", "layer", "adaptive"]
    variance: float  # of the output at the start
    initial_sd: float | None  # of all kernels, in place of what the variance asks for
    smooth: bool  # whether doublings start by interpolating

    @nn.compact
    def __call__(self, z):
        """N latent_dim -> n h w c."""
        h, w, colors = self.shape
        base = [-(-side // 2**self.depth) for side in (h, w)]
        z = _mapped(z, self.mapping, self.initial_sd)
        x = nn.Dense(math.prod(base) * self.width, kernel_init=_kernel(self.initial_sd, 1.0))(
            z
        ).reshape(-1, *base, self.width)
        for _ in range(self.depth):
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


# --- encoders -------------------------------------------------------------------------------------


class MLPEncoder(nn.Module):
    """`depth` hidden layers of `width`."""

    features: int
    width: int
    depth: int
    normalization: Literal["none", "layer", "weight"]

    @nn.compact
    def __call__(self, x):
        """N *shape -> n features."""
        x = x.reshape(x.shape[0], -1)
        for _ in range(self.depth):
            x = _encoding_layer(
                self.normalization, nn.Dense(self.width, kernel_init=_variance(2.0)), x
            )
        return _with_weight_norm(self.normalization, nn.Dense(self.features))(x)


class ConvEncoder(nn.Module):
    """`depth` halvings, then a dense layer."""

    features: int
    width: int
    depth: int
    normalization: Literal["none", "layer", "weight"]

    @nn.compact
    def __call__(self, x):
        """N h w c -> n features."""
        for k in range(self.depth):
            x = _encoding_layer(self.normalization, DownConv(self.width * 2**k, _variance(2.0)), x)
        return _with_weight_norm(self.normalization, nn.Dense(self.features))(
            x.reshape(x.shape[0], -1)
        )


def _encoding_layer(normalization: str, layer: nn.Module, x: Array) -> Array:
    x = _with_weight_norm(normalization, layer)(x)
    return nn.leaky_relu(_normalized(normalization, x), SLOPE)


# --- shared ---------------------------------------------------------------------------------------


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


def _with_weight_norm(normalization: str, layer: nn.Module) -> Callable[[Array], Array]:
    """The layer with a kernel whose columns are `scale` long (Salimans and Kingma 2016), where the
    config asks for it.
    """
    return nn.WeightNorm(layer) if normalization == "weight" else layer  # pyright: ignore[reportReturnType]


def _kernel(sd: float | None, scale: float) -> Initializer:
    """Normal, of a given standard deviation, or of the variance `scale / fan_in`."""
    return _variance(scale) if sd is None else nn.initializers.normal(sd)


def _up_kernel(starts_smooth: bool, sd: float | None, scale: float) -> Initializer:
    """Of an `UpConv`."""
    return smooth(_kernel(sd, scale)) if starts_smooth else _kernel(sd, scale)


def _variance(scale: float) -> Initializer:
    """Normal, variance `scale / fan_in`."""
    return nn.initializers.variance_scaling(scale, "fan_in", "normal")
