"""How far an entropic dual's value is at most from the optimum, in a few matrix-vector products.

What is handed over has exact rows, so mass one: then the value lies at least lam KL(P* | P) below
the optimum, and P is off by at most sqrt(2 gap / lam) in the sum of absolute differences (Pinsker).
A plan of another mass breaks that bound, for a mass M costs the dual no more than lam (M - 1 - log
M). The notation is that of `otgan.oracles.entropic`.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import xlogy
from jaxtyping import Float

from otgan.costs import product
from otgan.oracles.divergence import generalized_kl
from otgan.oracles.pairs import Kernel, Pairs

FLOOR = 1e-30  # smallest mass that is divided by; XLA:CPU flushes anything below 1e-38 to zero


class Certificate(NamedTuple):
    """What is certified of potentials whose plan has exact rows."""

    gap: Float[Array, ""]  # inf where there is none yet
    floor: Float[Array, ""]  # the part of it that rounding alone makes
    misplaced: Float[Array, ""]  # share of the mass that the columns' sums have in the wrong place


def no_certificate(costs: Pairs) -> Certificate:
    """Of potentials at another lam than the true one."""
    zero = jnp.zeros((), costs.dtype)
    return Certificate(zero + jnp.inf, zero, zero + 1)


def certify(
    costs: Pairs, f: Array, g: Array, kernel: Kernel, x: Array, lam: Array, tau: Array | None
) -> Certificate:
    """A bound on the distance of the dual value at (f, g) from the optimum: the primal of a
    feasible plan R less that value.

    With P = diag(x) kernel the plan at (f, g), of exact rows, primal(R) - dual(f, g) = lam KL(R |
    P), for R is P rounded to the marginals. Of a relaxed side P is feasible itself, and the
    difference is tau KL(P' 1 | b exp(-g / tau)), generalized.
    """
    columns, asked = (
        costs.columns(x, kernel),
        jnp.full_like(g, 1 / len(g)) if tau is None else jnp.exp(-g / tau) / len(g),
    )
    misplaced = jnp.sum(jnp.abs(columns - asked)) / 2
    if tau is None:
        exact, blur = _rounding_kl(costs, f, g, kernel, x, columns, lam)
    else:
        exact = tau * generalized_kl(jnp.log(columns), -g / tau - jnp.log(len(g)))
        blur = 8 * jnp.finfo(g.dtype).eps * (lam + exact + tau * misplaced)
    blur += _rounding_of_potentials(f, g, columns, asked, lam)
    # how much of the misplacing rounding explains
    blurred = jnp.minimum(1.0, rounding(f, g) / jnp.maximum(lam * misplaced, FLOOR))
    return Certificate(exact + blur, blurred * exact + blur, misplaced)


def _rounding_kl(
    costs: Pairs, f: Array, g: Array, kernel: Kernel, x: Array, columns: Array, lam: Array
) -> tuple[Array, Array]:
    """An upper bound on lam KL(R | P) in a few matrix-vector products, for the R of Altschuler,
    Weed, Rigollet (2017, Algorithm 2).

    R = (1 - d) Q + d K, where Q is P with columns scaled down to their marginal, d the mass that
    this takes away, and K the product of what each row and column then lacks. KL is convex, so KL(R
    | P) <= (1 - d) KL(Q | P) + d KL(K | P), and of Q and of K the logarithms are sums of a row's
    and a column's term. The second number is what rounding may have taken from the first.
    """
    n, m = costs.shape
    y = jnp.minimum(1.0, 1 / m / jnp.maximum(columns, FLOOR))
    rows_q, columns_q = x * costs.rows(kernel, y), y * columns
    lack_rows, lack_columns = jnp.maximum(1 / n - rows_q, 0.0), jnp.maximum(1 / m - columns_q, 0.0)
    d = jnp.clip(jnp.sum(lack_rows), FLOOR, 1 - 1e-6)
    scaled = product(columns_q, jnp.log(y)) - (1 - d) * jnp.log1p(-d)
    k_rows, k_columns = lack_rows / d, lack_columns / jnp.maximum(jnp.sum(lack_columns), FLOOR)
    entropy = xlogy(k_rows, k_rows * n).sum() + xlogy(k_columns, k_columns * m).sum()
    between, potentials = (
        costs.between(k_rows, k_columns),
        product(k_rows, f) + product(k_columns, g),
    )
    eps = jnp.finfo(costs.dtype).eps
    blur = 8 * eps * (lam + d * (jnp.abs(between) + jnp.abs(potentials)))
    return jnp.maximum(lam * (scaled + d * entropy) + d * (between - potentials), 0.0), blur


def _rounding_of_potentials(f: Array, g: Array, columns: Array, asked: Array, lam: Array) -> Array:
    """What rounding f, g and f + g - C may cost the dual value, units of the cost: in the mean of
    it, and of the mass that it makes.

    Each exponent is off by at most eps (|f_i| + |g_j|) / lam, so by the inequality of Cauchy and
    Schwarz the mass grows at most by the root of the product of the means of exp(2 eps |f_i| / lam)
    and exp(2 eps |g_j| / lam). Where that is too much for an exponential, as it is at a tiny lam,
    another bound stays: a row's best potential is off by at most eps (|f_i| + max |g|), and the
    value by its mean.
    """
    eps = jnp.finfo(f.dtype).eps
    of_f, of_g = eps * jnp.abs(f), eps * jnp.abs(g)
    grown = jnp.log1p(jnp.mean(jnp.expm1(2 * of_f / lam))) + jnp.log1p(
        product(columns, jnp.expm1(2 * of_g / lam))
    )
    of_mass, most = lam * jnp.expm1(grown / 2), jnp.mean(of_f) + jnp.max(of_g)
    # not a minimum: 0 exp(inf) is no number
    return jnp.where(of_mass < most, of_mass, most) + jnp.mean(of_f) + product(asked, of_g)


def rounding(f: Array, g: Array) -> Array:
    """Of a mean of potentials, about."""
    return jnp.finfo(f.dtype).eps * (jnp.mean(jnp.abs(f)) + jnp.mean(jnp.abs(g)))
