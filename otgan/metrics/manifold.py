"""Fidelity and coverage apart: whether samples lie where real ones do, and whether they lie
everywhere that real ones do.

With B_k(y_j) the closed ball around y_j that reaches to its k-th nearest neighbor of its own set,

    precision   share of the x_i in some B_3(y_j)
    recall      share of the y_j in some B_3(x_i)
    density     mean number of the B_5(y_j) around an x_i, / 5
    coverage    share of the B_5(y_j) that hold some x_i

for x generated and y real. Precision and recall are by Kynkaanniemi, Karras, Laine, Lehtinen, Aila
(NeurIPS 2019), density and coverage by Naeem, Oh, Uh, Choi, Yoo (ICML 2020), equations 5 and 6.

Points on a ball's edge are in it: otherwise real samples with as many copies as neighbors, whose
balls are points, would not even be covered by themselves. (For a set against itself the density is
then (k + 1) / k and not 1.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from otgan.metrics.blocks import checked, rounding, slices, squared_distances

PRECISION_NEIGHBORS = 3
DENSITY_NEIGHBORS = 5
NEEDED = DENSITY_NEIGHBORS + 1  # samples: the neighbors, and the one whose neighbors they are
METRIC = "precision and recall"


class Manifold(NamedTuple):
    """All are shares, and 1 for equal distributions but for the number of samples.

    The density may be larger.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold_scores(
    generated: Float[np.ndarray, "n d"], real: Float[np.ndarray, "m d"]
) -> Manifold:
    """Precision and recall (3 neighbors), density and coverage (5 neighbors) of features, in time
    O((n + m)^2 d).

    Raises:
        UserError: a set has fewer samples than `NEEDED`, or a value is not finite.
    """
    x = checked(generated, "generated samples", NEEDED, METRIC)
    y = checked(real, "real samples", NEEDED, METRIC)
    center = y.mean(axis=0, keepdims=True)  # a common offset would cost the distances digits
    x, y = x - center, y - center
    # by which two computations of one distance may differ, and a point be away from itself
    slack = rounding(x, y)
    reach_x = _reach(x)[:, PRECISION_NEIGHBORS - 1] + slack
    reach_y = _reach(y) + slack
    around, near, recalled, covered = np.zeros(len(x)), np.zeros(len(x), bool), 0, 0
    for block in slices(len(y)):
        squares = squared_distances(y[block], x)
        near |= (squares <= reach_y[block, PRECISION_NEIGHBORS - 1, None]).any(axis=0)
        recalled += (squares <= reach_x[None, :]).any(axis=1).sum()
        inside = squares <= reach_y[block, DENSITY_NEIGHBORS - 1, None]
        around += inside.sum(axis=0)
        covered += inside.any(axis=1).sum()
    return Manifold(
        float(near.mean()),
        float(recalled / len(y)),
        float(around.mean() / DENSITY_NEIGHBORS),
        float(covered / len(y)),
    )


def _reach(x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, "n k"]:
    """Squared distances of each point to its nearest others, ascending."""
    reach = np.empty((len(x), DENSITY_NEIGHBORS))
    for block in slices(len(x)):
        squares = squared_distances(x[block], x)
        squares[np.arange(len(squares)), np.arange(block.start, block.stop)] = np.inf  # not itself
        reach[block] = np.sort(
            np.partition(squares, DENSITY_NEIGHBORS - 1, axis=1)[:, :DENSITY_NEIGHBORS], axis=1
        )
    return reach
