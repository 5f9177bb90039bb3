import numpy as np
import pytest
from scipy.linalg import sqrtm
from scipy.optimize import linear_sum_assignment

from otgan.config import Gaussian, Mixture
from otgan.data import points
from tests.support.zoo import squared_distances


@pytest.mark.parametrize("dim", [1, 2, 7])
def test_a_gaussian_has_its_moments(dim):
    data = Gaussian(dim=dim, seed=3, size=40_000)
    mean, covariance = points.moments(data)
    drawn = points.sample(data)
    assert (drawn.train.shape, drawn.train.dtype, drawn.test.shape) == (
        (40_000, dim),
        np.float32,
        (2_000, dim),
    )
    np.testing.assert_allclose(drawn.train.mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.atleast_2d(np.cov(drawn.train.T)), covariance, atol=0.15)


def test_the_gaussian_map_carries_the_moments_and_costs_what_the_distance_says():
    source, target = (points.moments(Gaussian(dim=3, seed=seed)) for seed in (1, 2))
    carry = points.gaussian_map(source, target)
    slope = carry(np.eye(3)) - carry(np.zeros((1, 3)))
    np.testing.assert_allclose(slope, slope.T, atol=1e-12)  # the gradient of something
    assert np.linalg.eigvalsh(slope)[0] > 0  # convex
    np.testing.assert_allclose(slope @ source.covariance @ slope, target.covariance, atol=1e-12)
    np.testing.assert_allclose(carry(source.mean[None])[0], target.mean, atol=1e-12)
    expected = ((target.mean - source.mean) ** 2).sum() + np.trace(
        source.covariance
        + target.covariance
        - 2 * np.real(sqrtm(source.covariance @ target.covariance))
    )
    assert points.gaussian_w2_squared(source, target) == pytest.approx(expected)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_warp_is_the_optimal_map(seed):
    """By SciPy's assignment: of a cloud to its own warped points, no other pairing is cheaper."""
    data = Mixture(seed=seed)
    y = points.sample(data).train[:300].astype(np.float64)
    x = points.warp(data)(y)
    rows, columns = linear_sum_assignment(squared_distances(x, y))
    np.testing.assert_array_equal(rows, columns)
    assert np.linalg.norm(x - y, axis=1).mean() > 0.5


def test_a_warped_mixture_is_the_mixture_pushed_but_other_points():
    plain, warped = (Mixture(warped=flag, seed=4) for flag in (False, True))
    pushed, there = points.warp(plain)(points.sample(plain).train), points.sample(warped).train
    assert np.abs(pushed[:100] - there[:100]).max() > 0.1
    scatter = np.sqrt(np.trace(np.cov(there.T)))
    np.testing.assert_allclose(pushed.mean(0), there.mean(0), atol=0.05 * scatter)
    np.testing.assert_allclose(np.cov(pushed.T), np.cov(there.T), atol=0.05 * scatter**2)


def test_a_mixture_lies_about_its_centers():
    drawn = points.sample(Mixture(modes=6, sd=0.1, seed=1))
    distances = np.sqrt(squared_distances(drawn.train.astype(float), drawn.centers))
    assert (distances.min(1) < 0.6).all()
    counts = np.bincount(distances.argmin(1), minlength=6)
    np.testing.assert_allclose(counts / len(drawn.train), 1 / 6, atol=0.02)


def test_points_never_change_and_held_out_ones_are_others():
    one, two, other = (points.sample(Mixture(seed=seed, size=2_000)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.train, two.train)
    assert not np.isin(one.test, one.train).any()
    assert np.abs(one.train - other.train).max() > 0.1
