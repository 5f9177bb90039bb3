"""The two clouds that solvers are compared on: digits, and what a half-trained generator makes."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from otgan import api
from otgan.batches import as_floats
from otgan.data import digits, load
from otgan.experiments import resolve

SEED = 0
RECIPE, STEPS = "sinkhorn-mnist", 600  # of the half-trained generator


class Clouds(NamedTuple):
    """Real and generated points, (n, d) float32, and the mean of the squared distances between
    them.
    """

    x: np.ndarray
    y: np.ndarray
    mean_cost: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Clouds:
        """Two clouds."""
        a, b = x.astype(float), y.astype(float)
        squares = (a**2).sum(1).mean() + (b**2).sum(1).mean()
        return cls(x, y, float(squares - 2 * a.mean(0) @ b.mean(0)))

    def first(self, n: int) -> Clouds:
        """The first n points of both."""
        return self.of(self.x[:n], self.y[:n])


def half_trained(run: Path, n: int) -> Clouds:
    """MNIST's digits and those of a generator after some steps of a recipe, which is trained into a
    folder unless it is there.

    Raises:
        UserError: MNIST is not prepared, or the folder is not such a run's.
    """
    trained = api.train(RECIPE, {"train.steps": STEPS}, out=run)
    real = load(resolve(RECIPE).data).train
    return Clouds.of(_points(_drawn(np.asarray(real), n)), _points(trained.sample(n, SEED)))


def stand_in(n: int) -> Clouds:
    """Clouds that need no training and no data set: digits that the package carries, and means of
    two others each.
    """
    learned, held_out = digits.sample()
    one, other, x = np.split(_drawn(np.concatenate([learned, held_out]), 3 * n, again=True), 3)
    mixed = (one.astype(np.uint16) + other) // 2
    return Clouds.of(_points(x), _points(mixed.astype(np.uint8)))


def _drawn(examples: np.ndarray, n: int, again: bool = False) -> np.ndarray:
    rng = np.random.default_rng(SEED)
    return examples[rng.choice(len(examples), n, replace=again)]


def _points(pictures: np.ndarray) -> np.ndarray:
    return np.asarray(as_floats(jnp.asarray(pictures))).reshape(len(pictures), -1)
