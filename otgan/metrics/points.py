"""Judge generated points where the true modes are known: which are hit, how well, and how evenly.

And what points are compared with.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist

from otgan.data import Dataset
from otgan.metrics.modes import histogram_kl

MOST_MATCHED = 2_000  # points in a W2 and in a share, as in the literature on the grid
COUNTED = 20_000  # points in the histogram of modes, where 2,000 would show their own noise
WITHIN = 3.0  # a sample is of high quality within so many standard deviations of a mode


def reference_points(dataset: Dataset) -> np.ndarray:
    """The held-out points that samples are drawn beside: all, or 2,000 evenly spaced among them, so
    that every mode is there.
    """
    size = min(MOST_MATCHED, len(dataset.test), len(dataset.train))
    return dataset.test[np.arange(size) * len(dataset.test) // size]


def modes_and_quality(
    points: Float[np.ndarray, "n d"], centers: Float[np.ndarray, "k d"], sd: float
) -> tuple[int, float]:
    """The number of modes with a point of high quality, and the share of such points: within 3 sd
    of a mode.
    """
    distances = cdist(points, centers)
    near = distances.min(axis=1) <= WITHIN * sd
    return len(np.unique(distances.argmin(axis=1)[near])), float(near.mean())


def mode_width(
    points: Float[np.ndarray, "n d"], centers: Float[np.ndarray, "k d"], sd: float
) -> float:
    """How far the points within 3 sd of a mode lie from their own mean, over sd: the root mean
    square along a coordinate, its mean over the modes that have two points or more; 0 where none
    has.

    Points of the modes themselves have a little less than 1, for they are cut off at 3 sd.
    """
    distances = cdist(points, centers)
    mode, near = distances.argmin(axis=1), distances.min(axis=1) <= WITHIN * sd
    groups = [points[near & (mode == k)] for k in range(len(centers))]
    widths = [
        float(np.sqrt(group.var(axis=0, ddof=1).mean())) for group in groups if len(group) > 1
    ]
    return float(np.mean(widths)) / sd if widths else 0.0


def mode_kl(points: Float[np.ndarray, "n d"], centers: Float[np.ndarray, "k d"]) -> float:
    """KL of the shares of points nearest to each center from equal shares, in nats."""
    return histogram_kl(np.bincount(cdist(points, centers).argmin(axis=1), minlength=len(centers)))
