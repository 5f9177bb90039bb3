import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize

from otgan.config import Convex
from otgan.models.convex import make_potential
from otgan.oracles.conjugate import solve_conjugate

Y = 2 * np.random.default_rng(0).standard_normal((40, 2))


def _potential(name, sharpness=1.0, **settings):
    """A potential of the class, its parameters moved; and its modulus."""
    potential = make_potential(Convex(potential=name, **{"width": 16, "pieces": 8, **settings}), 2)
    rng = np.random.default_rng(1)
    params = potential.init(jax.random.key(0))
    params = potential.project(
        jax.tree.map(lambda leaf: sharpness * leaf + 0.2 * rng.standard_normal(leaf.shape), params)
    )
    return lambda x: potential.value(params, x), potential.modulus(params)


def _solve(f, modulus, epsilon=1e-12, iterations=100, y=Y):
    return jax.jit(lambda y: solve_conjugate(f, y, y, jnp.asarray(modulus), epsilon, iterations))(
        jnp.asarray(y)
    )


def _by_scipy(f, y):
    """f* at each y, by a quasi-Newton method that knows nothing of ours."""
    slope = jax.jit(jax.value_and_grad(lambda x, y: f(x[None])[0] - x @ y))

    def best(y):
        starts = (y, 0.3 * y, np.zeros_like(y))
        return max(
            -minimize(lambda x: tuple(map(np.asarray, slope(x, y))), start, jac=True, tol=1e-12).fun
            for start in starts
        )

    return np.array([best(point) for point in y])


def test_a_quadratic_has_the_closed_form(x64):
    A, b = np.array([[2.0, 0.7], [0.7, 0.5]]), np.array([0.3, -1.0])
    inner = _solve(lambda x: 0.5 * jnp.sum((x @ A) * x, axis=1) + x @ b, np.linalg.eigvalsh(A)[0])
    x = np.linalg.solve(A, (Y - b).T).T
    np.testing.assert_allclose(inner.x, x, atol=1e-9)
    np.testing.assert_allclose(inner.value, 0.5 * ((Y - b) * x).sum(1), atol=1e-9)
    # two products with the Hessian are exact in the plane; a direction may do with one
    assert int(inner.iterations) <= 2


@pytest.mark.parametrize("name", ["max_affine", "plq", "icnn"])
def test_it_finds_the_maximum_that_scipy_finds(name, x64):
    f, modulus = _potential(name, 4.0)
    inner = _solve(f, modulus)
    assert float(inner.bound.mean()) <= 1e-12
    np.testing.assert_allclose(inner.value[:12], _by_scipy(f, Y[:12]), atol=1e-8)
    np.testing.assert_allclose(jax.grad(lambda x: f(x).sum())(inner.x), Y, atol=1e-5)


@pytest.mark.parametrize("name", ["max_affine", "plq", "icnn"])
def test_the_certificate_holds_wherever_the_search_stops(name, x64):
    f, modulus = _potential(name, 3.0)
    solve = jax.jit(lambda y, iterations: solve_conjugate(f, y, y, modulus, 1e-12, iterations))
    best = solve(Y, 100).value
    for iterations in (0, 1, 2, 4):
        inner = solve(Y, iterations)
        error = np.asarray(best - inner.value)
        assert int(inner.iterations) <= iterations
        assert (error >= -1e-9).all()
        assert (error <= np.asarray(inner.bound) + 1e-9).all()
    assert error.max() < 0.05 * float(solve(Y, 0).bound.max())


def test_the_map_is_the_gradient_of_the_conjugate(x64):
    f, modulus = _potential("icnn", 2.0)
    nudge = 1e-5 * np.eye(2)
    solve = jax.jit(lambda y: solve_conjugate(f, y, y, modulus, 1e-14, 100))
    slopes = [(solve(Y + step).value - solve(Y - step).value) / 2e-5 for step in nudge]
    np.testing.assert_allclose(np.stack(slopes, axis=1), solve(Y).x, atol=1e-4)


def test_a_rounded_maximum_has_nearly_the_conjugate_of_the_maximum(x64):
    """The maximum's own conjugate is a quadratic program over the slopes' hull, here solved as
    such.
    """
    rng = np.random.default_rng(2)
    a, c, eta, temperature = rng.standard_normal((5, 2)), 0.3 * rng.standard_normal(5), 0.1, 1e-3
    inner = _solve(
        lambda x: (
            temperature * jax.nn.logsumexp((x @ a.T + c[None]) / temperature, axis=1)
            + eta / 2 * (x**2).sum(1)
        ),
        eta,
        1e-8,
    )

    def program(y):
        def dual(w):
            return ((y - a.T @ w) ** 2).sum() / (2 * eta) - c @ w

        sums_to_one = {"type": "eq", "fun": lambda w: w.sum() - 1}
        return minimize(
            dual,
            np.full(5, 0.2),
            bounds=[(0, 1)] * 5,
            constraints=sums_to_one,
            method="SLSQP",
            tol=1e-12,
        ).fun

    exact = np.array([program(point) for point in Y[:10]])
    assert float(inner.bound.mean()) <= 1e-8
    assert (inner.value[:10] <= exact + 1e-6).all()
    assert (inner.value[:10] >= exact - temperature * np.log(5) - 1e-6).all()


def test_a_tolerance_is_kept_in_single_precision():
    f, modulus = _potential("icnn", 4.0)
    solve = jax.jit(lambda y, epsilon: solve_conjugate(f, y, y, modulus, epsilon, 100))
    for epsilon in (1e-2, 1e-4, 1e-6):
        inner = solve(Y.astype(np.float32), epsilon)
        assert inner.x.dtype == jnp.float32
        assert float(inner.bound.mean()) <= epsilon


def test_few_products_do_in_many_dimensions():
    scales = jnp.linspace(0.1, 10.0, 200)  # more than one direction's worth of products

    def f(x):
        return 0.5 * (x**2) @ scales + jnp.sum(jax.nn.softplus(x), axis=1)

    y = jax.random.normal(jax.random.key(0), (7, 200))
    inner = solve_conjugate(f, y, y, scales[0], 1e-6, 50)
    assert float(inner.bound.mean()) <= 1e-6
    np.testing.assert_allclose(scales[None] * inner.x + jax.nn.sigmoid(inner.x), y, atol=2e-3)


def test_numbers_that_are_none_are_not_done():
    f, modulus = _potential("icnn")
    inner = _solve(lambda x: f(x) * jnp.nan, modulus, iterations=5)
    assert int(inner.iterations) == 5
    assert not (np.asarray(inner.bound) <= 1e9).any()


def test_a_budget_that_is_too_small_shows():
    f, modulus = _potential("icnn", 4.0)
    inner = _solve(f, modulus, iterations=1)
    assert float(inner.bound.mean()) > 1e-3
