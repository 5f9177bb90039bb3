"""The conjugate of a convex potential at many points at once.

Taghvaei and Jalali (2019), the inner problem of their algorithm. With f convex and modulus m (f - m
|x|^2 / 2 is convex too),

    f*(y) = max_x <x, y> - f(x),    grad f*(y) = argmax_x,    r(x) = y - grad f(x)

    0 <= f*(y) - (<x, y> - f(x)) <= |r(x)|^2 / (2 m)

The last line is a certificate: no optimum is needed to know it.

The solver is Newton's, its direction by conjugate gradients on products with the Hessian. Where a
whole step goes past the lowest point of its line, the line is bisected down to a near-zero slope.
That is what finds kinks: a step that ends on one sees its curvature, and the next runs along it. f
need only be once differentiable, its gradient piecewise smooth.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import Bool, Float, Int

FLATTER = 0.5  # slope at the end of a step, as a share of that at its beginning
BISECTIONS = 30  # of one line
ROUNDING = 1e-6  # relative rounding of a value in float32, below which a decrease cannot be seen
FORCING = 0.05  # residual of a direction, as a share of the gradient
MOST_PRODUCTS = 16  # with the Hessian, for one direction
SMALLEST_MODULUS = 1e-6  # of strong convexity: below it there is no certificate to speak of
FLOOR = 1e-30


class Conjugate(NamedTuple):
    """Approximate maximizers, and how exact they are."""

    x: Float[Array, "n d"]  # about grad f*(y)
    value: Float[Array, " n"]  # <x, y> - f(x): at most f*(y)
    residual: Float[Array, " n"]  # |y - grad f(x)|
    bound: Float[Array, " n"]  # f*(y) - value is at most that
    iterations: Int[Array, ""]


class _Search(NamedTuple):
    x: Float[Array, "n d"]
    objective: Float[Array, " n"]  # f(x) - <x, y>
    gradient: Float[Array, "n d"]  # of the objective: minus the residual
    iterations: Int[Array, ""]


def solve_conjugate(
    f: Callable[[Array], Array],
    y: Float[Array, "n d"],
    start: Float[Array, "n d"],
    modulus: Float[Array, ""],
    epsilon: Float[Array, ""] | float,
    max_iterations: Int[Array, ""] | int,
) -> Conjugate:
    """Maximize <x, y> - f(x) at every y until the mean of the certified bounds is at most
    `epsilon`, unless the iterations are used up.

    Args:
        f: the potential, n d -> n; convex in each point.
        y: where the conjugate is wanted.
        start: where the search for each maximizer begins.
        modulus: of strong convexity of f; below `SMALLEST_MODULUS` the bounds are those of that
            modulus, and certify nothing.
        epsilon: the mean bound to reach, in units of f.
        max_iterations: of Newton's method.
    """

    def look(x: Array) -> tuple[Array, Array]:
        def objective(x: Array) -> tuple[Array, Array]:
            values = f(x) - jnp.sum(x * y, axis=1)
            return jnp.sum(values), values

        gradient, values = jax.grad(objective, has_aux=True)(x)
        return values, gradient

    def bounds(g: Array) -> Array:
        return jnp.sum(g * g, axis=1) / (2 * jnp.maximum(modulus, SMALLEST_MODULUS))

    def unfinished(s: _Search) -> Array:
        # not >: a NaN is not done
        return ~(jnp.mean(bounds(s.gradient)) <= epsilon) & (s.iterations < max_iterations)

    def advance(s: _Search) -> _Search:
        direction = _newton(lambda x: look(x)[1], s.x, s.gradient)
        return _descend(look, s, direction)

    s = lax.while_loop(unfinished, advance, _Search(start, *look(start), jnp.zeros((), jnp.int32)))
    return Conjugate(
        s.x, -s.objective, jnp.linalg.norm(s.gradient, axis=1), bounds(s.gradient), s.iterations
    )


def _newton(
    gradient: Callable[[Array], Array], x: Array, g: Float[Array, "n d"]
) -> Float[Array, "n d"]:
    """Minus the inverse Hessian times g, point by point, by conjugate gradients.

    A direction of descent after any number of them.
    """
    _, product = jax.linearize(gradient, x)
    enough = FORCING**2 * jnp.sum(g * g)

    def unfinished(s: tuple) -> Array:
        return (jnp.sum(s[3]) > enough) & (s[4] < min(x.shape[1], MOST_PRODUCTS))

    def improve(s: tuple) -> tuple:
        p, r, q, square, count = s
        hq = product(q)
        length = square / jnp.maximum(jnp.sum(q * hq, axis=1), FLOOR)
        p, r = p + length[:, None] * q, r - length[:, None] * hq
        new = jnp.sum(r * r, axis=1)
        return p, r, r + (new / jnp.maximum(square, FLOOR))[:, None] * q, new, count + 1

    return lax.while_loop(
        unfinished,
        improve,
        (jnp.zeros_like(x), -g, -g, jnp.sum(g * g, axis=1), jnp.zeros((), jnp.int32)),
    )[0]


class _Line(NamedTuple):
    near: Float[Array, " n"]  # a share of the step at which the objective still falls
    far: Float[Array, " n"]  # one at which it rises again
    share: Float[Array, " n"]  # the one to look at next; once accepted it stays
    accepted: Bool[Array, " n"]
    seen: _Search  # at the share that was looked at last
    looks: Int[Array, ""]


def _descend(
    look: Callable[[Array], tuple[Array, Array]], s: _Search, direction: Float[Array, "n d"]
) -> _Search:
    """A step for every point: the whole direction, or a share at which the slope along it is nearly
    zero; never upwards but by rounding.
    """
    slope = jnp.sum(direction * s.gradient, axis=1)
    slack = ROUNDING * (1 + jnp.abs(s.objective))

    def bisect(line: _Line) -> _Line:
        x = s.x + line.share[:, None] * direction
        seen = _Search(x, *look(x), s.iterations)
        here = jnp.sum(direction * seen.gradient, axis=1)
        flat = (here <= -FLATTER * slope) & ((here >= FLATTER * slope) | (line.share == 1))
        accepted = (
            line.accepted | (flat & (seen.objective <= s.objective + slack)) | (-slope <= slack)
        )
        near, far = (
            jnp.where(here < 0, line.share, line.near),
            jnp.where(here < 0, line.far, line.share),
        )
        return _Line(
            near,
            far,
            jnp.where(accepted, line.share, (near + far) / 2),
            accepted,
            seen,
            line.looks + 1,
        )

    def unfinished(line: _Line) -> Array:
        return ~jnp.all(line.accepted) & (line.looks < BISECTIONS)

    one = jnp.ones_like(slope)
    line = lax.while_loop(
        unfinished, bisect, _Line(0 * one, one, one, one < 0, s, jnp.zeros((), jnp.int32))
    )
    seen, moved = line.seen, line.accepted | (line.seen.objective <= s.objective)
    x, gradient = (
        jnp.where(moved[:, None], new, old)
        for new, old in ((seen.x, s.x), (seen.gradient, s.gradient))
    )
    return _Search(x, jnp.where(moved, seen.objective, s.objective), gradient, s.iterations + 1)
