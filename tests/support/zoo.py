"""Small transport problems to try every oracle on."""

from functools import cache
from typing import Any

import numpy as np
from scipy.linalg import sqrtm


def matrix_root(A) -> np.ndarray:
    """The square root of a positive matrix."""
    root: Any = sqrtm(A)
    return root.real


def squared_distances(x, y):
    return ((x[:, None] - y[None]) ** 2).sum(-1)


@cache
def zoo(m):
    """Costs of 24 x m by name: even, clustered, near, far, tied and heavy-tailed."""
    rng = np.random.default_rng(3)
    centers = 2.0 * rng.integers(-2, 3, size=(24, 2))
    x = centers + 0.1 * rng.normal(size=(24, 2))
    again = np.resize(centers, (m, 2)) + 0.3 * rng.normal(size=(m, 2))
    return {
        "random": rng.random((24, m)),
        "modes to blob": squared_distances(x, 3 * rng.normal(size=(m, 2))),
        "near": squared_distances(x, again),
        "equal": squared_distances(x, np.resize(x, (m, 2))),
        "far": squared_distances(x, again + 30),
        "collapsed": squared_distances(x, np.full((m, 2), 0.7)),
        "ties": rng.integers(0, 4, (24, m)).astype(float),
        "heavy": np.exp(3 * rng.normal(size=(24, m))),
        "negative": -5 * rng.random((24, m)),
    }
