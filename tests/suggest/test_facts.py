"""What is seen of data, against what they were made of."""

import numpy as np
import pytest

from otgan.data import Dataset
from otgan.suggest.facts import look


def dataset(examples):
    return Dataset("own", examples, examples[:10])


def test_scales_of_well_separated_gaussians():
    draw = np.random.default_rng(0)
    places = np.array([[-5.0, -5.0], [5.0, 5.0]])[draw.integers(0, 2, 4_000)]
    facts = look(dataset((places + 0.1 * draw.normal(size=places.shape)).astype(np.float32)))
    assert facts.mean_cost == pytest.approx(2 * (50 + 2 * 0.01), rel=0.02)
    # in a batch of 512 each cloud has 256; the nearest of n in a disc of density n rho is at a
    # squared distance of log 2 / (pi n rho) in the median, largest where the cloud is densest
    densest = 256 / (2 * np.pi * 0.01)
    assert np.log(2) / (np.pi * densest) < facts.local < 6 * np.log(2) / (np.pi * densest)
    assert facts.detail < 1e-5
    assert facts.odd == []


def test_a_batch_sees_neighbors_that_stand_alone():
    examples = np.random.default_rng(0).normal(size=(3_000, 50)).astype(np.float32)
    facts = look(dataset(examples))
    assert 0.4 < facts.detail < 1
    assert facts.dimension == 50


def test_what_is_odd_is_said():
    draw = np.random.default_rng(0)
    points = draw.normal(size=(1_000, 3)).astype(np.float32)
    uneven = points * np.array([1, 1, 5_000], np.float32)
    assert "differ" in look(dataset(uneven)).odd[0]
    far = points.copy()
    far[0] = 1e4
    assert "further out" in look(dataset(far)).odd[0]
    away = look(dataset((points + np.array([0, 1e6, 0])).astype(np.float32)))
    assert away.coarse == pytest.approx(2**-4, rel=0.1)  # float32 has 2^-23 of 2^19
    assert "rounds them to 6% of their standard deviation: subtract their mean" in away.odd[0]
    assert look(dataset((points + 1e5).astype(np.float32))).odd == []
    twice = np.concatenate([points, points[:300]])
    facts = look(dataset(twice))
    assert facts.duplicates == pytest.approx(600 / 1_300)
    assert "more than once" in facts.odd[0]


def test_pictures_are_looked_at_as_pixels_between_minus_one_and_one():
    pictures = np.random.default_rng(0).integers(0, 256, (400, 8, 8, 3), np.uint8)
    facts = look(dataset(pictures))
    assert facts.images
    assert facts.shape == (8, 8, 3)
    # of a uniform variable on [-1, 1]
    assert facts.mean_cost == pytest.approx(2 * 192 / 3, rel=0.03)
