"""The true images of points under the map that a run is to find, where somebody knows them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from otgan.config import Config
from otgan.data import arrays
from otgan.data.examples import as_examples
from otgan.errors import UserError
from otgan.places import require_truth

NAMES = ("x", "y")
REMEDY = "numpy.savez(file, x=points, y=images)"
FEWEST = 2  # of one point there is no variance


class Truth(NamedTuple):
    """Points of a source that no solve sees, and where the true map sends them."""

    x: np.ndarray  # (n, d) float32
    y: np.ndarray  # (n, d) float32


def load_truth(run: Config, shape: tuple[int, ...]) -> Truth | None:
    """The truth that a run's map is measured by, if the config names one.

    Args:
        run: the run's config.
        shape: of one example of its data.

    Raises:
        UserError: the file is not there or is damaged, its arrays are not such pairs of points as
            the run maps, or their images are all the same.
    """
    if run.truth is None:
        return None
    if len(shape) > 1:
        raise UserError("truth measures maps of points, and this run has pictures: leave it out")
    path = require_truth(run.truth)
    truth = Truth(
        *(
            as_examples(array, f"{name} of {path}")
            for name, array in zip(NAMES, arrays.read_named(path, NAMES, REMEDY), strict=True)
        )
    )
    for name, points in truth._asdict().items():
        if points.shape[1:] != shape:
            raise UserError(
                f"{name} of {path} holds points of shape {points.shape[1:]}, and the run maps such"
                f" of shape {shape}"
            )
    if len(truth.x) != len(truth.y):
        raise UserError(
            f"{path} holds {len(truth.x)} points x and {len(truth.y)} images y: each needs its own"
        )
    if len(truth.y) < FEWEST or not np.ptp(truth.y, axis=0).any():
        raise UserError(
            f"the {len(truth.y)} images y in {path} do not vary: a map is measured in shares of"
            f" their variance, by {FEWEST} different ones at least"
        )
    return truth
