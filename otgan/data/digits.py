"""The embedded MNIST sample, and stacked digits."""

from __future__ import annotations

from importlib.resources import files

import numpy as np

SAMPLE = "mnist_sample.npz"
"""Made by `scripts/pack_mnist_sample.py`: `images` (5000, 28, 28) and `labels` (5000,), both uint8.
"""

HELD_OUT_PER_CLASS = 50
"""Of the 500 digits of every class, the last 50 are held out."""

STACK_SEED = 20181
"""Part of what stacked MNIST is: it never changes."""

MOST_HELD_OUT = 10_000
MARGIN = 2
"""Pixels of background around a 28 x 28 digit in a 32 x 32 picture."""


def sample() -> tuple[np.ndarray, np.ndarray]:
    """The digits that the package carries.

    Returns:
        4,500 to learn from and 500 held out, (n, 28, 28, 1) uint8; both with equally many of every
        class.
    """
    images, labels = _embedded()
    held_out = _rank_within_class(labels) >= np.bincount(labels)[labels] - HELD_OUT_PER_CLASS
    return images[~held_out], images[held_out]


def _embedded() -> tuple[np.ndarray, np.ndarray]:
    with (
        (files("otgan.data") / SAMPLE).open("rb") as file,
        np.load(file, allow_pickle=False) as arrays,
    ):
        return arrays["images"][..., None], arrays["labels"]


def _rank_within_class(labels: np.ndarray) -> np.ndarray:
    """(n,) how many earlier examples have the same label."""
    by_class = np.argsort(labels, kind="stable")
    counts = np.bincount(labels)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    rank = np.empty(len(labels), int)
    rank[by_class] = np.arange(len(labels)) - starts
    return rank


def stack(train: np.ndarray, test: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Stacked MNIST (Metz et al. 2017, arXiv:1611.02163): every color channel is a digit drawn on
    its own.

    Args:
        train: (n, 28, 28, 1) uint8 digits to learn from.
        test: (m, 28, 28, 1) uint8 digits held out.
        size: how many pictures to make from `train`.

    Returns:
        (size, 32, 32, 3) pictures made from `train`, and a fifth as many, at most 10,000, made from
        `test`.
    """
    held_out = min(size // 5, MOST_HELD_OUT)
    return _stacked(train, size, stream=0), _stacked(test, held_out, stream=1)


def _stacked(digits: np.ndarray, size: int, stream: int) -> np.ndarray:
    chosen = np.random.default_rng([STACK_SEED, stream]).integers(len(digits), size=(size, 3))
    side = digits.shape[1] + 2 * MARGIN
    pictures = np.zeros((size, side, side, 3), np.uint8)
    for channel in range(3):
        pictures[:, MARGIN:-MARGIN, MARGIN:-MARGIN, channel] = digits[chosen[:, channel], ..., 0]
    return pictures
