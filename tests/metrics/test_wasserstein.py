import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from otgan.errors import UserError
from otgan.metrics.wasserstein import exact_l1_wasserstein, exact_wasserstein


def test_w2_agrees_with_pot_and_a_shift_moves_it_by_its_length():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) * 2
    weights = np.full(200, 1 / 200)
    assert exact_wasserstein(x, y, 2) == pytest.approx(
        np.sqrt(ot.emd2(weights, weights, cdist(x, y, "sqeuclidean")))
    )
    assert exact_wasserstein(x, x + np.array([3, 0, 4]), 2) == pytest.approx(5)
    assert exact_wasserstein(x, y, 1) == pytest.approx(ot.emd2(weights, weights, cdist(x, y)))


def test_w1_of_the_l1_distance_agrees_with_pot():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, 3)), rng.normal(size=(200, 3)) * 2
    weights = np.full(200, 1 / 200)
    expected = ot.emd2(weights, weights, cdist(x, y, "cityblock"))
    assert exact_l1_wasserstein(x, y) == pytest.approx(expected)
    assert exact_l1_wasserstein(x, x[::-1] + np.array([3, 0, -4])) == pytest.approx(7)
    with pytest.raises(UserError, match="exact W1 needs as many samples as references"):
        exact_l1_wasserstein(x, y[:100])


@pytest.mark.parametrize("p", [1, 2])
def test_a_set_in_another_order_is_at_distance_zero(p):
    x = 100 + np.random.default_rng(1).normal(size=(60, 40))
    assert exact_wasserstein(x, x[::-1], p) == 0


def test_values_that_are_not_finite_are_refused():
    x = np.ones((3, 2))
    with pytest.raises(UserError, match="not finite"):
        exact_wasserstein(x, np.where(np.arange(3)[:, None] == 1, np.nan, x), 2)


@pytest.mark.parametrize("p", [1, 2])
def test_unequal_counts_are_refused(p):
    """The assignment problem would leave the furthest points out: here the distance of 2 of 3
    points would be 0, not (10 / 3)^(1/p).
    """
    x = np.array([[0.0], [1.0], [11.0]])
    for one, other in ((x, x[:2]), (x[:2], x)):
        with pytest.raises(
            UserError, match=r"as many samples as references, not 3 and 2|not 2 and 3"
        ):
            exact_wasserstein(one, other, p)
