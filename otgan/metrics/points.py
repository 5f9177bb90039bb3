"""Judge generated points: exact W2 against held-out ones beside its floor and, where the true modes are known, modes and masses."""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist

from otgan.data import Dataset
from otgan.metrics.modes import histogram_kl
from otgan.metrics.wasserstein import exact_wasserstein

JUDGED = 2_000  # points in a W2 and in a share, as in the literature on the grid
COUNTED = 20_000  # points in the histogram of modes, where 2,000 would show their own noise
SETS = 4  # of so many points, generated and real, whose mean W2 is a score and its floor: one set's scatters by a tenth and more
WITHIN = 3.0  # a sample is of high quality within so many standard deviations of a mode


def judge_points(samples: np.ndarray, dataset: Dataset) -> dict[str, float]:
    """All scores of a generator of points.

    Args:
        samples: (N, d) generated points, `COUNTED` of them or more.
        dataset: the data, whose held-out points are the reference.

    Returns:
        `w2`, of 2,000 samples to as many held-out points, mean over 4 disjoint sets, and `w2_floor`, the same for real training points;
        on the grid also `modes` (with at least one sample of high quality among the first 2,000), `modes_total`, `high_quality` (share
        within 3 sd of a mode), `mode_kl` (KL of the masses of all samples over the nearest modes from uniform) and `mode_kl_floor`
        (the same of the training points).
    """
    reference = judged(dataset)
    scores = {"w2": _mean_w2(samples, reference), "w2_floor": _mean_w2(dataset.train, reference)}
    if dataset.centers is None or dataset.sd is None:
        return scores
    own = {"modes_total": len(dataset.centers), "mode_kl_floor": mode_kl(dataset.train, dataset.centers)}
    return {**scores, **judge_modes(samples, dataset.centers, dataset.sd), **own}


def judged(dataset: Dataset) -> np.ndarray:
    """The held-out points that samples are compared with: all, or 2,000 evenly spaced among them, so that every mode is there."""
    size = min(JUDGED, len(dataset.test), len(dataset.train))
    return dataset.test[np.arange(size) * len(dataset.test) // size]


def _mean_w2(points: np.ndarray, reference: np.ndarray) -> float:
    size = len(reference)
    sets = [points[i * size : (i + 1) * size] for i in range(SETS)]
    return float(np.mean([exact_wasserstein(part, reference, 2) for part in sets if len(part) == size]))


def judge_modes(samples: np.ndarray, centers: np.ndarray, sd: float) -> dict[str, float]:
    """`modes` and `high_quality` of the first 2,000 samples, (n, d), and `mode_kl` of all; see `judge_points`."""
    distances = cdist(samples[:JUDGED], centers)
    near = distances.min(axis=1) <= WITHIN * sd
    return {
        "modes": len(np.unique(distances.argmin(axis=1)[near])),
        "high_quality": float(near.mean()),
        "mode_kl": mode_kl(samples, centers),
    }


def mode_kl(points: np.ndarray, centers: np.ndarray) -> float:
    """KL of the shares of points nearest to each center from equal shares, in nats."""
    return histogram_kl(np.bincount(cdist(points, centers).argmin(axis=1), minlength=len(centers)))
