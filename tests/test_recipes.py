"""Every shipped recipe takes a step: its own losses, duals, costs and networks, made small, on data
that need no download.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan import data, experiments
from otgan.assembly import assemble
from otgan.data import Dataset
from otgan.named import names
from otgan.oracles.contract import INFO, PLAN_INFO
from otgan.step import healthy

pytestmark = pytest.mark.slow

WIDTH = 8
SMALL = {  # what bounds the time of a step, by family; all else is the recipe's
    "regularized": {"batch.size": 16},
    # a fresh potential, near |x|^2 / 2, is within more
    "convex": {"batch.size": 16, "oracle.width": WIDTH, "oracle.epsilon": "1e-7x"},
    "neural": {"batch.size": 16, "oracle.potential.width": WIDTH},
    "critic": {"batch.size": 16, "oracle.critic.width": WIDTH},
    "drifting": {"batch.size": 16},
    "semidiscrete": {"batch.size": 16, "oracle.ots_batch": 32, "oracle.fit_updates": 4},
}


def small(name):
    config = experiments.resolve(name)
    changes = dict(SMALL[config.oracle.family])
    if config.trains_generator:
        changes["generator.width"] = WIDTH
    if config.batch.reals:
        changes["batch.reals"] = 20
    if config.cost.encoded:
        changes["cost.encoder.width"] = WIDTH
    if config.data.kind == "stacked-mnist":
        changes["data.size"] = 2_000
    source = "sample" if config.data.kind in ("mnist", "stacked-mnist") else None
    return experiments.resolve(name, changes, source)


def examples(config):
    if config.data.kind == "own":
        draw = np.random.default_rng(0)
        points, pictures = draw.normal(size=(300, 3)), draw.integers(0, 256, (300, 28, 28, 1))
        own = pictures.astype(np.uint8) if config.rules == "pictures" else points.astype(np.float32)
        return Dataset("own", own[:270], own[270:])
    if config.data.kind != "cifar10":
        return data.load(config.data)
    # as CIFAR-10's are
    pictures = np.random.default_rng(0).integers(0, 256, (300, 32, 32, 3), np.uint8)
    return Dataset("cifar10", pictures[:250], pictures[250:])


@pytest.mark.parametrize("name", names())
def test_a_recipe_takes_a_step(name, tmp_path, monkeypatch):
    monkeypatch.setenv("OTGAN_CACHE", str(tmp_path))
    config = small(name)
    dataset = examples(config)
    setup = assemble(config, dataset, devices=1)
    before = jax.jit(setup.system.stepper.init)()
    after, record = jax.jit(setup.system.stepper.step)(
        before, jax.tree.map(jnp.asarray, setup.data)
    )
    numbers = {key: float(value) for key, value in record.items()}
    assert INFO.keys() <= numbers.keys()
    assert {key: value for key, value in numbers.items() if not np.isfinite(value)} == {}
    assert bool(healthy(record))
    assert numbers["dual_gap"] >= 0
    assert numbers["epsilon"] > 0
    assert numbers["dual_iterations"] >= 1
    assert numbers["dual_converged"] <= (numbers["dual_gap"] <= numbers["epsilon"])
    if config.oracle.family == "regularized":
        assert PLAN_INFO.keys() <= numbers.keys()
        assert 0 <= numbers["dual_floor"] <= numbers["dual_gap"]
        assert numbers["loss_at_least"] <= numbers["dual_value"] <= numbers["loss_at_most"]
    moved = [
        bool((a != b).any())
        for a, b in zip(*map(jax.tree.leaves, (before.players, after.players)), strict=True)
    ]
    assert any(moved) == (config.trains_generator and numbers["ready"] > 0)
    assert int(after.solves) == 1
