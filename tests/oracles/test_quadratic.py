"""The L2-regularized oracle against independent solvers (POT, SciPy), its certificate against the
truth, and hard inputs.
"""

from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.optimize import linear_sum_assignment, minimize

from otgan.oracles.quadratic import _certified_gap, exact_shift, solve_quadratic
from tests.support.zoo import zoo

solve = jax.jit(solve_quadratic, static_argnames=("iterations_per_check", "max_iterations"))
solve_well = partial(solve, iterations_per_check=1, max_iterations=200)


def dual_value(f, g, C, lam):
    return f.mean() + g.mean() - (np.maximum(f[:, None] + g - C, 0) ** 2).mean() / (2 * lam)


@cache
def lower_bound(name, m, lam):
    """The dual optimum, or a little less: the better of L-BFGS on the dual and (n = m) the
    assignment plus lam / 2, as mean(w^2) >= 1.
    """
    C = zoo(m)[name]
    n = len(C)

    def loss(fg):
        f, g = fg[:n], fg[n:]
        w = np.maximum(f[:, None] + g - C, 0) / lam
        return (
            -dual_value(f, g, C, lam),
            np.r_[w.mean(1) - 1, w.mean(0) - 1] / np.r_[np.full(n, n), np.full(m, m)],
        )

    start = np.r_[C.min(1), np.full(m, lam)]
    found = -minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-12},
    ).fun
    return max(found, C[linear_sum_assignment(C)].mean() + lam / 2) if n == m else found


# POT passes L-BFGS-B an option that SciPy drops
@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")
@pytest.mark.parametrize("lam", [0.03, 0.3, 3.0])
def test_value_and_plan_agree_with_pot(x64, lam):
    n, m = 5, 6
    C = np.random.default_rng(0).random((n, m)) * 2 - 0.5
    # POT penalizes reg / 2 * sum(P^2), and mean(w^2) = n m sum(P^2).
    P: Any = ot.smooth.smooth_ot_dual(
        np.full(n, 1 / n),
        np.full(m, 1 / m),
        C,
        lam * n * m,
        reg_type="l2",
        stopThr=1e-14,
        numItermax=10_000,
    )
    solution = solve_well(C, lam, 1e-12)
    assert solution.converged
    np.testing.assert_allclose(solution.plan, P, atol=1e-6)
    np.testing.assert_allclose(
        solution.value, (P * C).sum() + lam / 2 * n * m * (P**2).sum(), atol=1e-7
    )
    np.testing.assert_allclose(
        solution.value,
        dual_value(np.asarray(solution.f), np.asarray(solution.g), C, lam),
        atol=1e-12,
    )


@pytest.mark.parametrize("m", [24, 30])
@pytest.mark.parametrize("budget", [1, 2, 4, 8, 30])
def test_gap_is_never_below_the_true_suboptimality(x64, m, budget):
    for name, C in zoo(m).items():
        for relative in (1e-4, 1e-2, 1.0):
            lam = relative * np.abs(C).mean()
            solution = solve(C, lam, 0.0, iterations_per_check=1, max_iterations=budget)
            missing = lower_bound(name, m, lam) - solution.value
            assert solution.gap >= missing - 1e-12 * np.abs(C).max(), (name, relative)


def test_gap_is_never_below_the_true_suboptimality_at_any_potentials(x64):
    gap = jax.jit(_certified_gap)
    rng = np.random.default_rng(1)
    for name, C in zoo(30).items():
        lam = 0.05 * np.abs(C).mean()
        best = lower_bound(name, 30, lam)
        for spread in (0.0, 0.1, 1.0, 10.0):
            f, g = (C.std() * spread * rng.normal(size=size) + C.mean() / 2 for size in C.shape)
            assert gap(f, g, C, lam)[0] >= best - dual_value(f, g, C, lam), (name, spread)


def test_gap_closes_on_the_zoo(x64):
    for name, C in zoo(30).items():
        for relative in (1e-3, 1e-1, 10.0):
            mean = np.abs(C).mean()
            solution = solve_well(C, relative * mean, 1e-8 * mean)
            assert solution.converged, (name, relative)
            np.testing.assert_allclose(
                solution.value,
                lower_bound(name, 30, relative * mean),
                atol=1e-7 * mean,
                err_msg=f"{name} {relative}",
            )
            assert solution.iterations < 60, (name, relative)


def test_single_precision_gap_covers_the_true_suboptimality():
    for name, C in zoo(30).items():
        mean = np.abs(C).mean()
        solution = solve(
            C.astype(np.float32),
            np.float32(0.01 * mean),
            np.float32(1e-2 * mean),
            iterations_per_check=1,
            max_iterations=100,
        )
        assert solution.plan.dtype == solution.value.dtype == np.float32
        assert solution.converged, name
        assert (
            solution.gap
            >= lower_bound(name, 30, 0.01 * mean) - float(solution.value) - 1e-6 * np.abs(C).max()
        ), name


def test_plan_is_the_gradient_of_the_solved_value(x64):
    C = np.random.default_rng(2).random((5, 6))
    h = 1e-5

    def value(C):
        return float(solve_well(C, 0.1, 1e-13).value)

    plan = solve_well(C, 0.1, 1e-13).plan
    for entry in np.ndindex(C.shape):
        step = np.zeros_like(C)
        step[entry] = h
        assert (value(C + step) - value(C - step)) / (2 * h) == pytest.approx(
            float(plan[entry]), abs=1e-6
        )


def test_large_lam_gives_the_product_plan(x64):
    C = np.random.default_rng(4).random((7, 9))
    solution = solve_well(C, 100.0, 1e-12)
    np.testing.assert_allclose(solution.plan, 1 / 63, rtol=0.02)
    np.testing.assert_allclose(solution.plan.sum(1), 1 / 7, rtol=1e-9)
    assert solution.value == pytest.approx(C.mean() + 50, abs=1e-2)


def test_small_lam_gives_the_assignment(x64):
    C = np.random.default_rng(5).random((12, 12))
    rows, columns = linear_sum_assignment(C)
    lam = 1e-6
    solution = solve_well(C, lam, 1e-8)
    assert solution.converged
    assignment = C[rows, columns].mean()
    # 1 <= mean(w^2) <= n over all plans.
    assert assignment + lam / 2 - 1e-8 <= solution.value <= assignment + 6 * lam
    np.testing.assert_allclose(solution.plan[rows, columns], 1 / 12, rtol=1e-2)


@pytest.mark.parametrize(("per_check", "budget"), [(1, 1), (1, 2), (3, 7), (10, 4)])
def test_spent_budget_is_not_convergence(per_check, budget):
    C = zoo(30)["modes to blob"].astype(np.float32)
    solution = solve(
        C, 1e-4 * C.mean(), 1e-7, iterations_per_check=per_check, max_iterations=budget
    )
    assert not solution.converged
    assert solution.iterations == budget
    assert np.isfinite(solution.gap)
    assert solution.gap > 1e-7


@pytest.mark.parametrize("budget", [1, 2, 30])
def test_value_and_plan_are_those_of_the_potentials_even_when_unsolved(x64, budget):
    C = zoo(30)["modes to blob"]
    lam = 1e-2 * C.mean()
    solution = solve(C, lam, 0.0, iterations_per_check=1, max_iterations=budget)
    f, g = np.asarray(solution.f), np.asarray(solution.g)
    np.testing.assert_allclose(
        solution.plan, np.maximum(f[:, None] + g - C, 0) / lam / C.size, atol=1e-10
    )
    assert solution.value == pytest.approx(dual_value(f, g, C, lam))


def test_small_budget_ends_at_the_true_lam(x64):
    C = zoo(30)["modes to blob"]
    solution = solve(C, 1e-2 * C.mean(), 0.0, iterations_per_check=1, max_iterations=6)
    assert solution.gap < 0.005 * C.mean()  # 0.026 where lam runs past the true one


def test_infinite_epsilon_still_reaches_the_true_lam():
    C = zoo(30)["modes to blob"].astype(np.float32)
    solution = solve(C, 1e-2 * C.mean(), np.inf, iterations_per_check=1, max_iterations=30)
    assert solution.converged
    assert solution.gap < 0.5 * C.mean()


def test_the_shift_makes_rows_exact_from_anywhere(x64):
    rng = np.random.default_rng(8)
    for offset in (-1e3, -1.0, 0.0, 1.0, 1e3):
        V = offset + rng.standard_t(1.5, size=(20, 30))
        s = exact_shift(jnp.asarray(V), jnp.asarray(0.1), 1e-9, 50)
        np.testing.assert_allclose(
            np.maximum(V + np.asarray(s)[:, None], 0).mean(1), 0.1, rtol=1e-6
        )


def test_looser_epsilon_stops_earlier():
    C = zoo(30)["modes to blob"].astype(np.float32)
    loose, tight = (solve_well(C, 1e-3 * C.mean(), epsilon * C.mean()) for epsilon in (0.1, 1e-4))
    assert loose.converged
    assert tight.converged
    assert loose.iterations < tight.iterations


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_any_unit_of_cost_gives_the_same_plan(scale):
    C = zoo(30)["modes to blob"].astype(np.float32)
    plain, scaled = (
        solve_well(np.float32(s) * C, np.float32(s * 0.1), np.float32(s * 0.01))
        for s in (1.0, scale)
    )
    assert scaled.converged
    assert scaled.gap >= 0
    np.testing.assert_allclose(scaled.plan, plain.plan, atol=1e-6)
    np.testing.assert_allclose(scaled.value / np.float32(scale), plain.value, rtol=1e-4)


def hard_costs():
    rng = np.random.default_rng(6)
    half = np.where(rng.random((6, 7)) < 0.5, -1e38, 1e38)
    return {
        "constant": np.full((6, 7), 3.0),
        "zero": np.zeros((6, 7)),
        "one row": rng.random((1, 7)),
        "one column": rng.random((6, 1)),
        "one pair": np.ones((1, 1)),
        "outlier": np.r_[rng.random((5, 7)), np.full((1, 7), 1e9)],
        "offset": 1e6 + rng.random((6, 7)),
        "huge": half,
    }


@pytest.mark.parametrize("name", hard_costs())
@pytest.mark.parametrize("lam", [1e-30, 1e-3, 1e3, 1e30])
def test_finite_costs_never_give_nan(name, lam):
    C = hard_costs()[name].astype(np.float32)
    solution = solve(C, np.float32(lam), np.float32(0), iterations_per_check=2, max_iterations=20)
    for field in solution:
        assert np.isfinite(field).all()
    assert solution.gap >= 0


def test_nan_cost_is_not_convergence():
    C = np.full((6, 7), np.nan, np.float32)
    solution = solve(C, 1.0, 1.0, iterations_per_check=2, max_iterations=20)
    assert not solution.converged
    assert solution.iterations == 20


def test_jit_and_no_jit_agree(x64):
    C = np.random.default_rng(7).random((5, 6))
    settings = {"iterations_per_check": 2, "max_iterations": 4}
    compiled = solve(C, jnp.asarray(0.01), jnp.asarray(1e-4), **settings)
    with jax.disable_jit():
        plain = solve_quadratic(jnp.asarray(C), 0.01, 1e-4, **settings)
    for one, other in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-10)


def test_scan_over_batches_with_traced_lam_keeps_single_precision(x64):
    costs = jnp.asarray(
        np.stack([zoo(30)[name] for name in ("near", "far", "random")]), jnp.float32
    )

    def one(_, C):
        return None, solve_quadratic(
            C, 0.1 * C.mean(), 0.01 * C.mean(), iterations_per_check=1, max_iterations=50
        )

    together = jax.jit(lambda costs: jax.lax.scan(one, None, costs)[1])(costs)
    assert together.plan.dtype == together.gap.dtype == jnp.float32
    for k, C in enumerate(costs):
        alone = solve(C, 0.1 * C.mean(), 0.01 * C.mean(), iterations_per_check=1, max_iterations=50)
        np.testing.assert_allclose(together.plan[k], alone.plan, atol=1e-6)
        assert together.iterations[k] == alone.iterations
        assert together.converged[k]


@pytest.mark.parametrize("lam", [0.1, 1.0])
def test_plan_is_the_quadratic_programs(x64, lam):
    """The primal itself, over the plan with its marginals as constraints, by SciPy's SLSQP."""
    n, m = 4, 5
    C = np.random.default_rng(7).random((n, m))
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    A, b = np.r_[rows, columns[:-1]], np.r_[np.full(n, 1 / n), np.full(m - 1, 1 / m)]
    found = minimize(
        lambda p: p @ C.ravel() + lam / 2 * n * m * (p @ p),
        np.full(n * m, 1 / (n * m)),
        jac=lambda p: C.ravel() + lam * n * m * p,
        bounds=[(0, None)] * (n * m),
        constraints={"type": "eq", "fun": lambda p: A @ p - b, "jac": lambda p: A},
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert found.success
    solution = solve_well(C, lam, 1e-12)
    np.testing.assert_allclose(solution.value, found.fun, atol=1e-8)
    np.testing.assert_allclose(solution.plan, found.x.reshape(n, m), atol=1e-5)
