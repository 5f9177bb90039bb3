"""Two numbers between which the cost of exact transport between uniform clouds lies, from one
entropic solve.

For any potentials f of the rows and any plan P

    mean_i f_i + mean_j min_i (C_ij - f_i)   <=   min <C, .>   <=   <C, R>

with R the plan P rounded to both marginals, so the bracket holds however well that solve did. A
small lam makes it narrow. Of squared distances the transport cost is W2^2.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

from otgan.costs import product
from otgan.oracles.entropic import FLOOR, solve_entropic


class Bracket(NamedTuple):
    """What the two numbers are sums of; units of the cost."""

    f: Float[Array, " n"]  # potential of the rows
    g: Float[Array, " m"]  # its best partner, the c-transform over all columns
    parts: Float[Array, " m"]  # each column's part of a feasible plan's cost

    @property
    def lower(self) -> Float[Array, ""]:
        """The dual value: never above the optimum, but for rounding."""
        return self.f.mean() + self.g.mean()

    @property
    def upper(self) -> Float[Array, ""]:
        """The plan's cost: never below the optimum, but for rounding."""
        return self.parts.sum()

    def in_double(self) -> tuple[float, float]:
        """Both, summed in double precision; not inside of a compiled function."""
        f, g, parts = (np.asarray(part, np.float64) for part in self)
        return float(f.mean() + g.mean()), float(parts.sum())


def bracket_transport(
    cost: Float[Array, "n m"],
    lam: float | Array = 0.005,
    epsilon: float | Array = 0.002,
    *,
    max_iterations: int = 400,
) -> Bracket:
    """Bracket the cost of exact transport.

    Args:
        cost: the cost matrix; three matrices of its size are held.
        lam: weight of the solver's regularizer, in multiples of the mean cost: smaller is closer,
            and slower.
        epsilon: gap at which the solver stops, in the same multiples.
        max_iterations: at which it stops in any case, with a wider bracket.
    """
    mean = jnp.maximum(jnp.mean(cost), FLOOR)  # where all points are one
    solution = solve_entropic(cost, lam * mean, epsilon * mean, max_iterations=max_iterations)
    return Bracket(
        solution.f,
        jnp.min(cost - solution.f[:, None], axis=0),
        costs_of_rounded(cost, solution.plan),
    )


def costs_of_rounded(cost: Float[Array, "n m"], plan: Float[Array, "n m"]) -> Float[Array, " m"]:
    """Each column's part.

    As in Altschuler, Weed, Rigollet (2017, Algorithm 2): scale down, then make up what is lacking.
    """
    n, m = plan.shape
    x = jnp.minimum(1.0, 1 / n / jnp.maximum(jnp.sum(plan, axis=1), FLOOR))
    columns = product(x, plan)
    y = jnp.minimum(1.0, 1 / m / jnp.maximum(columns, FLOOR))
    lack_rows = jnp.maximum(1 / n - x * product(plan, y), 0.0)
    lack_columns = jnp.maximum(1 / m - y * columns, 0.0)
    made_up = lack_columns * product(lack_rows, cost) / jnp.maximum(jnp.sum(lack_rows), FLOOR)
    return y * jnp.sum(x[:, None] * plan * cost, axis=0) + made_up
