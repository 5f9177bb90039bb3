"""What an encoder is asked to do with pictures that have no labels.

Each method is a head behind the encoder, and a loss.

| method | the encoder must | from | |---|---|---| | `contrastive` | tell the two views of a picture
from those of all others | SimCLR: Chen, Kornblith, Norouzi and Hinton (ICML 2020) | | `variance` |
give two views one output, whose coordinates vary and are uncorrelated | VICReg: Bardes, Ponce and
LeCun (ICLR 2022) |

Others were tried and did less for as many steps: docs/features.md has the figures.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Key

from otgan.learning import Method
from otgan.learning.views import view
from otgan.models.classifiers import he_normal
from otgan.models.layers import unit

TEMPERATURE = 0.5
SMALLEST_VARIANCE = 1e-4  # added, for the gradient of its root

Params = Any
Encode = Callable[[Float[Array, "n h w c"]], Float[Array, "n d"]]


class Task(NamedTuple):
    """What is learned besides the encoder, and what both are moved against."""

    # the head's parameters from a key and the number of features
    init: Callable[[Array, int], Params]
    # of the encoder, the head's parameters, pictures, a key
    loss: Callable[[Encode, Params, Array, Array], Float[Array, ""]]


def make_task(method: Method) -> Task:
    """The task of a method."""
    match method:
        case "contrastive":
            return _of_views(MLP((256, 128)), contrast)
        case "variance":
            return _of_views(MLP((512, 512)), variance_loss)


def _of_views(head: nn.Module, compare: Callable[[Array, Array], Array]) -> Task:
    def loss(encode: Encode, params: Params, x: Array, key: Key[Array, ""]) -> Array:
        first, second = jax.random.split(key)
        out: Any = head.apply(params, encode(jnp.concatenate([view(first, x), view(second, x)])))
        return compare(out[: len(x)], out[len(x) :])

    return Task(_init(head), loss)


def contrast(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, ""]:
    """Cross-entropy of finding each row's partner among all other rows of both, by cosine over the
    temperature.
    """
    n = len(a)
    z = unit(jnp.concatenate([a, b]))
    likeness = jnp.where(jnp.eye(2 * n, dtype=bool), -jnp.inf, z @ z.T / TEMPERATURE)
    partner = jnp.concatenate([jnp.arange(n) + n, jnp.arange(n)])
    return optax.softmax_cross_entropy_with_integer_labels(likeness, partner).mean()


def variance_loss(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, ""]:
    """25 times the squared difference, 25 times what standard deviations lack to 1, and squared
    covariances, as the authors weigh them.
    """

    def alone(z: Array) -> Array:
        z = z - z.mean(axis=0, keepdims=True)
        covariance = z.T @ z / (len(z) - 1)
        lacking = nn.relu(1 - jnp.sqrt(jnp.diag(covariance) + SMALLEST_VARIANCE)).mean()
        return (
            12.5 * lacking
            + (jnp.sum(covariance**2) - jnp.sum(jnp.diag(covariance) ** 2)) / z.shape[1]
        )

    return 25 * jnp.mean((a - b) ** 2) + alone(a) + alone(b)


def _init(head: nn.Module) -> Callable[[Array, int], Params]:
    return lambda key, features: head.init(key, jnp.zeros((2, features)))


class MLP(nn.Module):
    """Dense layers; what is between them is brought to mean 0 and variance 1 over the batch."""

    sizes: tuple[int, ...]

    @nn.compact
    def __call__(self, x):
        """N d -> n sizes[-1]."""
        for size in self.sizes[:-1]:
            x = nn.Dense(size, kernel_init=he_normal)(x)
            x = nn.relu(
                (x - x.mean(axis=0, keepdims=True))
                * lax.rsqrt(x.var(axis=0, keepdims=True) + SMALLEST_VARIANCE)
            )
        return nn.Dense(self.sizes[-1], kernel_init=he_normal)(x)
