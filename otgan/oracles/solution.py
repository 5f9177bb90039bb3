"""What every solve of a batch's dual hands over."""

from typing import Any, NamedTuple

from jax import Array
from jaxtyping import Bool, Float, Int


class Solution(NamedTuple):
    """Dual potentials between two uniform clouds of n and m points, and how exact they are.

    The plan has rows of exactly 1/n, whatever the gap, and so mass one; its columns are exact at
    the optimum. It is the gradient of the dual value with respect to the cost matrix at fixed
    potentials: what moves the generator (envelope theorem).
    """

    f: Float[Array, " n"]  # potential of the rows
    g: Float[Array, " m"]  # potential of the columns
    plan: Any  # (n, m), or of costs that are not held what `Pairs.pull` takes for it
    value: Float[Array, ""]  # dual value, units of the cost
    gap: Float[Array, ""]  # certified: dual optimum - value <= gap, units of the cost
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]  # gap <= epsilon
    # the part of the gap that rounding makes: no number of iterations brings it below that; units
    # of the cost
    floor: Float[Array, ""]
    # share of the plan's mass, 0 to 1, that is not in the column where the marginal wants it
    misplaced: Float[Array, ""]
