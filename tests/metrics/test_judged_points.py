import numpy as np
import pytest

from otgan import data
from otgan.config import Grid
from otgan.metrics.points import judge_points, judged, mode_kl


def test_real_points_get_what_the_gaussians_tails_allow():
    dataset = data.load(Grid())
    scores = judge_points(np.random.default_rng(1).permutation(dataset.train), dataset)
    assert scores["modes"] == scores["modes_total"] == 25
    assert scores["high_quality"] == pytest.approx(1 - np.exp(-4.5), abs=0.01)  # P(|r| < 3 sd) in the plane
    assert scores["mode_kl"] == pytest.approx(24 / 40_000, abs=6e-4)  # (k - 1) / 2N of multinomial noise
    assert 0.5 < scores["w2"] / scores["w2_floor"] < 1.6


def test_collapse_and_imbalance_show():
    dataset = data.load(Grid())
    assert dataset.centers is not None
    one = dataset.centers[3] + 0.1 * np.random.default_rng(2).normal(size=(2_000, 2))  # one set: the hardest of assignments
    scores = judge_points(one, dataset)
    assert scores["modes"] == 1
    assert scores["mode_kl"] == pytest.approx(np.log(25))
    assert scores["w2"] > 5 * scores["w2_floor"]
    half = np.repeat(dataset.centers[[0, 1]], [15_000, 5_000], axis=0)
    assert mode_kl(half, dataset.centers) == pytest.approx(0.75 * np.log(0.75 * 25) + 0.25 * np.log(0.25 * 25))


def test_a_larger_grid_is_judged_by_all_of_its_modes():
    dataset = data.load(Grid(side=7))
    assert len(np.unique(np.round(judged(dataset) / 2), axis=0)) == 49
    scores = judge_points(np.random.default_rng(1).permutation(dataset.train), dataset)
    assert 0.5 < scores["w2"] / scores["w2_floor"] < 1.6
    assert scores["w2_floor"] < 1
