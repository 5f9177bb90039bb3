"""The kernel distance: the squared maximum mean discrepancy of features with a cubic kernel.

Of Inception features it is KID.

Binkowski, Sutherland, Arbel, Gretton (ICLR 2018), section 4: k(x, y) = (<x, y> / d + 1)^3 and the
unbiased estimate

    sum_{i != j} k(x_i, x_j) / n(n - 1) + sum_{i != j} k(y_i, y_j) / m(m - 1)
        - 2 mean_{ij} k(x_i, y_j)

whose expectation does not depend on the number of samples, and which may be negative where the sets
are alike.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from otgan.metrics.blocks import checked, slices

METRIC = "the kernel distance"


def kernel_distance(
    x: Float[np.ndarray, "n d"],
    y: Float[np.ndarray, "m d"],
    subsets: int = 100,
    size: int = 1_000,
    seed: int = 0,
) -> tuple[float, float]:
    """Mean and standard deviation of the unbiased estimate over random subsets, as the authors
    report it.

    Args:
        x: features of one set.
        y: of the other.
        subsets: how many pairs of subsets, each drawn without replacement.
        size: points in each subset.
        seed: of the draws.

    Raises:
        UserError: a set has fewer points than a subset, or a value is not finite.
    """
    x, y = checked(x, "features", size, METRIC), checked(y, "features", size, METRIC)
    rng = np.random.default_rng(seed)
    values = [
        squared_mmd(*(z[rng.choice(len(z), size, replace=False)] for z in (x, y)))
        for _ in range(subsets)
    ]
    return float(np.mean(values)), float(np.std(values))


def squared_mmd(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """The unbiased estimate on all points, in blocks.

    Raises:
        UserError: a set has fewer than two points, or a value is not finite.
    """
    x, y = checked(x, "features", 2, METRIC), checked(y, "features", 2, METRIC)
    return _within(x) + _within(y) - 2 * _total(x, y) / (len(x) * len(y))


def _within(x: Float[np.ndarray, "n d"]) -> float:
    """The mean over pairs of different points."""
    diagonal = (np.square(x).sum(axis=1) / x.shape[1] + 1) ** 3
    return (_total(x, x) - diagonal.sum()) / (len(x) * (len(x) - 1))


def _total(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    bases = (x[block] @ y.T / x.shape[1] + 1 for block in slices(len(x)))
    # a power of 3 takes NumPy twenty times as long
    return float(sum((base * base * base).sum() for base in bases))
