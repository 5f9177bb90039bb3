"""Judging by classes: digits, and stacked digits, by the network that the package carries."""

from dataclasses import replace

import numpy as np
import pytest

from otgan.data import Dataset, digits
from otgan.errors import UserError
from otgan.evaluation.judge import judge
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.sources import SampleSource
from otgan.features import make_features
from otgan.metrics.classes import inception_score
from otgan.metrics.kernel import squared_mmd

pytestmark = pytest.mark.slow

PLAN = EvalPlan(flags=("fid", "kid", "is", "modes"), samples=500, allow_few=True)
NETWORK = make_features("mnist-lenet", (28, 28, 1))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def dataset():
    return Dataset("mnist", *digits.sample())


def scores(plan, examples, dataset, features=NETWORK):
    source = SampleSource("somebody's", None, lambda seed: iter([examples]), None)
    return {score.protocol.metric: score for score in judge(plan, source, dataset, features).scores}


def test_real_digits_have_all_classes(dataset):
    examples = dataset.train[::9]
    found = {
        name.removesuffix("[mnist-lenet]"): score
        for name, score in scores(PLAN, examples, dataset).items()
    }
    features, probabilities = (np.asarray(part) for part in NETWORK.look(examples))
    assert found["modes"].mean == 10
    assert found["mode_kl"].mean < 0.02
    assert found["high_quality"].mean > 0.8
    assert found["is"].mean == pytest.approx(inception_score(probabilities[:, 0], 10)[0], rel=1e-4)
    assert found["is_split_sd"].mean == pytest.approx(
        inception_score(probabilities[:, 0], 10)[1], rel=1e-3
    )
    assert found["kid"].mean == pytest.approx(
        squared_mmd(features, np.asarray(NETWORK.look(dataset.test)[0])), abs=1e-6, rel=0.05
    )
    assert found["fid"].mean < 3 * found["fid"].floor


def test_digits_of_one_class_are_one_mode(dataset):
    classes = np.asarray(NETWORK.look(dataset.train)[1])[:, 0].argmax(axis=1)
    found = scores(PLAN, dataset.train[classes == 3][:400], dataset)
    assert found["modes[mnist-lenet]"].mean == 1
    assert found["mode_kl[mnist-lenet]"].mean == pytest.approx(np.log(10), rel=0.05)
    assert found["is[mnist-lenet]"].mean < 2
    assert found["fid[mnist-lenet]"].mean > 20 * found["fid[mnist-lenet]"].floor


def test_stacked_digits_have_a_thousand_modes_and_no_inception_score(dataset):
    stacked = Dataset("stacked-mnist", *digits.stack(dataset.train, dataset.test, 5_000))
    features = make_features("mnist-lenet", stacked.shape)
    plan = replace(PLAN, flags=("modes",), samples=2_000)
    found = scores(plan, stacked.train[:2_000], stacked, features)
    assert 820 < found["modes[mnist-lenet]"].mean < 900  # 1,000 (1 - e^-2) = 865 are expected
    black = stacked.train[:2_000].copy()
    black[..., 1:] = 0
    assert scores(plan, black, stacked, features)["modes[mnist-lenet]"].mean <= 10
    with pytest.raises(UserError, match="knows the classes of each channel by itself"):
        scores(replace(plan, flags=("is",)), black, stacked, features)
