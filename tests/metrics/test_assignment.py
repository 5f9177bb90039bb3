"""Judged by SciPy on the costs as they are, and by POT."""

from itertools import permutations

import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from otgan.metrics.assignment import assign

RNG = np.random.default_rng(0)
MODES = RNG.integers(0, 5, (300, 2)) * 2.0
CLOUDS = {
    "near": (MODES + 0.1 * RNG.normal(size=(300, 2)), MODES + 0.1 * RNG.normal(size=(300, 2))),
    "a blob and modes": (0.7 * RNG.normal(size=(300, 2)), MODES + 0.1 * RNG.normal(size=(300, 2))),
    "many coordinates": (RNG.normal(size=(200, 300)), 0.5 * RNG.normal(size=(200, 300))),
    "far apart": (RNG.normal(size=(200, 3)), RNG.normal(size=(200, 3)) + 1e6),
    "heavy tails": (RNG.standard_cauchy((200, 2)) ** 3, RNG.standard_cauchy((200, 2))),
    "on a line": (RNG.normal(size=(200, 1)), RNG.normal(size=(200, 1))),
    "duplicates": (np.repeat(RNG.normal(size=(20, 2)), 10, axis=0), RNG.normal(size=(200, 2))),
    "one point": (np.zeros((50, 2)), np.ones((50, 2))),
    "one pair": (np.zeros((1, 2)), np.ones((1, 2))),
}


@pytest.mark.parametrize("metric", ["sqeuclidean", "euclidean"])
@pytest.mark.parametrize("scale", [1e-20, 1.0, 1e20])
@pytest.mark.parametrize("clouds", CLOUDS)
def test_the_total_is_the_smallest_and_every_column_is_taken_once(clouds, scale, metric):
    x, y = CLOUDS[clouds]
    costs = scale * cdist(x, y, metric)
    columns = assign(costs)
    assert sorted(columns) == [*range(len(y))]
    rows = np.arange(len(x))
    best = costs[linear_sum_assignment(costs)].sum()
    assert costs[rows, columns].sum() == pytest.approx(best, rel=1e-12)
    uniform = np.full(len(x), 1 / len(x))
    assert costs[rows, columns].mean() / scale == pytest.approx(
        ot.emd2(uniform, uniform, costs / scale), rel=1e-9
    )


def test_rounding_of_the_largest_cost_does_not_decide():
    """POT's is seven times as much."""
    apart = 1e9 * (np.arange(100)[:, None] % 2)
    x, y = (RNG.normal(size=(100, 2)) + apart for _ in range(2))
    costs = cdist(x, y, "sqeuclidean")
    best = costs[linear_sum_assignment(costs)].sum()
    assert costs[range(100), assign(costs)].sum() == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_of_few_it_is_the_best_of_all(seed):
    costs = np.random.default_rng(seed).normal(size=(5, 5)) ** 2
    totals = {order: costs[range(5), order].sum() for order in permutations(range(5))}
    assert tuple(assign(costs)) == min(totals, key=lambda order: totals[order])


@pytest.mark.parametrize("costs", [np.zeros((0, 0)), np.zeros((3, 3)), -np.eye(3)])
def test_costs_that_are_nothing_or_below_zero_are_assigned_too(costs):
    assert costs[range(len(costs)), assign(costs)].sum() == -np.trace(-costs)


def test_single_precision_is_summed_in_double():
    costs = np.random.default_rng(1).random((200, 200), np.float32) + np.float32(1e4)
    np.testing.assert_array_equal(assign(costs), assign(costs.astype(np.float64)))


def test_what_is_no_number_is_refused():
    with pytest.raises(ValueError, match="invalid numeric"):
        assign(np.array([[1.0, np.nan], [1.0, 1.0]]))
