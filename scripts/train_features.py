"""Train the small classifiers whose inner layer serves as features, and write them as the package
carries them.

    TFDS_DATA_DIR=... python scripts/train_features.py mnist-lenet
    TFDS_DATA_DIR=... python scripts/train_features.py mnist-allconv
    TFDS_DATA_DIR=... python scripts/train_features.py cifar10-resnet
    TFDS_DATA_DIR=... python scripts/train_features.py cifar10-allconv

The whole training set, one recipe for each network. Two networks of one data set differ in build
and seed, so that one can judge what was trained on the other. The test set is looked at after every
epoch, for the log; what the last epoch leaves is kept, whatever the figure. Training looks at batch
statistics. When it is over they are measured on training pictures and multiplied into the kernels,
and what is judged is what is read back from the file, which is in float16.

On a CPU XLA computes a kernel's gradient at a quarter to a half of the speed of the convolution,
hence `convolve` with a gradient of its own. The ResNet takes about 0.9 s of one core a step, 50
minutes in all; the LeNet takes 5 minutes, the digits' all-convolutional net 6. On other hardware
gradients are JAX's own, in that hardware's usual precision: the color pictures' all-convolutional
net took 56 s of an H200, shared with another program. Where TFDS is not installed, `--data
FILE.npz` takes arrays `train`, `train_labels`, `test` and `test_labels`.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

import otgan
from otgan import weights
from otgan.batches import as_floats
from otgan.data import Dataset, prepared
from otgan.models.classifiers import CLASSIFIERS, convolution, he_normal, max_pool

EPSILON = 1e-5  # added to variances
CHUNK = 16  # pictures whose patches fit into a core's cache
FLOOR = 5e-4  # of the variance of a principal component of patches
STATISTICS = 5_120  # training pictures to measure statistics on


@dataclass(frozen=True)
class Recipe:
    """What is done to a network.

    The seed is of its parameters and of the order and shifts of pictures.
    """

    data: str
    epochs: int
    rate: float  # the largest, after a fifth of the steps; it rises and falls linearly
    shift: int  # pixels in every direction
    mirror: bool
    smoothing: float  # of the labels
    batch: int = 256
    momentum: float = 0.9
    decay: float = 5e-4  # of kernels
    seed: int = 0


RECIPES = {
    "mnist-lenet": Recipe("mnist", epochs=8, rate=0.1, shift=2, mirror=False, smoothing=0.05),
    "mnist-allconv": Recipe(
        "mnist", epochs=6, rate=0.1, shift=2, mirror=False, smoothing=0.05, seed=1
    ),
    "cifar10-resnet": Recipe("cifar10", epochs=16, rate=0.2, shift=2, mirror=True, smoothing=0.1),
    "cifar10-allconv": Recipe(
        "cifar10", epochs=22, rate=0.1, shift=4, mirror=True, smoothing=0.1, seed=1
    ),
}


# The layer in training


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """`convolution`, with a quick gradient in the kernel."""
    return convolution(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return convolution(x, kernel), (x, kernel)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    (to_x,) = jax.vjp(lambda x: convolution(x, kernel), x)[1](g)
    chunks = [a.reshape(-1, CHUNK, *a.shape[1:]) for a in (x, g)]
    to_kernel, _ = lax.scan(
        lambda total, pair: (total + kernel_gradient(pair[0], pair[1], kernel.shape), None),
        jnp.zeros_like(kernel),
        chunks,
    )
    return to_x, to_kernel


def kernel_gradient(x: jax.Array, g: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """One matrix product between copies of the input, shifted by rows, and of the output's gradient
    g, shifted by columns.
    """
    k, l, c, d = shape
    h, w = x.shape[1:3]
    rows = jnp.pad(x, ((0, 0), ((k - 1) // 2, k // 2), (0, 0), (0, 0)))
    columns = jnp.pad(g, ((0, 0), (0, 0), (l // 2, (l - 1) // 2), (0, 0)))
    X = jnp.concatenate([rows[:, i : i + h] for i in range(k)], axis=-1).reshape(-1, k * c)
    G = jnp.concatenate(
        [columns[:, :, l - 1 - j : l - 1 - j + w] for j in range(l)], axis=-1
    ).reshape(-1, l * d)
    return (X.T @ G).reshape(k, c, l, d).transpose(0, 2, 1, 3)


convolve.defvjp(_forward, _backward)


def convolve_strided(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """`convolution` as one matrix product of patches: its gradients are products too, and a stride
    leaves few patches to copy.
    """
    k, l, c, d = kernel.shape
    h, w = (-(-side // stride) for side in x.shape[1:3])
    over = [
        max(0, (out - 1) * stride + window - side)
        for out, window, side in zip((h, w), (k, l), x.shape[1:3], strict=True)
    ]
    padded = jnp.pad(x, ((0, 0), *((o // 2, o - o // 2) for o in over), (0, 0)))
    shifts = itertools.product(range(k), range(l))
    patches = [
        padded[:, i : i + (h - 1) * stride + 1 : stride, j : j + (w - 1) * stride + 1 : stride]
        for i, j in shifts
    ]
    return (
        jnp.concatenate(patches, axis=-1).reshape(-1, k * l * c) @ kernel.reshape(-1, d)
    ).reshape(-1, h, w, d)


class NormedConv(nn.Module):
    """`Conv` with batch normalization in place of the bias.

    Without a scale, so that it commutes with the pool.
    """

    features: int
    window: int
    pool: bool = False
    stride: int = 1

    @nn.compact
    def __call__(self, x):
        """Apply to n h w c."""
        kernel = self.param(
            "kernel", he_normal, (self.window, self.window, x.shape[-1], self.features)
        )
        if jax.default_backend() != "cpu":
            window = (self.stride, self.stride)
            y = lax.conv_general_dilated(
                x, kernel, window, "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
        else:
            y = (
                convolve(x, kernel)
                if self.stride == 1
                else convolve_strided(x, kernel, self.stride)
            )
        norm = nn.BatchNorm(
            use_running_average=False, momentum=0.0, epsilon=EPSILON, use_scale=False, name="norm"
        )
        return norm(max_pool(y) if self.pool else y)


def fold(params: Mapping[str, Any], stats: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of the same network without normalization: kernels divided by their outputs'
    standard deviations.
    """
    params, stats = (jax.tree.map(np.asarray, dict(tree)) for tree in (params, stats))
    folded = dict(params)
    for name, seen in stats.items():
        scale = 1 / np.sqrt(seen["norm"]["var"] + EPSILON)
        folded[name] = {
            "kernel": params[name]["kernel"] * scale,
            "bias": params[name]["norm"]["bias"] - seen["norm"]["mean"] * scale,
        }
    return folded


# The recipe


def whitening(images: np.ndarray) -> dict[str, np.ndarray]:
    """A stem whose outputs are the principal components of 2 x 2 patches, scaled to one variance,
    and their negatives.

    Args:
        images: (n, h, w, 3) bytes.
    """
    x = images.astype(np.float64) / 127.5 - 1
    h, w = x.shape[1:3]
    patches = np.concatenate(
        [x[:, i : h - 1 + i, j : w - 1 + j] for i in (0, 1) for j in (0, 1)], axis=-1
    ).reshape(-1, 12)
    variances, directions = np.linalg.eigh(np.cov(patches.T))
    kernel = directions / np.sqrt(variances + FLOOR)
    kernel = np.concatenate([kernel, -kernel], axis=1)
    return {
        "kernel": kernel.reshape(2, 2, 3, 24).astype(np.float32),
        "bias": -(patches.mean(axis=0) @ kernel).astype(np.float32),
    }


def batches(
    data: prepared.Prepared, recipe: Recipe, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """An epoch's pictures, shifted and mirrored at random, and labels.

    What does not fill a batch is left out.
    """
    h, w = data.train.shape[1:3]
    around = (0, 0), (recipe.shift, recipe.shift), (recipe.shift, recipe.shift), (0, 0)
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(data.train, around, mode="reflect"), (h, w), axis=(1, 2)
    )
    order = rng.permutation(len(data.train))
    for start in range(0, len(order) - recipe.batch + 1, recipe.batch):
        index = order[start : start + recipe.batch]
        top, left = rng.integers(2 * recipe.shift + 1, size=(2, recipe.batch))
        pictures = windows[index, top, left].transpose(0, 2, 3, 1)
        mirrored = recipe.mirror & (rng.random(recipe.batch) < 0.5)
        yield (
            np.where(mirrored[:, None, None, None], pictures[:, :, ::-1], pictures),
            data.train_labels[index],
        )


def make_step(
    name: str, recipe: Recipe, steps: int, fixed: Mapping[str, Any]
) -> tuple[optax.GradientTransformation, Any, Any]:
    """The optimizer; one step of it, jitted; and the statistics of a batch, jitted.

    Parameters in `fixed` are not trained.
    """
    network = CLASSIFIERS[name](layer=NormedConv)
    rate = optax.schedules.piecewise_interpolate_schedule(
        "linear", recipe.rate / 20, {steps // 5: 20.0, steps: 1e-3}
    )
    kernels = partial(jax.tree.map, lambda value: value.ndim > 1)
    optimizer = optax.chain(
        optax.add_decayed_weights(recipe.decay, kernels),
        optax.sgd(rate, recipe.momentum, nesterov=True),
    )

    def loss(params: Any, pictures: jax.Array, labels: jax.Array) -> jax.Array:
        (_, logits), _ = network.apply(
            {"params": {**params, **fixed}}, as_floats(pictures), mutable=["batch_stats"]
        )
        targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), recipe.smoothing)
        return optax.softmax_cross_entropy(logits, targets).mean()

    @jax.jit
    def step(
        params: Any, state: Any, pictures: jax.Array, labels: jax.Array
    ) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params, pictures, labels)
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state, value

    @jax.jit
    def statistics(params: Any, pictures: jax.Array) -> Any:
        return network.apply(
            {"params": {**params, **fixed}}, as_floats(pictures), mutable=["batch_stats"]
        )[1]["batch_stats"]

    return optimizer, step, statistics


def make_accuracy(
    network: nn.Module, pictures: np.ndarray, labels: np.ndarray
) -> Callable[[Any], float]:
    """Parameters -> the share of pictures whose largest logit is their label's."""

    @jax.jit
    def guess(parameters: Any, x: jax.Array) -> jax.Array:
        outputs: Any = network.apply({"params": parameters}, as_floats(x))
        return jnp.argmax(outputs[1], axis=1)

    def accuracy(parameters: Any) -> float:
        guesses = [guess(parameters, pictures[i : i + 1000]) for i in range(0, len(pictures), 1000)]
        return float((np.concatenate(guesses) == labels).mean())

    return accuracy


def train(
    name: str, data: prepared.Prepared, recipe: Recipe, out: Path, facts: dict[str, str]
) -> None:
    """Follow the recipe; after every epoch write what there is, so that a stop loses what is left
    and nothing else.
    """
    rng = np.random.default_rng(recipe.seed)
    shape = data.train.shape[1:]
    fresh = CLASSIFIERS[name](layer=NormedConv).init(
        jax.random.key(recipe.seed), jnp.zeros((1, *shape))
    )["params"]
    fixed = {"stem": whitening(data.train[:STATISTICS])} if "stem" in fresh else {}
    params = {part: value for part, value in fresh.items() if part not in fixed}
    per_epoch = len(data.train) // recipe.batch
    optimizer, step, statistics = make_step(name, recipe, recipe.epochs * per_epoch, fixed)
    accuracy = make_accuracy(CLASSIFIERS[name](), np.asarray(data.test), data.test_labels)
    state = optimizer.init(params)
    began = time.monotonic()
    for epoch in range(1, recipe.epochs + 1):
        losses, stats = [], []
        for pictures, labels in batches(data, recipe, rng):
            params, state, value = step(params, state, pictures, labels)
            losses.append(value)
        for pictures, _ in itertools.islice(batches(data, recipe, rng), STATISTICS // recipe.batch):
            stats.append(statistics(params, pictures))
        mean = jax.tree.map(lambda *values: np.mean(values, axis=0), *stats)
        folded = jax.tree.map(
            lambda value: np.asarray(value, np.float16), fold({**params, **fixed}, mean)
        )
        weights.write(out, folded, facts)
        right = accuracy(weights.read(out).parameters)
        weights.write(
            out,
            folded,
            {**facts, "epochs": f"{epoch} of {recipe.epochs}", "test_accuracy": f"{right:.4f}"},
        )
        print(
            f"epoch {epoch:3}  loss {np.mean(losses):.4f}  test {right:.4f} "
            f" {time.monotonic() - began:7.0f} s",
            flush=True,
        )


def read(path: Path) -> prepared.Prepared:
    """Pictures and labels of an `.npz`, as otgan's cache keeps them."""
    with np.load(path) as arrays:
        return prepared.Prepared(
            **{field.name: arrays[field.name] for field in fields(prepared.Prepared)}
        )


def main() -> None:
    """Train one network and write it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", choices=RECIPES)
    parser.add_argument("--epochs", type=int, help="more or fewer than the recipe's")
    parser.add_argument("--seed", type=int, help="another than the recipe's")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FILE.npz",
        help="pictures and labels, instead of those that TFDS prepared",
    )
    parser.add_argument("--out", type=Path, default=Path("otgan/weights"))
    options = parser.parse_args()
    recipe = RECIPES[options.network]
    recipe = replace(
        recipe,
        epochs=options.epochs or recipe.epochs,
        seed=recipe.seed if options.seed is None else options.seed,
    )
    data = read(options.data) if options.data else prepared.load(recipe.data)
    told = {name: value for name, value in asdict(recipe).items() if name not in ("data", "seed")}
    facts = {
        "network": options.network,
        "data": recipe.data,
        "data_fingerprint": Dataset(recipe.data, data.train, data.test).fingerprint,
        "recipe": ", ".join(f"{name} {value}" for name, value in told.items()),
        "seed": str(recipe.seed),
        "otgan": otgan.__version__,
    }
    train(options.network, data, recipe, options.out / f"{options.network}.safetensors", facts)


if __name__ == "__main__":
    main()
