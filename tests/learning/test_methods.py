"""Losses against their formulas, views against what they may do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.learning import METHODS, views
from otgan.learning.clusters import clustered, gather
from otgan.learning.methods import ORDERS, TEMPERATURE, contrast, hide, make_task, shuffled, variance_loss
from otgan.models.encoders import Encoder


def test_contrast_is_the_cross_entropy_of_finding_the_partner():
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3))
    z = np.concatenate([a, b])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    terms = []
    for i in range(8):
        likeness = np.exp(z @ z[i] / TEMPERATURE)
        terms.append(-np.log(likeness[(i + 4) % 8] / (likeness.sum() - likeness[i])))
    assert float(contrast(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(np.mean(terms), rel=1e-5)


def test_variance_loss_is_that_of_the_authors():
    a, b = np.random.default_rng(0).standard_normal((2, 6, 3)) * 0.5
    expected = 25 * ((a - b) ** 2).mean()
    for z in (a, b):
        covariance = np.cov(z.T)
        expected += 12.5 * np.maximum(1 - np.sqrt(np.diag(covariance) + 1e-4), 0).mean()
        expected += (covariance[~np.eye(3, dtype=bool)] ** 2).sum() / 3
    assert float(variance_loss(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shape", [(3, 8, 8, 1), (3, 9, 11, 3)])
def test_views_stay_within_the_range_of_their_picture_but_for_light(shape):
    x = jax.random.uniform(jax.random.key(0), shape, minval=-1)
    cut = views.cut(jax.random.key(1), x)
    assert cut.shape == shape
    for before, after in zip(x, cut, strict=True):
        assert before.min() - 1e-5 <= after.min()
        assert after.max() <= before.max() + 1e-5
    assert float(jnp.abs(cut - views.cut(jax.random.key(2), x)).max()) > 0.1


def test_only_colour_pictures_are_mirrored():
    """In a picture that rises from left to right every view rises, unless it is mirrored."""
    rising = jnp.broadcast_to(jnp.linspace(-1, 1, 16).reshape(1, 1, 16, 1), (64, 16, 16, 1))
    grey, colour = (views.cut(jax.random.key(0), jnp.repeat(rising, c, axis=3)) for c in (1, 3))
    assert bool((jnp.diff(grey, axis=2) > 0).all())
    falling = (jnp.diff(colour, axis=2) < 0).all(axis=(1, 2, 3))
    assert 16 < int(falling.sum()) < 48


def test_quarters_stand_in_the_order_given():
    x = jnp.arange(4.0).reshape(1, 2, 2, 1).repeat(3, axis=1).repeat(3, axis=2)
    assert shuffled(x, jnp.array([[0, 1, 2, 3]])).tolist() == x.tolist()
    moved = shuffled(x, jnp.array([[3, 0, 2, 1]]))[0, ::3, ::3, 0]
    assert moved.tolist() == [[3, 0], [2, 1]]
    assert len(set(ORDERS)) == 24


def test_the_hidden_share_of_patches_is_hidden_whole():
    hidden = hide(jax.random.key(0), (500, 9, 9, 3), 2)
    assert hidden.shape == (500, 9, 9, 1)
    assert float(hidden.mean()) == pytest.approx(0.6, abs=0.02)
    np.testing.assert_array_equal(hidden[:, 0:8:2, 0:8:2], hidden[:, 1:9:2, 1:9:2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 11, 3)])
def test_every_method_moves_every_convolution(method, shape):
    encoder, task = Encoder(shape, (4, 4, 8), 5), make_task(method, shape)
    x = jax.random.uniform(jax.random.key(0), (6, *shape), minval=-1)
    parameters = encoder.init(jax.random.key(1), x)
    head = task.init(jax.random.key(2), 5)
    head = jax.tree.map(lambda value: value + 0.1, head)  # a decoder starts at zero, which lets nothing through

    def loss(parameters):
        return task.loss(lambda x: encoder.apply(parameters, x), head, x, jax.random.key(3))

    value, gradient = jax.jit(jax.value_and_grad(loss))(parameters)
    assert np.isfinite(value)
    for name in encoder.layers:
        assert float(jnp.abs(gradient["params"][name]["kernel"]).max()) > 0


def test_clusters_are_found_where_there_are_some():
    rng = np.random.default_rng(0)
    centers = np.linalg.qr(rng.standard_normal((8, 8)))[0][:3].astype(np.float32)
    rows = np.repeat(centers, 50, axis=0) * rng.uniform(1, 3, (150, 1)) + 0.02 * rng.standard_normal((150, 8))
    cosines = gather(rows.astype(np.float32), 3, rng) @ centers.T
    assert cosines.max(axis=1).min() > 0.99


def test_channels_made_of_clusters_answer_to_a_quarter_of_the_patches():
    x = np.random.default_rng(0).uniform(-1, 1, (200, 8, 8, 1)).astype(np.float32)
    encoder = Encoder((8, 8, 1), (4, 6, 8), 5)
    made = clustered(encoder, x, 0)
    fresh = encoder.init(jax.random.key(0), x[:1])["params"]
    assert jax.tree.map(np.shape, made) == {name: jax.tree.map(np.shape, fresh[name]) for name in encoder.layers[:3]}
    first = encoder.apply({"params": {**fresh, **made}}, x, method="maps")["conv_0"]
    np.testing.assert_allclose((np.asarray(first) > 0).mean(axis=(0, 1, 2)), 0.25, atol=0.02)
