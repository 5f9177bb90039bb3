"""Losses against their formulas, views against what they may do."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.learning import METHODS, views
from otgan.learning.methods import TEMPERATURE, contrast, make_task, variance_loss
from otgan.models.encoders import Encoder


def test_contrast_is_the_cross_entropy_of_finding_the_partner():
    a, b = np.random.default_rng(0).standard_normal((2, 4, 3))
    z = np.concatenate([a, b])
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    terms = []
    for i in range(8):
        likeness = np.exp(z @ z[i] / TEMPERATURE)
        terms.append(-np.log(likeness[(i + 4) % 8] / (likeness.sum() - likeness[i])))
    assert float(contrast(jnp.asarray(a), jnp.asarray(b))) == pytest.approx(
        np.mean(terms), rel=1e-5
    )


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


def test_only_color_pictures_are_mirrored():
    """In a picture that rises from left to right every view rises, unless it is mirrored."""
    rising = jnp.broadcast_to(jnp.linspace(-1, 1, 16).reshape(1, 1, 16, 1), (64, 16, 16, 1))
    gray, color = (views.cut(jax.random.key(0), jnp.repeat(rising, c, axis=3)) for c in (1, 3))
    assert bool((jnp.diff(gray, axis=2) > 0).all())
    falling = (jnp.diff(color, axis=2) < 0).all(axis=(1, 2, 3))
    assert 16 < int(falling.sum()) < 48


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(8, 8, 1), (9, 11, 3)])
def test_every_method_moves_every_convolution(method, shape):
    encoder: Any = Encoder(shape, (4, 4, 8), 5)
    task = make_task(method)
    x = jax.random.uniform(jax.random.key(0), (6, *shape), minval=-1)
    parameters = encoder.init(jax.random.key(1), x)
    head = task.init(jax.random.key(2), 5)

    def loss(parameters):
        return task.loss(lambda x: encoder.apply(parameters, x), head, x, jax.random.key(3))

    value, gradient = jax.jit(jax.value_and_grad(loss))(parameters)
    assert np.isfinite(value)
    for name in encoder.layers:
        assert float(jnp.abs(gradient["params"][name]["kernel"]).max()) > 0
