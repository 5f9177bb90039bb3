"""What an encoder is asked to do with pictures that have no labels. Each method is a head behind the encoder, and a loss.

| method | the encoder must | from |
|---|---|---|
| `contrastive` | tell the two views of a picture from those of all others | SimCLR: Chen, Kornblith, Norouzi and Hinton (ICML 2020) |
| `variance` | give two views one output, whose coordinates vary and are uncorrelated | VICReg: Bardes, Ponce and LeCun (ICLR 2022) |
| `masked` | know enough of a picture to fill in patches that are hidden | He, Chen, Xie, Li, Dollár and Girshick (CVPR 2022) |
| `denoising` | know enough of a picture to take noise away | Vincent, Larochelle, Bengio and Manzagol (ICML 2008) |
| `jigsaw` | say in which order the quarters of a picture stand | Noroozi and Favaro (ECCV 2016), with quarters |
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax import Array, lax
from jaxtyping import Float, Key

from otgan.learning import Method
from otgan.learning.views import cut, relit, view
from otgan.models.classifiers import he_normal
from otgan.models.layers import UpConv, unit

TEMPERATURE = 0.5
HIDDEN_SHARE = 0.6  # of the patches
PATCHES = 8  # at the shorter side
NOISE = 0.6  # standard deviation, units of pixels in [-1, 1]
ORDERS = tuple(itertools.permutations(range(4)))
SMALLEST_VARIANCE = 1e-4  # added, for the gradient of its root

Params = Any
Encode = Callable[[Float[Array, "n h w c"]], Float[Array, "n d"]]


class Task(NamedTuple):
    """What is learned besides the encoder, and what both are moved against."""

    init: Callable[[Array, int], Params]  # the head's parameters from a key and the number of features
    loss: Callable[[Encode, Params, Array, Array], Float[Array, ""]]  # of the encoder, the head's parameters, pictures, a key


def make_task(method: Method, shape: tuple[int, int, int]) -> Task:
    """The task of a method for pictures of shape (h, w, c) in [-1, 1]."""
    match method:
        case "contrastive":
            return _of_views(MLP((256, 128)), contrast)
        case "variance":
            return _of_views(MLP((512, 512)), variance_loss)
        case "masked":
            return _masked(Decoder(shape), shape)
        case "denoising":
            return _denoising(Decoder(shape))
        case "jigsaw":
            return _jigsaw(MLP((256, len(ORDERS))))


# --- two views of a picture -----------------------------------------------------------------------------------------------------------


def _of_views(head: nn.Module, compare: Callable[[Array, Array], Array]) -> Task:
    def loss(encode: Encode, params: Params, x: Array, key: Key[Array, ""]) -> Array:
        first, second = jax.random.split(key)
        out: Any = head.apply(params, encode(jnp.concatenate([view(first, x), view(second, x)])))
        return compare(out[: len(x)], out[len(x) :])

    return Task(_init(head), loss)


def contrast(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, ""]:
    """Cross-entropy of finding each row's partner among all other rows of both, by cosine over the temperature."""
    n = len(a)
    z = unit(jnp.concatenate([a, b]))
    likeness = jnp.where(jnp.eye(2 * n, dtype=bool), -jnp.inf, z @ z.T / TEMPERATURE)
    partner = jnp.concatenate([jnp.arange(n) + n, jnp.arange(n)])
    return optax.softmax_cross_entropy_with_integer_labels(likeness, partner).mean()


def variance_loss(a: Float[Array, "n d"], b: Float[Array, "n d"]) -> Float[Array, ""]:
    """25 times the squared difference, 25 times what standard deviations lack to 1, and squared covariances, as the authors weigh them."""

    def alone(z: Array) -> Array:
        z = z - z.mean(axis=0, keepdims=True)
        covariance = z.T @ z / (len(z) - 1)
        lacking = nn.relu(1 - jnp.sqrt(jnp.diag(covariance) + SMALLEST_VARIANCE)).mean()
        return 12.5 * lacking + (jnp.sum(covariance**2) - jnp.sum(jnp.diag(covariance) ** 2)) / z.shape[1]

    return 25 * jnp.mean((a - b) ** 2) + alone(a) + alone(b)


# --- a picture from what is left of it ------------------------------------------------------------------------------------------------


def _masked(head: nn.Module, shape: tuple[int, int, int]) -> Task:
    side = max(1, min(shape[:2]) // PATCHES)

    def loss(encode: Encode, params: Params, x: Array, key: Key[Array, ""]) -> Array:
        cutting, hiding = jax.random.split(key)
        x = cut(cutting, x)
        hidden = hide(hiding, x.shape, side)
        out: Any = head.apply(params, encode(x * (1 - hidden)))
        return jnp.sum(hidden * (out - x) ** 2) / jnp.maximum(jnp.sum(hidden) * x.shape[3], 1)

    return Task(_init(head), loss)


def hide(key: Key[Array, ""], shape: tuple[int, ...], side: int) -> Float[Array, "n h w 1"]:
    """1 on square patches that are hidden, chosen one by one, 0 elsewhere, for pictures of shape (n, h, w, c)."""
    n, h, w, _ = shape
    hidden = jax.random.bernoulli(key, HIDDEN_SHARE, (n, -(-h // side), -(-w // side), 1)).astype(jnp.float32)
    return jnp.repeat(jnp.repeat(hidden, side, axis=1), side, axis=2)[:, :h, :w]


def _denoising(head: nn.Module) -> Task:
    def loss(encode: Encode, params: Params, x: Array, key: Key[Array, ""]) -> Array:
        cutting, noise = jax.random.split(key)
        x = cut(cutting, x)
        out: Any = head.apply(params, encode(x + NOISE * jax.random.normal(noise, x.shape)))
        return jnp.mean((out - x) ** 2)

    return Task(_init(head), loss)


# --- the order of quarters ------------------------------------------------------------------------------------------------------------


def _jigsaw(head: nn.Module) -> Task:
    def loss(encode: Encode, params: Params, x: Array, key: Key[Array, ""]) -> Array:
        cutting, choice, light = jax.random.split(key, 3)
        order = jax.random.randint(choice, (len(x),), 0, len(ORDERS))
        out: Any = head.apply(params, encode(relit(light, shuffled(cut(cutting, x), jnp.asarray(ORDERS)[order]))))
        return optax.softmax_cross_entropy_with_integer_labels(out, order).mean()

    return Task(_init(head), loss)


def shuffled(x: Float[Array, "n h w c"], order: Array) -> Float[Array, "n h w c"]:
    """Pictures whose quarters stand in the orders given, (n, 4); an odd side's last row or column stays a copy of the one before."""
    n, h, w, c = x.shape
    rows, columns = h // 2, w // 2
    quarters = x[:, : 2 * rows, : 2 * columns].reshape(n, 2, rows, 2, columns, c).transpose(0, 1, 3, 2, 4, 5)
    moved = jnp.take_along_axis(quarters.reshape(n, 4, rows, columns, c), order.reshape(n, 4, 1, 1, 1), axis=1)
    joined = moved.reshape(n, 2, 2, rows, columns, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * rows, 2 * columns, c)
    return jnp.pad(joined, ((0, 0), (0, h % 2), (0, w % 2), (0, 0)), mode="edge")


# --- heads ----------------------------------------------------------------------------------------------------------------------------


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
            x = nn.relu((x - x.mean(axis=0, keepdims=True)) * lax.rsqrt(x.var(axis=0, keepdims=True) + SMALLEST_VARIANCE))
        return nn.Dense(self.sizes[-1], kernel_init=he_normal)(x)


class Decoder(nn.Module):
    """From features to pictures of a shape: a dense layer onto the smallest grid and three doublings, cut to the shape."""

    shape: tuple[int, int, int]

    @nn.compact
    def __call__(self, x):
        """N d -> n h w c."""
        h, w, c = self.shape
        rows, columns = -(-h // 8), -(-w // 8)
        x = nn.relu(nn.Dense(rows * columns * 64, kernel_init=he_normal)(x)).reshape(-1, rows, columns, 64)
        x = nn.relu(UpConv(32, he_normal)(x))
        x = nn.relu(UpConv(16, he_normal)(x))
        return UpConv(c, nn.initializers.zeros)(x)[:, :h, :w]
