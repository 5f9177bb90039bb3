"""Recipes by rules: plain values with reasons, which repeat without the rules."""

import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from otgan import experiments, suggest
from otgan.cli import main
from otgan.costs import squared_l2
from otgan.data import load
from otgan.errors import UserError
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


def test_a_dry_run_shows_the_values(points):
    done = otgan("run", "points", "--data", points, "--lam", "3s", "--dry-run")
    config = json.loads(done.output)
    assert config["rules"] == "none"
    assert isinstance(config["oracle"]["lam"], float)
    assert "suggest" in main.commands
