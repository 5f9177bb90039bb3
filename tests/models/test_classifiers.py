import runpy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from otgan import weights
from otgan.batches import as_floats
from otgan.errors import UserError
from otgan.models.classifiers import (
    CLASSIFIERS,
    AllConv,
    ColorAllConv,
    LeNet,
    RandomConv,
    ResNet,
    convolution,
    max_pool,
    quarters,
    random_parameters,
)
from tests.support import REPOSITORY

pytestmark = pytest.mark.slow

SHAPES = {LeNet: (28, 28, 1), AllConv: (28, 28, 1), ResNet: (32, 32, 3), ColorAllConv: (32, 32, 3)}
DIMENSIONS = {LeNet: 128, AllConv: 128, ResNet: 192, ColorAllConv: 192}
RANDOM = RandomConv()


@pytest.fixture(scope="module")
def training():
    """What the script that trains them defines."""
    return runpy.run_path(str(REPOSITORY / "scripts/train_features.py"))


def pictures(shape, n=5, seed=0):
    return jnp.asarray(np.random.default_rng(seed).uniform(-1, 1, (n, *shape)), jnp.float32)


def drawn(network, x):
    """Parameters of He's size, with biases that are not zero, as after training."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(network.init, jax.random.key(0), x)["params"]
    return jax.tree.map(
        lambda leaf: (
            rng.standard_normal(leaf.shape) * np.sqrt(2 / max(1, np.prod(leaf.shape[:-1])))
        ).astype(np.float32),
        shapes,
    )


def applied(network, params, x) -> Any:
    return jax.jit(network.apply)({"params": params}, x)


def all_maps(network, params, x) -> Any:
    return network.apply({"params": params}, x, method="maps")


@pytest.mark.parametrize("window", [2, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_equals_scipys_correlation(window, stride):
    rng = np.random.default_rng(0)
    x, kernel = (rng.standard_normal(size) for size in ((1, 7, 6, 2), (window, window, 2, 3)))
    # "SAME": evenly around, an odd rest at the end
    over = [max(0, stride * (-(-side // stride) - 1) + window - side) for side in (7, 6)]
    padded = np.pad(x[0], (*[(o // 2, o - o // 2) for o in over], (0, 0)))
    expected = np.stack(
        [correlate(padded, kernel[..., i], mode="valid")[::stride, ::stride, 0] for i in range(3)],
        axis=-1,
    )
    np.testing.assert_allclose(
        convolution(jnp.asarray(x, jnp.float32), jnp.asarray(kernel, jnp.float32), stride)[0],
        expected,
        rtol=1e-5,
        atol=1e-5,
    )


def test_max_pool_takes_the_largest_of_each_block():
    x = np.array([[1, 2, 0, 0], [3, -4, 0, 9], [-5, -6, -1, -2], [-7, -8, -3, -4]], np.float32)
    np.testing.assert_array_equal(
        max_pool(jnp.asarray(x[None, :, :, None]))[0, :, :, 0], [[3, 9], [-5, -1]]
    )


@pytest.mark.parametrize("classifier", CLASSIFIERS.values())
def test_features_lead_to_logits_picture_by_picture(classifier):
    network, x = classifier(), pictures(SHAPES[classifier])
    params = drawn(network, x)
    features, logits = map(np.asarray, applied(network, params, x))
    assert features.shape == (5, DIMENSIONS[classifier])
    assert logits.shape == (5, 10)
    np.testing.assert_allclose(
        logits,
        features @ params["logits"]["kernel"] + params["logits"]["bias"],
        rtol=1e-4,
        atol=1e-4,
    )
    one_by_one = [applied(network, params, x[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(
        features, np.concatenate([f for f, _ in one_by_one]), rtol=1e-5, atol=1e-5
    )
    np.testing.assert_allclose(
        logits, np.concatenate([l for _, l in one_by_one]), rtol=1e-5, atol=1e-5
    )


LAYERS = {
    LeNet: {"first": (14, 14, 16), "second": (7, 7, 32), "dense": (128,)},
    ResNet: {
        "stage_0": (16, 16, 32),
        "stage_1": (8, 8, 96),
        "stage_2": (4, 4, 192),
        "pool": (192,),
    },
    AllConv: {
        "stage_0": (14, 14, 32),
        "stage_1": (7, 7, 64),
        "stage_2": (4, 4, 128),
        "pool": (128,),
    },
    ColorAllConv: {
        "stage_0": (16, 16, 96),
        "stage_1": (8, 8, 192),
        "stage_2": (8, 8, 192),
        "pool": (192,),
    },
    RandomConv: {"conv_0": (16, 16, 16), "conv_1": (8, 8, 32), "conv_2": (8, 8, 32)},
}


@pytest.mark.parametrize("classifier", LAYERS)
def test_maps_are_of_the_named_layers_in_order_of_depth(classifier):
    """And the deepest leads to the features.

    The names come from the class, before there is a network.
    """
    network, x = classifier(), pictures(SHAPES.get(classifier, (32, 32, 3)))
    params = drawn(network, x)
    maps = all_maps(network, params, x)
    assert tuple(maps) == classifier.layers == tuple(LAYERS[classifier])
    assert {name: value.shape[1:] for name, value in maps.items()} == LAYERS[classifier]
    found, deepest = applied(network, params, x), maps[classifier.layers[-1]]
    features, expected = (
        (found, quarters(deepest)) if classifier is RandomConv else (found[0], deepest)
    )
    np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-5)


def test_maps_are_what_the_layers_compute():
    x = pictures(SHAPES[LeNet])
    params = drawn(LeNet(), x)
    maps = all_maps(LeNet(), params, x)
    for name, below in {"first": x, "second": maps["first"]}.items():
        kernel = jnp.asarray(params[name]["kernel"])
        expected = np.maximum(
            max_pool(convolution(below, kernel)) + params[name]["bias"].reshape(1, 1, 1, -1), 0
        )
        np.testing.assert_allclose(maps[name], expected, rtol=1e-5, atol=1e-5)
    dense = np.maximum(
        np.asarray(maps["second"]).reshape(5, -1) @ params["dense"]["kernel"][0, 0]
        + params["dense"]["bias"],
        0,
    )
    np.testing.assert_allclose(maps["dense"], dense, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("classifier", CLASSIFIERS.values())
def test_folded_network_equals_the_normalized_one(training, classifier):
    """On the batch whose statistics it was folded with."""
    x = pictures(SHAPES[classifier], 32)
    normed = classifier(layer=training["NormedConv"])
    params = drawn(normed, x)
    expected, seen = jax.jit(
        lambda params: normed.apply({"params": params}, x, mutable=["batch_stats"])
    )(params)
    folded = training["fold"](params, seen["batch_stats"])
    for mine, theirs in zip(applied(classifier(), folded, x), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_quick_gradient_equals_jaxs_own(training, window):
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.standard_normal((32, 6, 5, 3), np.float32),
        rng.standard_normal((window, window, 3, 4), np.float32),
    )
    mine, theirs = (
        jax.jit(jax.grad(lambda x, kernel, conv=conv: jnp.sum(jnp.sin(conv(x, kernel))), (0, 1)))(
            x, kernel
        )
        for conv in (training["convolve"], convolution)
    )
    for a, b in zip(mine, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("window", [1, 2, 3])
@pytest.mark.parametrize("stride", [2, 3])
def test_product_of_patches_equals_the_strided_convolution(training, window, stride):
    rng = np.random.default_rng(0)
    x, kernel = (
        jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for shape in ((3, 7, 6, 2), (window, window, 2, 4))
    )
    np.testing.assert_allclose(
        training["convolve_strided"](x, kernel, stride),
        convolution(x, kernel, stride),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("stride", [1, 2])
def test_other_hardware_trains_the_same_layer(training, stride, monkeypatch):
    x = pictures((8, 6, 3), 16)
    layer = training["NormedConv"](4, 3, stride=stride)
    params = jax.tree.map(jnp.asarray, drawn(layer, x))

    def gradient():
        return jax.grad(
            lambda params: jnp.sum(
                jnp.sin(layer.apply({"params": params}, x, mutable=["batch_stats"])[0])
            )
        )(params)

    here = gradient()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), here, gradient()
    )


def test_the_script_writes_what_the_network_reads(training, tmp_path, monkeypatch):
    """From an `.npz`, as where TFDS is not installed; and its facts say how."""
    name = "mnist-allconv"
    rng = np.random.default_rng(0)
    arrays = {
        part: rng.integers(0, 256, (256, 28, 28, 1), dtype=np.uint8) for part in ("train", "test")
    }
    labels = {
        f"{part}_labels": rng.integers(0, 10, 256).astype(np.uint8) for part in ("train", "test")
    }
    everything: dict[str, Any] = {**arrays, **labels}
    np.savez(tmp_path / "data.npz", **everything)
    words = [
        name,
        "--data",
        str(tmp_path / "data.npz"),
        "--epochs",
        "1",
        "--seed",
        "7",
        "--out",
        str(tmp_path),
    ]
    monkeypatch.setattr("sys.argv", ["train_features.py", *words])
    training["main"]()
    held = weights.read(tmp_path / f"{name}.safetensors")
    assert (
        held.facts | {"network": name, "data": "mnist", "seed": "7", "epochs": "1 of 1"}
        == held.facts
    )
    network = CLASSIFIERS[name]()
    x = as_floats(jnp.asarray(arrays["test"]))
    right = (
        np.argmax(applied(network, held.parameters, x)[1], axis=1) == labels["test_labels"]
    ).mean()
    assert float(held.facts["test_accuracy"]) == pytest.approx(float(right), abs=0.01)


def test_whitening_leaves_patches_uncorrelated(training):
    """Correlated pixels, as pictures have; each component and its negative sum to zero."""
    rng = np.random.default_rng(0)
    blurred = np.cumsum(np.cumsum(rng.standard_normal((200, 16, 16, 3)), axis=1), axis=2)
    images = np.clip(128 + 10 * blurred, 0, 255).astype(np.uint8)
    stem = training["whitening"](images)
    y = convolution(
        jnp.asarray(images / 127.5 - 1, jnp.float32), jnp.asarray(stem["kernel"])
    ) + stem["bias"].reshape(1, 1, 1, -1)
    inner = np.asarray(y)[:, :-1, :-1].reshape(-1, 24)
    covariance = np.cov(inner[:, :12].T)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    assert 0.9 < np.diag(covariance).max() <= 1.001
    np.testing.assert_allclose(inner[:, :12] + inner[:, 12:], 0, atol=1e-4)
    np.testing.assert_allclose(inner.mean(axis=0), 0, atol=1e-3)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (33, 20, 3)])
def test_untrained_network_looks_at_any_size_picture_by_picture(shape):
    x, params = pictures(shape), random_parameters(0, shape)
    features = applied(RANDOM, params, x)
    assert features.shape == (5, 128)
    assert np.isfinite(features).all()
    assert len(np.unique(np.round(features, 3), axis=0)) == 5
    one_by_one = [applied(RANDOM, params, x[i : i + 1]) for i in range(5)]
    np.testing.assert_allclose(features, np.concatenate(one_by_one), rtol=1e-5, atol=1e-5)


def test_untrained_network_is_a_function_of_its_seed():
    shape = (28, 28, 1)
    x = pictures(shape)
    first, again, other = (applied(RANDOM, random_parameters(seed, shape), x) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_untrained_kernels_have_hes_variance_and_keep_their_first_numbers():
    kernels = random_parameters(0, (32, 32, 3))
    for kernel in kernels.values():
        np.testing.assert_allclose(kernel.var() * kernel[..., 0].size / 2, 1, rtol=0.15)
    np.testing.assert_allclose(
        kernels["kernel_0"][0, 0, 0, :3] / np.sqrt(2 / 27),
        [1.764052, 0.400157, 0.978738],
        rtol=1e-5,
    )


def test_untrained_network_refuses_pictures_of_seven_pixels():
    with pytest.raises(UserError, match="at least 8 x 8, not 7 x 9"):
        random_parameters(0, (7, 9, 1))


def test_quarters_of_an_odd_side_share_its_middle():
    x = jnp.arange(15.0).reshape(1, 3, 5, 1)
    np.testing.assert_allclose(quarters(x)[0], [3.5, 5.5, 8.5, 10.5])
