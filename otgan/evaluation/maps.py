"""A run's map against the true one."""

from __future__ import annotations

from typing import Any

import numpy as np

from otgan.data import Truth
from otgan.metrics.maps import best_affine, unexplained_variance
from otgan.oracles import Family
from otgan.sampling import push


def against_truth(family: Family, dual: Any, truth: Truth) -> dict[str, float]:
    """The unexplained variance of a family's map, and of the affine map that is nearest to the
    truth, in percent; see `otgan.metrics.maps`.
    """
    mapped = np.concatenate([np.asarray(part.points) for part in push(family, dual, truth.x)])
    return {
        "uvp": unexplained_variance(mapped, truth.y),
        "uvp_of_affine_map": unexplained_variance(best_affine(*truth), truth.y),
    }
