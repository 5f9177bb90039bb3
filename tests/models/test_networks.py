from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan import config, experiments
from otgan.errors import UserError
from otgan.models import Network, latents_of, make_encoder, make_generator
from otgan.models.generators import AdaptiveNorm, UpBlock

pytestmark = pytest.mark.slow

IMAGES = [(28, 28, 1), (32, 32, 3), (30, 21, 3), (8, 8, 2)]
KINDS_AND_SHAPES = [*(("conv", shape) for shape in IMAGES), ("mlp", (28, 28, 1)), ("mlp", (2,))]
CENTER = np.array([5.0, -3.0])
SCALE = 2.5
KEY = jax.random.key(0)


def _generator(kind: Any = "mlp", shape=(2,), center: Any = CENTER, scale=SCALE, **settings):
    section = config.Generator(kind=kind, **{"latent_dim": 6, "width": 8, "depth": 2, **settings})
    return _compiled(make_generator(section, shape, center, scale))


def _encoder(kind: Any = "mlp", shape=(2,), center: Any = 0.0, scale=1.0, **settings):
    section = config.Encoder(kind=kind, **{"features": 16, "width": 8, "depth": 2, **settings})
    return _compiled(make_encoder(section, shape, center, scale))


def _compiled(network) -> Any:
    """The same network with one compilation of `apply` rather than one for each operation.

    `init` shares its own between tests.
    """
    return Network(network.init, jax.jit(network.apply))


def _arbitrary(network):
    """Parameters of the right shapes without the seconds that compiling `init` takes: biases 0,
    scales 1, random kernels.
    """
    rng = np.random.default_rng(0)

    def leaf(path, shape):
        if shape.ndim > 1:
            return 0.2 * rng.standard_normal(shape.shape, np.float32)
        return np.full(shape.shape, path[-1].key.endswith("scale"), np.float32)

    return jax.tree_util.tree_map_with_path(leaf, jax.eval_shape(network.init, KEY))


def _shapes(network, *, of):
    """The shapes and types of the parameters and of the output, without computing either."""
    params = jax.eval_shape(network.init, KEY)
    return params, jax.eval_shape(network.apply, params, of)


def _latents(n, dim=6):
    return np.random.default_rng(1).standard_normal((n, dim), dtype=np.float32)


def _samples(n, shape):
    return np.random.default_rng(2).uniform(-1, 1, (n, *shape)).astype(np.float32)


def _channels(params, name):
    return [
        leaf.shape
        for path, leaf in jax.tree.leaves_with_path(params)
        if name in jax.tree_util.keystr(path) and leaf.ndim == 4
    ]


def _heard(params, k):
    """The parameters, the k-th grid's noise at full strength."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: (
            jnp.ones_like(leaf) if f"noise_{k}" in jax.tree_util.keystr(path) else leaf
        ),
        params,
    )


# --- both -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "shape"), [*KINDS_AND_SHAPES, *(("residual", shape) for shape in IMAGES)]
)
@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_generator_makes_samples_of_the_data_s_shape(kind, shape, normalization):
    _, out = _shapes(_generator(kind, shape, normalization=normalization, depth=3), of=_latents(3))
    assert (out.shape, out.dtype) == ((3, *shape), jnp.float32)


@pytest.mark.parametrize(("kind", "shape"), KINDS_AND_SHAPES)
@pytest.mark.parametrize("normalization", ["none", "layer", "weight"])
def test_encoder_makes_features(kind, shape, normalization):
    _, out = _shapes(
        _encoder(kind, shape, normalization=normalization, depth=3), of=_samples(3, shape)
    )
    assert (out.shape, out.dtype) == ((3, 16), jnp.float32)


@pytest.mark.parametrize("make", [_generator, _encoder])
def test_the_key_decides_the_parameters(make):
    network = make("conv", (8, 8, 2))
    params, again, other = network.init(KEY), network.init(KEY), network.init(jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, params, again)
    kernels = [
        (a, b)
        for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(other), strict=True)
        if a.ndim > 1
    ]
    assert len(kernels) == 3
    assert not any(np.allclose(a, b) for a, b in kernels)


@pytest.mark.parametrize(
    ("make", "kind"), [(_generator, "conv"), (_generator, "residual"), (_encoder, "conv")]
)
def test_a_sample_does_not_depend_on_its_neighbors(make, kind):
    network = make(kind, (8, 8, 2), normalization="layer")
    x = _latents(6) if make is _generator else _samples(6, (8, 8, 2))
    params = _arbitrary(network)
    changed = np.concatenate([x[:2], 3 * x[2:]])
    np.testing.assert_allclose(
        network.apply(params, x)[:2], network.apply(params, changed)[:2], rtol=1e-4, atol=1e-5
    )


def test_channels_double_away_from_the_image():
    generator, _ = _shapes(_generator("conv", (32, 32, 3), width=4, depth=3), of=_latents(1))
    encoder, _ = _shapes(
        _encoder("conv", (32, 32, 3), width=4, depth=3), of=_samples(1, (32, 32, 3))
    )
    assert _channels(generator, "UpConv") == [(4, 4, 16, 8), (4, 4, 8, 4), (4, 4, 4, 3)]
    assert _channels(encoder, "DownConv") == [(4, 4, 3, 4), (4, 4, 4, 8), (4, 4, 8, 16)]


@pytest.mark.parametrize("make", [_generator, _encoder])
def test_depth_counts_the_hidden_layers_of_an_mlp(make):
    params = jax.eval_shape(make("mlp", depth=4).init, KEY)
    assert sum(leaf.ndim == 2 for leaf in jax.tree.leaves(params)) == 4 + 1


@pytest.mark.parametrize("make", [_generator, _encoder])
def test_conv_refuses_what_it_cannot_halve(make):
    with pytest.raises(UserError, match="needs images"):
        make("conv", (2,))
    with pytest.raises(UserError, match="at most 3"):
        make("conv", (12, 30, 1), depth=4)
    make("conv", (8, 30, 1), depth=3)


# --- generators -----------------------------------------------------------------------------------


def test_points_follow_center_and_scale():
    plain, moved = _generator(center=np.zeros(2), scale=1.0), _generator()
    params, z = _arbitrary(plain), _latents(50)
    np.testing.assert_allclose(
        moved.apply(params, z), CENTER + SCALE * np.asarray(plain.apply(params, z)), rtol=1e-5
    )


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_points_start_about_as_wide_as_the_data(normalization):
    network = _generator(width=256, depth=3, latent_dim=32, normalization=normalization)
    out = np.asarray(network.apply(network.init(KEY), _latents(500, 32)))
    assert 0.4 < (out - CENTER).std() / SCALE < 2


CONVOLUTIONAL = [
    (kind, normalization) for kind in ("conv", "residual") for normalization in ("none", "layer")
]


@pytest.mark.parametrize(
    ("kind", "normalization", "mapping"),
    [*((*c, m) for c in CONVOLUTIONAL for m in (0, 2)), *(("mlp", "none", m) for m in (0, 2))],
)
def test_pictures_start_with_contrast_and_differ(kind, normalization, mapping):
    network = _generator(
        kind,
        (28, 28, 1),
        width=32,
        latent_dim=64,
        normalization=normalization,
        mapping_depth=mapping,
    )
    out = np.asarray(network.apply(network.init(KEY), _latents(20, 64)))
    assert np.abs(out).max() <= 1
    assert 0.2 < out.std() < 0.6
    assert out.std(axis=0).mean() > 0.15  # between pictures, not only within one


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_a_mapping_comes_before_the_first_layer(kind):
    plain, mapped = (
        _shapes(_generator(kind, (8, 8, 1), mapping_width=7, mapping_depth=m), of=_latents(1))[0]
        for m in (0, 2)
    )
    layers = [mapped["params"].pop(f"mapping_{k}")["kernel"].shape for k in range(2)]
    assert layers == [(6, 7), (7, 7)]
    assert mapped["params"]["Dense_0"]["kernel"].shape == (
        7,
        plain["params"]["Dense_0"]["kernel"].shape[1],
    )
    assert jax.tree.structure(plain) == jax.tree.structure(mapped)


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_latents_may_go_on_beside_their_mapping(kind):
    mapping = {"mapping_width": 7, "mapping_depth": 2, "mapping_skip": True}
    network = _generator(kind, (8, 8, 1), **mapping)
    params, z = _arbitrary(network), _latents(3)
    assert params["params"]["Dense_0"]["kernel"].shape[0] == 6 + 7
    blind = jax.tree.map(jnp.zeros_like, params["params"]["mapping_1"])
    blind = {"params": {**params["params"], "mapping_1": blind}}
    out = np.asarray(network.apply(blind, z))
    assert np.abs(out[0] - out[1]).max() > 1e-3  # what the mapping does not say the latents do


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_latents_scale_and_shift_what_is_normalized_adaptively(kind):
    network = _generator(kind, (8, 8, 1), normalization="adaptive")
    params, z = _arbitrary(network), _latents(3)
    first = jax.tree.map(jnp.zeros_like, params["params"]["Dense_0"])
    blind = {
        "params": {
            **params["params"],
            "Dense_0": first | {"bias": jnp.arange(len(first["bias"])) % 3.0},
        }
    }
    out = np.asarray(network.apply(blind, z))
    assert np.abs(out[0] - out[1]).max() > 1e-3  # the first layer does not see the latents
    np.testing.assert_allclose(out[1:2], network.apply(blind, z[1:2]), atol=1e-5)


def test_an_adaptive_normalization_starts_as_a_plain_one():
    x, z = jnp.asarray(np.random.default_rng(1).normal(size=(3, 4, 4, 5))), _latents(3)
    layer = AdaptiveNorm()
    params = layer.init(KEY, x, z)
    mean, sd = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(layer.apply(params, x, z)), (x - mean) / sd, atol=1e-4)
    made = jax.tree.map(lambda leaf: leaf + 0.5, params)
    scale, shift = jnp.split(z @ jnp.full((6, 10), 0.5) + 0.5, 2, axis=-1)
    np.testing.assert_allclose(
        np.asarray(layer.apply(made, x, z)),
        (1 + scale)[:, None, None] * (x - mean) / sd + shift[:, None, None],
        atol=1e-3,
    )


def test_residual_blocks_keep_the_channels_and_end_in_the_colors():
    params, _ = _shapes(_generator("residual", (32, 32, 3), width=4, depth=3), of=_latents(1))
    assert _channels(params, "UpConv") == [(4, 4, 4, 4)] * 3
    assert _channels(params, "FlatConv") == [(3, 3, 4, 3), *[(3, 3, 4, 4)] * 3]


@pytest.mark.parametrize("normalization", ["none", "layer"])
def test_a_residual_block_keeps_the_size_of_its_input_at_the_start(normalization):
    x = jnp.asarray(np.random.default_rng(3).standard_normal((8, 6, 6, 64)), jnp.float32)
    block = UpBlock(64, normalization, None)
    z = jnp.asarray(_latents(8))
    out = np.asarray(block.apply(block.init(KEY, x, z), x, z))
    assert out.shape == (8, 12, 12, 64)
    # away from the border, where padding takes some of the sum
    assert 0.85 < out[:, 2:-2, 2:-2].std() < 1.15


def test_residual_refuses_what_it_cannot_double():
    with pytest.raises(UserError, match="kind = 'residual' needs images"):
        _generator("residual", (2,))
    with pytest.raises(UserError, match="at most 3"):
        _generator("residual", (12, 30, 1), depth=4)


# --- encoders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalization", ["none", "layer", "weight"])
def test_points_of_a_ray_from_the_mean_start_with_features_of_their_own(normalization):
    network = _encoder(width=64, depth=2, normalization=normalization, center=CENTER, scale=SCALE)
    angles = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    ray = SCALE * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    near, far = (network.apply(network.init(KEY), CENTER + length * ray) for length in (0.5, 1.5))
    assert np.max(np.sum(np.asarray(near) * np.asarray(far), axis=1)) < 0.99


def test_features_do_not_depend_on_the_units_of_points():
    plain, moved = _encoder(), _encoder(center=CENTER, scale=SCALE)
    params, x = _arbitrary(plain), _samples(20, (2,))
    np.testing.assert_allclose(
        moved.apply(params, CENTER + SCALE * x), plain.apply(params, x), rtol=1e-4, atol=1e-5
    )


ENCODERS = [
    (kind, normalization)
    for kind in ("conv", "mlp")
    for normalization in ("none", "layer", "weight")
]


@pytest.mark.parametrize(("kind", "normalization"), ENCODERS)
def test_features_have_length_one_and_are_not_parallel(kind, normalization):
    network = _encoder(kind, (8, 8, 2), normalization=normalization)
    out = np.asarray(network.apply(network.init(KEY), _samples(20, (8, 8, 2))))
    cosines = out @ out.T
    np.testing.assert_allclose(np.diag(cosines), 1, rtol=1e-5)
    assert cosines[np.triu_indices(20, 1)].mean() < 0.7


@pytest.mark.parametrize(("kind", "normalization"), ENCODERS)
def test_gradient_at_a_constant_picture_is_finite(kind, normalization):
    network = _encoder(kind, (8, 8, 1), normalization=normalization)
    gradient = jax.jit(jax.grad(lambda params, x: network.apply(params, x).sum(), argnums=(0, 1)))
    params = _arbitrary(network)
    for level in (0.0, -1.0):
        gradients = gradient(params, np.full((2, 8, 8, 1), level, np.float32))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("kind", ["conv", "mlp"])
@pytest.mark.parametrize(("normalization", "invariant"), [("weight", True), ("none", False)])
def test_weight_normalization_forgets_the_length_of_a_raw_kernel(kind, normalization, invariant):
    network = _encoder(kind, (8, 8, 2), normalization=normalization)
    params, x = _arbitrary(network), _samples(4, (8, 8, 2))

    def scaled(path, leaf):
        # Columns unequally: the normalization of the output would undo a common factor.
        return (
            leaf * np.linspace(0.5, 4, leaf.shape[-1]).reshape((1,) * (leaf.ndim - 1) + (-1,))
            if path[-1].key == "kernel"
            else leaf
        )

    changed = jax.tree_util.tree_map_with_path(scaled, params)
    kept = np.allclose(network.apply(params, x), network.apply(changed, x), rtol=1e-4, atol=1e-5)
    assert kept == invariant


@pytest.mark.parametrize("name", ["smooth", "noise"])
def test_what_has_no_grids_has_nothing_of_theirs(name):
    with pytest.raises(ValueError, match=f"{name} .* the kind 'mlp' has none: set it to false, or"):
        config.Generator.model_validate({"kind": "mlp", name: True})


@pytest.mark.parametrize("kind", ["conv", "residual"])
def test_noise_is_of_the_places_of_every_grid_and_starts_at_nothing(kind):
    """30 x 21 is doubled twice from 8 x 6; what one place of the last grid has stays near it."""
    section = config.Generator(kind=kind, latent_dim=6, width=8, depth=2, noise=True)
    network = _compiled(make_generator(section, (30, 21, 3), 0.0, 1.0))
    size = 6 + 8 * 6 + 16 * 12
    assert latents_of(section, (30, 21, 3)) == size
    assert latents_of(section.model_copy(update={"noise": False}), (30, 21, 3)) == 6
    params, z = network.init(KEY), _latents(2, size)
    z[1, :6] = z[0, :6]
    quiet = np.asarray(network.apply(params, z))
    np.testing.assert_array_equal(quiet[0], quiet[1])
    for k in range(2):
        loud = np.asarray(network.apply(_heard(params, k), z))
        assert np.abs(loud[0] - loud[1]).max() > 1e-3
    z[1] = z[0]
    z[1, -12] += 1  # the place at the lower left of the last grid
    loud = np.asarray(network.apply(_heard(params, 1), z))
    changed = np.argwhere(np.abs(loud[0] - loud[1]).max(-1) > 1e-6)
    assert len(changed)
    assert changed[:, 0].min() >= 30 - 6
    assert changed[:, 1].max() <= 6


@pytest.mark.parametrize("kind", ["mlp", "conv", "residual"])
def test_in_bfloat16_layers_are_coarse_and_what_goes_in_and_out_is_not(kind):
    shape = (2,) if kind == "mlp" else (8, 8, 3)
    section = config.Generator(kind=kind, latent_dim=6, width=8, depth=2, normalization="layer")
    fine, coarse = (
        make_generator(section, shape, CENTER, SCALE, precision)
        for precision in ("float32", "bfloat16")
    )
    params, z = _arbitrary(fine), jnp.asarray(_latents(64))
    exact, rough = (np.asarray(jax.jit(network.apply)(params, z)) for network in (fine, coarse))
    assert exact.dtype == rough.dtype == np.float32
    error = np.abs(exact - rough).max() / np.abs(exact - exact.mean()).max()
    assert 1e-4 < error < 0.1
    gradient = jax.jit(jax.grad(lambda params: (coarse.apply(params, z) ** 2).sum()))(params)
    assert {leaf.dtype for leaf in jax.tree.leaves(gradient)} == {np.dtype(np.float32)}
    products = [
        line
        for line in str(jax.make_jaxpr(coarse.apply)(params, z)).splitlines()
        if "dot_general" in line
    ]
    assert products
    assert all(":bf16[" in line for line in products)


def test_sobol_latents_have_no_room_for_noise():
    changes = {"batch.latents": "sobol", "generator.noise": True, "generator.kind": "conv"}
    with pytest.raises(UserError, match=r"no room for generator\.noise: use 'iid'"):
        experiments.resolve("sinkhorn-mnist", changes)
