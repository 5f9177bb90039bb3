import numpy as np
import pytest

from otgan.errors import UserError
from otgan.metrics import kernel


def _loop(x, y):
    """The unbiased estimate, term by term."""

    def k(a, b):
        return (float(a @ b) / len(a) + 1) ** 3

    def within(z):
        return np.mean([k(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j])

    return within(x) + within(y) - 2 * np.mean([k(a, b) for a in x for b in y])


def test_the_estimate_equals_a_double_loop(monkeypatch):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 7)), rng.normal(size=(41, 7)) + 0.3
    assert kernel.squared_mmd(x, y) == pytest.approx(_loop(x, y), rel=1e-10)
    monkeypatch.setattr(
        kernel, "slices", lambda count: (slice(i, i + 4) for i in range(0, count, 4))
    )
    assert kernel.squared_mmd(x, y) == pytest.approx(_loop(x, y), rel=1e-10)


def test_one_subset_of_everything_is_everything():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 50, 5))
    mean, sd = kernel.kernel_distance(x, y, subsets=3, size=50)
    assert mean == pytest.approx(kernel.squared_mmd(x, y))
    assert sd == pytest.approx(0, abs=1e-12)


def test_the_expectation_is_that_of_the_distributions_whatever_the_size():
    """One dimension, N(0, 1) against N(1, 1): by the moments 1, 0, 1, 0 and 1, 1, 2, 4 of both, the
    cubic kernel's feature means differ by sqrt(3) 1, sqrt(3) 1 and 4.
    """
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20_000, 1)), rng.normal(size=(20_000, 1)) + 1
    for size in (5, 200):
        mean, sd = kernel.kernel_distance(x, y, subsets=2_000, size=size)
        assert mean == pytest.approx(3 + 3 + 16, abs=5 * sd / np.sqrt(2_000) + 1)


def test_equal_distributions_are_near_zero_on_either_side():
    rng = np.random.default_rng(3)
    values = [kernel.squared_mmd(*rng.normal(size=(2, 100, 3))) for _ in range(200)]
    assert np.mean(values) == pytest.approx(0, abs=4 * np.std(values) / np.sqrt(200))
    assert min(values) < 0 < max(values)


def test_a_set_smaller_than_a_subset_is_refused():
    x = np.zeros((10, 2))
    with pytest.raises(UserError, match="at least 11 features"):
        kernel.kernel_distance(x, x, size=11)
