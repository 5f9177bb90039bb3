"""The one bracket of exact transport, judged by the assignment problem."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from otgan.costs import squared_l2
from otgan.oracles.bracket import bracket_transport

bracket = jax.jit(bracket_transport, static_argnames="max_iterations")


def clouds(n, d, seed=0):
    """Apart by more than they are wide, the second in as many copies as `n` says."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(200, d)), np.repeat(2 * rng.normal(size=(200, d)) + 1, n, axis=0)


def exact(costs):
    rows, columns = linear_sum_assignment(costs)
    return costs[rows, columns].mean()


@pytest.mark.parametrize(("copies", "d"), [(1, 2), (1, 20), (5, 2)])
@pytest.mark.parametrize(("settings", "width"), [((0.005, 0.002), 0.03), ((0.002, 0.002), 0.02)])
def test_the_exact_cost_lies_within(copies, d, settings, width):
    x, y = clouds(copies, d)
    found = bracket(squared_l2(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)), *settings)
    every = np.repeat(x, copies, axis=0)
    truth = exact(((every[:, None] - y[None]) ** 2).sum(-1))
    assert float(found.lower) <= truth * (1 + 1e-6)
    assert float(found.upper) >= truth * (1 - 1e-6)
    assert float(found.upper) - float(found.lower) < width * truth


def test_it_holds_however_little_was_solved():
    x, y = clouds(1, 2)
    costs = ((x[:, None] - y[None]) ** 2).sum(-1)
    found = bracket(jnp.asarray(costs, jnp.float32), max_iterations=1)
    assert float(found.lower) <= exact(costs) <= float(found.upper)


def test_points_that_are_all_one_cost_nothing():
    found = bracket(jnp.zeros((5, 7)))
    assert float(found.lower) == pytest.approx(0, abs=1e-25)
    assert float(found.upper) == pytest.approx(0, abs=1e-25)


def test_its_parts_may_be_summed_in_double_precision():
    x, y = clouds(1, 2)
    found = bracket(squared_l2(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)))
    assert found.in_double() == pytest.approx((float(found.lower), float(found.upper)), rel=1e-6)
    assert found.in_double()[1] == np.asarray(found.parts, np.float64).sum()
