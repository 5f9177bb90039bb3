"""Recipes by rules: plain values with reasons, which repeat without the rules."""

import json
import os
import shlex
from importlib import import_module
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from otgan import experiments, suggest
from otgan.assembly import assemble
from otgan.costs import squared_l2
from otgan.data import load
from otgan.errors import UserError
from otgan.suggest.facts import Facts
from otgan.suggest.rules import pictures, scaled
from tests.support.commands import otgan


@pytest.fixture
def points(tmp_path):
    draw = np.random.default_rng(0)
    examples = draw.normal(size=(800, 4)) + 8 * draw.integers(0, 2, (800, 1))
    np.savez(tmp_path / "mine.npz", x=examples.astype(np.float32))
    return str(tmp_path / "mine.npz")


def oracle(config) -> Any:
    return config.oracle


def test_rules_become_plain_values_with_reasons(points, tmp_path):
    config = suggest.resolve("points", source=points)
    assert config.rules == "none"
    assert config.generator.latent_dim == 4
    assert any(why.startswith(f"oracle.lam = {oracle(config).lam}:") for why in config.card.why)
    (tmp_path / "config.json").write_text(config.json())
    assert experiments.resolve(str(tmp_path / "config.json")) == config
    assert suggest.resolve(str(tmp_path / "config.json")) == config


def test_what_is_given_stays_as_it_is_given(points):
    config = suggest.resolve(
        "points", {"oracle.lam": 0.5, "generator.latent_dim": 3}, source=points
    )
    assert (oracle(config).lam.value, config.generator.latent_dim) == (0.5, 3)
    assert not any(why.startswith(("oracle.lam", "generator.latent")) for why in config.card.why)


def test_values_scale_with_the_data(points, tmp_path):
    examples = np.load(points)["x"]
    np.savez(tmp_path / "large.npz", x=100 * examples)
    small = suggest.resolve("points", source=points)
    large = suggest.resolve("points", source=str(tmp_path / "large.npz"))
    for key in ("lam", "epsilon", "tau"):
        ratio = getattr(oracle(large), key).value / getattr(oracle(small), key).value
        assert ratio == pytest.approx(1e4, rel=0.01)


def test_amounts_in_multiples_of_the_local_scale():
    config = suggest.resolve("sinkhorn-grid", {"oracle.lam": "2s", "batch.size": 128})
    train = load(config.data).train
    draw = np.random.default_rng(1)
    nearest = []
    for _ in range(20):
        batch = jnp.asarray(train[draw.choice(len(train), 128, replace=False)])
        matrix = np.array(squared_l2(batch, batch))
        np.fill_diagonal(matrix, np.inf)
        nearest.append(np.median(matrix.min(axis=1)))
    assert oracle(config).lam.value == pytest.approx(2 * np.mean(nearest), rel=0.15)
    assert not oracle(config).lam.relative


def test_a_cost_on_features_has_no_local_scale():
    with pytest.raises(UserError, match="on points or pixels alone"):
        suggest.resolve("feature-mnist", {"oracle.lam": "1s"}, source="sample")


def test_a_recipe_for_own_data_asks_for_them():
    with pytest.raises(UserError, match="points is for data of your own: give them with --data"):
        suggest.resolve("points")


def test_suggest_prints_the_command_and_the_reasons(points):
    done = otgan("suggest", points)
    assert done.exit_code == 0
    assert f"otgan run points --data {points}" in done.output
    why = suggest.resolve("points", source=points).card.why
    assert all(f"why {reason}" in done.output for reason in why)


def test_suggest_reads_a_table_as_it_is_told_and_says_what_to_type(tmp_path):
    draw = np.random.default_rng(0)
    rows = [f"{a},{b},{'xy'[i % 2]},{a}" for i, (a, b) in enumerate(draw.normal(size=(200, 2)))]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(['a,"b,c",kind,id', *rows]))
    refused = otgan("suggest", str(table))
    assert "take those that do with --columns" in refused.output
    done = otgan("suggest", str(table), "--columns", 'a,"b,c"', "--label", "kind")
    (command,) = [line.strip() for line in done.output.splitlines() if "otgan run" in line]
    assert command == f"""otgan run points --data {table} --columns 'a,"b,c"' --label kind"""
    run = otgan(*shlex.split(command)[1:], "--dry-run")
    why = json.loads(run.output)["card"]["why"]
    assert why == [line[4:] for line in done.output.splitlines() if line.startswith("why ")]
    wrong = otgan("suggest", str(table), "--columns", "a,kind", "--label", "kind")
    assert (wrong.exit_code, "kind is the label" in wrong.output) == (2, True)


def test_suggest_keeps_what_is_said_of_pictures(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (120, 40, 24, 3), np.uint8)
    np.savez(tmp_path / "x.npz", x=pictures)
    given = ("--resize", "20", "--crop", "none", "--channels", "gray")
    done = otgan("suggest", str(tmp_path / "x.npz"), *given)
    assert "pictures of 33x20x1" in done.output
    assert f"otgan run pictures --data {tmp_path / 'x.npz'} {' '.join(given)}\n" in done.output
    assert "why data.resize" not in done.output


def test_a_dry_run_shows_the_values(points):
    done = otgan("run", "points", "--data", points, "--lam", "3s", "--dry-run")
    config = json.loads(done.output)
    assert config["rules"] == "none"
    assert isinstance(config["oracle"]["lam"], float)


@pytest.mark.parametrize(
    ("size", "given", "shape", "features"),
    [
        (
            (40, 33),
            {},
            (32, 32, 1),
            "random:pixels/8+conv_0/8+conv_0/2+conv_1+conv_2",
        ),
        (
            (40, 30),
            {},
            (28, 28, 1),
            "random:pixels/7+conv_0/7+conv_0/2+",
        ),
        (
            (20, 30),
            {},
            (20, 20, 1),
            "random:pixels/5+conv_0/5+conv_0/2+",
        ),
        (
            (9, 60),
            {},
            (16, 16, 1),
            "random:pixels/4+conv_0/4+conv_0/2+",
        ),
        (
            (40, 24),
            {"data.resize": 16},
            (16, 16, 1),
            "random:pixels/4+conv_0/4+conv_0/2+",
        ),
        (
            (40, 24),
            {"data.crop": "none", "data.resize": 12},
            (20, 12, 1),
            "random:pixels/2+conv_0/2",
        ),
        (
            (28, 28),
            {},
            (28, 28, 1),
            "random:pixels/7+conv_0/7+conv_0/2+",
        ),
        (
            (8, 8),
            {"data.resize": 8},
            (8, 8, 1),
            "random:pixels/2+conv_0/2+conv_1",
        ),
        ((13, 13), {"data.resize": 13}, (13, 13, 1), "random:pixels+conv_0+conv_1"),
    ],
)
def test_pictures_of_any_size_get_windows_that_divide_them(size, given, shape, features, tmp_path):
    draw = np.random.default_rng(0)
    pictures = draw.integers(0, 256, (120, *size), np.uint8)
    np.savez(tmp_path / "pictures.npz", x=pictures)
    config = suggest.resolve("pictures", given, source=str(tmp_path / "pictures.npz"))
    dataset = load(config.data)
    assert dataset.shape == shape
    assert config.cost.features.startswith(features)
    assemble(config, dataset, devices=1, looks=False)
    assert len(dataset.test) == round(0.3 * 120)
    assert config.batch.reals == len(dataset.train)


@pytest.mark.parametrize(
    ("sizes", "side", "why"),
    [
        ({(28, 28)}, None, ""),
        (
            {(20, 30)},
            20,
            "that are not square: at 20 pixels a side none is enlarged",
        ),
        (
            {(64, 64), (23, 90), (50, 40)},
            20,
            "of several sizes: at 20 pixels a side none is enlarged",
        ),
        ({(33, 70), (64, 64)}, 32, "of several sizes: 32 pixels a side train in minutes"),
        (
            {(9, 9), (64, 64)},
            16,
            "sizes: 16 a side are the fewest that the rules are made for, so some",
        ),
        ({(12, 12)}, 16, "fewer than 16 pixels a side: 16 a side are the fewest that"),
        ({(30, 30)}, 28, "pictures of 30 pixels a side, which windows do not divide: at 28 pixels"),
        ({(36, 36)}, 32, "pictures of 36 pixels a side: 32 pixels a side train in minutes"),
        ({(16, 17)}, 16, "at 16 pixels a side none is enlarged"),
    ],
)
def test_pictures_are_not_enlarged_to_be_of_one_size(sizes, side, why):
    resize = next((s for s in scaled(sizes) if s.key == "data.resize"), None)
    assert (resize and resize.value) == side
    assert why in str(resize)


def test_in_color_windows_are_compared_without_their_means_too(tmp_path):
    pictures = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), np.uint8)
    np.savez(tmp_path / "pictures.npz", x=pictures)
    config = suggest.resolve("pictures", source=str(tmp_path / "pictures.npz"))
    assert config.cost.features == (
        "random:pixels/8+pixels/8-mean+pixels/4-mean+pixels@1+conv_0/8+conv_0/2+conv_1+conv_2"
    )
    (why,) = [reason for reason in config.card.why if reason.startswith("cost.features")]
    assert "without their mean" in why


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        (
            (13, 13, 1),
            ": all pixels at once, as no windows of 4 x 4 pixels or more divide both 13 x 13",
        ),
        ((12, 20, 3), ": windows of 10 x 6 pixels; these without their mean"),
        ((28, 28, 1), ": windows of 4 x 4 pixels; and the layers"),
        ((32, 32, 3), ": windows of 4 x 4 pixels; these and wider ones without their mean"),
    ],
)
def test_the_reason_of_features_is_that_of_their_size(shape, why):
    facts = Facts(True, shape, 1_000, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0)
    features = next(s for s in pictures(facts) if s.key == "cost.features")
    assert why in str(features)


def test_neighbors_as_far_as_anybody_make_no_lam_beyond_the_mean_cost(tmp_path):
    points = np.random.default_rng(0).normal(size=(500, 300)).astype(np.float32)
    np.savez(tmp_path / "far.npz", x=points)
    config = suggest.resolve("points", source=str(tmp_path / "far.npz"))
    mean = 2 * points.var(axis=0).sum()
    assert oracle(config).lam.value == pytest.approx(0.14 * mean, rel=0.02)
    assert oracle(config).tau.value < mean / 2
    assert config.generator.latent_dim == 64


def test_distances_beyond_single_precision_are_refused(tmp_path):
    points = 1e20 * np.random.default_rng(0).normal(size=(500, 2))
    np.savez(tmp_path / "huge.npz", x=points.astype(np.float32))
    with pytest.raises(UserError, match="scale the data down"):
        suggest.resolve("points", source=str(tmp_path / "huge.npz"))


def test_an_empty_folder_holds_no_pictures(tmp_path):
    done = otgan("suggest", tmp_path)
    assert done.exit_code == 2
    assert "holds no pictures" in done.output


def test_data_are_looked_at_once_for_all_cells_and_again_when_they_change(points, monkeypatch):
    looked, sized, rules = [], [], import_module("otgan.suggest.fitting")
    real, sizes = rules.look, rules.picture_sizes
    monkeypatch.setattr(rules, "look", lambda dataset: looked.append(1) or real(dataset))
    monkeypatch.setattr(rules, "picture_sizes", lambda data: sized.append(1) or sizes(data))
    before, *_ = [
        suggest.resolve("points", {"train.seed": seed}, source=points) for seed in range(3)
    ]
    assert len(looked) == len(sized) == 1
    np.savez(points, x=100 * np.load(points)["x"])
    os.utime(points, ns=(1, 1))
    after = suggest.resolve("points", source=points)
    assert len(looked) == len(sized) == 2
    assert oracle(after).lam.value > 1_000 * oracle(before).lam.value
