import numpy as np
import pytest

from otgan.errors import UserError
from otgan.metrics.classes import ClassSums, inception_score, parts


def test_sure_and_balanced_is_the_number_of_classes():
    assert inception_score(np.tile(np.eye(7), (20, 1)), splits=10) == (
        pytest.approx(7),
        pytest.approx(0, abs=1e-12),
    )


def test_knowing_nothing_or_always_the_same_is_one():
    assert inception_score(np.full((50, 4), 0.25)) == (pytest.approx(1), pytest.approx(0))
    assert inception_score(np.tile(np.eye(4)[1], (50, 1))) == (pytest.approx(1), pytest.approx(0))


def test_scores_of_parts_are_those_of_the_definition():
    p = np.random.default_rng(0).dirichlet(np.full(5, 0.3), 103)
    expected = []
    for part in np.array_split(p, 10):
        assert len(part) in (10, 11)
    for part in (p[parts(103, 10) == i] for i in range(10)):
        expected.append(
            np.exp(np.mean(np.sum(part * np.log(part / part.mean(axis=0, keepdims=True)), axis=1)))
        )
    mean, sd = inception_score(p)
    assert mean == pytest.approx(np.mean(expected))
    assert sd == pytest.approx(np.std(expected))


def test_parts_are_consecutive_and_as_equal_as_can_be():
    part = parts(103, 10)
    assert (np.diff(part) >= 0).all()
    assert set(np.bincount(part)) == {10, 11}


def test_streaming_in_batches_changes_nothing():
    p, part = np.random.default_rng(1).dirichlet(np.ones(6), 100), parts(100, 4)
    sums = ClassSums.empty(4, 6)
    for start in range(0, 100, 33):
        sums = sums.add(p[start : start + 33], part[start : start + 33])
    np.testing.assert_allclose(
        sums.scores(), ClassSums.empty(4, 6).add(p, part).scores(), rtol=1e-12
    )


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        (np.zeros((20, 3)), "softmax"),
        (np.full((20, 2), [1.5, -0.5]), "softmax"),
        (np.eye(3), "at least 10"),
    ],
)
def test_what_is_no_probability_or_too_little_is_refused(rows, why):
    with pytest.raises(UserError, match=why):
        inception_score(rows)
