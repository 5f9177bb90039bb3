"""The layers that Flax does not have, or that XLA's CPU backend runs slowly.

The convolutions are matrix products and some moving of blocks, and compute what Flax's layers
compute with the same kernel: 4 x 4 of stride 2, and 3 x 3. On two CPU cores a DCGAN's `up_conv`
takes a fraction of the time of `flax.linen.ConvTranspose`, whose gradient XLA runs as a naive loop
(a 2 x 2 convolution to four times the channels was slower still); `down_conv` takes about 0.85 of
`flax.linen.Conv`'s. `flat_conv` is slower than `flax.linen.Conv` forward, but so much faster at the
kernel's gradient that both together take 0.5 to 0.7 of the time on grids of 16 x 16 and 32 x 32.
"""

from typing import Any, cast

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.nn.initializers import Initializer
from jaxtyping import Float

BILINEAR = np.array([0.25, 0.75, 0.75, 0.25])  # what a pixel gives to the four it is nearest to
SMALLEST_SQUARE = 1e-8  # keeps the gradient at zero below 1e4; features are of order 1 each


def up_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "4 4 c d"]
) -> Float[Array, "n h_up w_up d"]:
    """Double height and width: a transposed convolution, 4 x 4, stride 2, as in
    `flax.linen.ConvTranspose`.

    What comes out is a grid of 2 x 2 blocks, one more to a side than pixels came in, cut by one row
    and column at each side. A block is the sum of what the 2 x 2 pixels around its center send
    there. Either each block gathers their channels, or each pixel sends its values to four blocks:
    whichever moves less.
    """
    n, h, w, c = x.shape
    d = kernel.shape[-1]
    # Flax's kernel correlates; what a pixel sends is its mirror image: (i, inside, j, inside, c, d)
    sent = kernel[::-1, ::-1].reshape(2, 2, 2, 2, c, d)
    blocks = _blocks_gathering(x, sent) if c < 4 * d else _blocks_sending(x, sent)
    grid = blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h + 2, 2 * w + 2, d)
    return grid[:, 1:-1, 1:-1]


def _blocks_gathering(
    x: Float[Array, "n h w c"], sent: Float[Array, "2 2 2 2 c d"]
) -> Float[Array, "n h+1 w+1 2 2 d"]:
    n, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    around = [padded[:, 1 - i : h + 2 - i, 1 - j : w + 2 - j] for i in (0, 1) for j in (0, 1)]
    taps = sent.transpose(0, 2, 4, 1, 3, 5).reshape(4 * c, -1)
    return (jnp.concatenate(around, axis=-1).reshape(-1, 4 * c) @ taps).reshape(
        n, h + 1, w + 1, 2, 2, -1
    )


def _blocks_sending(
    x: Float[Array, "n h w c"], sent: Float[Array, "2 2 2 2 c d"]
) -> Float[Array, "n h+1 w+1 2 2 d"]:
    n, h, w, c = x.shape
    taps = sent.transpose(4, 0, 1, 2, 3, 5).reshape(c, -1)
    values = (x.reshape(-1, c) @ taps).reshape(n, h, w, 2, 2, 2, 2, -1)
    return jnp.asarray(sum(_shift(values[:, :, :, i, :, j], i, j) for i in (0, 1) for j in (0, 1)))


def smooth(kernel_init: Initializer) -> Initializer:
    """Kernels (4, 4, c, d) of `up_conv` that start by interpolating: bilinear in place (as in Long,
    Shelhamer and Darrell 2015), and random from channels to channels, with the variance that
    `kernel_init` gives to what comes out of an input that is the same everywhere.

    Independent taps make a checkerboard of every doubling (Odena, Dumoulin and Olah 2016), which
    training takes long to remove.
    """

    def init(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        # a mean of 16 taps has a quarter of their deviation, and 4 of them meet in a pixel
        mixed = 4 * 2 * kernel_init(key, shape, dtype).mean(axis=(0, 1))
        return jnp.einsum("i,j,cd->ijcd", BILINEAR, BILINEAR, mixed).astype(dtype)

    return cast(Initializer, init)


def _shift(blocks: Float[Array, "n h w 2 2 d"], i: int, j: int) -> Float[Array, "n h+1 w+1 2 2 d"]:
    """Place the blocks i rows down and j columns right on a grid that is one larger."""
    return jnp.pad(blocks, ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0), (0, 0), (0, 0)))


def down_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "4 4 c d"]
) -> Float[Array, "n h_down w_down d"]:
    """Halve height and width, rounding up: a 4 x 4 convolution of stride 2, "SAME" padding, as in
    `flax.linen.Conv`.
    """
    n, h, w, c = x.shape
    rows, columns = -(-h // 2), -(-w // 2)
    padded = jnp.pad(x, ((0, 0), (1, 1 + h % 2), (1, 1 + w % 2), (0, 0)))
    patches = [
        padded[:, i : i + 2 * rows - 1 : 2, j : j + 2 * columns - 1 : 2]
        for i in range(4)
        for j in range(4)
    ]
    product = jnp.concatenate(patches, axis=-1).reshape(-1, 16 * c) @ kernel.reshape(16 * c, -1)
    return product.reshape(n, rows, columns, -1)


def flat_conv(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "n h w d"]:
    """Keep height and width: a 3 x 3 convolution, "SAME" padding, as in `flax.linen.Conv`.

    A pixel gathers its neighbors' channels, a row of three at a time, or sends nine values of each
    output to them: whichever moves less.
    """
    return _sending(x, kernel) if 9 * kernel.shape[-1] < 3 * x.shape[-1] else _gathering(x, kernel)


def _gathering(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "n h w d"]:
    n, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    rows = jnp.concatenate([padded[:, :, j : j + w] for j in range(3)], axis=-1)  # n h+2 w 3c
    products = [
        rows[:, i : i + h].reshape(-1, 3 * c) @ kernel[i].reshape(3 * c, -1) for i in range(3)
    ]
    return jnp.asarray(sum(products)).reshape(n, h, w, -1)


def _sending(
    x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]
) -> Float[Array, "n h w d"]:
    n, h, w, c = x.shape
    sent = (x.reshape(-1, c) @ kernel.transpose(2, 0, 1, 3).reshape(c, -1)).reshape(
        n, h, w, 3, 3, -1
    )
    padded = jnp.pad(sent, ((0, 0), (1, 1), (1, 1), (0, 0), (0, 0), (0, 0)))
    return jnp.asarray(
        sum(padded[:, i : i + h, j : j + w, i, j] for i in range(3) for j in range(3))
    )


def doubled(x: Float[Array, "n h w c"]) -> Float[Array, "n h_up w_up c"]:
    """Each pixel four times: the nearest neighbor on a grid of twice the height and width."""
    n, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (n, h, 2, w, 2, c)).reshape(n, 2 * h, 2 * w, c)


class UpConv(nn.Module):
    """`up_conv` with a kernel and a bias to learn: n h w c -> n 2h 2w features."""

    features: int
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x):
        """Apply to n h w c."""
        kernel = parameter(self, "kernel", self.kernel_init, (4, 4, x.shape[-1], self.features))
        return up_conv(x, kernel) + _bias(self, self.features)


class DownConv(nn.Module):
    """`down_conv` with a kernel and a bias to learn: n h w c -> n ceil(h/2) ceil(w/2) features."""

    features: int
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x):
        """Apply to n h w c."""
        kernel = parameter(self, "kernel", self.kernel_init, (4, 4, x.shape[-1], self.features))
        return down_conv(x, kernel) + _bias(self, self.features)


class FlatConv(nn.Module):
    """`flat_conv` with a kernel and a bias to learn: n h w c -> n h w features."""

    features: int
    kernel_init: Initializer

    @nn.compact
    def __call__(self, x):
        """Apply to n h w c."""
        kernel = parameter(self, "kernel", self.kernel_init, (3, 3, x.shape[-1], self.features))
        return flat_conv(x, kernel) + _bias(self, self.features)


def _bias(module: nn.Module, features: int) -> Float[Array, "1 1 1 features"]:
    return parameter(module, "bias", nn.initializers.zeros, (features,)).reshape(1, 1, 1, features)


def parameter(
    module: nn.Module, name: str, initializer: Initializer, shape: tuple[int, ...]
) -> Array:
    """One of a module's parameters as a JAX array: those that come from a file are NumPy's."""
    return jnp.asarray(module.param(name, initializer, shape))


def unit(x: Float[Array, "n d"]) -> Float[Array, "n d"]:
    """Divide each row by its length; a row of zeros stays zero, with a finite gradient."""
    return x * lax.rsqrt(jnp.sum(x**2, axis=1, keepdims=True) + SMALLEST_SQUARE)
