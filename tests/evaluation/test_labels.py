"""Labels of the user's data as modes: samples have those of their nearest training examples."""

import numpy as np
import pytest

from otgan.data import Dataset
from otgan.errors import UserError
from otgan.evaluation.judge import judge
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.sources import SampleSource
from otgan.features import make_features

PLACES = np.array([[0, 0], [9, 0], [0, 9]], np.float32)
SHARES = np.array([0.5, 0.3, 0.2])


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


def around(labels, seed):
    noise = np.random.default_rng(seed).normal(size=(len(labels), 2))
    return (PLACES[labels] + noise).astype(np.float32)


def dataset(labels=None, codes=(0, 1, 2)):
    train, test = (np.repeat([0, 1, 2], (n * SHARES).astype(int)) for n in (1_000, 200))
    known = np.array(codes)[train] if labels is None else labels
    return Dataset("own", around(train, 0), around(test, 1), labels=known)


def scores(samples, data):
    plan = EvalPlan(flags=("modes",))
    source = SampleSource("somebody's", None, lambda seed: iter([samples]), len(samples))
    found = judge(plan, source, data, make_features("points", data.shape)).scores
    return {score.protocol.metric: score for score in found}


def test_samples_of_two_labels_hit_two_and_lack_the_third():
    found = scores(around(np.repeat([0, 1], [500, 300]), 2), dataset())
    assert found.keys() == {"labels_hit", "label_kl"}
    assert (found["labels_hit"].mean, found["labels_hit"].floor) == (2, 3)
    expected = 0.625 * np.log(0.625 / 0.5) + 0.375 * np.log(0.375 / 0.3)
    assert found["label_kl"].mean == pytest.approx(expected)
    assert found["label_kl"].floor == pytest.approx(0, abs=1e-9)


def test_the_protocol_knows_the_labels_by_which_was_counted():
    samples = around(np.repeat([0, 1, 2], 100), 2)
    one, same, merged = (
        scores(samples, dataset(codes=codes)) for codes in ((0, 1, 2), (0, 1, 2), (0, 1, 1))
    )
    prints = [found["label_kl"].protocol.fingerprint for found in (one, same, merged)]
    assert prints[0] == prints[1] != prints[2]
    assert merged["labels_hit"].floor == 2  # not the other's, from the cache


def test_data_without_labels_are_told_how_they_come_to_some():
    data = Dataset("own", around(np.zeros(100, int), 0), around(np.zeros(20, int), 1))
    with pytest.raises(UserError, match=r"labels of data of your own \(--label, or subfolders\)"):
        scores(around(np.zeros(100, int), 2), data)
