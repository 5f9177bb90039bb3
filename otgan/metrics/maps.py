"""How far a map is from the true one, on points that it was not fitted to.

Korotin et al. (2021), Do neural optimal transport solvers work? Their L2-UVP, the share of
unexplained variance, with T the map and T* the true one, in percent:

    UVP = 100 E|T(x) - T*(x)|^2 / Var T*(x),  Var T* = E|T* - E T*|^2

0 is the true map, and 100 what a constant map gets that sends every point to the mean of the
target.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float


def unexplained_variance(
    mapped: Float[np.ndarray, "n d"], images: Float[np.ndarray, "n d"]
) -> float:
    """UVP in percent, of where points were sent and of their true images, row by row."""
    off, true = mapped.astype(np.float64) - images, images.astype(np.float64)
    return float(100 * (off**2).sum() / ((true - true.mean(axis=0)) ** 2).sum())


def best_affine(
    x: Float[np.ndarray, "n d"], images: Float[np.ndarray, "n d"]
) -> Float[np.ndarray, "n d"]:
    """Where the affine map sends points x that is nearest to their images in the mean square: no
    affine map has a lower UVP on them.
    """
    design = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    return design @ np.linalg.lstsq(design, images.astype(np.float64), rcond=None)[0]
