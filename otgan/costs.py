"""Costs between two clouds of points: matrices c(x_i, y_j), in float32's full precision, also where
hardware would rather be coarse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Float

CostFunction = Callable[[Array, Array], Array]  # (n, ...), (m, ...) -> (n, m)
# (n, ...) each: several things that are seen of the same n examples; (n, p, d) is seen in p windows
Groups = tuple[Array, ...]

TINY = 1e-12  # keeps the direction of a zero vector, and its gradient, finite


@jax.custom_vjp
def l1(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """The sum of absolute differences. Memory in O(n m), forward and backward; its gradient between
    two equal coordinates is zero.
    """
    # row by row, here and below: else XLA would make an array of n m d of them, or of what follows
    return lax.map(lambda row: jnp.sum(jnp.abs(row[None] - y), axis=-1), x)


def _l1_pull(pull: Array, x: Array, y: Array) -> Array:
    return lax.map(lambda row: product(row[0], jnp.sign(row[1][None] - y)), (pull, x))


def _l1_pulls(points: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
    x, y = points
    return _l1_pull(pull, x, y), _l1_pull(pull.T, y, x)


l1.defvjp(lambda x, y: (l1(x, y), (x, y)), _l1_pulls)


@jax.custom_vjp
def squared_l2(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """The squared Euclidean distance `|x|^2 + |y|^2 - 2 <x, y>`, centered first so that a common
    offset does not cancel digits.

    Its gradient, 2 (x_i - y_j) for every pair, is a matrix product for each side that is asked for.
    """
    return _centered_squared_l2(*_centered(x, y))


def _centered(x: Array, y: Array) -> tuple[Array, Array]:
    """Both without the mean of y: distances do not move with it, so neither does their gradient."""
    center = jnp.mean(y, axis=0, keepdims=True)
    return x - center, y - center


def _centered_squared_l2(x: Array, y: Array) -> Array:
    squares = jnp.sum(x * x, axis=1)[:, None] + jnp.sum(y * y, axis=1)[None, :]
    return jnp.maximum(squares - product(2 * x, y.T), 0.0)


def _squared_l2_forward(x: Array, y: Array) -> tuple[Array, tuple[Array, Array]]:
    points = _centered(x, y)
    return _centered_squared_l2(*points), points


def _squared_l2_pulls(points: tuple[Array, Array], pull: Array) -> tuple[Array, Array]:
    x, y = points
    return (
        2 * (jnp.sum(pull, axis=1)[:, None] * x - product(pull, y)),
        2 * (jnp.sum(pull, axis=0)[:, None] * y - product(pull.T, x)),
    )


squared_l2.defvjp(_squared_l2_forward, _squared_l2_pulls)


def l2(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """The Euclidean distance; its gradient between two points in the same place is zero."""
    squares = squared_l2(x, y)
    apart = squares > 0
    return jnp.where(apart, jnp.sqrt(jnp.where(apart, squares, 1.0)), 0.0)


def cosine(x: Float[Array, "n d"], y: Float[Array, "m d"]) -> Float[Array, "n m"]:
    """One minus the cosine of the angle between x and y.

    A zero vector stands at cost 1 from everything.
    """
    return 1 - product(_direction(x), _direction(y).T)


def product(a: Array, b: Array) -> Array:
    """The matrix product in the full precision of its factors, which accelerators round unless told
    not to: what is certified needs it.
    """
    return jnp.matmul(a, b, precision=lax.Precision.HIGHEST)


def _direction(x: Array) -> Array:
    return x * lax.rsqrt(jnp.sum(x * x, axis=1, keepdims=True) + TINY)


def make_cost(name: str) -> CostFunction:
    """The cost matrix of a config's `cost.name`, on examples of any shape (flattened)."""
    match name:
        case "l1":
            matrix = l1
        case "l2":
            matrix = l2
        case "squared_l2":
            matrix = squared_l2
        case "cosine":
            matrix = cosine
        case _:
            raise ValueError(f"no cost is called {name!r}")
    return lambda x, y: matrix(x.reshape(len(x), -1), y.reshape(len(y), -1))


def for_each(function: Callable[[Any], Any], stacked: Any) -> Any:
    """What a function makes of each of k problems, leaves (k, ...) again: of all at once, but on a
    CPU of one after the other, so that each fits into the processor's caches and ends when it is
    done.
    """
    number = len(jax.tree.leaves(stacked)[0])
    if number == 1:
        # as it is: under vmap both sides of every condition would be computed
        alone = function(jax.tree.map(lambda leaf: leaf[0], stacked))
        return jax.tree.map(lambda leaf: leaf[None], alone)
    if at_once(number) == 1:
        return lax.map(function, stacked)
    return jax.vmap(function)(stacked)


def at_once(number: int) -> int:
    """How many of so many problems `for_each` goes through together."""
    return 1 if jax.default_backend() == "cpu" else number


@dataclass(frozen=True)
class GroundCost:
    """The cost that transport is measured by, between points or between what a network sees of
    them.
    """

    name: str
    joint: bool = True  # of several groups of features: one problem on their mean, not one for each
    # whether the network that it looks through is trained, to make the loss larger
    learned: bool = False

    def matrix(self, x: Float[Array, "n ..."], y: Float[Array, "m ..."]) -> Float[Array, "n m"]:
        """Between examples of any shape, flattened."""
        return make_cost(self.name)(x, y)

    def between(self, x: Groups, y: Groups) -> Float[Array, "n m"]:
        """Between what is seen of examples: the mean over groups, of one in windows over these."""
        cost = make_cost(self.name)

        def of_group(x: Array, y: Array) -> Array:
            if x.ndim != 3:
                return cost(x, y)
            windows = jnp.moveaxis(x, 1, 0), jnp.moveaxis(y, 1, 0)
            return jnp.mean(for_each(lambda both: cost(*both), windows), axis=0)

        each = [of_group(a, b) for a, b in zip(x, y, strict=True)]
        return jnp.asarray(sum(each)) / len(each)
