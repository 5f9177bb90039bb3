"""Named distributions of points whose optimal maps are known: Gaussians, mixtures of Gaussians, and
mixtures warped by a map.

The map between two Gaussians is affine (`gaussian_map`). A mixture and the same mixture warped are
joined by the warp, which is the gradient of a convex function and so, by Brenier's theorem, the
optimal map for the cost |x - y|^2:

    u(y) = STRETCH |y|^2 / 2 + BEND sum_k log(1 + exp(<a_k, y> + b_k)),    warp = grad u
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from otgan import config

HELD_OUT = 2_000
SEED = 19020  # with a distribution's own: it never changes, so every run sees the same points
SPREAD = 4.0  # centers of a mixture, uniform in the cube from minus to plus that
APART = 1.5  # means of Gaussians: their standard deviation
RIDGES, STRETCH, BEND = 6, 0.4, 3.0

Map = Callable[[np.ndarray], np.ndarray]


class GaussianMoments(NamedTuple):
    """Of a Gaussian."""

    mean: np.ndarray  # (d,)
    covariance: np.ndarray  # (d, d)


class Points(NamedTuple):
    """A sample of a distribution."""

    train: np.ndarray  # (size, d) float32
    test: np.ndarray  # (HELD_OUT, d) float32, independent of it
    centers: np.ndarray | None  # (modes, d) float32, of a mixture that is not warped


def sample(data: config.Gaussian | config.Mixture) -> Points:
    """The points of a named distribution.

    Two configs that differ in size or in the warp alone have independent points.
    """
    match data:
        case config.Gaussian():
            mean, covariance = moments(data)
            root = np.linalg.cholesky(covariance)
            train, test = (mean + z @ root.T for z in _noise(data, 0))
            return Points(train.astype(np.float32), test.astype(np.float32), None)
        case config.Mixture():
            centers = _centers(data)
            train, test = (
                centers[_modes(data, len(z))] + data.sd * z for z in _noise(data, int(data.warped))
            )
            if not data.warped:
                return Points(
                    train.astype(np.float32), test.astype(np.float32), centers.astype(np.float32)
                )
            return Points(
                warp(data)(train).astype(np.float32), warp(data)(test).astype(np.float32), None
            )


def moments(data: config.Gaussian) -> GaussianMoments:
    """Mean and covariance of a named Gaussian.

    Standard deviations along its axes lie between 0.5 and 2.
    """
    rng = _rng(data.seed, 0, data.dim)
    axes, _ = np.linalg.qr(rng.standard_normal((data.dim, data.dim)))
    return GaussianMoments(
        APART * rng.standard_normal(data.dim),
        (axes * rng.uniform(0.5, 2.0, data.dim) ** 2) @ axes.T,
    )


def gaussian_map(source: GaussianMoments, target: GaussianMoments) -> Map:
    """The optimal map: y -> m + S^1/2 (S^1/2 R S^1/2)^-1/2 S^1/2 (y - n), from N(n, R) to
    N(m, S).
    """
    root = _root(target.covariance)
    slope = root @ np.linalg.inv(_root(root @ source.covariance @ root)) @ root
    return lambda y: target.mean + (y - source.mean) @ slope


def gaussian_w2_squared(source: GaussianMoments, target: GaussianMoments) -> float:
    """|m - n|^2 + tr(S + R - 2 (S^1/2 R S^1/2)^1/2), the squared distance of Bures and
    Wasserstein.
    """
    root = _root(target.covariance)
    between = _root(root @ source.covariance @ root)
    return float(
        ((target.mean - source.mean) ** 2).sum()
        + np.trace(target.covariance + source.covariance - 2 * between)
    )


def warp(data: config.Mixture) -> Map:
    """The optimal map from a mixture to the warped one of the same seed and dimension."""
    rng = _rng(data.seed, 1, data.dim)
    ridges = rng.standard_normal((RIDGES, data.dim))
    ridges /= np.linalg.norm(ridges, axis=1, keepdims=True)
    offsets = rng.uniform(-SPREAD / 2, SPREAD / 2, RIDGES)
    return lambda y: STRETCH * y + BEND * (1 + np.tanh((y @ ridges.T + offsets) / 2)) / 2 @ ridges


def _centers(data: config.Mixture) -> np.ndarray:
    return _rng(data.seed, 2, data.dim).uniform(-SPREAD, SPREAD, (data.modes, data.dim))


def _modes(data: config.Mixture, size: int) -> np.ndarray:
    return _rng(data.seed, 3, size, int(data.warped)).integers(data.modes, size=size)


def _noise(data: config.Gaussian | config.Mixture, part: int) -> list[np.ndarray]:
    return [
        _rng(data.seed, 4 + k, size, part).standard_normal((size, data.dim))
        for k, size in enumerate((data.size, HELD_OUT))
    ]


def _rng(*stream: int) -> np.random.Generator:
    return np.random.default_rng([SEED, *stream])


def _root(matrix: np.ndarray) -> np.ndarray:
    """The square root of a symmetric positive definite matrix."""
    eigenvalues, basis = np.linalg.eigh(matrix)
    return (basis * np.sqrt(eigenvalues)) @ basis.T
