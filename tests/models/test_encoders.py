from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.errors import UserError
from otgan.models.encoders import Encoder, rebuilt, shrink, shrinking, sizes

SHAPES = [(8, 8, 1), (9, 13, 3), (28, 28, 1), (64, 70, 3)]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_encoder_rebuilt_from_its_facts_computes_the_same(shape):
    encoder = Encoder(shape, (4, 6, 8), 5)
    x = jax.random.uniform(jax.random.key(0), (3, *shape), minval=-1)
    parameters = encoder.init(jax.random.key(1), x)
    again = rebuilt(sizes(encoder))
    assert again == encoder
    np.testing.assert_array_equal(again.apply(parameters, x), encoder.apply(parameters, x))


@pytest.mark.parametrize("shape", SHAPES)
def test_maps_are_the_layers_in_order_and_end_in_the_features(shape):
    encoder = Encoder(shape, (4, 6, 8), 5)
    x = jax.random.uniform(jax.random.key(0), (3, *shape), minval=-1)
    parameters = encoder.init(jax.random.key(1), x)
    maps: Any = encoder.apply(parameters, x, method="maps")
    assert tuple(maps) == encoder.layers
    assert [value.shape[-1] for value in maps.values()] == [4, 6, 8, 5]
    assert [value.ndim for value in maps.values()] == [4, 4, 4, 2]
    np.testing.assert_array_equal(maps[encoder.layers[-1]], encoder.apply(parameters, x))


@pytest.mark.parametrize(
    ("shape", "factor"), [((8, 8, 1), 1), ((63, 200, 3), 1), ((64, 64, 3), 2), ((256, 300, 3), 8)]
)
def test_large_pictures_are_shrunk_to_32_pixels_or_more(shape, factor):
    assert shrinking(shape) == factor


def test_shrinking_takes_means_of_blocks():
    x = jnp.arange(2 * 5 * 7 * 2.0).reshape(2, 5, 7, 2)
    small = shrink(x, 2)
    assert small.shape == (2, 2, 3, 2)
    np.testing.assert_allclose(small[1, 1, 2], x[1, 2:4, 4:6].mean(axis=(0, 1)))


@pytest.mark.parametrize(
    "change",
    [
        {"shape": None},
        {"shape": "28 28"},
        {"widths": "a b c"},
        {"features": "0"},
        {"shape": "4 4 1"},
    ],
    ids=["no shape", "a short shape", "words", "no features", "too small"],
)
def test_facts_of_no_encoder_are_refused(change):
    facts = {
        key: value
        for key, value in {**sizes(Encoder((28, 28, 1))), **change}.items()
        if value is not None
    }
    with pytest.raises(UserError, match="otgan features train"):
        rebuilt(facts)
