"""Neural duals against SciPy's optimum of the same small problem, their estimate against the truth,
the gradient they hand over.
"""

import dataclasses
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq, minimize
from scipy.special import logsumexp

from otgan.batches import BatchSource
from otgan.config import Batch, Config, Grid, Neural, Optimizer, Potential, Train, parse_amount
from otgan.data import Form
from otgan.models import Network
from otgan.models.potentials import make_potential
from otgan.oracles import Players, make_family, neural
from otgan.problem import make_problem
from tests.support.zoo import squared_distances, zoo

N = 24
LAM = 1.0
BOTH = ("kl", "l2")
NETWORK = Potential(width=64, depth=2)
FORM = Form((2,), False, (1.0, 1.0), 1.0, N)
# the points themselves
FREE = Network(
    init=lambda key: jnp.zeros((N, 2)), apply=lambda points, z: jnp.tile(points, (len(z) // N, 1))
)
best_shift = jax.jit(neural.best_shift, static_argnames=("regularizer", "together"))
dual_value, density = (
    jax.jit(function, static_argnames="regularizer")
    for function in (neural.dual_value, neural.density)
)


@cache
def small_clouds():
    """Real points in four modes, generated ones in a blob: mean cost about 7."""
    rng = np.random.default_rng(5)
    x = 2.0 * rng.integers(0, 2, (N, 2)) + 0.1 * rng.normal(size=(N, 2))
    return x, 3.0 + rng.normal(size=(N, 2))


@cache
def optimum(regularizer, lam=LAM):
    """The dual optimum between the small clouds, or a little less, by L-BFGS in double
    precision.
    """
    C = squared_distances(*small_clouds())

    def loss(fg):
        V = fg[:N, None] + fg[None, N:] - C
        if regularizer == "kl":  # the best common shift put in: nothing overflows
            value = fg[:N].mean() + fg[N:].mean() - lam * (logsumexp(V / lam) - 2 * np.log(N))
            w = np.exp(V / lam - logsumexp(V / lam)) * N * N
        else:
            value, w = (
                fg[:N].mean() + fg[N:].mean() - (np.maximum(V, 0) ** 2).mean() / (2 * lam),
                np.maximum(V, 0) / lam,
            )
        return -value, np.r_[w.mean(1) - 1, w.mean(0) - 1] / N

    start = np.r_[C.min(1), np.full(N, lam)]
    return -minimize(
        loss,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-15},
    ).fun


def family_of(regularizer: Any = "kl", psi: Any = "network", unit=1.0, epsilon=0.05, **settings):
    """A family whose every batch is the small clouds whole, in other units of length."""
    defaults = {
        "dual_steps": 10,
        "estimate_every": 1,
        "lam": parse_amount(LAM * unit**2),
        "epsilon": parse_amount(epsilon * unit**2),
    }
    optimizer = Optimizer(learning_rate=3e-3, b1=0.9, b2=0.99, schedule="cosine")
    oracle = Neural(
        regularizer=regularizer,
        psi=psi,
        potential=NETWORK,
        optimizer=optimizer,
        **{**defaults, **settings},
    )
    config = Config(
        name="t", data=Grid(), batch=Batch(size=N), oracle=oracle, train=Train(steps=100)
    )
    form = dataclasses.replace(FORM, center=(unit, unit), scale=unit)
    return make_family(oracle, make_problem(config, form, Players(FREE)))


def batches(unit=1.0):
    """Data of which every draw is all real points, one from each of N cells.

    And players that generate the small cloud.
    """
    x, y = small_clouds()
    return BatchSource(jnp.asarray(unit * x, jnp.float32), jnp.arange(N + 1)), Players(
        jnp.asarray(unit * y, jnp.float32)
    )


@cache
def solved(regularizer="kl", psi="network", unit=1.0, **settings):
    """After 100 solves: the state, what is held, and the infos of all."""
    family, (data, players) = family_of(regularizer, psi, unit, **settings), batches(unit)

    def one(state, key):
        state, held, info = family.solve(state, players, data, key)
        return state, (jax.tree.map(lambda leaf: leaf[0], held), info)

    @jax.jit
    def run(key):
        return jax.lax.scan(one, family.init(key), jax.random.split(key, 100))

    state, (held, infos) = run(jax.random.key(0))
    return state, jax.tree.map(lambda leaf: leaf[-1], held), infos


# --- the dual -------------------------------------------------------------------------------------


@pytest.mark.parametrize("regularizer", BOTH)
@pytest.mark.parametrize("together", [False, True])
def test_the_best_shift_makes_the_mass_one_and_the_dual_largest(x64, regularizer, together):
    rng = np.random.default_rng(0)
    for name, C in zoo(17).items():
        lam = 0.1 * np.abs(C).mean()
        f, g = rng.normal(size=24), rng.normal(size=17)
        s = best_shift(f, g, C, lam, regularizer, together)
        assert s.shape == ((1,) if together else (17,))
        w = density(f, g + s, C, lam, regularizer)
        np.testing.assert_allclose(
            jnp.mean(w) if together else jnp.mean(w, axis=0), 1, rtol=2e-5, err_msg=name
        )
        best = dual_value(f, g + s, C, lam, regularizer)
        for _ in range(5):
            other = s + lam * rng.normal(size=s.shape)
            assert dual_value(f, g + other, C, lam, regularizer) < best, name


@pytest.mark.parametrize("together", [False, True])
def test_the_l2_shift_is_the_root_that_bisection_finds(x64, together):
    V = np.random.default_rng(1).normal(size=(24, 17)) * 10
    s = best_shift(np.zeros(24), np.zeros(17), -V, 0.3, "l2", together)
    columns = [V.ravel()] if together else V.T
    found: list[Any] = [
        brentq(lambda t, v=v: np.maximum(v + t, 0).mean() - 0.3, -100, 100, xtol=1e-12)
        for v in columns
    ]
    np.testing.assert_allclose(s, found, atol=1e-3)


@pytest.mark.parametrize("regularizer", BOTH)
def test_the_density_is_the_duals_gradient_by_the_cost(x64, regularizer):
    C = zoo(17)["modes to blob"]
    f, g, lam = C.min(1), np.zeros(17) + 0.5, 3.0
    gradient = jax.grad(lambda C: dual_value(f, g, C, lam, regularizer))(jnp.asarray(C))
    np.testing.assert_allclose(
        gradient, density(f, g, C, lam, regularizer) / C.size, rtol=1e-9, atol=1e-15
    )


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("regularizer", BOTH)
def test_no_potential_and_no_small_lam_overflows(regularizer, scale):
    C = jnp.asarray(zoo(17)["heavy"] * scale, jnp.float32)
    mean = jnp.mean(C)
    f = mean * jnp.linspace(-100, 100, 24)
    for lam in (1e-4 * mean, 10 * mean):
        s = best_shift(f, jnp.zeros(17), C, lam, regularizer)
        assert jnp.isfinite(dual_value(f, s, C, lam, regularizer))
        # float32: exponents near 1e6
        np.testing.assert_allclose(
            jnp.mean(density(f, s, C, lam, regularizer), axis=0), 1, rtol=0.2
        )


# --- the family -----------------------------------------------------------------------------------


@pytest.mark.parametrize("psi", ["network", "transform"])
@pytest.mark.parametrize("regularizer", BOTH)
def test_networks_reach_the_optimum_of_one_problem_and_never_exceed_it(regularizer, psi):
    _, held, infos = solved(regularizer, psi)
    best = optimum(regularizer)
    assert np.all(infos["dual_value"] <= best + 1e-4)
    suboptimality = best - infos["dual_value"]
    assert suboptimality[-1] < 0.01 * best
    assert suboptimality[-1] < 0.2 * suboptimality[0]
    # the fresh batch is the same two clouds
    assert np.all(infos["dual_gap"] >= suboptimality - 1e-4)
    assert infos["dual_gap"][-1] <= suboptimality[-1] + 0.01
    np.testing.assert_array_equal(infos["dual_converged"], infos["dual_gap"] <= infos["epsilon"])
    # every generated point weighs the same
    np.testing.assert_allclose(held.plan.sum(0), 1 / N, rtol=1e-3)


@pytest.mark.parametrize("regularizer", BOTH)
def test_the_generators_gradient_is_that_of_the_value_at_fixed_phi(regularizer):
    state, held, infos = solved(regularizer, "transform")
    family, (data, players) = family_of(regularizer, "transform"), batches()
    value, gradient = jax.value_and_grad(lambda y: family.loss(held, Players(y), data))(
        players.generator
    )
    np.testing.assert_allclose(value, infos["dual_value"][-1], rtol=1e-5)

    phi = make_potential(NETWORK, FORM, "oracle.potential").apply(
        state.potentials.parameters[0], held.x
    )
    f, x, y = (np.asarray(a, float) for a in (state.unit * phi, held.x, players.generator))
    direction, step = np.random.default_rng(2).normal(size=(N, 2)), 1e-4

    def at(y):
        C = squared_distances(x, y)
        return float(
            dual_value(f, best_shift(f, np.zeros(N), C, LAM, regularizer), C, LAM, regularizer)
        )

    with jax.enable_x64(True):
        slope = (at(y + step * direction) - at(y - step * direction)) / (2 * step)
    np.testing.assert_allclose((np.asarray(gradient) * direction).sum(), slope, rtol=1e-3)


def test_units_change_nothing_but_units():
    """One learning rate serves clouds of any size: potentials are in multiples of the mean cost."""
    (_, _, plain), (_, _, large) = solved(), solved(unit=1000.0, estimate_every=40)
    np.testing.assert_allclose(large["dual_value"][:10] / 1e6, plain["dual_value"][:10], rtol=0.01)
    np.testing.assert_allclose(large["dual_gap"][0] / 1e6, plain["dual_gap"][0], atol=0.02)


def test_the_estimate_is_made_when_due_and_counted():
    state, _, infos = solved(unit=1000.0, estimate_every=40)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(infos["dual_gap"])) + 1, [40, 80])
    assert state.gap == infos["dual_gap"][-1]
    np.testing.assert_array_equal(
        infos["examples"], np.where(np.arange(100) % 40 == 0, 12, 11) * 2 * N
    )


def test_a_finished_run_is_judged_on_a_larger_batch():
    family, (data, players) = family_of(), batches()
    state, _, infos = solved()
    found = jax.jit(family.final_metrics)(state, players, data, data, jax.random.key(9))[
        "estimated_gap"
    ]
    # four times the same two clouds: the same problem
    np.testing.assert_allclose(found, infos["dual_gap"][-1], atol=0.01)
