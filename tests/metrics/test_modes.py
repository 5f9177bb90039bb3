import numpy as np
import pytest

from otgan.errors import UserError
from otgan.metrics.modes import histogram_kl, mode_index, modes


def _probabilities(classes, top=1.0, k=10):
    """(n, channels, k) with `top` on each class, the rest spread."""
    return np.where(np.arange(k) == np.asarray(classes)[..., None], top, (1 - top) / (k - 1))


def test_every_mode_once_is_all_of_them_evenly():
    every = np.stack(np.unravel_index(np.arange(1000), (10, 10, 10)), axis=1)
    p = _probabilities(every)
    np.testing.assert_array_equal(mode_index(p), np.arange(1000))
    assert modes(p) == (1000, 1000, pytest.approx(0, abs=1e-12), 1.0)


def test_collapse_to_one_mode_is_seen():
    scores = modes(_probabilities([[3, 1, 4]] * 50, top=0.95))
    assert scores.hit == 1
    assert scores.kl == pytest.approx(np.log(1000))
    assert scores.high_quality == 1


def test_quality_asks_for_every_channel():
    p = np.concatenate([_probabilities([[1], [2]], 0.95), _probabilities([[1], [2]], 0.6)], axis=1)
    assert modes(p).high_quality == 0
    assert modes(np.concatenate([p[:, :1], p[:, :1]], axis=1)).high_quality == 1


def test_kl_is_from_the_reference():
    p = _probabilities([[0], [0], [0], [1]], k=2)
    assert modes(p, np.array([30, 10])).kl == pytest.approx(0)
    assert modes(p, np.array([0.5, 0.5])).kl == pytest.approx(
        0.75 * np.log(1.5) + 0.25 * np.log(0.5)
    )
    assert histogram_kl(np.array([1, 1]), np.array([1, 0])) == np.inf


def test_no_samples_are_refused():
    with pytest.raises(UserError, match="at least 1"):
        modes(np.zeros((0, 1, 10)))
