"""Nearest training examples: exact search over all of them, and whether samples are copies.

Candidates are found by float32 inner products, in blocks of training examples; their distances are
then taken from the differences in float64, and these decide. Memorization is one minus the
authenticity of Alaa, van Breugel, Saveliev, van der Schaar (ICML 2022): a sample counts as a copy
where it is no further from its nearest training example than that example is from its own nearest
other one.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import Float, Int, Shaped

from otgan.batches import as_floats
from otgan.costs import product
from otgan.data import Examples, OnDisk
from otgan.errors import UserError
from otgan.metrics.blocks import require, require_floats_or_bytes, slices

BLOCK = 2_000  # training examples whose products with 1,000 samples are held at once: 8 MB
# more candidates than are asked for, so that float32 need only put the nearest among the first so
# many
SPARE = 4
MEMORIZATION_SAMPLES = 1_000
METRIC = "the search for nearest neighbors"


def nearest(
    x: Shaped[np.ndarray, "n ..."], train: Shaped[np.ndarray, "N ..."] | OnDisk, k: int = 1
) -> tuple[Int[np.ndarray, "n k"], Float[np.ndarray, "n k"]]:
    """The k nearest training examples of each sample, nearest first, and their Euclidean distances.

    Bytes count as pictures, in [-1, 1], on either side.

    Raises:
        UserError: there are fewer than k training examples, a sample is not finite, or either side
            is of integers that are no bytes.
    """
    require_floats_or_bytes(x, "samples", METRIC)
    require_floats_or_bytes(train, "training examples", METRIC)
    require(len(train), k, "training examples", METRIC)
    candidates = min(k + SPARE, len(train))
    found = [
        _rerank(x[block], train, _candidates(x[block], train, candidates), k)
        for block in slices(len(x))
    ]
    index, distance = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return index, distance


def memorization(
    x: Shaped[np.ndarray, "n ..."], train: Shaped[np.ndarray, "N ..."] | OnDisk
) -> float:
    """The share of samples that are no further from their nearest training example than it is from
    its nearest other one.

    1 for copies. Fresh samples of the data's distribution give the floor, which is not 0: in the
    plane, 0.62 of random points are the nearest of their nearest one. So compare with the share of
    as many test examples.

    Raises:
        UserError: there are fewer than two training examples, or as `nearest`.
    """
    index, distance = nearest(x, train)
    closest = np.unique(index)
    # the first is the example itself, at distance zero
    other = nearest(train[closest], train, 2)[1][:, 1]
    return float(np.mean(distance[:, 0] <= other[np.searchsorted(closest, index[:, 0])]))


def _candidates(x: np.ndarray, train: Examples, k: int) -> Int[np.ndarray, "n k"]:
    floats = as_floats(jnp.asarray(x)).reshape(len(x), -1)
    # a common offset would cost the products digits
    center = jnp.mean(floats, axis=0, keepdims=True)
    if not bool(jnp.all(jnp.isfinite(floats))):
        raise UserError(
            f"samples hold values that are not finite: {METRIC} needs numbers everywhere, so look"
            " at what produced them"
        )
    rows = min(BLOCK, len(train))
    best = jnp.full((len(x), k), -jnp.inf), jnp.zeros((len(x), k), jnp.int32)
    for start in range(0, len(train), rows):
        # the last block ends with the data, so that all are of one size
        first = min(start, len(train) - rows)
        best = _keep_best(
            best, floats - center, train[first : first + rows], center, first, start - first
        )
    return np.asarray(best[1])


@jax.jit
def _keep_best(
    best: tuple[Array, Array], x: Array, block: Array, center: Array, first: Array, repeated: Array
) -> tuple[Array, Array]:
    """The best scores <x, y> - |y|^2 / 2 and their indices, of those so far and of a block whose
    first rows may be repeated.
    """
    y = as_floats(block).reshape(len(block), -1) - center
    scores = product(x, y.T) - 0.5 * jnp.sum(y * y, axis=1)[None, :]
    scores = jnp.where(jnp.arange(len(block))[None, :] < repeated, -jnp.inf, scores)
    top, place = lax.top_k(scores, min(best[0].shape[1], len(block)))
    values, indices = (
        jnp.concatenate([best[0], top], axis=1),
        jnp.concatenate([best[1], first + place], axis=1),
    )
    values, order = lax.top_k(values, best[0].shape[1])
    return values, jnp.take_along_axis(indices, order, axis=1)


def _rerank(
    x: np.ndarray, train: Examples, candidates: Int[np.ndarray, "n c"], k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the candidates by float64 distances, ties by index."""
    rows = _floats(x)
    distances = np.stack(
        [np.linalg.norm(rows - _floats(train[column]), axis=1) for column in candidates.T], axis=1
    )
    order = np.lexsort((candidates, distances), axis=1)[:, :k]
    return np.take_along_axis(candidates, order, axis=1), np.take_along_axis(
        distances, order, axis=1
    )


def _floats(x: np.ndarray) -> Float[np.ndarray, "n d"]:
    """As `batches.as_floats`, in float64."""
    rows = np.asarray(x, np.float64).reshape(len(x), -1)
    return rows / 127.5 - 1 if x.dtype == np.uint8 else rows
