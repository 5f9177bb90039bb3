"""Costs on layers of a frozen network: their scales, what is kept of the training examples, and
what bad input gets.
"""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan import cache, groups
from otgan import sight as sights
from otgan.config import Cost
from otgan.data import Dataset, digits
from otgan.errors import UserError
from otgan.features import find_network
from otgan.launch import check_sight, describe
from otgan.oracles.regularized import even
from otgan.sampling import sample
from tests.support.commands import otgan
from tests.support.helpers import DIGITS, run, setup, tiny_config

pytestmark = pytest.mark.slow

DIGIT = (28, 28, 1)


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def some_digits():
    train, test = digits.sample()
    return Dataset("mnist", train[:600], test[:50])


def sight(dataset, features, **changes) -> Any:
    return sights.make_sight(Cost(features=features, **changes), dataset)


def test_squared_distances_of_every_group_have_mean_one(some_digits):
    found = sight(some_digits, "mnist-lenet:pixels+first+second@2+dense")
    assert [group.shape for group in found.features] == [
        (600, 784),
        (600, 14 * 14 * 16),
        (600, 4 * 32),
        (600, 128),
    ]
    for group in found.features:
        x = group.astype(np.float64)
        squares = (
            ((x[:, None] - x[None]) ** 2).sum(-1)
            if x.shape[1] < 200
            else [((x - one) ** 2).sum(1) for one in x]
        )
        np.testing.assert_allclose(np.mean(squares), 1, rtol=1e-4)


def test_what_is_kept_is_what_the_network_sees(some_digits):
    for features in ("mnist-lenet:all", "random:pixels+conv_2"):
        whole, half, none = (
            sight(some_digits, features, kept=kept) for kept in ("float32", "float16", "none")
        )
        x = jnp.asarray(some_digits.train[:70], jnp.float32) / 127.5 - 1
        for kept, rounded, seen in zip(
            whole.features, half.features, none.network.apply(none.parameters, x), strict=True
        ):
            np.testing.assert_allclose(kept[:70], seen, rtol=1e-4, atol=1e-6)
            assert rounded.dtype == np.float16
            np.testing.assert_allclose(rounded[:70], seen, rtol=2e-3, atol=1e-4)
        assert none.features is None


def test_places_are_means_over_stretches_that_share_what_does_not_divide():
    x = np.random.default_rng(0).normal(size=(2, 7, 7, 3)).astype(np.float32)
    found = np.asarray(groups._flat(jnp.asarray(x), groups.Group("map", 2))).reshape(2, 2, 2, 3)
    for (i, rows), (j, columns) in itertools.product(
        enumerate((slice(0, 4), slice(3, 7))), repeat=2
    ):
        np.testing.assert_allclose(
            found[:, i, j], x[:, rows, columns].mean((1, 2)), rtol=1e-5, atol=1e-6
        )


def test_windows_lie_side_by_side_and_share_a_scale(some_digits):
    found = sight(some_digits, "mnist-lenet:pixels/4+second/7+dense/7", groups="separate")
    assert [group.shape for group in found.features] == [(600, 16, 49), (600, 49, 32), (600, 128)]
    assert found.record["groups"] == ["pixels/4", "second/7", "dense"]
    x = some_digits.train[..., 0] / 127.5 - 1
    np.testing.assert_allclose(
        found.features[0][:, 6],
        x[:, 7:14, 14:21].reshape(600, -1) / found.parameters["scales"][0],
        rtol=1e-4,
    )
    for group in found.features[:2]:
        squares = 2 * group.astype(np.float64).var(0).sum(-1)
        np.testing.assert_allclose(squares.mean(), 1, rtol=1e-4)
        assert squares.max() > 5 * squares.min()


def test_windows_without_their_mean_hold_what_stands_out_in_them(some_digits):
    plain, found = (
        sight(some_digits, f"mnist-lenet:pixels/7{less}+first/7{less}", groups="separate")
        for less in ("", "-mean")
    )
    assert found.record["groups"] == ["pixels/7-mean", "first/7-mean"]
    for channels, *of in zip((1, 16), plain.features, found.features, strict=True):
        windows, rest = (group.reshape(600, 49, -1, channels).astype(np.float64) for group in of)
        centered = windows - windows.mean(2, keepdims=True)
        np.testing.assert_allclose(
            rest, centered / np.sqrt(2 * centered.var(0).sum((1, 2)).mean()), atol=1e-4
        )
    with pytest.raises(UserError, match="is the same for all training examples"):
        sight(some_digits, "mnist-lenet:second/7-mean", groups="separate")  # of one place each


def test_shifted_windows_hold_what_lies_between_the_others(some_digits):
    x = some_digits.train.astype(np.float64) / 127.5 - 1
    found = sight(some_digits, "mnist-lenet:pixels/7-shifted+pixels/7-mean-shifted")
    assert found.record["groups"] == ["pixels/7-shifted", "pixels/7-mean-shifted"]
    whole, rest = (
        group.astype(np.float64) * scale
        for group, scale in zip(found.features, found.parameters["scales"], strict=True)
    )
    assert whole.shape == rest.shape == (600, 36, 16)
    for row, column in itertools.product(range(6), range(6)):
        window = x[:, 2 + 4 * row : 6 + 4 * row, 2 + 4 * column : 6 + 4 * column].reshape(600, 16)
        place = 6 * row + column
        np.testing.assert_allclose(whole[:, place], window, atol=1e-3)
        np.testing.assert_allclose(
            rest[:, place], window - window.mean(1, keepdims=True), atol=1e-3
        )


def test_training_examples_are_looked_at_once(some_digits, monkeypatch):
    features = "random:conv_0@4+conv_2"
    first = sight(some_digits, features)
    with monkeypatch.context() as patched:
        patched.setattr(sights, "_look", None)
        again = sight(some_digits, features)
    assert all(np.array_equal(a, b) for a, b in zip(first.features, again.features, strict=True))
    assert first.record == again.record
    (kept,) = (cache.folder() / "seen").iterdir()
    kept.write_bytes(kept.read_bytes()[:-500])  # half written
    assert all(
        np.array_equal(a, b)
        for a, b in zip(first.features, sight(some_digits, features).features, strict=True)
    )
    others = Dataset("mnist", some_digits.train[::-1].copy(), some_digits.test)
    assert np.array_equal(sight(others, features).features[0][::-1], first.features[0])
    assert len([*(cache.folder() / "seen").iterdir()]) == 2


BAD = {
    "no layer": (
        "mnist-lenet:third",
        (
            r"mnist-lenet has no layer 'third': choose of first, second, dense \(all of them: all\)"
            r" and pixels"
        ),
    ),
    "no network": ("lenet:all", "there are no features 'lenet': choose inception, mnist-lenet"),
    "another size": (
        "cifar10-resnet:all",
        r"cifar10-resnet reads 32 x 32 color images, not images of shape \(28, 28, 1\)",
    ),
    "too many places": (
        "mnist-lenet:second@8",
        r"places of a map of 7 x 7: give second@1 to second@7",
    ),
    "odd places": ("mnist-lenet:second@two", "give second@1 to second@7"),
    "uneven windows": (
        "mnist-lenet:first/3",
        r"'first/3' cuts a map of 14 x 14 into equal windows: give first/ and one of 1, 2, 7, 14",
    ),
    "odd windows": ("mnist-lenet:first/", "give first/ and one of 1, 2"),
    "both": ("mnist-lenet:first@2/2", "give first@1 to first@14"),
    "places without a mean": (
        "mnist-lenet:pixels@2-mean",
        "-mean belongs to windows, as in pixels/7-mean",
    ),
    "one channel": ("mnist-lenet:first/7-channels", "of all channels together: leave out -chann"),
    "no window": ("mnist-lenet:first-mean", "-mean belongs to windows, as in first/2-mean"),
    "no such ending": (
        "mnist-lenet:pixels/4-var",
        "ends in -var, which is nothing: give pixels/4, or that with one or more of -mean, -shif",
    ),
    "endings in the wrong order": (
        "mnist-lenet:pixels/4-channels-mean",
        "-channels, in this order",
    ),
    "one window cannot be shifted": (
        "mnist-lenet:pixels/1-shifted",
        "shifts windows by half of one: of a map of 28 x 28 that takes 2 to 14 to a side",
    ),
    "nor can windows of one place": ("mnist-lenet:second/7-shifted", "takes 2 to 3 to a side"),
    "negative windows": ("mnist-lenet:pixels/-4", "give pixels/ and one of 1, 2, 4, 7, 14, 28"),
    "twice": ("mnist-lenet:first+all", "names first twice"),
    "no file": ("nothing.safetensors:all", "nothing.safetensors does not exist"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_groups_are_one_sentence(some_digits, case):
    features, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence):
        sight(some_digits, features)


def test_bad_groups_are_refused_by_the_command_before_anything_is_written(elsewhere):
    done = otgan(
        "run",
        "feature-mnist",
        "--data",
        "sample",
        "--features",
        "mnist-lenet:third",
        "--out",
        "run",
    )
    assert done.exit_code == 2
    assert "has no layer 'third': choose of first, second, dense" in done.output
    done = otgan("run", "sinkhorn-grid", "--features", "mnist-lenet:all", "--out", "run")
    assert done.exit_code == 2
    assert "needs images; the data are points" in done.output
    done = otgan(
        "run", "feature-mnist", "--data", "sample", "--features", "learned", "--out", "run"
    )
    assert done.exit_code == 2
    assert "oracle.pulls = 'even' is for costs that nobody trains" in done.output
    done = otgan(
        "run", "wgan-gp-mnist", "--features", "mnist-lenet:all", "--reals", "512", "--out", "run"
    )
    assert done.exit_code == 2
    assert "serves pixels only" in done.output
    assert "leave out batch.reals = 512" in done.output
    done = otgan(
        "run",
        "feature-mnist",
        "--features",
        "mnist-lenet:first/7",
        "--groups",
        "joint",
        "--out",
        "run",
    )
    assert done.exit_code == 2
    assert "'joint' makes one problem of all windows" in done.output
    done = otgan("run", "regot-mnist", "--self-term", "independent", "--out", "run")
    assert done.exit_code == 2
    assert "the loss 'regot' has no self term" in done.output


def test_what_does_not_fit_into_memory_is_refused(some_digits, monkeypatch):
    monkeypatch.setattr(sights, "ROOM", 1e-9)
    with pytest.raises(
        UserError,
        match=r"4,832 numbers each, takes .* --set cost.kept=float16, none, or fewer layers",
    ):
        sight(some_digits, "mnist-lenet:all")


def test_a_group_that_is_everywhere_the_same_is_refused():
    pictures = np.full((40, 28, 28, 1), 7, np.uint8)
    with pytest.raises(UserError, match="the same for all training examples"):
        sight(Dataset("own", pictures, pictures), "random:pixels")


def test_all_stands_for_the_layers_in_order_of_depth():
    frozen = find_network("mnist-lenet", DIGIT)
    names = [str(group) for group in groups.find_groups(("all@2", "pixels"), frozen, DIGIT)]
    assert names == ["first@2", "second@2", "dense", "pixels"]


def test_stacked_digits_are_seen_channel_by_channel():
    train, test = digits.sample()
    stacked = digits.stack(train, test, 1_000)[0][:8]
    x = jnp.asarray(stacked, jnp.float32)
    alone, beside = find_network("mnist-lenet", DIGIT), find_network("mnist-lenet", (32, 32, 3))
    maps = beside.maps(beside.parameters, x)
    for channel in range(3):
        digit = x[
            :, digits.MARGIN : -digits.MARGIN, digits.MARGIN : -digits.MARGIN, channel : channel + 1
        ]
        for layer, seen in alone.maps(alone.parameters, digit).items():
            width = seen.shape[-1]
            np.testing.assert_allclose(
                maps[layer][..., channel * width : (channel + 1) * width],
                seen,
                rtol=1e-4,
                atol=1e-4,
            )


def test_windows_of_every_channel_are_those_of_its_digit():
    train, test = digits.sample()
    stacked, held_out = digits.stack(train, test, 1_000)
    written = "mnist-lenet:pixels/8-channels+first/7-channels+second/1-channels"
    found = sight(Dataset("stacked-mnist", stacked[:600], held_out[:50]), written)
    assert found.record["groups"] == written.partition(":")[2].split("+")
    m, words = digits.MARGIN, "mnist-lenet:first/7+second/1"
    sizes = [group.shape for group in found.features]
    assert sizes == [(600, 3 * 64, 16), (600, 3 * 49, 4 * 16), (600, 3, 49 * 32)]
    pixels, *maps = (
        group.astype(np.float64) * scale
        for group, scale in zip(found.features, found.parameters["scales"], strict=True)
    )
    for channel in range(3):
        digit = stacked[:600, m:-m, m:-m, channel : channel + 1]
        alone = sight(Dataset("mnist", digit, digit[:50]), words)
        for seen, own, scale in zip(maps, alone.features, alone.parameters["scales"], strict=True):
            np.testing.assert_allclose(seen[:, channel::3], own * scale, rtol=1e-3, atol=2e-3)
        first = stacked[:600, :4, 4:8, channel].reshape(600, 16) / 127.5 - 1  # of the second window
        np.testing.assert_allclose(pixels[:, 3 + channel], first, atol=1e-3)


def first_step(config):
    together = setup(config)
    state = together.system.stepper.init()
    data = jax.tree.map(jnp.asarray, together.data)
    return jax.jit(together.system.stepper.step)(state, data)


def test_a_step_is_the_same_whether_examples_are_kept_or_looked_at():
    kept, anew = (
        first_step(tiny_config("feature-mnist", **{**DIGITS, "cost.kept": how}))
        for how in ("float32", "none")
    )
    for name in ("loss", "dual_value", "gradient_norm"):
        np.testing.assert_allclose(kept[1][name], anew[1][name], rtol=1e-4)


def test_separate_problems_are_each_groups_own():
    """With one lam, the loss of separate problems is the mean of the losses on each group alone."""
    # d itself, which can only fall where each group may have its own plan
    plain = {"oracle.loss": "regot", "oracle.self_term": "same"}
    changes = {
        **DIGITS,
        **plain,
        "oracle.lam": 0.2,
        "oracle.epsilon": 1e-4,
        "cost.groups": "separate",
        "cost.name": "squared_l2",
    }
    both = first_step(
        tiny_config("feature-mnist", **changes, **{"cost.features": "random:pixels+conv_2"})
    )[1]
    alone = [
        first_step(tiny_config("feature-mnist", **changes, **{"cost.features": f"random:{g}"}))[1]
        for g in ("pixels", "conv_2")
    ]
    np.testing.assert_allclose(
        both["dual_value"], np.mean([one["dual_value"] for one in alone]), rtol=1e-3
    )
    np.testing.assert_allclose(both["dual_gap"], max(one["dual_gap"] for one in alone), rtol=0.05)
    together = first_step(
        tiny_config(
            "feature-mnist",
            **{**changes, "cost.groups": "joint", "cost.features": "random:pixels+conv_2"},
        )
    )[1]
    # one plan cannot suit both; the duals are exact to 1e-4
    assert together["dual_value"] > both["dual_value"] + 3e-4


def test_windows_are_problems_that_count_together_for_one_group():
    """Pixels in one window are the pixels; in four, the mean of four problems at the one lam."""
    changes = {
        **DIGITS,
        "oracle.loss": "regot",
        "oracle.self_term": "same",
        "oracle.lam": 0.2,
        "oracle.epsilon": 1e-4,
    }
    changes["cost.groups"] = "separate"
    whole, one, four = (
        first_step(
            tiny_config(
                "feature-mnist", **changes, **{"cost.features": f"random:pixels{cut}+conv_2"}
            )
        )[1]
        for cut in ("", "/1", "/2")
    )
    np.testing.assert_allclose(one["dual_value"], whole["dual_value"], rtol=1e-4)
    # a layer keeps its share of the cost
    np.testing.assert_allclose(four["mean_cost"], whole["mean_cost"], rtol=0.05)
    assert four["dual_value"] < whole["dual_value"] - 3e-4  # each window may have its own plan


def test_even_pulls_are_equally_strong_and_keep_their_directions():
    rng = np.random.default_rng(0)
    whole, windows = (
        rng.normal(size=(6, 4)),
        rng.normal(size=(6, 3, 5)) * np.array([1e-3, 1, 0])[:, None],
    )
    made = even((jnp.asarray(whole, jnp.float32), jnp.asarray(windows, jnp.float32)))
    strengths = [np.sqrt((np.asarray(pull) ** 2).sum(-1).mean(0)) for pull in made]
    np.testing.assert_allclose(strengths[0], 1 / (2 * 6), rtol=1e-5)  # two groups, six examples
    # of three windows; no pull stays none
    np.testing.assert_allclose(strengths[1], [1 / (2 * 3 * 6), 1 / (2 * 3 * 6), 0], rtol=1e-5)
    for pull, before in zip(
        (made[0], made[1][:, 0], made[1][:, 1]), (whole, windows[:, 0], windows[:, 1]), strict=True
    ):
        np.testing.assert_allclose(
            pull / np.linalg.norm(pull), before / np.linalg.norm(before), rtol=1e-4
        )


def test_even_pulls_change_what_moves_and_not_what_is_solved():
    changes = {**DIGITS, "cost.features": "random:pixels/2+conv_2", "cost.groups": "separate"}
    plain, evened = (
        first_step(tiny_config("feature-mnist", **changes, **{"oracle.pulls": pulls}))
        for pulls in ("plain", "even")
    )
    for name in ("dual_value", "dual_gap", "loss"):
        np.testing.assert_allclose(evened[1][name], plain[1][name], rtol=1e-4)
    moved = [jax.tree.leaves(state.players.generator) for state, _ in (plain, evened)]
    assert max(float(jnp.abs(a - b).max()) for a, b in zip(*moved, strict=True)) > 1e-5


def test_a_run_is_recorded_resumes_to_the_bit_and_samples_without_the_network(
    tmp_path, monkeypatch
):
    # a budget of updates, which cuts the first part, drives what falls with the budget
    eight = {**DIGITS, "train.steps": 8, "generator.optimizer.schedule": "constant"}
    config = tiny_config("feature-mnist", **eight)
    whole, _ = run(config, tmp_path / "whole")
    part = tmp_path / "part"
    run(tiny_config("feature-mnist", **eight, **{"train.generator_steps": 4}), part)
    (part / "config.json").write_text(config.json())
    folder, outcome = run(config, part)
    assert outcome.state == "finished"
    for one in (whole, folder):
        one.write_environment(describe(setup(config)))
    with monkeypatch.context() as patched:
        patched.setattr(sights, "find_network", None)
        assert np.array_equal(sample(whole, 20, 0), sample(folder, 20, 0))


def test_a_run_does_not_go_on_with_other_weights(tmp_path):
    folder, _ = run(tiny_config("feature-mnist", **DIGITS, **{"train.steps": 2}), tmp_path / "run")
    record = sight(Dataset("mnist", *digits.sample()), "mnist-lenet:dense").record
    folder.write_environment({"sight": record})
    check_sight(record, folder)
    with pytest.raises(UserError, match="was begun with other weights of mnist-lenet"):
        check_sight({**record, "digest": "0123456789ab"}, folder)
