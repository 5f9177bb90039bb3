"""What a batch's problems cost, and that a cloud and itself are one cloud."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.config import Amount, Regularized
from otgan.costs import GroundCost
from otgan.data import Form
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.regularized import RegularizedDual
from otgan.oracles.terms import BatchFeatures
from otgan.problem import NOBODY, Problem

N, D = 40, 24
LAM, EPSILON = 3.0, 1e-3


def pulling(learned=False):
    oracle = Regularized(lam=Amount(LAM), epsilon=Amount(EPSILON))
    cost = GroundCost("squared_l2", learned=learned)
    dual = RegularizedDual(oracle, Problem(cost, NOBODY, Form((), True, (), 1.0, 0), N, N, 2, 1))
    return jax.jit(
        lambda x, y: dual.pulled(BatchFeatures((x,), (y,)), dual.fixed_epsilon, jnp.ones(()))[0]
    )


def clouds():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(N, D)), jnp.float32) for _ in range(2)]


def products(program):
    """The dots whose result is as large as a cost matrix or a cloud."""
    found = re.findall(r"= f32\[(\d+),(\d+)\]\S* dot\(", program.as_text())
    return [shape for shape in found if {*map(int, shape)} <= {N, D}]


@pytest.mark.slow
def test_a_gradient_takes_no_product_that_it_can_do_without():
    """Two for the costs of d(x, y) and d(y, y), and one for each pull on y."""
    assert len(products(pulling().lower(*clouds()).compile())) == 4


@pytest.mark.slow
@pytest.mark.parametrize("learned", [False, True])
def test_a_cloud_moves_on_both_sides_of_itself(learned):
    """Against the gradient of <P, C> with both sides free."""
    x, y = clouds()
    pulls = pulling(learned)(x, y)

    def loss(x, y):
        value = 0.0
        own = [(y, y), (x, x)] if learned else [(y, y)]
        for weight, a, b in [(2.0, x, y), *((-1.0, a, b) for a, b in own)]:
            squares = jnp.sum((a[:, None] - b[None]) ** 2, axis=-1)
            plan = solve_entropic(
                jax.lax.stop_gradient(squares), LAM, EPSILON, symmetric=a is b
            ).plan
            value += weight * jnp.sum(jax.lax.stop_gradient(plan) * squares)
        return value

    expected = jax.jit(jax.grad(loss, (0, 1)))(x, y)
    found = (pulls.x[0], pulls.y[0]) if learned else (None, pulls[0])
    for own, side in zip(found, expected, strict=True):
        if own is not None:
            np.testing.assert_allclose(own, side, rtol=1e-3, atol=1e-5)
