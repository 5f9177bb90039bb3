from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from otgan.data import Dataset
from otgan.errors import UserError
from otgan.evaluation import choice
from otgan.evaluation.compute import values
from otgan.evaluation.judge import judge
from otgan.evaluation.neutrality import MARK, TrainingNetwork
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.sources import SampleSource, of_files
from otgan.evaluation.stats import evenly, extract, extract_real
from otgan.features import make_features

pytestmark = pytest.mark.slow

SHAPE = (8, 8, 1)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


def pictures(n, seed):
    """Random ones with a few degrees of freedom, so that neighbors are near."""
    rng = np.random.default_rng(seed)
    basis = np.random.default_rng(0).standard_normal((4, 64))
    values = rng.standard_normal((n, 4)) @ basis / 2
    return (127.5 * (1 + np.tanh(values))).astype(np.uint8).reshape(n, *SHAPE)


@pytest.fixture(scope="module")
def dataset():
    return Dataset("own", pictures(600, 1), pictures(200, 2))


def source(examples):
    return SampleSource(
        "somebody's", None, lambda seed: iter([examples[:120], examples[120:]]), None
    )


PIXELS = make_features("pixels", SHAPE)
FEW = EvalPlan(samples=200, allow_few=True, everything=True)


def scores(plan, examples, dataset, features=PIXELS):
    return {
        score.protocol.metric: score
        for score in judge(plan, source(examples), dataset, features).scores
    }


def test_the_reference_itself_is_perfect(dataset):
    found = {name: score.mean for name, score in scores(FEW, dataset.test, dataset).items()}
    assert found["fid[pixels]"] == pytest.approx(0, abs=1e-6)
    assert found["w1"] == pytest.approx(0, abs=1e-6)
    assert found["w2"] == pytest.approx(0, abs=1e-6)
    assert found["precision[pixels]"] == found["recall[pixels]"] == found["coverage[pixels]"] == 1
    assert found["sinkhorn_divergence[pixels]"] == pytest.approx(0, abs=0.02)


def test_training_examples_are_memorised_and_get_the_floor(dataset):
    plan = replace(FEW, flags=("wasserstein", "nearest"))
    found = scores(plan, evenly(dataset.train[::3], 200), dataset)
    assert found["memorised"].mean == 1
    assert found["memorised"].floor < 0.9
    assert found["w2"].mean == pytest.approx(found["w2"].floor)


def test_scores_by_features_of_the_training_are_marked(dataset):
    """And those of pixels are not, whatever was trained on."""
    plan = replace(FEW, flags=("fid", "wasserstein"))
    trained = source(dataset.test)._replace(trained_on=(TrainingNetwork("net", "1234"),))
    for features, marked in (
        (replace(PIXELS, name="net", digest="1234"), True),
        (replace(PIXELS, name="net", digest="5678"), False),
    ):
        found = {
            score.protocol.metric: score.marks
            for score in judge(plan, trained, dataset, features).scores
        }
        assert (MARK in found["fid[net]"]) == (MARK in found["sinkhorn_divergence[net]"]) == marked
        assert MARK not in found["w2"]


def test_neighbors_of_training_examples_are_themselves(dataset):
    found = judge(
        replace(FEW, flags=("nearest",)), source(dataset.train[:200]), dataset, PIXELS
    ).neighbors
    assert found.shape == (8, 8, *SHAPE)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])


def test_batches_change_no_moments_and_only_the_first_features_are_kept(dataset):
    one, other = (
        extract(PIXELS, [dataset.train], 64, 50),
        extract(PIXELS, [dataset.train[:7], dataset.train[7:]], 33, 50),
    )
    values = dataset.train.reshape(600, -1) / 127.5 - 1
    assert one.features.shape == (50, 64)
    for found in (one, other):
        np.testing.assert_allclose(
            found.moments.covariance, np.cov(values, rowvar=False), rtol=1e-5, atol=1e-7
        )
        np.testing.assert_allclose(found.features, values[:50], atol=1e-6)


def test_real_examples_are_looked_at_once(dataset):
    looked = []

    def look(x):
        looked.append(len(x))
        return PIXELS.look(x)

    features = replace(PIXELS, look=look)
    one = extract_real(features, dataset, "test", 100, 50)
    assert looked == [50, 50]
    other = extract_real(features, dataset, "test", 100, 50)
    assert looked == [50, 50]
    np.testing.assert_array_equal(one.features, other.features)
    np.testing.assert_array_equal(one.moments.scatter, other.moments.scatter)
    extract_real(features, dataset, "test", 100, 50, which=1)
    extract_real(replace(features, preparation="other"), dataset, "test", 100, 50)
    assert len(looked) == 6


def test_sets_of_real_examples_are_disjoint(dataset):
    sets = [extract_real(PIXELS, dataset, "train", 200, 200, which).examples for which in range(3)]
    rows = np.concatenate(sets).reshape(600, -1)
    assert sorted(map(bytes, rows)) == sorted(map(bytes, dataset.train.reshape(600, -1)))


def test_every_seed_has_its_own_samples_and_the_floor_as_many_sets(dataset):
    drawn = {seed: pictures(200, 10 + seed) for seed in range(3)}
    several = SampleSource("three", None, lambda seed: [drawn[seed]], None)
    found = judge(replace(FEW, flags=("fid",), seeds=3), several, dataset, PIXELS).scores[0]
    alone = [
        scores(replace(FEW, flags=("fid",)), drawn[seed], dataset)["fid[pixels]"].mean
        for seed in range(3)
    ]
    assert found.values == pytest.approx(alone)
    sets = [
        scores(replace(FEW, flags=("fid",)), dataset.train[which::3], dataset)["fid[pixels]"].mean
        for which in range(3)
    ]
    assert found.floor == pytest.approx(np.mean(sets))
    assert found.protocol.seeds == (0, 1, 2)


def test_the_protocol_says_what_was_done(dataset):
    found = scores(replace(FEW, flags=("fid", "wasserstein", "nearest")), pictures(200, 3), dataset)
    fid, w2, memory = (
        found["fid[pixels]"].protocol,
        found["w2"].protocol,
        found["memorised"].protocol,
    )
    assert (fid.features, fid.samples, fid.references, fid.split, fid.reference_hash) == (
        "pixels",
        200,
        200,
        "test",
        dataset.fingerprint,
    )
    assert (w2.features, w2.samples, w2.quantisation) == ("pixels", 200, "bytes")
    assert (memory.split, memory.references) == ("train", 600)


@pytest.mark.parametrize(
    ("examples", "sentence"),
    [
        (np.full((200, *SHAPE), 7, np.uint8), "all examples of somebody's are the same"),
        (np.full((200, *SHAPE), np.nan, np.float32), "not finite"),
        (
            np.zeros((200, 8, 8, 3), np.uint8),
            r"shape \(8, 8, 3\), the reference of shape \(8, 8, 1\)",
        ),
    ],
)
def test_what_cannot_be_judged_is_refused(dataset, examples, sentence):
    with pytest.raises(UserError, match=sentence):
        judge(FEW, source(examples), dataset, PIXELS)


def test_too_few_are_refused_with_the_number_needed_or_marked(dataset):
    strict = replace(FEW, flags=("kid",), allow_few=False, everything=False)
    with pytest.raises(
        UserError, match=r"kid\[pixels\] needs 1,000 examples, and there are 200 .*--allow-few"
    ):
        judge(strict, source(pictures(200, 3)), dataset, PIXELS)
    with pytest.raises(
        UserError,
        match=r"no measure .* left out: fid\[pixels\] needs .* --allow-few computes what",
    ):
        judge(replace(strict, flags=(), samples=50), source(pictures(50, 3)), dataset, PIXELS)
    marked = scores(replace(strict, allow_few=True), pictures(200, 3), dataset)["kid[pixels]"]
    assert marked.marks == ("kid[pixels] needs 1,000 examples, and there are 200 generated ones",)
    assert np.isfinite(marked.mean)


def test_a_measure_that_cannot_be_had_is_refused_by_name_and_left_out_of_all(dataset):
    with pytest.raises(UserError, match="--modes: modes are counted on the grid"):
        judge(
            replace(FEW, flags=("modes",), everything=False),
            source(pictures(200, 3)),
            dataset,
            PIXELS,
        )
    judged = judge(FEW, source(pictures(200, 3)), dataset, PIXELS)
    assert [note.split(":")[0] for note in judged.notes] == [
        "left out",
        "is left out",
        "modes left out",
    ]


def test_files_are_dealt_to_the_seeds(tmp_path):
    examples = pictures(90, 5)
    np.savez(tmp_path / "x.npz", x=examples)
    dealt = [np.concatenate(list(of_files(tmp_path / "x.npz", 3).draw(seed))) for seed in range(3)]
    assert [len(part) for part in dealt] == [30, 30, 30]
    assert sorted(map(bytes, np.concatenate(dealt))) == sorted(map(bytes, examples))


def test_more_seeds_than_examples_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(9, 5))
    with pytest.raises(UserError, match="holds 9 examples, which cannot be dealt to 10 seeds"):
        of_files(tmp_path / "x.npz", 10)


def test_more_samples_than_a_file_holds_are_refused(dataset, tmp_path):
    np.savez(tmp_path / "x.npz", x=pictures(90, 5))
    with pytest.raises(UserError, match="holds 90 examples; 2 x 60 are asked for"):
        judge(replace(FEW, samples=60, seeds=2), of_files(tmp_path / "x.npz", 2), dataset, PIXELS)


def test_every_sample_counts_where_the_protocol_says_so(dataset, monkeypatch):
    monkeypatch.setattr(choice, "KEPT", 100)
    found = [
        scores(replace(FEW, flags=("fid",), samples=n), pictures(400, 3), dataset)["fid[pixels]"]
        for n in (200, 400)
    ]
    assert [score.protocol.samples for score in found] == [200, 400]
    assert found[0].mean != found[1].mean


def test_what_looks_at_few_does_not_depend_on_how_many_there_are(dataset, monkeypatch):
    plan = replace(FEW, flags=("wasserstein",))
    few, many = (
        scores(replace(plan, samples=n), pictures(1_200, 3), dataset)["w2_train"]
        for n in (1_000, 1_200)
    )
    assert few.protocol == many.protocol
    assert few.mean == many.mean
    assert few.floor == many.floor


def test_sorted_references_are_compared_whole(dataset):
    """Of a test set sorted by mode, some are evenly spaced ones."""
    order = np.argsort(dataset.test.reshape(200, -1).mean(axis=1))
    ordered = replace(dataset, test=dataset.test[order])
    plan = replace(FEW, flags=("wasserstein",), samples=50)
    found = scores(plan, dataset.test[:50], ordered)["w2"]
    assert found.protocol.references == 50
    assert found.mean < 1.5 * found.floor


def test_rounding_changes_no_measure_by_much(dataset):
    examples = pictures(200, 3)
    plan = replace(FEW, flags=("wasserstein", "nearest"))
    rounded, levels = (
        scores(plan, examples, dataset),
        scores(replace(plan, rounded=False), examples.astype(np.float32), dataset),
    )
    for name, score in rounded.items():
        assert levels[name].mean == pytest.approx(score.mean, rel=1e-3), name


def test_directions_are_what_they_are(dataset):
    found = scores(FEW, pictures(200, 3), dataset)
    better = {
        "lower",
        "fid",
        "kid",
        "w1",
        "w1_l1",
        "w2",
        "sliced_w2",
        "sinkhorn_divergence",
        "w2_train",
        "memorised",
    }
    for name, score in found.items():
        plain = name.split("[")[0]
        expected = (
            "lower"
            if plain in better
            else "higher"
            if plain in ("precision", "recall", "density", "coverage")
            else ""
        )
        assert score.better == expected, name


def test_another_version_is_not_read_from_the_cache(dataset):
    one = extract_real(PIXELS, dataset, "test", 100, 50)
    doubled = replace(PIXELS, look=lambda x: (2 * PIXELS.look(x)[0], None), version=2)
    np.testing.assert_allclose(
        extract_real(doubled, dataset, "test", 100, 50).features, 2 * one.features, rtol=1e-6
    )


def test_the_floor_of_the_exact_distances_is_of_equally_many(dataset):
    """The 200 test examples are copies of some of the 600 training ones: of all 600, they would be
    matched with those, at distance 0.
    """
    repeated = replace(dataset, test=dataset.train[1::3])
    found = scores(
        replace(FEW, flags=("wasserstein",), samples=600, split="train"), pictures(600, 3), repeated
    )
    few = evenly(dataset.train, 200)
    cost = ((values(dataset.train[1::3])[:, None] - values(few)[None]) ** 2).sum(-1)
    assert found["w2"].protocol.references == 600
    assert found["w2"].floor == pytest.approx(
        np.sqrt(cost[linear_sum_assignment(cost)].mean()), rel=1e-5
    )
    assert any("its floor is of 200 examples" in mark for mark in found["w2"].marks)
