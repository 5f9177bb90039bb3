"""From a nearly feasible plan to a feasible one: the step from a dual solver's state to a certificate."""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Float

FLOOR = 1e-30  # smallest mass under a logarithm; XLA:CPU flushes anything below 1e-38 to zero


def round_to_marginals(plan: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """A plan with marginals 1/n and 1/m exactly, near the given one (Altschuler, Weed, Rigollet 2017, Algorithm 2).

    Rows, then columns, are scaled down to their marginal; what is missing comes back as a matrix of rank one. The L1 distance to the
    given plan is at most twice its marginal error.
    """
    n, m = plan.shape
    plan = plan * jnp.minimum(1.0, 1 / n / jnp.maximum(jnp.sum(plan, 1), FLOOR))[:, None]
    plan = plan * jnp.minimum(1.0, 1 / m / jnp.maximum(jnp.sum(plan, 0), FLOOR))[None, :]
    rows, columns = jnp.maximum(1 / n - jnp.sum(plan, 1), 0.0), jnp.maximum(1 / m - jnp.sum(plan, 0), 0.0)
    return plan + rows[:, None] * columns[None, :] / jnp.maximum(jnp.sum(columns), FLOOR)


def generalized_kl(p: Array, q: Array) -> Float[Array, ""]:
    """Sum of p log(p / q) - p + q: never negative, zero at p = q, and free of cancellation between large sums."""
    ratio = jnp.maximum(p, FLOOR) / jnp.maximum(q, FLOOR)
    t = ratio - 1
    series = t * t * (0.5 - t * (1 / 6 - t / 12))  # where the closed form would cancel
    closed = ratio * jnp.log(jnp.maximum(ratio, FLOOR)) - t
    return jnp.sum(q * jnp.where(jnp.abs(t) < 1e-2, series, closed))
