"""DINOv2 and ResNet-50 against transformers', tiny and of random weights.

`scripts/compare_networks.py --fixture` wrote its outputs.
"""

from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from otgan.models import dinov2, imagenet
from otgan.models.dinov2 import NETWORKS, positions
from otgan.models.inception import SIDE, Inception
from otgan.models.resnet50 import ResNet50
from otgan.weights import dinov2 as dinov2_weights
from otgan.weights import resnet50 as resnet50_weights
from tests.support import REPOSITORY
from tests.support.compared import networks

pytestmark = pytest.mark.slow

TINY = {"dinov2": networks.TINY_DINO, "resnet50": networks.TINY_RESNET}


@pytest.fixture(scope="module")
def parameters():
    with mock.patch.dict(NETWORKS, tiny=networks.TINY_DINO):
        dino = dinov2_weights.convert(
            networks.random_dinov2(networks.TINY_DINO, networks.SEED), "tiny"
        )
    resnet = resnet50_weights.convert(
        networks.random_resnet50(networks.TINY_RESNET, networks.SEED), networks.TINY_RESNET
    )
    return {"dinov2": dino, "resnet50": resnet}


@pytest.mark.parametrize("name", TINY)
def test_every_layer_equals_transformers(name, parameters):
    with np.load(REPOSITORY / "tests/fixtures/networks.npz") as file:
        expected = {
            key.removeprefix(f"{name}."): file[key]
            for key in file.files
            if key.startswith(f"{name}.")
        }
    x = networks.scaled(networks.random_images(networks.SEED, networks.TINY_IMAGES))
    found = networks.our_maps(TINY[name], parameters[name], x)
    assert found.keys() == expected.keys()
    for layer, theirs in expected.items():
        # the images do differ
        assert np.abs(theirs[0] - theirs[1]).max() > 0.01 * np.abs(theirs).max(), layer
        np.testing.assert_allclose(
            found[layer], theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max(), err_msg=layer
        )


def shapes_of(module, size, method):
    images = jax.ShapeDtypeStruct((2, *size, 3), jnp.float32)
    parameters = jax.eval_shape(module.init, jax.random.key(0), images)
    return jax.tree.map(
        lambda leaf: leaf.shape,
        jax.eval_shape(lambda p, x: module.apply(p, x, method=method), parameters, images),
    )


def test_layers_are_named_in_order_of_depth_and_have_their_shapes():
    for name, width, count in (
        ("dinov2-s", 384, 12),
        ("dinov2-b", 768, 12),
        ("dinov2-l", 1024, 24),
    ):
        module = NETWORKS[name]
        *blocks, last = module.layers
        assert [int(block.removeprefix("block_")) for block in blocks] == [
            count * i // 4 for i in (1, 2, 3, 4)
        ]
        assert last == "class"
        assert shapes_of(module, (224, 224), "maps") == dict.fromkeys(
            blocks, (2, 16, 16, width)
        ) | {"class": (2, width)}
    sizes = {
        "stage_1": (2, 56, 56, 256),
        "stage_2": (2, 28, 28, 512),
        "stage_3": (2, 14, 14, 1024),
        "stage_4": (2, 7, 7, 2048),
    }
    assert (*sizes, "pool") == ResNet50.layers
    assert shapes_of(ResNet50(), (224, 224), "maps") == sizes | {"pool": (2, 2048)}
    sizes = {
        "block_64": (2, 73, 73, 64),
        "block_192": (2, 35, 35, 192),
        "block_768": (2, 17, 17, 768),
    }
    assert (*sizes, "pool") == Inception.layers
    assert shapes_of(Inception(), (SIDE, SIDE), "maps") == sizes | {"pool": (2, 2048)}


def test_parameters_are_those_of_the_papers():
    """22, 87 and 304 million of ViT-S, B and L at 518 pixels, without the token of training and the
    learned scales; 25.6 of ResNet-50.
    """
    for name, count in (
        ("dinov2-s", 22_056_576 - 384 - 24 * 384),
        ("dinov2-b", 86_580_480 - 768 - 24 * 768),
    ):
        assert counted(NETWORKS[name]) == count
    assert counted(NETWORKS["dinov2-l"]) == 304_368_640 - 1024 - 48 * 1024
    # a bias for the scale and shift of every normalization
    assert counted(ResNet50()) == 25_557_032 - 53_120 + 26_560


def counted(module):
    parameters = jax.eval_shape(
        module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
    )
    return sum(leaf.size for leaf in jax.tree.leaves(parameters))


def test_a_network_without_a_classifier_has_no_logits(parameters):
    x = jnp.asarray(networks.scaled(networks.random_images(1, (2, 64, 64, 3))))
    headless = {name: value for name, value in parameters["resnet50"].items() if name != "fc"}
    module = ResNet50(classes=0, width=4, blocks=(1, 2, 1, 1))
    found = module.apply({"params": headless}, x)
    np.testing.assert_array_equal(
        found, networks.TINY_RESNET.apply({"params": parameters["resnet50"]}, x).features
    )


def test_positions_of_the_own_grid_are_as_they_are():
    embeddings = np.random.default_rng(0).standard_normal((1, 26, 3)).astype(np.float32)
    np.testing.assert_array_equal(positions(jnp.asarray(embeddings), 5, 5), embeddings)


def test_positions_of_another_grid_keep_the_class_tokens_and_what_is_constant():
    embeddings = np.concatenate([[7.0], np.full(400, 3.0)]).reshape(1, -1, 1).astype(np.float32)
    found = np.asarray(positions(jnp.asarray(embeddings), 8, 29))
    assert found.shape == (1, 1 + 8 * 29, 1)
    assert found[0, 0, 0] == 7
    np.testing.assert_allclose(found[0, 1:], 3, rtol=1e-6)


def test_positions_are_sampled_by_the_step_of_a_grid_larger_by_a_tenth():
    """Of 4 positions 2 are asked for: the first lies at 4 / 2.1 / 2 - 1/2 = 0.452, on a line that
    is 1 at 0 and beyond, and 0 elsewhere.
    """
    embeddings = np.zeros((1, 17, 1), np.float32)
    embeddings[0, 1:5] = 1  # the first row
    t = 2 / 2.1 - 0.5
    inside = 1.25 * t**3 - 2.25 * t**2 + 1
    # the pixel beyond, which is that of the border
    border = -0.75 * ((1 + t) ** 3 - 5 * (1 + t) ** 2 + 8 * (1 + t) - 4)
    found = np.asarray(positions(jnp.asarray(embeddings), 2, 2))[0, 1:, 0].reshape(2, 2)
    np.testing.assert_allclose(found[0], inside + border, rtol=1e-5)


def test_images_that_are_not_made_of_patches_are_refused():
    with pytest.raises(ValueError, match="30 x 28 pixels is not made of patches of 14 x 14"):
        dinov2.DinoV2().init(jax.random.key(0), jnp.zeros((1, 30, 28, 3)))


@pytest.mark.parametrize("size", [(32, 40), (224, 224), (300, 200)])
def test_images_are_resized_as_pillow_does(size):
    images = networks.random_images(0, (2, *size, 3))
    found = np.asarray(imagenet.prepare(images))
    np.testing.assert_allclose(found, networks.pillows(images), atol=2e-5)
    if size == (224, 224):
        np.testing.assert_allclose(found, networks.scaled(images), atol=1e-6)


def test_gray_is_repeated_and_overshoot_cut_off():
    gray = np.zeros((1, 16, 16, 1), np.uint8)
    gray[:, :, 8:] = 255
    found = np.asarray(imagenet.prepare(gray)) * np.array(imagenet.DEVIATION) + np.array(
        imagenet.MEAN
    )
    np.testing.assert_allclose(found, np.repeat(found[..., :1], 3, axis=-1), atol=1e-6)
    assert found.min() >= -1e-6
    assert found.max() <= 1 + 1e-6
    unclipped = np.asarray(
        Image.fromarray(gray[0, :, :, 0].astype(np.float32)).resize(
            (224, 224), Image.Resampling.BICUBIC
        )
    )
    assert unclipped.max() > 260  # there is something to cut off
