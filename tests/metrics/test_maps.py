import numpy as np
import pytest

from otgan.metrics.maps import best_affine, unexplained_variance


def points(dim=3, size=500):
    rng = np.random.default_rng(dim)
    x = (100 + 5 * rng.standard_normal((size, dim))).astype(np.float32)
    return x, (np.sin(x) + x @ rng.standard_normal((dim, dim))).astype(np.float32)


def test_the_true_map_leaves_nothing_and_the_mean_leaves_all():
    _, images = points()
    assert unexplained_variance(images, images) == 0
    mean = np.broadcast_to(images.mean(axis=0, dtype=np.float64), images.shape)
    assert unexplained_variance(mean, images) == pytest.approx(100)
    assert unexplained_variance(images, images[::-1]) > 150  # unrelated points: twice the variance


def test_an_error_counts_as_its_share_of_the_variance():
    """An error of a tenth of the deviation in each coordinate is a hundredth of the variance."""
    _, images = points(size=4_000)
    noise = 0.1 * images.std(axis=0) * np.random.default_rng(0).standard_normal(images.shape)
    assert unexplained_variance(images + noise, images) == pytest.approx(1, rel=0.1)


def test_the_best_affine_map_is_exact_for_affine_ones_and_else_the_nearest():
    x, images = points()
    slope = np.random.default_rng(1).standard_normal((3, 3))
    straight = (x @ slope - 7).astype(np.float32)
    assert unexplained_variance(best_affine(x, straight), straight) < 1e-6
    best = unexplained_variance(best_affine(x, images), images)
    shaken = np.random.default_rng(2).standard_normal((20, 3, 3))
    for other in best_affine(x, images) + 0.01 * (x - x.mean(axis=0)) @ shaken:
        assert unexplained_variance(other, images) > best
