"""The exact search against NumPy, the semi-dual against exact transport (POT), the balance of
masses against counting.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.spatial.distance import cdist

from otgan.oracles import semidual
from otgan.oracles.semidual import (
    COST_PER_SCORE,
    Targets,
    assign,
    assign_softly,
    entropic_step,
    feedback,
    half_squares,
    hits,
    mass_balance,
    shortfall,
)

METRIC: dict[str, Any] = {"l1": "cityblock", "squared_l2": "sqeuclidean"}
rng = np.random.default_rng(7)


def pictures(count, side):
    return rng.integers(0, 256, (count, side, side, 1)).astype(np.uint8)


def floats(examples):
    return examples.reshape(len(examples), -1).astype(np.float64) / 127.5 - 1


def offset_of(cost, targets, psi):
    return (half_squares(targets) if cost == "squared_l2" else 0.0) + jnp.asarray(psi)


def costs_and(cost, x, y, psi):
    return cdist(x, y, METRIC[cost]) + COST_PER_SCORE[cost] * np.asarray(psi)


@pytest.mark.parametrize("rows", [7, 64, 1_000])
@pytest.mark.parametrize("cost", ["l1", "squared_l2"])
def test_the_search_in_blocks_is_that_over_all(monkeypatch, cost, rows):
    """Blocks that divide the data, that do not, and one larger than it."""
    monkeypatch.setitem(semidual.BLOCK_ROWS, cost, rows)
    examples, x = pictures(192, 6), rng.uniform(-1, 1, (11, 36)).astype(np.float32)
    psi = 2 * rng.normal(size=192).astype(np.float32)
    targets = Targets(jnp.asarray(examples), jnp.zeros((1, 1)))
    found = assign(targets, jnp.asarray(x), offset_of(cost, targets, psi), cost)
    total = costs_and(cost, x, floats(examples), psi)
    assert (found.index == total.argmin(1)).all()
    assert len(np.unique(found.index)) > 3
    own = (x**2).sum(1) if cost == "squared_l2" else 0
    np.testing.assert_allclose(own - COST_PER_SCORE[cost] * found.score, total.min(1), rtol=1e-5)


def test_a_common_offset_costs_no_digits():
    y = rng.normal(size=(500, 2)).astype(np.float32)
    x = rng.normal(size=(40, 2)).astype(np.float32)
    center = np.full(2, 4_096, np.float32)
    targets = Targets(jnp.asarray(y + center), jnp.asarray(center)[None])
    near = cdist(x, (y + center) - center, "sqeuclidean").argmin(1)
    assert (
        assign(targets, jnp.asarray(x), half_squares(targets), "squared_l2").index == near
    ).all()


def test_of_equal_scores_the_first_wins_and_nan_is_seen():
    targets = Targets(jnp.ones((300, 2)), jnp.zeros((1, 2)))
    assert (assign(targets, jnp.zeros((5, 2)), jnp.zeros(300), "l1").index == 0).all()
    broken = assign(targets, jnp.full((1, 2), jnp.nan), jnp.zeros(300), "squared_l2")
    assert jnp.isnan(broken.score).all()


@pytest.mark.parametrize("rows", [7, 1_000])
@pytest.mark.parametrize("cost", ["l1", "squared_l2"])
def test_soft_masses_are_a_softmax(monkeypatch, cost, rows):
    monkeypatch.setitem(semidual.BLOCK_ROWS, cost, rows)
    y, x = rng.normal(size=(100, 3)), rng.normal(size=(9, 3))
    psi, lam = rng.normal(size=100), 0.7
    targets = Targets(jnp.asarray(y, jnp.float32), jnp.zeros((1, 3)))
    masses, found = assign_softly(
        targets, jnp.asarray(x, jnp.float32), offset_of(cost, targets, psi), jnp.asarray(lam), cost
    )
    total = costs_and(cost, x, y, psi)
    weights = np.exp(-(total - total.min(1, keepdims=True)) / (lam * COST_PER_SCORE[cost]))
    np.testing.assert_allclose(
        masses, (weights / weights.sum(1, keepdims=True)).mean(0), rtol=2e-4, atol=1e-7
    )
    assert (found.index == total.argmin(1)).all()


@pytest.mark.parametrize("cost", ["l1", "squared_l2"])
def test_the_value_reached_is_that_of_exact_transport(cost):
    """2,000 against 2,000 points, by the network simplex.

    The source is visited in batches, as a generator's samples are.
    """
    x, y = (
        rng.normal(size=(2_000, 2)).astype(np.float32),
        (rng.normal(size=(2_000, 2)) @ [[1, 0.8], [0, 0.5]] + 1).astype(np.float32),
    )
    exact: Any = ot.emd2(
        [], [], cdist(x.astype(float), y.astype(float), METRIC[cost]), numItermax=2_000_000
    )
    targets, X = Targets(jnp.asarray(y), jnp.asarray(y.mean(0))[None]), jnp.asarray(x - y.mean(0))
    offset = offset_of(cost, targets, 0.0)

    def smooth(psi, lam_and_key):
        lam, key = lam_and_key
        masses, _ = assign_softly(
            targets, jax.random.choice(key, X, (256,)), offset + psi, lam, cost
        )
        return entropic_step(psi, masses, lam, 0.5), None

    def step(carry, t_and_key):
        psi, mean = carry
        t, key = t_and_key
        psi = feedback(
            psi,
            assign(targets, jax.random.choice(key, X, (256,)), offset + psi, cost).index,
            0.003 / jnp.sqrt(1 + t / 8),
        )
        return (psi, mean + (psi - mean) / (t / 3 + 1)), None

    @jax.jit
    def ascend():
        keys = jax.random.split(jax.random.key(0), 800)
        psi, _ = jax.lax.scan(smooth, jnp.zeros(2_000), (jnp.geomspace(1.0, 0.01, 400), keys[:400]))
        (_, psi), _ = jax.lax.scan(step, (psi, psi), (jnp.arange(400.0), keys[400:]))
        return psi

    psi = np.asarray(ascend(), float)
    value = costs_and(cost, x, y, psi).min(1).mean() - COST_PER_SCORE[cost] * psi.mean()
    assert value <= exact * (1 + 1e-5)  # weak duality
    assert value >= 0.99 * exact


def test_a_point_that_is_hit_grows_dearer_and_the_mean_stays():
    psi = jnp.asarray([1.0, 2.0, 3.0, 4.0])
    after = feedback(psi, jnp.asarray([2, 2, 0]), jnp.asarray(0.5))
    np.testing.assert_allclose(after, psi + 0.5 * (np.array([1, 0, 2, 0]) - 0.75))


def test_entropic_steps_rest_at_sinkhorns_potentials(x64):
    """With the exact soft assignment of a whole cloud they reach POT's entropic dual."""
    x, y, lam = rng.normal(size=(60, 2)), rng.normal(size=(40, 2)) + 1, 0.5
    targets, psi = Targets(jnp.asarray(y), jnp.zeros((1, 2))), jnp.zeros(40)
    for _ in range(200):
        masses, _ = assign_softly(
            targets, jnp.asarray(x), half_squares(targets) + psi, jnp.asarray(lam), "squared_l2"
        )
        psi = entropic_step(psi, masses, jnp.asarray(lam), 1.0)
    _, log = ot.sinkhorn(
        [],
        [],
        cdist(x, y, "sqeuclidean"),
        reg=2 * lam,
        method="sinkhorn_log",
        numItermax=5_000,
        stopThr=1e-12,
        log=True,
    )
    potential = np.log(log["v"]) * 2 * lam
    np.testing.assert_allclose(-2 * psi, potential - potential.mean(), atol=1e-6)


def test_hits_count_and_leave_out_what_is_not_there():
    assert hits(jnp.asarray([0, 3, 3, -1]), 5).tolist() == [1, 0, 0, 2, 0]


def test_even_mass_is_seen_as_even_whatever_its_noise():
    draws = rng.integers(0, 20_000, 256_000)
    balance = mass_balance(jnp.asarray(np.bincount(draws, minlength=20_000), jnp.float32), 1_000)
    assert abs(balance.chi_square) < 0.01
    assert 200 / 256 < balance.least_bin < 0.9
    assert 1.1 < balance.worst_bin < 320 / 256


def test_uneven_mass_is_measured():
    masses = np.where(np.arange(20_000) < 10_000, 1.5, 0.5) / 20_000
    counts = rng.multinomial(400_000, masses)
    balance = mass_balance(jnp.asarray(counts, jnp.float32), 100)
    np.testing.assert_allclose(balance.chi_square, 0.25, atol=0.02)
    np.testing.assert_allclose([balance.least_bin, balance.worst_bin], [0.5, 1.5], atol=0.07)
    assert balance.without_mass == np.mean(counts == 0)


def test_points_without_mass_hide_in_bins_but_not_from_the_chi_square():
    """Why both are kept: on shuffled data a bin mixes points that receive much with points that
    receive nothing.
    """
    counts = jnp.tile(jnp.asarray([16.0, 0.0]), 5_000)
    balance = mass_balance(counts, 100)
    assert balance.least_bin == balance.worst_bin == 1
    assert balance.chi_square > 0.8
    assert balance.without_mass == 0.5


def test_uneven_neighborhoods_show_in_bins_where_points_are_more_even_than_chance():
    """Potentials that answer every hit make it so: within a mode all points receive the same, and
    modes do not.
    """
    counts = jnp.repeat(jnp.asarray([2.0, 1.0, 3.0, 2.0]), 2_500)
    balance = mass_balance(counts, 4)
    assert balance.chi_square < 0
    np.testing.assert_allclose(balance.chi_square_of_bins, 0.125, atol=1e-3)
    assert mass_balance(jnp.zeros(100), 4).chi_square_of_bins == 100  # no mass is not even mass


def test_bins_of_unequal_size_are_compared_by_their_mean():
    balance = mass_balance(jnp.full(1_003, 4.0), 10)
    np.testing.assert_allclose([balance.least_bin, balance.worst_bin], 1, rtol=1e-6)


@pytest.mark.parametrize("rows", [7, 64, 1_000])
@pytest.mark.parametrize("cost", ["l1", "squared_l2"])
def test_potentials_of_points_that_are_missed_may_fall_by_their_shortfall(monkeypatch, cost, rows):
    """By brute force: then no x goes elsewhere, each point is some x's best but for rounding, and
    the semi-dual stays below transport.
    """
    monkeypatch.setitem(semidual.BLOCK_ROWS, cost, rows)
    examples, x = pictures(192, 6), rng.uniform(-1, 1, (11, 36)).astype(np.float32)
    psi = 2 * rng.normal(size=192)
    targets = Targets(jnp.asarray(examples), jnp.zeros((1, 1)))
    offset = offset_of(cost, targets, psi.astype(np.float32))
    found = assign(targets, jnp.asarray(x), offset, cost)
    short = COST_PER_SCORE[cost] * np.asarray(
        shortfall(targets, jnp.asarray(x), offset, found.score, cost), np.float64
    )
    total = costs_and(cost, x, floats(examples), psi)
    np.testing.assert_allclose(short, (total - total.min(1)[:, None]).min(0), atol=1e-3)
    assert (short[np.asarray(found.index)] == 0).all()
    lowered = total - short
    np.testing.assert_allclose(lowered.min(1), total.min(1), atol=1e-3)
    value = lowered.min(1).mean() - (COST_PER_SCORE[cost] * psi - short).mean()
    exact: Any = ot.emd2([], [], cdist(x, floats(examples), METRIC[cost]))
    assert total.min(1).mean() - COST_PER_SCORE[cost] * psi.mean() < value <= exact + 1e-3
