"""Numbers that lie: whatever the scale, the offset, the cloud and lambda, a dual either certifies
what is true, judged in double precision, or says that it did not get there.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otgan.costs import make_cost
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from tests.support.semidual import optimum

pytestmark = pytest.mark.slow

SHAPES = [(2, 2), (16, 16), (8, 24)]  # each compiles
TAU = 0.1  # of the mean cost
ROUNDING = 1e-6


def cloud(draw, kind, size):
    return {
        "gaussian": lambda: draw.normal(size=(size, 3)),
        "collapsed": lambda: 1e-3 * draw.normal(size=(size, 3)),
        "duplicated": lambda: np.repeat(draw.normal(size=(size // 2, 3)), 2, 0),
        "one point": lambda: np.ones((size, 3)),
        "heavy-tailed": lambda: draw.standard_t(1.1, size=(size, 3)),
        "with zeros": lambda: draw.normal(size=(size, 3)) * (np.arange(size) % 2)[:, None],
    }[kind]()


KINDS = ["gaussian", "collapsed", "duplicated", "one point", "heavy-tailed", "with zeros"]


@cache
def compiled(regularizer, relaxed):
    del relaxed  # compiled apart
    solve = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]
    return jax.jit(partial(solve, iterations_per_check=5, max_iterations=500))


@settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)),
    shape=st.sampled_from(SHAPES),
    cost=st.sampled_from(["squared_l2", "l1", "cosine"]),
    dual=st.sampled_from([("kl", None), ("kl", TAU), ("l2", None)]),
    lam=st.floats(-6, 3),
    epsilon=st.floats(-4, 0),
    scale=st.floats(-6, 6),
    offset=st.sampled_from([0.0, 0.0, 1.0, 1e4, -1e4]),
    seed=st.integers(0, 99),
)
def test_a_dual_certifies_what_is_true(kinds, shape, cost, dual, lam, epsilon, scale, offset, seed):
    draw = np.random.default_rng(seed)
    x, y = (cloud(draw, kind, size) for kind, size in zip(kinds, shape, strict=True))
    C = np.asarray(make_cost(cost)(jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)))
    C = ((C + offset * max(C.mean(), 1e-3)) * 10**scale).astype(np.float32)
    mean = max(float(np.abs(C.astype(float)).mean()), 1e-12)
    regularizer, tau = dual
    amounts = [np.float32(10**lam * mean), np.float32(10**epsilon * mean)]
    if tau:
        amounts.append(np.float32(tau * mean))
    found = compiled(regularizer, bool(tau))(C, *amounts)
    gap, value = float(found.gap), float(found.value)
    assert bool(found.converged) == (gap <= amounts[1])
    assert not np.isnan([gap, value, float(found.floor)]).any()
    plan = np.asarray(found.plan, float)
    assert np.all(plan >= 0)
    np.testing.assert_allclose(plan.sum(1), 1 / len(C), rtol=10 * ROUNDING)
    if not np.isfinite(gap):  # it says that it knows nothing
        return
    best = optimum(C, float(amounts[0]), tau and float(amounts[2]), regularizer)
    slack = best.error + 1e-9 * mean
    assert best.value - value <= gap + slack
    assert value - best.value <= float(found.floor) + slack
