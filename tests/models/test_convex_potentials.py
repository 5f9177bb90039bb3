import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.config import Convex
from otgan.errors import UserError
from otgan.models.convex import make_potential

pytestmark = pytest.mark.slow

CLASSES = ("quadratic", "max_affine", "plq", "icnn")
SMALL = {"width": 8, "pieces": 6, "strong_convexity": 0.1, "temperature": 0.1}


def _moved(potential, seed=0, size=0.3):
    """Parameters some way off, back in the class."""
    params = potential.init(jax.random.key(seed))
    rng = np.random.default_rng(seed)
    return potential.project(
        jax.tree.map(lambda leaf: leaf + size * rng.standard_normal(leaf.shape), params)
    )


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_chords_lie_above_by_the_modulus(name, dim, x64):
    potential = make_potential(Convex(potential=name, **SMALL), dim)
    rng = np.random.default_rng(1)
    for seed in range(3):
        params = _moved(potential, seed)
        a, b = 3 * rng.standard_normal((2, 500, dim))
        share = rng.random(500)
        inside = share[:, None] * a + (1 - share[:, None]) * b
        fa, fb, f = (
            np.asarray(potential.value(params, jnp.asarray(point))) for point in (a, b, inside)
        )
        sag = share * fa + (1 - share) * fb - f
        modulus = float(potential.modulus(params))
        assert modulus >= 0.1 - 1e-9
        assert float(potential.margin(params)) >= 0
        assert (sag >= modulus / 2 * share * (1 - share) * ((a - b) ** 2).sum(1) - 1e-9).all()


@pytest.mark.parametrize("name", CLASSES)
def test_the_map_starts_near_the_identity(name):
    potential = make_potential(Convex(potential=name), 2)
    params = potential.project(potential.init(jax.random.key(0)))
    x = jax.random.normal(jax.random.key(1), (500, 2))
    slope = jax.grad(lambda x: jnp.sum(potential.value(params, x)))(x)
    assert float(jnp.mean(jnp.sum((slope - x) ** 2, axis=1))) < 0.5  # of 2, the variance


@pytest.mark.parametrize("broken", ["inner", "output", "curvature"])
def test_a_negative_weight_shows_in_the_margin_and_is_projected_away(broken):
    potential = make_potential(Convex(**SMALL), 2)
    params = _moved(potential)
    params = {**params, broken: params[broken] - 2.0}
    assert float(potential.margin(params)) < -0.5
    assert float(potential.margin(potential.project(params))) == 0.0


def test_free_weights_are_not_projected():
    potential = make_potential(Convex(**SMALL), 2)
    params = jax.tree.map(lambda leaf: -jnp.ones_like(leaf), potential.init(jax.random.key(0)))
    assert all(
        (potential.project(params)[name] == -1).all() for name in ("passing", "biases", "slope")
    )


def test_a_quadratic_is_projected_to_the_nearest_one_of_its_class():
    potential = make_potential(Convex(potential="quadratic", strong_convexity=0.5), 2)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    skew = np.array([[0.0, 7.0], [-7.0, 0.0]])  # no part of the form
    params = {
        "matrix": jnp.asarray(turn @ np.diag([3.0, -1.0]) @ turn.T + skew),
        "slope": jnp.ones(2),
    }
    assert float(potential.margin(params)) == pytest.approx(-1.0, abs=1e-5)
    np.testing.assert_allclose(
        potential.project(params)["matrix"], turn @ np.diag([3.0, 0.5]) @ turn.T, atol=1e-5
    )


def test_the_rounded_maximum_is_near_the_maximum(x64):
    potential = make_potential(Convex(potential="max_affine", **SMALL), 3)
    params = _moved(potential)
    x = np.random.default_rng(0).standard_normal((50, 3))
    planes = x @ np.asarray(params["slopes"]).T + np.asarray(params["offsets"])
    excess = (
        np.asarray(potential.value(params, jnp.asarray(x))) - 0.05 * (x**2).sum(1) - planes.max(1)
    )
    assert (excess >= 0).all()
    assert (excess <= 0.1 * np.log(6)).all()
    assert excess.max() > 0.01


@pytest.mark.parametrize("name", CLASSES)
def test_parameters_that_are_no_numbers_have_no_margin(name):
    potential = make_potential(Convex(potential=name, **SMALL), 2)
    params = jax.tree.map(
        lambda leaf: leaf.at[(0,) * leaf.ndim].set(jnp.nan), potential.init(jax.random.key(0))
    )
    assert not float(potential.margin(params)) >= 0


def test_a_matrix_for_each_piece_is_refused_on_pictures():
    with pytest.raises(UserError, match="784 coordinates: use 'icnn'"):
        make_potential(Convex(potential="plq"), 784)


@pytest.mark.parametrize("name", ["quadratic", "max_affine", "plq"])
def test_a_conjugate_that_may_be_infinite_is_refused(name):
    with pytest.raises(ValueError, match="needs strong_convexity above 0"):
        Convex(potential=name, strong_convexity=0.0)
    assert Convex(potential="icnn", strong_convexity=0.0).strong_convexity == 0
