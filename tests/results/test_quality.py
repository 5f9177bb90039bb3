"""Words on a run's samples cannot flatter: they follow recall, whatever W2 says."""

import pytest
from scipy.stats import binomtest

from otgan.results.quality import interval, quality


def summary(precision, recall, w2=1.0):
    floors = {"precision_floor": 0.9, "recall_floor": 0.8, "w2_floor": 1.0}
    return {"precision": precision, "recall": recall, "w2": w2, **floors}


@pytest.mark.parametrize(
    ("precision", "recall", "word"),
    [
        (0.9, 0.02, "too narrow"),
        (0.3, 0.8, "too wide"),
        (0.1, 0.1, "far from the data"),
        (0.88, 0.65, "a little narrow"),
        (0.75, 0.8, "a little wide"),
        (0.9, 0.79, "as real examples, or nearly"),
    ],
)
def test_the_word_follows_both_shares(precision, recall, word):
    said = quality(summary(precision, recall))
    assert said == f"{word}: recall {recall:.2f} of 0.80, precision {precision:.2f} of 0.90"


def test_a_w2_below_its_floor_is_explained_and_praises_nothing():
    said = quality(summary(0.9, 0.02, w2=0.939))
    assert said.startswith("too narrow: recall 0.02 of 0.80")
    assert "W2 is 0.94 of what real points get" in said
    assert "W2" not in quality(summary(0.9, 0.02, w2=0.99))


def test_scores_of_pictures_carry_the_network_in_their_names():
    scores = {"fid[n]": 1.0, "precision[n]": 0.9, "recall[n]": 0.1}
    floors = {"precision[n]": 0.9, "recall[n]": 0.8}
    assert quality({"scores": scores, "floors": floors}).startswith("too narrow")


@pytest.mark.parametrize(
    "lacking", [{}, {"precision": 0.9, "recall": 0.8}, {"scores": None}, summary(None, 0.5)]
)
def test_without_floors_nothing_is_said(lacking):
    assert quality(lacking) == ""


def test_recall_of_few_examples_comes_with_an_interval():
    said = quality(summary(0.9, 0.65) | {"held_out": 60})
    assert said == (
        "a little narrow: recall 0.65 [0.52, 0.76] of 0.80 (95 % interval: 60 held-out examples are"
        " few), precision 0.90 of 0.90"
    )
    assert "[" not in quality(summary(0.9, 0.65) | {"held_out": 1_000})


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (3, 60), (36, 60), (500, 500)])
def test_the_interval_is_wilsons(hits, count):
    exact = binomtest(hits, count).proportion_ci(method="wilson")
    assert interval(hits / count, count) == pytest.approx((exact.low, exact.high), abs=1e-4)
