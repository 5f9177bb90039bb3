"""Exact Wasserstein distances between equally many points, by the assignment problem."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist


def exact_wasserstein(x: np.ndarray, y: np.ndarray, p: Literal[1, 2]) -> float:
    """W_p of Euclidean distance between two uniform clouds, (n, d) each: the p-th root of the smallest mean of |x - y|^p.

    In O(n^3) at worst; some seconds at n = 2,000.
    """
    cost = cdist(x.astype(np.float64), y.astype(np.float64)) ** p
    rows, columns = linear_sum_assignment(cost)
    return float(cost[rows, columns].mean() ** (1 / p))
