import numpy as np
import pytest
from scipy.spatial.distance import cdist

from otgan.errors import UserError
from otgan.metrics import neighbors
from otgan.metrics.neighbors import memorization, nearest
from otgan.metrics.transport import transport_to_all


# one, several and an uneven last one, and blocks smaller than the candidates
@pytest.mark.parametrize("block", [2_000, 130, 4])
def test_nearest_are_those_of_all_distances(block, monkeypatch):
    monkeypatch.setattr(neighbors, "BLOCK", block)
    rng = np.random.default_rng(0)
    x, train = (
        rng.normal(size=(50, 6)).astype(np.float32),
        rng.normal(size=(300, 6)).astype(np.float32),
    )
    index, distance = nearest(x, train, 3)
    truth = cdist(x.astype(np.float64), train.astype(np.float64))
    np.testing.assert_array_equal(index, np.argsort(truth, axis=1)[:, :3])
    np.testing.assert_allclose(distance, np.sort(truth, axis=1)[:, :3], rtol=1e-12)


def test_what_float32_cannot_tell_apart_is_told():
    """Millionths apart at a hundred, where the steps of float32 are eight of them."""
    train = np.array([[100.000003, 0.0], [100.0, 0.0], [100.000001, 0.0], [100.000002, 0.0]])
    index, distance = nearest(np.array([[0.0, 0.0], [1.0, 0.0]]), train, 2)
    np.testing.assert_array_equal(index, [[1, 2], [1, 2]])
    np.testing.assert_allclose(distance, [[100, 100.000001], [99, 99.000001]], rtol=1e-12)


def test_bytes_are_pictures_on_either_side():
    train = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 1)).astype(np.uint8)
    for x in (train[[7, 30]], train[[7, 30]] / np.float32(127.5) - 1):
        index, distance = nearest(x, train)
        np.testing.assert_array_equal(index[:, 0], [7, 30])
        np.testing.assert_allclose(distance, 0, atol=1e-6)
    _, apart = nearest(np.full((1, 4, 4, 1), 255, np.uint8), np.zeros((1, 4, 4, 1), np.uint8))
    assert apart[0, 0] == pytest.approx(2 * 4)


def test_copies_are_memorised_also_of_examples_that_come_twice():
    train = np.random.default_rng(2).normal(size=(100, 3))
    assert memorization(train[:50], train) == 1
    assert memorization(train[:50] + 1e-6, np.concatenate([train, train[:20] + 1e-3])) == 1
    assert memorization(train[:50], np.concatenate([train, train[:50]])) == 1


def test_samples_off_the_data_are_not():
    rng = np.random.default_rng(3)
    train = rng.normal(size=(200, 5))
    assert memorization(train[:100] + 20, train) == 0


@pytest.mark.parametrize(
    ("d", "share"), [(1, 2 / 3), (2, 6 * np.pi / (8 * np.pi + 3 * np.sqrt(3)))]
)
def test_fresh_samples_have_the_share_of_reciprocal_neighbors(d, share):
    """The share of Poisson points that are the nearest of their nearest neighbor (Clark and Evans
    1955).
    """
    rng = np.random.default_rng(4)
    shares = [
        memorization(rng.uniform(0.05, 0.95, (1_000, d)), rng.uniform(size=(10_000, d)))
        for _ in range(2)
    ]
    assert np.mean(shares) == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / 2_000))


def test_too_few_examples_and_broken_samples_are_refused():
    with pytest.raises(UserError, match="at least 2 training examples"):
        memorization(np.zeros((1, 2)), np.zeros((1, 2)))
    with pytest.raises(UserError, match="not finite"):
        nearest(np.full((1, 2), np.nan), np.zeros((5, 2)))


@pytest.mark.parametrize("dtype", [np.int64, np.int32, np.uint16, bool])
def test_integers_that_are_no_bytes_are_refused_on_either_side(dtype):
    """Bytes count as [-1, 1], so 0 to 255 in another type would be found 127.5 times as far
    away.
    """
    pictures = np.random.default_rng(5).integers(0, 256, (9, 4, 4, 1))
    for x, train in (
        (pictures.astype(dtype), pictures.astype(np.uint8)),
        (pictures.astype(np.uint8), pictures.astype(dtype)),
    ):
        for measure in (nearest, memorization, transport_to_all):
            with pytest.raises(UserError, match=f"of type {np.dtype(dtype)}.*uint8"):
                measure(x, train)
