"""What networks are made of, and the encoder, from points or pictures to the unit sphere.

The convolutional ones have the shape of DCGAN (Radford, Metz and Chintala 2016). Nothing in them
looks at the batch: no batch statistics, hence no state, and a sample does not depend on its
neighbors. Without batch normalization DCGAN's initial N(0, 0.02) would let the signal die out, so
kernels start with He's variance, which keeps its size from layer to layer.
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
from otgan.models.layers import DownConv, unit

Params = Any  # a pytree of arrays
Precision = Literal["float32", "bfloat16"]
SLOPE = 0.2  # of the encoder's leaky ReLU


class Network(NamedTuple):
    """A pure function with parameters."""

    init: Callable[[Array], Params]  # from a key
    # (parameters, input); the leading axis of input and output is the sample. Of a cost: groups
    apply: Callable[[Params, Array], Any]


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
                self.normalization, nn.Dense(self.width, kernel_init=variance_over_inputs(2.0)), x
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
            x = _encoding_layer(
                self.normalization, DownConv(self.width * 2**k, variance_over_inputs(2.0)), x
            )
        return _with_weight_norm(self.normalization, nn.Dense(self.features))(
            x.reshape(x.shape[0], -1)
        )


def _encoding_layer(normalization: str, layer: nn.Module, x: Array) -> Array:
    x = _with_weight_norm(normalization, layer)(x)
    return nn.leaky_relu(nn.LayerNorm()(x) if normalization == "layer" else x, SLOPE)


def _with_weight_norm(normalization: str, layer: nn.Module) -> Callable[[Array], Array]:
    """The layer with a kernel whose columns are `scale` long (Salimans and Kingma 2016), where the
    config asks for it.
    """
    return nn.WeightNorm(layer) if normalization == "weight" else layer  # pyright: ignore[reportReturnType]


def variance_over_inputs(scale: float) -> Initializer:
    """Normal, variance `scale / fan_in`."""
    return nn.initializers.variance_scaling(scale, "fan_in", "normal")
