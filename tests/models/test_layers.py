import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.models import layers
from otgan.models.layers import smooth, up_conv

KEY = jax.random.key(0)
SHAPES = [(8, 8), (7, 5)]  # even and odd sides
CASES = {
    "up": (layers.up_conv, nn.ConvTranspose(5, (4, 4), (2, 2), use_bias=False), (4, 4, 2, 5)),
    "down": (layers.down_conv, nn.Conv(5, (4, 4), (2, 2), use_bias=False), (4, 4, 2, 5)),
    "flat, gathering": (layers.flat_conv, nn.Conv(5, (3, 3), use_bias=False), (3, 3, 2, 5)),
    "flat, sending": (layers.flat_conv, nn.Conv(2, (3, 3), use_bias=False), (3, 3, 7, 2)),
}


def _value_and_gradients(function, *inputs):
    """The output of a function of (x, kernel), and its gradients along a fixed uneven direction of
    the output.
    """

    def along(*inputs):
        out = function(*inputs)
        return jnp.sum(out * jnp.cos(jnp.arange(out.size)).reshape(out.shape)), out

    gradients, out = jax.jit(jax.grad(along, argnums=(0, 1), has_aux=True))(*inputs)
    return [out, *gradients]


@pytest.mark.parametrize(("h", "w"), SHAPES)
@pytest.mark.parametrize("case", CASES)
def test_convolutions_equal_those_of_flax(case, h, w):
    ours, layer, shape = CASES[case]
    rng = np.random.default_rng(0)
    inputs = (
        rng.standard_normal((3, h, w, shape[2]), np.float32),
        rng.standard_normal(shape, np.float32),
    )
    expected = _value_and_gradients(
        lambda x, kernel: layer.apply({"params": {"kernel": kernel}}, x), *inputs
    )
    for mine, theirs in zip(_value_and_gradients(ours, *inputs), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "side"), [(layers.UpConv, 4), (layers.DownConv, 4), (layers.FlatConv, 3)]
)
def test_bias_is_added_per_channel(layer, side):
    bias = jnp.arange(1.0, 4.0)
    params = {"params": {"kernel": jnp.zeros((side, side, 2, 3)), "bias": bias}}
    out = layer(3, nn.initializers.zeros).apply(params, jnp.ones((1, 4, 4, 2)))
    np.testing.assert_array_equal(out, np.broadcast_to(bias, out.shape))


def test_doubled_repeats_each_pixel_in_both_directions():
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5), np.float32)
    np.testing.assert_array_equal(
        layers.doubled(jnp.asarray(x)), x.repeat(2, axis=1).repeat(2, axis=2)
    )


def test_unit_has_length_one_and_the_same_direction():
    x = jnp.array([[3.0, 4.0], [-0.05, 0.0], [2e3, 0.0]])
    np.testing.assert_allclose(layers.unit(x), [[0.6, 0.8], [-1.0, 0.0], [1.0, 0.0]], rtol=1e-5)


def test_unit_of_zero_is_zero_with_a_finite_gradient():
    value, gradient = jax.value_and_grad(lambda x: layers.unit(x).sum())(jnp.zeros((1, 3)))
    assert value == 0
    assert np.isfinite(gradient).all()


def test_smooth_kernels_interpolate_and_keep_the_variance_of_what_is_even():
    shape = (4, 4, 64, 512)
    kernel = smooth(nn.initializers.variance_scaling(8.0, "fan_in", "normal"))(KEY, shape)
    even = jnp.broadcast_to(jax.random.normal(KEY, (64,)), (1, 6, 6, 64))
    out = np.asarray(up_conv(even, kernel))[:, 1:-1, 1:-1]  # the border meets padding
    np.testing.assert_allclose(out, np.broadcast_to(out[:, :1, :1], out.shape), atol=1e-4)
    assert out.var() == pytest.approx(2.0 * float((even**2).mean()), rel=0.15)  # He's
    step = jnp.zeros((1, 6, 6, 64)).at[:, :, 3:].set(even[:, :, 3:])
    columns = np.asarray(up_conv(step, kernel))[0, 5]
    np.testing.assert_allclose(columns[5], 0.25 * out[0, 0, 0], atol=1e-4)
    np.testing.assert_allclose(columns[6], 0.75 * out[0, 0, 0], atol=1e-4)
