"""The entropic oracle against independent solvers (SciPy, POT), its certificate against the truth,
and hard inputs.
"""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment, minimize
from scipy.special import logsumexp

from otgan.costs import squared_l2
from otgan.oracles.divergence import generalized_kl
from otgan.oracles.entropic import solve_entropic
from tests.support.zoo import matrix_root, squared_distances, zoo

solve = jax.jit(
    solve_entropic,
    static_argnames=("anneal", "iterations_per_check", "max_iterations", "symmetric"),
)
solve_well = partial(solve, max_iterations=50_000)


def rows_potential(g, C, lam):
    """The best f at a g, in closed form."""
    return -lam * (logsumexp((g - C) / lam, axis=1) - np.log(C.shape[1]))


def dual_value(f, g, C, lam, tau=None):
    columns = g.mean() if tau is None else -tau * np.expm1(-g / tau).mean()
    return f.mean() + columns - lam * (np.exp((f[:, None] + g - C) / lam).mean() - 1)


@cache
def optimum(name, m, lam, tau=None):
    """The dual optimum or a little less, by L-BFGS over g alone; and its plan."""
    C = zoo(m)[name]

    def loss(g):
        f = rows_potential(g, C, lam)
        plan = np.exp((f[:, None] + g - C) / lam) / C.size
        slope = (np.full(m, 1 / m) if tau is None else np.exp(-g / tau) / m) - plan.sum(0)
        return -dual_value(f, g, C, lam, tau), -slope

    options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15, "gtol": 1e-12, "maxcor": 30}
    found = minimize(loss, np.zeros(m), jac=True, method="L-BFGS-B", options=options)
    f = rows_potential(found.x, C, lam)
    return -found.fun, np.exp((f[:, None] + found.x - C) / lam) / C.size


NAMES = [
    "random",
    "modes to blob",
    "near",
    "equal",
    "far",
    "collapsed",
    "ties",
    "heavy",
    "negative",
]
TAUS = [None, 0.3, 3.0]


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gap_is_never_below_the_true_suboptimality(x64, name, tau):
    for m in (24, 17):
        C = jnp.asarray(zoo(m)[name])
        for share in (0.01, 0.1, 1.0):
            lam = share * float(np.abs(C).mean())
            best, _ = optimum(name, m, lam, tau)
            for budget in (1, 10, 40, 200):
                s = solve(C, lam, 0.0, tau, iterations_per_check=5, max_iterations=budget)
                value = dual_value(np.asarray(s.f), np.asarray(s.g), np.asarray(C), lam, tau)
                assert s.gap >= best - value - 1e-10 * (abs(best) + abs(value))
                assert np.isfinite(s.gap)
                assert s.iterations <= budget


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gap_covers_the_true_suboptimality_in_single_precision(name, tau):
    C = zoo(24)[name]
    scale = float(np.abs(C).max())
    lam = 0.1 * float(np.abs(C).mean())
    best, _ = optimum(name, 24, lam, tau)
    for budget in (10, 40, 2_000):
        s = solve(
            jnp.asarray(C, jnp.float32),
            jnp.float32(lam),
            jnp.float32(0),
            tau and jnp.float32(tau),
            max_iterations=budget,
        )
        value = dual_value(np.asarray(s.f, float), np.asarray(s.g, float), C, lam, tau)
        assert s.gap > 0
        assert s.gap >= best - value - 1e-6 * scale


def test_mass_where_the_relaxed_marginal_has_none_is_an_infinite_divergence(x64):
    log = np.log
    p, q = jnp.array([0.5, 0.5, 0.0]), jnp.array([0.2, 0.7, 0.3])
    expected = 0.5 * log(2.5) + 0.5 * log(5 / 7) - 1 + 1.2
    np.testing.assert_allclose(generalized_kl(jnp.log(p), jnp.log(q)), expected, rtol=1e-12)
    assert generalized_kl(jnp.log(p), jnp.log(jnp.array([1.0, 0.0, 0.0]))) == np.inf
    assert generalized_kl(jnp.log(p[:2]), jnp.array([-1000.0, 0.0])) > 400
    near = jnp.log(p[:2]) + jnp.array([1e-9, -1e-9])
    np.testing.assert_allclose(generalized_kl(near, jnp.log(p[:2])), 0.5e-18, rtol=1e-3)


@pytest.mark.parametrize("tau", TAUS)
@pytest.mark.parametrize("name", NAMES)
def test_the_gap_closes_and_the_value_is_the_optimum(x64, name, tau):
    C = zoo(24)[name]
    mean = np.abs(C).mean()
    best, plan = optimum(name, 24, 0.1 * mean, tau)
    s = solve_well(jnp.asarray(C), 0.1 * mean, 1e-6 * mean, tau)
    assert s.converged
    assert s.gap <= 1e-6 * mean
    np.testing.assert_allclose(s.value, best, atol=1.1e-6 * mean)
    np.testing.assert_allclose(s.plan, plan, atol=2e-3 / 24)


@pytest.mark.parametrize("reg", [0.02, 0.2, 2.0])
def test_value_and_plan_agree_with_pot(x64, reg):
    C = np.random.default_rng(0).random((5, 6)) * 2 - 0.5
    P: Any = ot.sinkhorn(
        np.full(5, 1 / 5),
        np.full(6, 1 / 6),
        C,
        reg,
        method="sinkhorn_log",
        stopThr=1e-14,
        numItermax=200_000,
    )
    s = solve_well(jnp.asarray(C), reg, 1e-12)
    np.testing.assert_allclose(s.plan, P, atol=1e-6)
    np.testing.assert_allclose(s.value, (P * C).sum() + reg * (P * np.log(P * 30)).sum(), atol=1e-8)


@pytest.mark.parametrize("tau", [0.1, 1.0])
def test_the_semi_relaxed_plan_agrees_with_pot(x64, tau):
    C = np.random.default_rng(1).random((5, 6)) * 2
    a, b, reg = np.full(5, 1 / 5), np.full(6, 1 / 6), 0.1
    P = ot.unbalanced.sinkhorn_unbalanced(
        a,
        b,
        C,
        reg,
        (np.inf, tau),
        reg_type="kl",
        c=np.outer(a, b),
        stopThr=1e-14,
        numItermax=200_000,
    )
    s = solve(jnp.asarray(C), reg, 0.0, tau)
    np.testing.assert_allclose(s.plan, P, atol=1e-7)
    np.testing.assert_allclose(s.plan.sum(1), a, atol=1e-9)
    assert np.abs(np.asarray(s.plan.sum(0)) - b).max() > 1e-3  # the other side did move


def test_the_semi_relaxed_plan_becomes_the_balanced_one_as_tau_grows(x64):
    C = jnp.asarray(zoo(24)["modes to blob"])
    lam = 0.05 * float(C.mean())
    balanced = solve_well(C, lam, 1e-8)
    apart = [
        float(jnp.abs(solve_well(C, lam, 1e-8, tau * C.mean()).plan - balanced.plan).sum())
        for tau in (0.1, 10.0, 1e4)
    ]
    assert apart[0] > 0.05
    assert apart[0] > 10 * apart[1] > 100 * apart[2]


def test_small_lam_gives_the_assignment(x64):
    rng = np.random.default_rng(2)
    C = squared_distances(rng.normal(size=(24, 2)), rng.normal(size=(24, 2)))
    rows, columns = linear_sum_assignment(C)
    s = solve_well(jnp.asarray(C), 1e-3 * C.mean(), 1e-4 * C.mean())
    assert s.converged
    np.testing.assert_allclose((np.asarray(s.plan) * C).sum(), C[rows, columns].mean(), rtol=5e-3)
    assert (np.asarray(s.plan).argmax(1) == columns).mean() >= 0.9


def test_large_lam_gives_the_product_plan(x64):
    C = jnp.asarray(zoo(17)["random"])
    s = solve_well(C, 1e3, 1e-9)
    np.testing.assert_allclose(s.plan, 1 / C.size, rtol=2e-3)


@pytest.mark.parametrize("lam", [0.5, 2.0])
def test_between_gaussians_the_value_is_the_closed_form(lam):
    """Janati, Muzellec, Peyré, Cuturi (2020), Theorem 1, for the cost |x - y|^2 and lam = 2
    sigma^2, on large samples in the plane.
    """
    rng = np.random.default_rng(0)
    n, A, B = 4_000, np.array([[1.0, 0.3], [0.3, 0.5]]), np.array([[0.6, -0.2], [-0.2, 0.9]])
    x = rng.multivariate_normal([0, 0], A, n)
    y = rng.multivariate_normal([1, -1], B, n)
    A, B = np.cov(x.T), np.cov(y.T)  # of the samples: leaves the fluctuation of the moments out
    root = matrix_root(A)
    D = matrix_root(4 * root @ B @ root + (lam / 2) ** 2 * np.eye(2))
    half = lam / 2
    entropy = -half * (
        np.trace(D) / half - np.log(np.linalg.det(D + half * np.eye(2))) + 2 * np.log(2 * half) - 2
    )
    closed = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(A + B) + entropy
    s = solve(
        jnp.asarray(squared_distances(x, y), jnp.float32), jnp.float32(lam), jnp.float32(1e-3)
    )
    assert s.converged
    np.testing.assert_allclose(s.value, closed, rtol=0.02)


def test_the_plan_is_the_gradient_of_the_solved_value(x64):
    C = zoo(24)["modes to blob"]
    lam, step = 0.05 * C.mean(), 1e-3
    rng = np.random.default_rng(3)
    for tau in (None, 0.1 * C.mean()):
        at = solve_well(jnp.asarray(C), lam, 1e-10, tau)
        direction = rng.normal(size=C.shape)
        up, down = (
            solve_well(jnp.asarray(C + sign * step * direction), lam, 1e-10, tau).value
            for sign in (1, -1)
        )
        np.testing.assert_allclose(
            (up - down) / (2 * step), (np.asarray(at.plan) * direction).sum(), rtol=1e-4
        )


def test_a_cloud_against_itself_converges_at_once_to_symmetric_potentials(x64):
    rng = np.random.default_rng(4)
    x = rng.normal(size=(40, 2))
    C = jnp.asarray(squared_distances(x, x))
    for lam in (0.01, 0.3):
        s = solve(C, lam, 1e-4, symmetric=True)
        assert s.converged
        assert s.iterations <= 60
        # as closely as the dual is solved: the last update is of f alone
        np.testing.assert_allclose(s.f, s.g, atol=1e-4)
        np.testing.assert_allclose(s.value, solve_well(C, lam, 1e-8).value, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("name", NAMES)
def test_single_precision_is_finite_and_converges_in_any_unit(name, scale):
    C = jnp.asarray(zoo(24)[name] * scale, jnp.float32)
    mean = jnp.abs(C).mean()
    for tau in (None, 0.1 * mean):
        s = solve(C, 0.02 * mean, 0.05 * mean, tau, max_iterations=5_000)
        assert s.converged
        assert all(bool(jnp.isfinite(v).all()) for v in (s.f, s.g, s.plan, s.value, s.gap))
        assert s.gap >= 0


def test_a_spent_budget_is_not_convergence():
    C = jnp.asarray(zoo(24)["near"], jnp.float32)
    s = solve(C, jnp.float32(1e-4), jnp.float32(1e-9), max_iterations=30)
    assert not s.converged
    assert s.iterations == 30
    assert s.gap > 1e-9


def test_a_cost_that_is_not_a_number_is_not_convergence():
    C = jnp.full((4, 4), jnp.nan)
    s = solve(C, jnp.float32(0.1), jnp.float32(0.1), max_iterations=20)
    assert not s.converged
    assert s.iterations == 20


def test_the_starts_do_not_matter_to_the_answer(x64):
    C = jnp.asarray(zoo(24)["modes to blob"])
    lam = 0.02 * float(C.mean())
    values = [float(solve_well(C, lam, 1e-8, anneal=a).value) for a in (1.0, 2.0, 8.0)]
    np.testing.assert_allclose(values, values[0], atol=2e-8)


def test_annealing_saves_iterations_at_small_lam():
    C = jnp.asarray(zoo(24)["modes to blob"], jnp.float32)
    mean = C.mean()
    cold, annealed = (
        solve(C, 1e-3 * mean, 1e-2 * mean, anneal=a, max_iterations=20_000) for a in (1.0, 4.0)
    )
    assert annealed.converged
    assert annealed.iterations < 0.7 * cold.iterations


def test_jit_and_no_jit_agree():
    C = jnp.asarray(zoo(17)["random"], jnp.float32)
    args = (C, jnp.float32(0.1), jnp.float32(1e-3))
    for jitted, plain in zip(solve(*args), solve_entropic(*args), strict=True):
        np.testing.assert_allclose(jitted, plain, rtol=2e-5, atol=1e-7)


def test_known_potentials_spare_iterations_and_no_accuracy():
    """Those of the same real points against another generated batch, some of them lacking: fewer
    iterations to the same certified gap.
    """
    keys = jax.random.split(jax.random.key(3), 3)
    x, y, other = (
        jax.random.normal(key, (size, 2)) for key, size in zip(keys, (200, 150, 150), strict=True)
    )
    before, now = squared_l2(x, other), squared_l2(x, y)
    lam, epsilon = 0.02 * jnp.mean(now), 0.005 * jnp.mean(now)
    known = solve_entropic(before, lam, epsilon).f
    cold, exact = solve_entropic(now, lam, epsilon), solve_entropic(now, lam, 1e-3 * epsilon)
    for lacking in (0, 15):
        warm = solve_entropic(now, lam, epsilon, known=known.at[:lacking].set(jnp.nan))
        assert warm.converged
        assert float(warm.gap) >= float(exact.value - warm.value) - 1e-6
    assert solve_entropic(now, lam, epsilon, known=known).iterations < cold.iterations
    for lacking in (100, 200):  # too many: it starts as without any
        none = solve_entropic(now, lam, epsilon, known=known.at[:lacking].set(jnp.nan))
        assert none.iterations == cold.iterations
        np.testing.assert_allclose(none.value, cold.value, rtol=1e-6)
