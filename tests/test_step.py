"""One alternation: the gradient that moves the generator, the two clocks, the turns, the broken
step.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.batches import draw_latents, draw_reals, make_batch_source
from otgan.config import Regularized, parse_amount
from otgan.costs import squared_l2
from otgan.data import Form
from otgan.oracles.terms import Amounts, solve_term
from otgan.system import build
from tests.support.helpers import dataset, tiny_config


def system_of(config):
    found = dataset(config)
    data = make_batch_source(found, config.batch, config.generator.latent_dim)
    return build(config, Form.of(found)), jax.tree.map(jnp.asarray, data)


def solved_value(config, system, data, players, key):
    """The loss's value with every dual solved anew."""
    _, _, info = system.family.solve((), players, data, key)
    return info["dual_value"]


RECIPES = {
    "regot kl": ("regot-grid", {}),
    "sinkhorn kl": ("sinkhorn-grid", {}),
    "relaxed": ("relaxed-grid", {"oracle.tau": 1.0}),
    "regot l2": ("regot-l2-grid", {}),
    "sinkhorn l2": ("regot-l2-grid", {"oracle.loss": "sinkhorn"}),
    "energy kl": ("sinkhorn-grid", {"oracle.loss": "energy"}),
    "l2 cost": ("sinkhorn-grid", {"cost.name": "l2"}),
    "random features": (
        "sinkhorn-grid",
        {"cost.features": "random", "cost.encoder.kind": "mlp", "oracle.lam": 0.1},
    ),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_generators_gradient_is_that_of_the_solved_value(x64, recipe):
    """Against finite differences through the solver: the envelope theorem, with an accurate
    dual.
    """
    name, changes = RECIPES[recipe]
    config = tiny_config(
        name,
        **{
            "oracle.lam": 1.0,
            "oracle.epsilon": 1e-9,
            "oracle.max_iterations": 20_000,
            "batch.size": 12,
            **changes,
        },
    )
    system, data = system_of(config)
    data = data._replace(examples=data.examples.astype(float))
    players, key = (
        jax.tree.map(lambda p: p.astype(float), system.stepper.init().players),
        jax.random.key(5),
    )
    _, held, info = system.family.solve((), players, data, key)
    assert info["dual_converged"]
    first = jax.tree.map(lambda leaf: leaf[0], held)
    value, gradient = jax.value_and_grad(
        lambda g: system.family.loss(first, players._replace(generator=g), data)
    )(players.generator)
    np.testing.assert_allclose(value, info["dual_value"], rtol=1e-6)

    keys = iter(jax.random.split(jax.random.key(6), 100))
    direction = jax.tree.map(lambda p: jax.random.normal(next(keys), p.shape), players.generator)
    step = 1e-5

    def moved(sign):
        return players._replace(
            generator=jax.tree.map(lambda p, d: p + sign * step * d, players.generator, direction)
        )

    slope = (
        solved_value(config, system, data, moved(1), key)
        - solved_value(config, system, data, moved(-1), key)
    ) / (2 * step)
    along = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(along, slope, rtol=2e-3)


def test_the_sinkhorn_loss_of_equal_clouds_is_zero(x64):
    x = np.random.default_rng(0).normal(size=(30, 2))
    C = jnp.asarray(((x[:, None] - x[None]) ** 2).sum(-1))
    for regularizer in ("kl", "l2"):
        oracle = Regularized(
            regularizer=regularizer,
            lam=parse_amount(0.3),
            max_iterations=20_000,
        )
        amounts = Amounts(jnp.asarray(0.3), jnp.asarray(1e-8))
        pq, pp = (solve_term(oracle, C, amounts, between).value for between in ("both", "self"))
        assert abs(2 * pq - 2 * pp) < 1e-7
        assert pq > 0.01  # what is taken out is not nothing


def test_a_learned_cost_rises_where_the_generator_descends():
    encoder = {
        "kind": "mlp",
        "features": 8,
        "width": 16,
        "generator_updates": 2,
        "encoder_updates": 1,
    }
    config = tiny_config(
        **{
            "cost.encoder": encoder,
            "cost.features": "learned",
            "cost.name": "cosine",
            "oracle.lam": 0.1,
            "oracle.epsilon": 0.01,
            "oracle.anneal": 4.0,
        }
    )
    system, data = system_of(config)
    states = [system.stepper.init()]
    step = jax.jit(system.stepper.step)
    for _ in range(6):
        states.append(step(states[-1], data)[0])

    def moved(part):
        pairs = itertools.pairwise(states)
        return [
            any(
                bool((a != b).any())
                for a, b in zip(*map(jax.tree.leaves, (part(s), part(t))), strict=True)
            )
            for s, t in pairs
        ]

    assert moved(lambda s: s.players.generator) == [True, True, False, True, True, False]
    assert moved(lambda s: s.players.encoder) == [False, False, True, False, False, True]
    # the encoder is next: a small step of it must raise the loss at the fixed dual
    state = states[2]
    _, held, _ = system.family.solve(
        (), state.players, data, jax.random.fold_in(jax.random.key(1), state.solves)
    )
    first = jax.tree.map(lambda leaf: leaf[0], held)
    gain = jax.grad(lambda e: system.family.loss(first, state.players._replace(encoder=e), data))(
        state.players.encoder
    )
    change = jax.tree.map(lambda a, b: b - a, state.players.encoder, states[3].players.encoder)
    assert (
        sum(
            jnp.vdot(g, d)
            for g, d in zip(jax.tree.leaves(gain), jax.tree.leaves(change), strict=True)
        )
        > 0
    )


def test_the_learning_rate_falls_to_zero_with_the_updates():
    config = tiny_config(**{"train.steps": 8})
    system, data = system_of(config)
    step, state, lengths = jax.jit(system.stepper.step), system.stepper.init(), []
    for _ in range(10):
        after, _ = step(state, data)
        pairs = zip(jax.tree.leaves(state.players), jax.tree.leaves(after.players), strict=True)
        lengths.append(float(sum(jnp.abs(a - b).sum() for a, b in pairs)))
        state = after
    assert lengths[7] < 0.2 * lengths[1]
    assert lengths[8] < 1e-6 * lengths[1]


def test_a_step_that_is_not_finite_leaves_the_state_alone():
    config = tiny_config()
    system, data = system_of(config)
    state = system.stepper.init()
    broken = data._replace(examples=jnp.full_like(data.examples, jnp.nan))
    after, record = jax.jit(system.stepper.step)(state, broken)
    assert not np.isfinite(record["loss"])
    assert all(
        bool((a == b).all())
        for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True)
    )


def test_the_same_key_draws_the_same_and_strata_cover_every_cell():
    config = tiny_config("relaxed-grid")
    _, data = system_of(config)
    draw = jax.jit(lambda key: draw_reals(data, key, 32))
    a, b, other = draw(jax.random.key(1)), draw(jax.random.key(1)), draw(jax.random.key(2))
    assert (a == b).all()
    assert (a != other).any()
    examples = np.asarray(data.examples)
    where = [np.flatnonzero((examples == np.asarray(x)).all(1))[0] for x in a]
    assert (
        np.searchsorted(np.asarray(data.bounds), where, side="right") - 1 == np.arange(32)
    ).all()


@pytest.mark.parametrize("kind", ["iid", "sobol"])
def test_latents_are_standard_normal(kind):
    config = tiny_config(**{"batch.latents": kind, "batch.size": 512, "generator.latent_dim": 3})
    _, data = system_of(config)
    draws = jax.vmap(lambda key: draw_latents(data, key, 512, 3))(
        jax.random.split(jax.random.key(0), 40)
    )
    flat = np.asarray(draws).reshape(-1, 3)
    np.testing.assert_allclose(flat.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(flat.T), np.eye(3), atol=0.03)
    noise = np.asarray(draws).mean(1).std()  # of a batch's mean: i.i.d. has 512 ** -0.5 = 0.044
    assert (noise < 0.015) == (kind == "sobol")


def test_the_independent_self_term_counts_twice_at_the_fixed_batch(x64):
    """By finite differences: the gradient is of 2 d(x, y) - 2 d(y, y'), y' where it was; the value
    is 2 d(x, y) - d(y, y').
    """
    changes = {
        "oracle.lam": 1.0,
        "oracle.epsilon": 1e-9,
        "oracle.max_iterations": 20_000,
        "batch.size": 12,
        "batch.reals": 20,
    }
    config = tiny_config("sinkhorn-grid", **changes, **{"oracle.self_term": "independent"})
    system, data = system_of(config)
    data = data._replace(examples=data.examples.astype(float))
    players = jax.tree.map(lambda p: p.astype(float), system.stepper.init().players)
    _, held, info = system.family.solve((), players, data, jax.random.key(5))
    drawn, oracle = jax.tree.map(lambda leaf: leaf[0], held.drawn), config.oracle
    assert isinstance(oracle, Regularized)
    assert drawn.x[0].shape == (20, 2)
    (fixed,) = drawn.second
    generate = system.networks.generator.apply
    assert jnp.min(squared_l2(generate(players.generator, drawn.z), fixed)) > 0  # other points

    def d(a, b):
        cost = squared_l2(a, b)
        lam = jnp.asarray(oracle.lam.times(jnp.mean(cost)))
        solution = solve_term(oracle, cost, Amounts(lam, jnp.asarray(1e-9)))
        assert solution.converged
        return solution.value

    def value(generator, pull):
        y = generate(generator, drawn.z)
        return 2 * d(drawn.x[0], y) - pull * d(y, fixed)

    np.testing.assert_allclose(info["dual_value"], value(players.generator, 1), rtol=1e-6)
    first = jax.tree.map(lambda leaf: leaf[0], held)
    loss, gradient = jax.value_and_grad(
        lambda g: system.family.loss(first, players._replace(generator=g), data)
    )(players.generator)
    np.testing.assert_allclose(loss, info["dual_value"], rtol=1e-6)
    direction = jax.tree.map(
        lambda p: jax.random.normal(jax.random.key(p.size), p.shape), players.generator
    )
    step = 1e-5
    ahead, behind = (
        jax.tree.map(lambda p, d, s=s: p + s * step * d, players.generator, direction)
        for s in (1, -1)
    )
    slope = (value(ahead, 2) - value(behind, 2)) / (2 * step)
    along = sum(
        jnp.vdot(g, d)
        for g, d in zip(jax.tree.leaves(gradient), jax.tree.leaves(direction), strict=True)
    )
    np.testing.assert_allclose(along, slope, rtol=2e-3)


def test_a_step_takes_lam_times_one_of_its_scales():
    def steps(**changes):
        system, data = system_of(tiny_config(**{"oracle.epsilon": 1e-4}, **changes))
        step, state = jax.jit(system.stepper.step), system.stepper.init()
        return [step(state._replace(solves=jnp.asarray(k)), data)[1] for k in range(12)]

    several = steps(**{"oracle.lam": 0.4, "oracle.lam_scales": [0.25, 1.0]})
    alone = {lam: steps(**{"oracle.lam": lam}) for lam in (0.1, 0.4)}
    taken = [min(alone, key=lambda lam: abs(lam - float(record["lam"]))) for record in several]
    assert set(taken) == set(alone)
    for record, lam, same in zip(several, taken, zip(*alone.values(), strict=True), strict=True):
        expected = dict(zip(alone, same, strict=True))[lam]
        for name in ("lam", "lam_over_mean_cost", "dual_value", "loss"):
            np.testing.assert_allclose(record[name], expected[name], rtol=1e-5, atol=1e-6)
