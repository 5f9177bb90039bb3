"""Epsilons that every step sets itself: by a bound that holds, or as calibrated; refused where they
mean nothing.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.checkpoints import Checkpoints
from otgan.config import Adaptive, Config, parse_accuracy
from otgan.diagnosis.gradients import lipschitz
from otgan.errors import UserError
from otgan.oracles import adaptive
from otgan.oracles.adaptive import AdaptiveDual
from otgan.oracles.regularized import RegularizedDual
from otgan.results.quantities import KNOWN
from otgan.results.sweep import ordered, text
from tests.support.helpers import FAMILIES, setup, tiny_config

GRID = ("sinkhorn-grid-tight", {"oracle.lam": "0.05x"})


@cache
def together(epsilon, loss="sinkhorn"):
    """A run whose solver looks at its gap so often that it ends near epsilon."""
    changes = {"oracle.lam": "0.02x", "oracle.epsilon": epsilon, "oracle.loss": loss}
    found = setup(
        tiny_config("sinkhorn-grid-tight", **changes, **{"oracle.iterations_per_check": 2})
    )
    return found._replace(data=jax.tree.map(jnp.asarray, found.data))


def dual_of(found):
    oracle = found.config.oracle
    return AdaptiveDual(oracle, RegularizedDual(oracle, found.system.problem))


STEPS = 2 * adaptive.EVERY + 10  # two measurements after the first


@cache
def stepper():
    found = together("calibrated")
    return found.system.stepper.init(), jax.jit(found.system.stepper.step)


@cache
def trained():
    """A state, and the records on the way there."""
    (state, step), records = stepper(), []
    for _ in range(STEPS):
        state, record = step(state, together("calibrated").data)
        records.append({name: float(value) for name, value in record.items()})
    return state, records


def gradients(found, players, epsilon):
    """A function of a key: a batch's gradient, flat, its duals solved to an epsilon in multiples of
    the mean cost, and their info.
    """
    accuracy = {"epsilon": parse_accuracy(f"{epsilon}x"), "max_iterations": 50_000}
    dual = RegularizedDual(found.config.oracle.model_copy(update=accuracy), found.system.problem)

    @jax.jit
    def at(key):
        _, held, info = dual.solve((), players, found.data, key)
        gradient = dual.gradient(jax.tree.map(lambda leaf: leaf[0], held), players, found.data)
        return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(gradient)]), info

    return at


@cache
def bound():
    """The theory's constant on a batch, with a trained generator, and the batch."""
    found, (state, _) = together("adaptive"), trained()
    dual, players = dual_of(found), state.players

    @jax.jit
    def at(key):
        _, drawn = dual.dual.draw(players, found.data, key)
        features = dual.dual.features(players, found.data, drawn)
        return dual.bound(players, found.data, drawn.z, features), drawn

    return at(jax.random.key(5))


# --- how it is written ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "rule", "fraction", "canonical"),
    [
        ("adaptive", "adaptive", 0.1, "adaptive"),
        ("calibrated:0.10", "calibrated", 0.1, "calibrated"),
        (" calibrated:3e-1", "calibrated", 0.3, "calibrated:0.3"),
    ],
)
def test_it_is_kept_as_it_is_written(written, rule, fraction, canonical):
    config = tiny_config("sinkhorn-grid", **{"oracle.epsilon": written})
    assert config.oracle.epsilon == Adaptive(rule, fraction)
    assert config.model_dump(mode="json")["oracle"]["epsilon"] == canonical
    assert Config.model_validate_json(config.json()) == config
    assert text(written) == canonical


def test_a_sweep_has_it_beside_numbers():
    assert ordered(["calibrated", "0.3x", "adaptive", "0.01x"]) == [
        "0.01x",
        "0.3x",
        "calibrated",
        "adaptive",
    ]


@pytest.mark.parametrize("which", ["semidiscrete", "convex", "neural kl", "critic", "drifting"])
@pytest.mark.parametrize("written", ["adaptive", "calibrated:0.3"])
def test_families_without_a_certified_gap_refuse_it(which, written):
    name, changes = FAMILIES[which]
    with pytest.raises(UserError, match=f"{written} sets the gap .* give a number"):
        tiny_config(name, **changes, **{"oracle.epsilon": written})


@pytest.mark.parametrize(
    ("which", "written", "sentence"),
    [
        ("layers apart", "adaptive", "says nothing of even ones: use 'calibrated'"),
        ("entropic", "calibrated:0", "a share of the noise above 0 behind calibrated:"),
        ("entropic", "adaptive:x", "a share of the noise above 0 behind adaptive:"),
        ("entropic", "adaptiv", "or adaptive, or calibrated, not 'adaptiv'"),
    ],
)
def test_what_it_cannot_be_is_said(which, written, sentence):
    name, changes = FAMILIES[which]
    with pytest.raises(UserError, match=sentence):
        tiny_config(name, **changes, **{"oracle.epsilon": written})


def test_the_bound_of_one_problem_is_not_taken_for_several():
    name, changes = FAMILIES["layers apart"]
    changes = {**changes, "oracle.pulls": "plain", "oracle.epsilon": "adaptive"}
    with pytest.raises(UserError, match="makes several: use 'calibrated'"):
        tiny_config(name, **changes)


# --- the arithmetic -------------------------------------------------------------------------------


def test_epsilon_is_the_loosest_whose_error_is_the_share_of_the_noise():
    known = adaptive.Measured(*map(jnp.asarray, (7, 4.0, 25.0, 1)))
    lam, mean = jnp.asarray(0.5), jnp.asarray(1.0)
    epsilon = adaptive.epsilon_of(known, 0.3, lam, mean)
    assert float(5 * (2 * epsilon / 0.5) ** 0.5) == pytest.approx(0.3 * 2)
    assert float(adaptive.bias_over_noise(known, epsilon, lam)) == pytest.approx(0.3)
    at = partial(adaptive.epsilon_of, lam=lam, mean_cost=mean)
    assert float(at(known, 1e-3)) == pytest.approx(adaptive.LEAST)
    assert float(at(known, 1e3)) == pytest.approx(adaptive.MOST)


def test_a_measurement_counts_in_the_solve_that_makes_it_and_the_newest_ones_most():
    measured, means = adaptive.nothing_measured(), []
    step = jax.jit(adaptive.after)
    for solve in range(10 * adaptive.EVERY):
        assert bool(adaptive.is_due(measured)) == (solve % adaptive.EVERY == 0)
        value = float(solve // adaptive.EVERY)
        if not adaptive.is_due(measured):
            value = 1e6  # of solves that measure nothing
        # the first measurement says nothing of K
        found = (value, 2 * value, solve > 0, 0, 0)
        measured = step(measured, adaptive.Found(*map(jnp.asarray, found)))
        means.append((float(measured.noise), float(measured.constant)))
    noise, constant = np.transpose(means[:: adaptive.EVERY])
    assert noise[:5] == pytest.approx([0, 0.5, 1, 1.5, 2])  # plain means
    assert noise[9] == pytest.approx(0.2 * 9 + 0.8 * noise[8])
    assert constant[:4] == pytest.approx([0, 2, 3, 4])
    assert constant[9] == pytest.approx(0.2 * 18 + 0.8 * constant[8])
    assert (int(measured.solves), int(measured.told)) == (10 * adaptive.EVERY, 9)


@pytest.mark.parametrize("told", [0, 1])
def test_until_something_is_known_of_the_constant_epsilon_is_the_first(told):
    known = adaptive.Measured(*map(jnp.asarray, (101, 4.0, 0.0, told)))
    epsilon = adaptive.epsilon_of(known, 0.1, jnp.asarray(0.5), jnp.asarray(2.0))
    # without an error any epsilon will do, if it is known that there is none
    expected = (adaptive.FIRST, adaptive.MOST)[told]
    assert float(epsilon) == pytest.approx(2 * expected)


def test_the_noise_is_that_of_one_batch_without_bias():
    draws = jnp.asarray(np.random.default_rng(0).normal(3.0, 2.0, size=(4_000, 2, 5)))
    found = jax.vmap(adaptive.squared_noise)({"a": draws[..., :2], "b": draws[..., 2:]})
    assert np.mean(np.asarray(found)) == pytest.approx(5 * 2.0**2, rel=0.03)


# --- on a problem ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_theorys_constant_is_the_largest_gradient_of_all_pairs():
    ours, drawn = bound()
    found, (state, _) = together("adaptive"), trained()
    problem = found.system.problem

    def pair(theta, x_i, z_j):
        y = problem.generate(theta, z_j[None])
        return problem.cost.between((x_i[None],), (y,))[0, 0]

    largest = lipschitz(pair, state.players.generator, drawn.x[0], drawn.z)
    assert 0.95 * largest <= float(ours) / adaptive.FOLLOWED["sinkhorn"] <= 1.05 * largest


@pytest.mark.slow
def test_the_error_of_the_gradient_is_below_the_bound():
    found, (state, _) = together("adaptive"), trained()
    constant, key = float(bound()[0]), jax.random.key(5)
    truth, _ = gradients(found, state.players, 1e-5)(key)
    loose, info = gradients(found, state.players, 0.1)(key)
    error = float(jnp.linalg.norm(loose - truth))
    assert 0 < error < constant * float(jnp.sqrt(2 * info["dual_gap"] / info["lam"]))


@pytest.mark.slow
def test_where_the_bound_is_hopeless_epsilon_is_at_its_tightest_and_a_warning_says_so():
    found, (state, _) = together("adaptive", "regot"), trained()
    solve = jax.jit(found.system.family.solve)
    dual = found.system.stepper.init().dual
    dual, _, first = solve(dual, state.players, found.data, jax.random.key(0))
    dual, _, second = solve(dual, state.players, found.data, jax.random.key(1))
    assert float(first["epsilon_over_mean_cost"]) == pytest.approx(adaptive.FIRST)
    assert float(second["epsilon_over_mean_cost"]) == pytest.approx(adaptive.LEAST)
    share = float(second["bias_over_noise"])
    assert share > 1
    assert "--epsilon calibrated" in KNOWN["bias_over_noise"].warning(share)


@pytest.mark.slow
def test_calibrated_errors_are_the_share_of_the_noise_that_was_asked_for():
    """Against gradients of other batches, with duals solved far more closely."""
    found, (state, records) = together("calibrated"), trained()
    epsilon = records[-1]["epsilon_over_mean_cost"]
    assert 1.1 * adaptive.LEAST < epsilon < adaptive.MOST / 2  # free, at neither end
    exactly, loosely = (
        gradients(found, state.players, accuracy) for accuracy in (epsilon / 100, epsilon)
    )
    keys = [jax.random.key(100 + k) for k in range(12)]
    truths = np.stack([np.asarray(exactly(key)[0]) for key in keys])
    errors = truths - np.stack([np.asarray(loosely(key)[0]) for key in keys])
    noise = np.sqrt(np.var(truths, axis=0, ddof=1).sum())
    assert records[-1]["gradient_noise"] == pytest.approx(noise, rel=0.7)
    assert 0.01 < np.sqrt(np.mean(np.sum(errors**2, axis=1))) / noise < 0.25


@pytest.mark.slow
def test_what_a_measurement_takes_is_counted():
    _, records = trained()
    batch = records[1]["examples"]
    assert [r["examples"] / batch for r in records[:3]] == [3, 1, 1]
    assert records[adaptive.EVERY]["examples"] == 3 * batch
    near = [r["dual_iterations"] for r in records[adaptive.EVERY - 5 : adaptive.EVERY + 6]]
    assert near[5] == max(near)
    assert len({r["gradient_constant"] for r in records}) == 3


@pytest.mark.slow
def test_a_run_that_goes_on_between_two_measurements_computes_the_same_bits(tmp_path):
    (state, step), data = stepper(), together("calibrated").data
    half = adaptive.EVERY + 50
    for _ in range(half):
        state, _ = step(state, data)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(half, state, {})
    with Checkpoints(tmp_path) as checkpoints:
        state = checkpoints.restore(stepper()[0]).state
    for _ in range(STEPS - half):
        state, _ = step(state, data)
    for mine, whole in zip(*map(jax.tree.leaves, (state, trained()[0])), strict=True):
        np.testing.assert_array_equal(mine, whole)
