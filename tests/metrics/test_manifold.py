import numpy as np
import pytest
from scipy.spatial.distance import cdist

from otgan.errors import UserError
from otgan.metrics import blocks
from otgan.metrics.manifold import Manifold, manifold_scores


def _by_definition(x, y):
    """Every ball and every point, one pair at a time; distances from differences."""

    def radius(z, k):
        return np.sort(cdist(z, z) + np.diag(np.full(len(z), np.inf)), axis=1)[:, k - 1]

    d = cdist(x, y)
    return Manifold(
        precision=float(np.mean([(d[i] <= radius(y, 3)).any() for i in range(len(x))])),
        recall=float(np.mean([(d[:, j] <= radius(x, 3)).any() for j in range(len(y))])),
        density=float(np.mean([(d[i] <= radius(y, 5)).sum() / 5 for i in range(len(x))])),
        coverage=float(np.mean([(d[:, j] <= radius(y, 5)[j]).any() for j in range(len(y))])),
    )


@pytest.mark.parametrize(
    ("n", "m", "d", "shift"), [(60, 80, 4, 0.5), (90, 50, 2, 0.0), (30, 30, 30, 1.0)]
)
def test_all_four_equal_their_definitions(n, m, d, shift, monkeypatch):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, d)) + shift, rng.normal(size=(m, d))
    truth = _by_definition(x, y)
    assert manifold_scores(x, y) == pytest.approx(truth)
    assert 0 < truth.precision < 1 or 0 < truth.recall < 1  # the case says something
    monkeypatch.setattr("otgan.metrics.manifold.slices", lambda count: blocks.slices(count, 7))
    assert manifold_scores(x, y) == pytest.approx(truth)


def test_identical_sets_are_perfect():
    # far from zero, where the product formula cancels
    x = 1e3 + np.random.default_rng(0).normal(size=(200, 64))
    assert manifold_scores(x, x[::-1]) == (1, 1, pytest.approx(6 / 5), 1)


def test_identical_sets_of_copies_are_perfect():
    # every ball has radius zero; the last block is one row
    x = np.repeat(np.random.default_rng(1).normal(size=(91, 64)), 11, axis=0)
    scores = manifold_scores(x, x[np.random.default_rng(2).permutation(1_001)])
    assert (scores.precision, scores.recall, scores.coverage) == (1, 1, 1)
    assert scores.density == pytest.approx(11 / 5)  # eleven copies in each ball of five


def test_points_lie_in_the_balls_of_their_copies():
    """In products of other shapes, the same distance rounds otherwise."""
    x = np.random.default_rng(1).normal(size=(333, 300))
    scores = manifold_scores(x, np.repeat(x, 6, axis=0))
    assert (scores.precision, scores.coverage) == (1, 1)


def test_sets_apart_have_nothing_in_common():
    x, y = np.random.default_rng(3).normal(size=(2, 100, 3))
    assert manifold_scores(x + 100, y) == (0, 0, 0, 0)


def test_a_dropped_mode_costs_recall_and_coverage_but_no_precision():
    rng = np.random.default_rng(4)
    y = rng.uniform(size=(200, 1)) + 50 * (np.arange(200)[:, None] < 100)
    scores = manifold_scores(y[100:], y)
    assert (scores.precision, scores.recall, scores.coverage) == (1, 0.5, 0.5)


def test_samples_between_the_real_ones_cost_precision_but_no_coverage():
    y = np.random.default_rng(5).uniform(size=(100, 1))
    scores = manifold_scores(np.concatenate([y, y + 50]), y)
    assert (scores.precision, scores.recall, scores.coverage) == (0.5, 1, 1)


def test_too_few_samples_are_refused_by_name():
    x = np.random.default_rng(6).normal(size=(10, 2))
    with pytest.raises(UserError, match="at least 6 generated samples, and there are 5"):
        manifold_scores(x[:5], x)
    with pytest.raises(UserError, match="real samples hold values that are not finite"):
        manifold_scores(x, np.where(x > 0, np.nan, x))
