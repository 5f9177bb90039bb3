"""Which way of training an encoder without labels is best in little time: the table of
docs/features.md.

    TFDS_DATA_DIR=... python scripts/compare_encoders.py sample cifar10 --steps 400
    TFDS_DATA_DIR=... python scripts/compare_encoders.py mnist --methods contrastive --steps 2000

Every method trains the same encoder from the same start for as many steps of as many pictures. The
yardstick is a linear classifier (ridge regression on one-hot classes, its weight chosen on a tenth
of the training pictures) on frozen features; labels are used for nothing else. Beside it stand
pixels, `random`, and the same encoder untrained. "Told apart" says of how many degradations of real
pictures, at three strengths each, the Frechet distance from other real pictures grows with every
strength: noise, blur, a square cut out, and classes left out; in brackets the weakest strengths'
distances over that of the real pictures themselves. Processor seconds are of making the features,
compilation included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.ndimage import gaussian_filter

from otgan.batches import as_floats
from otgan.data import digits, prepared
from otgan.features import make_features
from otgan.learning import METHODS, Method
from otgan.learning.components import with_components
from otgan.learning.training import train
from otgan.metrics.frechet import Moments, frechet_distance
from otgan.models.encoders import Encoder

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1)
CHUNK = 500

Look = Callable[[np.ndarray], np.ndarray]


def load(name: str) -> prepared.Prepared:
    """Pictures with their labels."""
    if name != "sample":
        return prepared.load(name)
    images, labels = digits._embedded()
    held_out = (
        digits._rank_within_class(labels) >= np.bincount(labels)[labels] - digits.HELD_OUT_PER_CLASS
    )
    return prepared.Prepared(
        images[~held_out], labels[~held_out], images[held_out], labels[held_out]
    )


def accuracy(look: Look, data: prepared.Prepared, labeled: int, tested: int) -> float:
    """Of the linear classifier on features, on test pictures."""
    x, y = look(data.train[:labeled]).astype(np.float64), data.train_labels[:labeled]
    z, truth = look(data.test[:tested]).astype(np.float64), data.test_labels[:tested]
    mean, sd = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, z = (np.c_[(a - mean) / sd, np.ones(len(a))] for a in (x, z))
    cut = len(x) * 9 // 10

    def right(n: int, ridge: float, rows: np.ndarray, classes: np.ndarray) -> float:
        gram = x[:n].T @ x[:n] + ridge * n * np.eye(x.shape[1])
        answers = np.linalg.solve(gram, x[:n].T @ (2 * np.eye(10)[y[:n]] - 1))
        return float((np.argmax(rows @ answers, axis=1) == classes).mean())

    best = max(RIDGES, key=lambda ridge: right(cut, ridge, x[cut:], y[cut:]))
    return right(len(x), best, z, truth)


def degraded(x: np.ndarray, labels: np.ndarray, kind: str, strength: int) -> np.ndarray:
    """Real pictures, (n, h, w, c) bytes, made worse; strength 1, 2 or 3."""
    rng, side = np.random.default_rng(0), x.shape[1]
    levels = x.astype(np.float32)
    match kind:
        case "noise":
            levels = levels + (0, 12, 25, 50)[strength] * rng.standard_normal(x.shape, np.float32)
        case "blur":
            sd = (0, 0.5, 1.0, 2.0)[strength]
            levels = gaussian_filter(levels, (0, sd, sd, 0))
        case "cut":
            length = side * strength // 8
            levels[:, side // 4 : side // 4 + length, side // 4 : side // 4 + length] = 127.5
        case "classes left out":
            levels = levels[labels < 10 - (0, 2, 4, 7)[strength]]
    return np.rint(levels.clip(0, 255)).astype(np.uint8)


KINDS = ("noise", "blur", "cut", "classes left out")


def told_apart(look: Look, data: prepared.Prepared, each: int) -> str:
    """How many degradations are ordered by strength, and how far the weakest of each stands out."""
    order = np.random.default_rng(1).permutation(len(data.train))[: 2 * each]
    x, labels = data.train[order], data.train_labels[order]
    known = _moments(look(x[:each]))

    def distance(pictures: np.ndarray) -> float:
        return frechet_distance(_moments(look(pictures)), known)

    floor, ordered, weakest = distance(x[each:]), 0, []
    for kind in KINDS:
        found = [
            floor,
            *(
                distance(degraded(x[each:], labels[each:], kind, strength))
                for strength in (1, 2, 3)
            ),
        ]
        ordered += found == sorted(found)
        weakest.append(f"{found[1] / floor:.1f}")
    return f"{ordered} of {len(KINDS)} ({', '.join(weakest)})"


def _moments(features: np.ndarray) -> Moments:
    return Moments.empty(features.shape[1]).add(features)


def by_encoder(encoder: Encoder, parameters: Any) -> Look:
    """An encoder's features of bytes."""
    apply: Any = jax.jit(encoder.apply)
    return lambda x: np.concatenate(
        [
            apply({"params": parameters}, as_floats(jnp.asarray(x[i : i + CHUNK])))
            for i in range(0, len(x), CHUNK)
        ]
    )


def by_name(name: str, shape: tuple[int, ...]) -> Look:
    """Features that a name stands for."""
    look = make_features(name, shape).look
    return lambda x: np.concatenate([look(x[i : i + CHUNK])[0] for i in range(0, len(x), CHUNK)])


def untrained(encoder: Encoder, seed: int, data: prepared.Prepared) -> Any:
    """The start of all methods, with its own principal components."""
    parameters = jax.jit(encoder.init)(jax.random.key(seed), jnp.zeros((1, *encoder.shape)))[
        "params"
    ]
    return with_components(encoder, jax.device_get(parameters), np.asarray(data.train))


def made(method: Method, encoder: Encoder, data: prepared.Prepared, steps: int, seed: int) -> Any:
    """The parameters that a method arrives at."""
    parameters, _ = train(
        encoder,
        method,
        np.asarray(data.train),
        seed,
        steps,
        None,
        lambda progress: None,
        lambda: False,
    )
    return parameters


def without_training(encoder: Encoder, seed: int, data: prepared.Prepared) -> Look:
    """How the start of all methods looks at bytes."""
    return by_encoder(encoder, untrained(encoder, seed, data))


def by_method(
    method: Method, encoder: Encoder, data: prepared.Prepared, options: argparse.Namespace
) -> Look:
    """How an encoder that a method trained looks at bytes."""
    return by_encoder(encoder, made(method, encoder, data, options.steps, options.seed))


def main() -> None:
    """Print a line for every way of looking at the pictures of every data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", nargs="+", choices=["sample", "mnist", "cifar10"])
    parser.add_argument("--methods", nargs="*", choices=METHODS, default=list(METHODS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--labeled", type=int, default=4_500)
    parser.add_argument("--tested", type=int, default=2_000)
    parser.add_argument(
        "--degraded", type=int, default=1_000, help="pictures on each side of a Frechet distance"
    )
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for name in options.data:
        data = load(name)
        shape: Any = data.train.shape[1:]
        encoder = Encoder(shape)
        ways: dict[str, Callable[[], Look]] = {
            "pixels": partial(by_name, "pixels", shape),
            "random": partial(by_name, "random", shape),
            "untrained": partial(without_training, encoder, options.seed, data),
            **{m: partial(by_method, m, encoder, data, options) for m in options.methods},
        }
        for way, make in ways.items():
            began = time.process_time()
            look = make()
            spent = time.process_time() - began
            right = accuracy(look, data, options.labeled, options.tested)
            apart = "-" if way == "pixels" else told_apart(look, data, options.degraded)
            print(
                f"{name:8} {way:12} accuracy {right:.4f}  told apart {apart}  {spent:.0f} processor"
                " seconds",
                flush=True,
            )


if __name__ == "__main__":
    main()
