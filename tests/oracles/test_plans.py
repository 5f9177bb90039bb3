"""What moves a player: the plans of all regularized duals as they are handed over in single
precision, judged in double precision.

Every plan has mass one and exact rows, its value and gap bracket the optimum, and it is as near to
the optimal plan as its gap promises.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from otgan.config import Amount, Regularized
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.terms import Amounts, Duals, Term, interval, solve_term
from tests.support.semidual import optimum
from tests.support.zoo import squared_distances

pytestmark = pytest.mark.slow

SIZE = 48
LAMS = [1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0]  # in multiples of the mean cost, as are the others
EPSILONS = [0.3, 0.03, 0.001]
TAU = 0.03
ROUNDING = 1e-6  # of sums of a few dozen single-precision numbers, relative


@cache
def clouds():
    """Costs by name, as float32: what generators make of a grid of Gaussians on their way, and what
    is hard for a solver.
    """
    rng = np.random.default_rng(11)

    def grid(size):
        return 2.0 * rng.integers(-2, 3, size=(size, 2)) + 0.1 * rng.normal(size=(size, 2))

    heavy = rng.standard_t(1.2, size=(2, SIZE, 2))
    pairs = {
        "gaussian": (rng.normal(size=(SIZE, 2)), 0.5 + 0.7 * rng.normal(size=(SIZE, 2))),
        "collapsed": (grid(SIZE), np.array([0.7, -0.3]) + 1e-3 * rng.normal(size=(SIZE, 2))),
        "clustered": (grid(SIZE), grid(SIZE)),
        "duplicated": (
            np.repeat(grid(SIZE // 4), 4, 0),
            np.repeat(3 * rng.normal(size=(SIZE // 4, 2)), 4, 0),
        ),
        "heavy-tailed": (heavy[0], heavy[1]),
        "high-dimensional": (rng.normal(size=(SIZE, 16)), 0.3 + rng.normal(size=(SIZE, 16))),
    }
    return {name: squared_distances(x, y).astype(np.float32) for name, (x, y) in pairs.items()}


NAMES = ["gaussian", "collapsed", "clustered", "duplicated", "heavy-tailed", "high-dimensional"]
SOLVERS = {
    **{
        f"balanced, anneal {a}": ("kl", None, {"anneal": a, "iterations_per_check": k})
        for a, k in ((1.0, 5), (4.0, 10), (8.0, 10), (10.0, 5))
    },
    **{
        f"relaxed, anneal {a}": ("kl", TAU, {"anneal": a, "iterations_per_check": k})
        for a, k in ((1.0, 5), (4.0, 10), (10.0, 5))
    },
    "quadratic": ("l2", None, {"iterations_per_check": 2}),
}


@cache
def compiled(which):
    regularizer, _, settings = SOLVERS[which]
    solve = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]
    return jax.jit(partial(solve, max_iterations=1_000, **settings))


@cache
def truth(name, lam, tau, regularizer):
    found = optimum(clouds()[name], lam, tau, regularizer)
    assert found.error < 1e-8
    return found


def solved(which, name, relative, epsilon):
    regularizer, relative_tau, _ = SOLVERS[which]
    C = clouds()[name]
    lam, eps = np.float32(relative * C.mean()), np.float32(epsilon * C.mean())
    tau = relative_tau and np.float32(relative_tau * C.mean())
    amounts = (lam, eps) if regularizer == "l2" else (lam, eps, tau)
    return (
        compiled(which)(C, *amounts),
        truth(name, float(lam), tau and float(tau), regularizer),
        float(lam),
    )


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("which", SOLVERS)
def test_every_plan_is_what_its_certificate_says(which, name):
    for relative in LAMS:
        for epsilon in EPSILONS:
            found, best, lam = solved(which, name, relative, epsilon)
            told = (relative, epsilon)
            plan = np.asarray(found.plan, float)
            assert np.all(plan >= 0), told
            np.testing.assert_allclose(plan.sum(1), 1 / SIZE, rtol=ROUNDING, err_msg=str(told))
            assert plan.sum() == pytest.approx(1, rel=ROUNDING), told
            missing, gap, floor = (
                best.value - float(found.value),
                float(found.gap),
                float(found.floor),
            )
            assert -floor <= missing <= gap, told
            off = np.abs(plan - best.plan).sum()
            assert off <= np.sqrt(2 * gap / lam) + ROUNDING, told
            assert bool(found.converged) == (gap <= epsilon * clouds()[name].mean()), told


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "which", ["balanced, anneal 1.0", "balanced, anneal 4.0", "relaxed, anneal 4.0"]
)
def test_a_lam_that_rounding_drowns_still_has_a_finite_bracket(which, name, offset):
    """The optimum at a lam is at most that at the least lam that the truth is sure of, and by less
    than that lam's log n below it.
    """
    _, relative_tau, _ = SOLVERS[which]
    mean = clouds()[name].mean()
    C = (clouds()[name] + np.float32(offset * mean)).astype(np.float32)
    tau = relative_tau and np.float32(relative_tau * mean)
    small = 1e-6 * float(mean)
    truth = optimum(C, small, tau and float(tau))
    assert truth.error < 1e-8
    for relative in (1e-7, 1e-8, 1e-9, 1e-12, 1e-30, 0):
        lam, epsilon = np.float32(relative * mean), np.float32(0.03 * mean)
        found = compiled(which)(C, lam, epsilon, tau)
        assert all(np.isfinite(np.asarray(field)).all() for field in found), relative
        np.testing.assert_allclose(
            np.asarray(found.plan, float).sum(1), 1 / SIZE, rtol=ROUNDING, err_msg=str(relative)
        )
        missing = truth.value - float(found.value)
        assert -float(found.floor) <= missing, relative
        assert -4 * np.finfo(np.float32).eps * C.max() <= missing, relative
        assert missing - small * np.log(SIZE) <= float(found.gap), relative
        assert bool(found.converged) == (found.gap <= epsilon)


@pytest.mark.parametrize("name", NAMES)
def test_an_l2_value_is_about_the_lam_that_was_asked_for(name):
    """With next to no lam the optimum is an assignment's; single precision solves a larger one."""
    C = clouds()[name]
    mean = C.mean()
    exact = C[linear_sum_assignment(C)].mean(dtype=float)
    found = compiled("quadratic")(C, np.float32(1e-9 * mean), np.float32(0.001 * mean))
    larger = 2 * np.finfo(np.float32).eps * np.ptp(C) * SIZE  # what it adds to the optimum
    assert -0.2 * larger <= exact - float(found.value) <= found.gap
    assert found.gap >= 0.99 * larger


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "which",
    [
        "balanced, anneal 4.0",
        "balanced, anneal 8.0",
        "balanced, anneal 10.0",
        "relaxed, anneal 10.0",
        "quadratic",
    ],
)
def test_ordinary_problems_are_solved_from_any_first_lam(which, name):
    for relative in [lam for lam in LAMS if lam >= 1e-3]:
        found, _, _ = solved(which, name, relative, 0.03)
        assert found.converged, relative


@pytest.mark.parametrize("offset", [0, 100])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_the_loss_lies_between_its_bounds_where_rounding_is_most_of_them(regularizer, name, offset):
    """A distance, and minus one, whose ends change places."""
    C = clouds()[name]
    mean = float(C.mean())
    shifted = (C + np.float32(offset * mean)).astype(np.float32)
    for relative in (0.01, 0.1, 1.0):
        lam = float(np.float32(relative * mean))
        oracle = Regularized(regularizer=regularizer, lam=Amount(lam))
        best = optimum(shifted, lam, None, regularizer).value
        for weight in (1.0, -1.0):
            amounts = Amounts(*(jnp.asarray(a, jnp.float32) for a in (lam, 1e-4 * mean)))
            found = solve_term(oracle, jnp.asarray(shifted), amounts)
            duals = Duals(*(getattr(found, name)[None, None] for name in Duals._fields))
            least, most = interval([Term(weight, "both", (), (), weight)], np.ones(1), duals)
            assert least <= weight * best <= most, (relative, weight)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_a_cloud_against_itself_too(regularizer):
    rng = np.random.default_rng(12)
    y = rng.normal(size=(SIZE, 2))
    C = squared_distances(y, y).astype(np.float32)
    settings = {
        "kl": {"symmetric": True, "iterations_per_check": 10},
        "l2": {"iterations_per_check": 2},
    }[regularizer]
    solve = jax.jit(
        partial(
            {"kl": solve_entropic, "l2": solve_quadratic}[regularizer],
            max_iterations=1_000,
            **settings,
        )
    )
    for relative in LAMS:
        for epsilon in EPSILONS:
            lam = np.float32(relative * C.mean())
            found, best = (
                solve(C, lam, np.float32(epsilon * C.mean())),
                optimum(C, float(lam), None, regularizer),
            )
            plan = np.asarray(found.plan, float)
            np.testing.assert_allclose(plan.sum(1), 1 / SIZE, rtol=ROUNDING)
            assert -float(found.floor) <= best.value - float(found.value) <= float(found.gap)
            assert (
                np.abs(plan - best.plan).sum()
                <= np.sqrt(2 * float(found.gap) / float(lam)) + ROUNDING
            )


def test_the_gradient_keeps_the_papers_bound():
    """Of generated points y under sum_ij P_ij |x_i - y_j|^2, against that of the optimal plan.

    L0 is a pair's largest.
    """
    rng = np.random.default_rng(13)
    x, y = (
        2.0 * rng.integers(-2, 3, size=(SIZE, 2)) + 0.1 * rng.normal(size=(SIZE, 2)),
        rng.normal(size=(SIZE, 2)),
    )
    C = squared_distances(x, y).astype(np.float32)

    def gradient(plan):
        return 2 * (plan.sum(0)[:, None] * y - plan.T @ x)

    constant = 2 * np.sqrt(C.max())
    for which in ("balanced, anneal 1.0", "balanced, anneal 4.0", "quadratic"):
        for relative in LAMS:
            for epsilon in EPSILONS:
                lam, eps = np.float32(relative * C.mean()), np.float32(epsilon * C.mean())
                found = compiled(which)(C, lam, eps)
                best = optimum(C, float(lam), None, SOLVERS[which][0])
                off = np.linalg.norm(gradient(np.asarray(found.plan, float)) - gradient(best.plan))
                assert off <= constant * np.sqrt(2 * float(found.gap) / float(lam)) + 1e-5, (
                    which,
                    relative,
                    epsilon,
                )


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_an_epsilon_below_rounding_ends_early_and_says_so(regularizer):
    C = clouds()["gaussian"]
    solve = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]
    mean = C.mean()
    found = solve(
        jnp.asarray(C),
        jnp.float32(0.01 * mean),
        jnp.float32(1e-9 * mean),
        iterations_per_check=2,
        max_iterations=100_000,
    )
    assert not found.converged
    assert found.iterations < 2_000
    assert 1e-9 * mean < found.floor <= found.gap < 1e-4 * mean
    reached = solve(
        jnp.asarray(C),
        jnp.float32(0.01 * mean),
        3 * found.gap,
        iterations_per_check=2,
        max_iterations=2_000,
    )
    assert reached.converged


@pytest.mark.parametrize("which", ["balanced, anneal 1.0", "relaxed, anneal 1.0", "quadratic"])
def test_misplaced_mass_is_what_columns_have_too_much(which):
    C = clouds()["clustered"]
    regularizer, relative_tau, settings = SOLVERS[which]
    solve = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]
    tau = {} if relative_tau is None else {"tau": jnp.float32(TAU * C.mean())}
    found = solve(
        jnp.asarray(C),
        jnp.float32(1e-3 * C.mean()),
        jnp.float32(0),
        max_iterations=5,
        **tau,
        **settings,
    )
    asked = (
        np.full(SIZE, 1 / SIZE)
        if not tau
        else np.exp(-np.asarray(found.g, float) / tau["tau"]) / SIZE
    )
    over = np.maximum(np.asarray(found.plan, float).sum(0) - asked, 0).sum()
    under = np.maximum(asked - np.asarray(found.plan, float).sum(0), 0).sum()
    assert float(found.misplaced) == pytest.approx((over + under) / 2, rel=1e-3)
    assert 0.01 < found.misplaced < 1
