"""What metrics share: arrays of samples that are checked once, walked in blocks, and compared in
float64.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from otgan.data import Examples
from otgan.errors import UserError

BLOCK = 1_000  # rows: against 10,000 others their float64 distances take 80 MB


def checked(
    x: np.ndarray, name: str, needed: int = 1, metric: str = "a metric"
) -> Float[np.ndarray, "n d"]:
    """Samples as float64 numbers, one row each.

    Args:
        x: (n, ...) numbers.
        name: what they are, for the sentence of an error.
        needed: the fewest rows that the metric can do with.
        metric: its name, for the same sentence.

    Raises:
        UserError: there are fewer rows than needed, or some value is not finite.
    """
    require(len(x), needed, name, metric)
    rows = np.asarray(x, np.float64).reshape(len(x), -1)
    if not np.isfinite(rows).all():
        raise UserError(
            f"{name} hold values that are not finite: {metric} needs numbers everywhere, so look at"
            " what produced them"
        )
    return rows


def require(count: int, needed: int, name: str, metric: str) -> None:
    """Refuse too few samples.

    Raises:
        UserError: there are fewer than needed.
    """
    if count < needed:
        raise UserError(
            f"{metric} needs at least {needed} {name}, and there are {count}: give more"
        )


def require_floats_or_bytes(x: Examples, name: str, metric: str) -> None:
    """Refuse numbers of which it cannot be told whether they are bytes, which count as [-1, 1], or
    meant as they are.

    Raises:
        UserError: they are integers of another type than uint8.
    """
    if x.dtype != np.uint8 and not np.issubdtype(x.dtype, np.floating):
        raise UserError(
            f"{name} are of type {x.dtype}: {metric} takes pictures as uint8 (0 to 255) and"
            " anything else as floats"
        )


def slices(count: int, size: int = BLOCK) -> Iterator[slice]:
    """Blocks of rows."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def squared_distances(
    x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]
) -> Float[np.ndarray, "n m"]:
    """|x_i - y_j|^2 by one matrix product: never negative, but wrong by up to `rounding(x, y)`,
    also between identical points.
    """
    squares = np.square(x).sum(axis=1)[:, None] + np.square(y).sum(axis=1)[None, :] - 2 * x @ y.T
    return np.maximum(squares, 0, out=squares)


def rounding(x: Float[np.ndarray, "n d"], y: Float[np.ndarray, "m d"]) -> float:
    """What float64 may lose in |x|^2 + |y|^2 - 2 <x, y>, whose terms cancel: the unit of rounding,
    twice per term of a sum.
    """
    return (
        2
        * x.shape[1] ** 0.5
        * np.finfo(np.float64).eps
        * (np.square(x).sum(axis=1).max() + np.square(y).sum(axis=1).max())
    )
