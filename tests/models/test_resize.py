import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.models.resize import mixtures, resize

SIZES = [
    ((8, 8), (83, 83)),
    ((5, 7), (11, 3)),
    ((28, 28), (28, 28)),
    ((1, 4), (6, 2)),
    ((300, 2), (299, 2)),
]


def by_definition(image, size, convention):
    """Every pixel from its four neighbors."""
    (height, width), out = image.shape[:2], np.empty((*size, image.shape[2]))
    for i, j in np.ndindex(size):
        if convention == "tf1":
            y, x = i * height / size[0], j * width / size[1]
        else:
            y, x = (
                max((i + 0.5) * height / size[0] - 0.5, 0),
                max((j + 0.5) * width / size[1] - 0.5, 0),
            )
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = image[top, left] * (1 - (x - left)) + image[top, right] * (x - left)
        lower = image[bottom, left] * (1 - (x - left)) + image[bottom, right] * (x - left)
        out[i, j] = upper * (1 - (y - top)) + lower * (y - top)
    return out


@pytest.mark.parametrize("convention", ["tf1", "half_pixel"])
@pytest.mark.parametrize(("old", "new"), SIZES)
def test_equals_the_definition(old, new, convention):
    images = np.random.default_rng(0).uniform(-1, 1, (2, *old, 3)).astype(np.float32)
    expected = [by_definition(image.astype(float), new, convention) for image in images]
    np.testing.assert_allclose(resize(jnp.asarray(images), new, convention), expected, atol=2e-6)


@pytest.mark.parametrize(("old", "new"), SIZES)
def test_half_pixel_equals_jax(old, new):
    images = np.random.default_rng(0).uniform(-1, 1, (2, *old, 3)).astype(np.float32)
    expected = jax.image.resize(images, (2, *new, 3), "bilinear", antialias=False)
    places = max(old) * np.finfo(np.float32).eps  # jax computes where a pixel lies in float32
    found = resize(jnp.asarray(images), new, "half_pixel")
    # neighbors differ by 2 at most
    np.testing.assert_allclose(found, expected, atol=1e-6 + 2 * places)


@pytest.mark.parametrize("convention", ["tf1", "half_pixel"])
def test_mixtures_are_shares(convention):
    shares = mixtures(32, 299, convention)
    assert (shares >= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-15)


def test_tf1_begins_at_the_first_pixel_and_is_not_symmetric():
    """The half pixel between the conventions, by hand: doubling 0, 1."""
    images = jnp.array([0.0, 1.0]).reshape(1, 1, 2, 1)
    np.testing.assert_allclose(resize(images, (1, 4), "tf1").ravel(), [0, 0.5, 1, 1])
    np.testing.assert_allclose(resize(images, (1, 4), "half_pixel").ravel(), [0, 0.25, 0.75, 1])
