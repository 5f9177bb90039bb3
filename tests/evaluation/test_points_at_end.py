"""What the summary of every run on points holds, and that `otgan eval` finds the same."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from otgan import data
from otgan.config import Gaussian, Grid
from otgan.data import Dataset
from otgan.evaluation.judge import judge
from otgan.evaluation.plan import AT_END
from otgan.evaluation.sources import SampleSource
from otgan.evaluation.stats import real_examples
from otgan.features import make_features
from otgan.metrics.points import mode_kl, mode_width, reference_points

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


SHARES = ("precision", "recall", "density", "coverage")


def scores(samples, dataset, plan=AT_END):
    source = SampleSource("somebody's", None, lambda seed: iter([samples]), len(samples))
    return {
        score.protocol.metric: score
        for score in judge(plan, source, dataset, make_features("points", dataset.shape)).scores
    }


def w2(x, y):
    cost = ((x[:, None] - y[None]) ** 2).sum(-1)
    return np.sqrt(cost[linear_sum_assignment(cost)].mean())


def test_real_points_get_what_the_gaussians_tails_allow():
    dataset = data.load(Grid())
    found = scores(np.random.default_rng(1).permutation(dataset.train), dataset)
    assert found["modes"].mean == found["modes"].floor == 25
    # P(|r| < 3 sd) in the plane
    assert found["high_quality"].mean == pytest.approx(1 - np.exp(-4.5), abs=0.01)
    # (k - 1) / 2N of multinomial noise
    assert found["mode_kl"].mean == pytest.approx(24 / 40_000, abs=6e-4)
    assert 0.5 < found["w2"].mean / found["w2"].floor < 1.6


def test_collapse_and_imbalance_show():
    dataset = data.load(Grid())
    assert dataset.centers is not None
    # one set: the hardest of assignments
    one = dataset.centers[3] + 0.1 * np.random.default_rng(2).normal(size=(2_000, 2))
    found = scores(one, dataset)
    assert found["modes"].mean == 1
    assert found["mode_kl"].mean == pytest.approx(np.log(25))
    assert found["w2"].mean > 5 * found["w2"].floor
    half = np.repeat(dataset.centers[[0, 1]], [15_000, 5_000], axis=0)
    assert mode_kl(half, dataset.centers) == pytest.approx(
        0.75 * np.log(0.75 * 25) + 0.25 * np.log(0.25 * 25)
    )


def test_a_larger_grid_is_judged_by_all_of_its_modes():
    dataset = data.load(Grid(side=7))
    assert len(np.unique(np.round(reference_points(dataset) / 2), axis=0)) == 49
    found = scores(np.random.default_rng(1).permutation(dataset.train), dataset)
    assert 0.5 < found["w2"].mean / found["w2"].floor < 1.6
    assert found["w2"].floor < 1


def test_every_number_says_of_how_many_it_is():
    found = scores(data.load(Grid()).train, data.load(Grid()))
    counts = {
        name: (score.protocol.samples, score.protocol.references) for name, score in found.items()
    }
    assert counts == {
        "w2": (8_000, 2_000),
        "modes": (2_000, 2_000),
        "high_quality": (2_000, 2_000),
        "mode_kl": (20_000, 2_000),
        "mode_width": (20_000, 2_000),
        **dict.fromkeys(SHARES, (8_000, 2_000)),
    }
    assert found["w2"].protocol.settings == {"sets": 4}


def test_w2_is_the_mean_of_sets_of_as_many_and_few_are_marked():
    rng = np.random.default_rng(3)
    dataset = Dataset(
        "few",
        rng.normal(size=(500, 2)).astype(np.float32),
        rng.normal(size=(40, 2)).astype(np.float32),
    )
    samples = rng.normal(size=(2_000, 2)).astype(np.float32)
    found = scores(samples, dataset)
    assert list(found) == ["w2", *SHARES]

    def mean(points):
        return pytest.approx(
            np.mean([w2(points[i : i + 40], dataset.test) for i in range(0, 160, 40)]), rel=1e-6
        )

    assert found["w2"].mean == mean(samples)
    assert found["w2"].floor == mean(dataset.train)
    assert found["w2"].protocol.samples == 160
    assert found["w2"].marks == ("w2 needs 2,000 examples, and there are 40 real ones",)


def test_fewer_samples_make_fewer_sets():
    dataset = data.load(Gaussian())
    found = scores(dataset.train[:5_000], dataset)
    assert found["w2"].protocol.samples == 4_000


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_points_in_the_place_of_generated_ones_have_all_modes(split):
    """Also held-out ones, which stand in the order of their modes."""
    for which in (0, 1):
        taken = real_examples(data.load(Grid()), split, 1_000, which)
        assert len(taken) == 1_000
        assert len(np.unique(np.round(taken / 2), axis=0)) == 25


def test_precision_recall_and_width_tell_narrow_modes_from_real_ones():
    """Shrunk to a third around the modes W2 is still near its floor; recall is not."""
    dataset = data.load(Grid())
    assert dataset.centers is not None
    near = dataset.centers[np.round(dataset.train / 2 + 2).astype(int) @ np.array([5, 1])]
    found = scores(near + (dataset.train - near) / 3, dataset)
    assert found["w2"].mean / found["w2"].floor < 1.1
    assert found["recall"].mean < 0.5 < 0.9 < found["recall"].floor
    assert found["precision"].mean > 0.95
    assert found["mode_width"].mean == pytest.approx(1 / 3, rel=0.05)
    assert found["mode_width"].floor == pytest.approx(0.98, abs=0.02)


def test_nothing_near_a_mode_has_no_width():
    assert mode_width(np.full((50, 2), 99.0), np.zeros((3, 2)), 0.1) == 0
