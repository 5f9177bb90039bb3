import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.config import Potential
from otgan.data import Form
from otgan.errors import UserError
from otgan.models.potentials import make_potential

KEY = jax.random.key(0)
POINTS = Form((2,), False, (5.0, -3.0), 2.5, 100)
DIGITS = Form((28, 28, 1), True, (), 1.0, 100)
COLOURS = Form((30, 21, 3), True, (), 1.0, 100)


def _potential(kind, form, **settings):
    return make_potential(
        Potential(kind=kind, **{"width": 8, "depth": 2, **settings}), form, "oracle.potential"
    )


def _arbitrary(network):
    """Parameters of the right shapes without the seconds that compiling `init` takes."""
    rng = np.random.default_rng(3)
    return jax.tree.map(
        lambda leaf: 0.2 * rng.standard_normal(leaf.shape, np.float32),
        jax.eval_shape(network.init, KEY),
    )


def _examples(form, n):
    return np.random.default_rng(0).uniform(-1, 1, (n, *form.shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "form"), [("mlp", POINTS), ("mlp", DIGITS), ("conv", DIGITS), ("conv", COLOURS)]
)
def test_every_example_gets_a_number_of_its_own(kind, form):
    network, x = _potential(kind, form), _examples(form, 4)
    params, apply = _arbitrary(network), jax.jit(network.apply)
    out = apply(params, x)
    assert (out.shape, out.dtype) == ((4,), jnp.float32)
    assert len(np.unique(out)) == 4
    np.testing.assert_allclose(
        apply(params, np.concatenate([x[:2], -x[2:]]))[:2], out[:2], rtol=1e-5
    )


def test_points_are_seen_at_mean_0_and_variance_1():
    standard = _potential("mlp", Form((2,), False, (0.0, 0.0), 1.0, 100))
    params, u = (
        _arbitrary(standard),
        jnp.asarray(np.random.default_rng(1).standard_normal((50, 2)), jnp.float32),
    )
    x = jnp.array([[5.0, -3.0]]) + 2.5 * u
    np.testing.assert_allclose(
        _potential("mlp", POINTS).apply(params, x), standard.apply(params, u), rtol=1e-4, atol=1e-5
    )


def test_depth_counts_the_hidden_layers():
    for kind, form, ndim in (("mlp", POINTS, 2), ("conv", DIGITS, 4)):
        leaves = jax.tree.leaves(jax.eval_shape(_potential(kind, form, depth=3).init, KEY))
        assert sum(leaf.ndim == ndim for leaf in leaves) == 3 + (kind == "mlp"), kind


def test_conv_refuses_what_it_cannot_halve_and_says_where():
    with pytest.raises(UserError, match=r"oracle\.potential\.kind = 'conv' needs images"):
        _potential("conv", POINTS)
    with pytest.raises(UserError, match=r"oracle\.potential\.depth = 5 .* at most 4"):
        _potential("conv", DIGITS, depth=5)
