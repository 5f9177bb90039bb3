"""Cells of equal count: the partition behind stratified draws of the real points."""

from __future__ import annotations

import numpy as np

from otgan.errors import UserError

BLOCK = 1_000  # points that are looked at as float64 at a time


def strata(points: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Cut points into cells of equal count by recursive medians along the axis of largest variance.

    The cut is a fixed function of the points: sorting is stable, so ties and machines do not change
    it.

    Args:
        points: (N, d) numbers.
        cells: how many cells, at least 1.

    Returns:
        `order`, (N,) indices of the points such that cell i is `order[bounds[i]:bounds[i + 1]]`,
        and `bounds`, (cells + 1,) with `bounds[i] = floor(i * N / cells)`: sizes differ by at most
        one.

    Raises:
        UserError: there are more cells than points.
    """
    count = len(points)
    if not 1 <= cells <= count:
        raise UserError(
            f"{count} points cannot fill {cells} strata: choose a batch size between 1 and {count}"
        )
    bounds = np.arange(cells + 1) * count // cells
    order = np.arange(count)
    _cut(points, order, bounds, 0, cells)
    return order, bounds


def _cut(points: np.ndarray, order: np.ndarray, bounds: np.ndarray, first: int, last: int) -> None:
    """Rearrange `order` in place within cells [first, last) until every cell is contiguous."""
    if last - first < 2:
        return
    part = order[bounds[first] : bounds[last]]  # a view: assigning to it rearranges `order`
    part[:] = part[np.argsort(points[part, _widest(points, part)], kind="stable")]
    middle = (first + last) // 2
    _cut(points, order, bounds, first, middle)
    _cut(points, order, bounds, middle, last)


def _widest(points: np.ndarray, part: np.ndarray) -> int:
    """The axis along which a part of the points has its largest variance.

    By blocks: as float64, CIFAR-10 at once is 1.2 GB.
    """
    origin = points[part[0]].astype(float)  # near the mean, where sums of squares keep their digits
    total, squares = np.zeros_like(origin), np.zeros_like(origin)
    for start in range(0, len(part), BLOCK):
        block = points[part[start : start + BLOCK]] - origin
        total += block.sum(axis=0)
        squares += (block * block).sum(axis=0)
    return int(np.argmax(squares - total**2 / len(part)))
