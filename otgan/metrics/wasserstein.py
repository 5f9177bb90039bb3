"""Exact Wasserstein distances between equally many points, by the assignment problem."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from otgan.errors import UserError
from otgan.metrics.assignment import assign
from otgan.metrics.blocks import checked, squared_distances


def exact_wasserstein(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"], p: Literal[1, 2]
) -> float:
    """W_p of Euclidean distance between two uniform clouds: the p-th root of the smallest mean of
    |x - y|^p.

    In O(n^3) at worst; a quarter of a second at n = 2,000.

    Raises:
        UserError: a value is not finite, or there are not as many points on either side.
    """
    x, y = _matched(x, y, f"W{p}")
    center = y.mean(axis=0, keepdims=True)
    squares = squared_distances(x - center, y - center)
    columns = assign(squares if p == 2 else np.sqrt(squares))
    return float(np.mean(np.linalg.norm(x - y[columns], axis=1) ** p) ** (1 / p))


def exact_l1_wasserstein(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """W_1 of the l1 distance, the sum of absolute differences, between two uniform clouds: the
    ground cost of Chen et al. (2019).

    Raises:
        UserError: a value is not finite, or there are not as many points on either side.
    """
    x, y = _matched(x, y, "W1")
    costs = cdist(x, y, "cityblock")
    return float(costs[np.arange(len(costs)), assign(costs)].mean())


def _matched(x: np.ndarray, y: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    if len(x) != len(y):  # the assignment problem would leave the worst of the larger set out
        raise UserError(
            f"exact {name} needs as many samples as references, not {len(x):,} and {len(y):,}: give"
            " equal numbers"
        )
    return (
        checked(x, "samples", metric="a Wasserstein distance"),
        checked(y, "samples", metric="a Wasserstein distance"),
    )
