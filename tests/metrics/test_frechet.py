import numpy as np
import pytest
from scipy.linalg import sqrtm

from otgan.errors import UserError
from otgan.metrics.frechet import (
    Moments,
    frechet_distance,
    frechet_infinity,
    needed,
    needed_infinity,
)


def _moments(x, batch=97):
    result = Moments.empty(x.shape[1])
    for start in range(0, len(x), batch):
        result = result.add(x[start : start + batch])
    return result


def _exact(mean, covariance):
    """Moments of a distribution that is known."""
    # N - 1 = 1: the scatter is the covariance
    return Moments(2, np.asarray(mean), np.asarray(covariance))


def test_moments_equal_numpys_however_they_are_batched():
    x = 1e3 + np.random.default_rng(0).normal(size=(1_000, 20)) @ np.random.default_rng(1).normal(
        size=(20, 20)
    )
    for batch in (1, 97, 1_000):
        moments = _moments(x, batch)
        assert moments.count == 1_000
        np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
        np.testing.assert_allclose(
            moments.covariance, np.cov(x.T), rtol=1e-8, atol=1e-8 * np.trace(np.cov(x.T))
        )


def test_float32_features_are_summed_in_float64():
    x = (100 + np.random.default_rng(0).normal(size=(5_000, 4))).astype(np.float32)
    np.testing.assert_allclose(_moments(x).covariance, np.cov(x.astype(np.float64).T), rtol=1e-10)


def test_diagonal_gaussians_by_their_closed_form():
    rng = np.random.default_rng(2)
    (m1, m2), (s1, s2) = rng.normal(size=(2, 30)), rng.uniform(0.1, 2, (2, 30))
    truth = np.sum((m1 - m2) ** 2) + np.sum((s1 - s2) ** 2)
    assert frechet_distance(
        _exact(m1, np.diag(s1**2)), _exact(m2, np.diag(s2**2))
    ) == pytest.approx(truth, rel=1e-10)


def test_general_gaussians_by_the_formula():
    rng = np.random.default_rng(3)
    a, b = rng.normal(size=(2, 25, 60))
    s1, s2, mean = a @ a.T / 60, b @ b.T / 60, rng.normal(size=25)
    truth = mean @ mean + np.trace(s1 + s2 - 2 * np.real(sqrtm(s1 @ s2)))
    p, q = _exact(np.zeros(25), s1), _exact(mean, s2)
    assert frechet_distance(p, q) == pytest.approx(truth, rel=1e-9)
    assert frechet_distance(q, p) == pytest.approx(truth, rel=1e-9)


# of 50 features: covariances of low rank, and one of full
@pytest.mark.parametrize("count", [10, 50, 500])
def test_a_set_is_at_distance_zero_from_itself(count):
    x = np.random.default_rng(4).normal(size=(count, 50))
    assert frechet_distance(_moments(x), _moments(x[::-1])) == pytest.approx(0, abs=1e-9)


def test_covariances_of_low_rank_have_their_distance():
    along, across = np.zeros((2, 40)), np.zeros((2, 40))
    # variances 2 and 8 in different directions: nothing in common
    along[:, 0], across[:, 1] = (1, -1), (2, -2)
    assert frechet_distance(_moments(along), _moments(across)) == pytest.approx(10)
    assert frechet_distance(_moments(along), _moments(2 * along)) == pytest.approx(
        (np.sqrt(8) - np.sqrt(2)) ** 2
    )
    # constant: no variance at all
    assert frechet_distance(_moments(np.ones((9, 3))), _moments(np.zeros((9, 3)))) == pytest.approx(
        3
    )


def test_low_rank_against_full_rank_by_its_eigenvalues():
    x = np.random.default_rng(7).normal(size=(10, 40))
    # roots of the covariance's eigenvalues: 10 - 1 = 9
    values = np.linalg.svd(x - x.mean(axis=0), compute_uv=False)[:9] / 3
    truth = np.sum(x.mean(axis=0) ** 2) + np.sum(values**2) + 40 - 2 * np.sum(values)
    assert frechet_distance(_moments(x), _exact(np.zeros(40), np.eye(40))) == pytest.approx(
        truth, rel=1e-7
    )


def test_the_extrapolation_removes_the_bias_of_few_samples():
    d, rng = 40, np.random.default_rng(5)
    reference = _exact(np.zeros(d), np.eye(d))
    samples = [1.2 * rng.normal(size=(2_000, d)) for _ in range(5)]
    truth = d * 0.2**2
    plain = np.mean([frechet_distance(_moments(x), reference) for x in samples])
    extrapolated = np.mean([frechet_infinity(x, reference) for x in samples])
    assert plain > truth + 0.2
    assert extrapolated == pytest.approx(truth, abs=0.1)  # one such value scatters by 0.06


def test_too_few_or_broken_features_are_refused():
    x = np.random.default_rng(6).normal(size=(20, 5))
    assert needed(5) == 6
    with pytest.raises(UserError, match=f"at least {needed_infinity(5)} "):
        frechet_infinity(x, _moments(x))
    with pytest.raises(UserError, match="at least 2 samples"):
        frechet_distance(_moments(x[:1]), _moments(x))
    with pytest.raises(UserError, match="not finite"):
        _moments(np.full((3, 2), np.inf))
