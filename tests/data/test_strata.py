import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from otgan.data import strata
from otgan.errors import UserError


@pytest.mark.parametrize(
    ("count", "cells", "d"), [(10, 3, 1), (1000, 7, 2), (64, 64, 3), (101, 100, 2), (5, 1, 2)]
)
def test_every_point_lies_in_one_cell_of_the_promised_size(count, cells, d):
    points = np.random.default_rng(count).normal(size=(count, d)).astype(np.float32)
    order, bounds = strata(points, cells)
    assert sorted(order.tolist()) == list(range(count))
    assert bounds.tolist() == [i * count // cells for i in range(cells + 1)]


def test_cells_of_a_line_are_its_quantiles():
    points = np.random.default_rng(0).permutation(100).astype(np.float32)[:, None]
    order, bounds = strata(points, 4)
    cells = [sorted(points[order[low:high], 0].tolist()) for low, high in pairwise(bounds)]
    assert cells == [list(range(25 * i, 25 * i + 25)) for i in range(4)]


def test_the_widest_axis_is_cut_first():
    points = np.array([[0, 0], [0, 9], [1, 0], [1, 9]], np.float32)
    order, _ = strata(points, 2)
    assert {frozenset(order[:2]), frozenset(order[2:])} == {frozenset({0, 2}), frozenset({1, 3})}


@pytest.mark.parametrize("widest", range(4))
def test_the_widest_axis_is_found_by_blocks_and_far_from_the_origin(widest):
    points = (
        np.random.default_rng(2).normal(size=(5_000, 4))
        * np.where(np.arange(4) == widest, 1.2, 1.0)
        + 1e9
    )
    order, _ = strata(points, 2)
    assert order.tolist() == np.argsort(points[:, widest], kind="stable").tolist()


def test_bytes_are_not_turned_into_floats_all_at_once():
    # 6 MB, and 48 MB as float64
    pictures = np.random.default_rng(3).integers(256, size=(20_000, 300), dtype=np.uint8)
    tracemalloc.start()
    try:
        strata(pictures, 16)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < pictures.nbytes * 2


def test_separated_clusters_become_cells():
    rng = np.random.default_rng(1)
    centers = np.array([[x, y] for x in (0, 10, 30, 100) for y in (0, 15)], float)
    points = np.repeat(centers, 5, axis=0) + 0.1 * rng.normal(size=(40, 2))
    shuffle = rng.permutation(40)
    order, bounds = strata(points[shuffle], 8)
    for low, high in pairwise(bounds):
        assert len(set(shuffle[order[low:high]] // 5)) == 1


def test_equal_points_and_bytes_are_cut_too():
    order, bounds = strata(np.zeros((9, 4), np.uint8), 4)
    assert sorted(order.tolist()) == list(range(9))
    assert np.diff(bounds).tolist() == [2, 2, 2, 3]


def test_more_cells_than_points_are_refused():
    with pytest.raises(UserError, match="10 points cannot fill 11 strata"):
        strata(np.zeros((10, 2)), 11)
