"""The critic against the closed form for two points, its slopes against finite differences, its
units.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.batches import BatchSource
from otgan.config import Batch, Config, Cost, Critic, Grid, Optimizer, Potential, Train
from otgan.data import Form
from otgan.models import Network
from otgan.oracles import Players, make_family
from otgan.oracles.critic import slopes
from otgan.problem import make_problem

# all mass in one point
TRANSLATION = Network(
    init=lambda key: jnp.zeros(2), apply=lambda b, z: jnp.broadcast_to(b, (len(z), 2))
)
REAL, FAKE = np.array([3.0, 1.0], np.float32), np.array([0.0, 5.0], np.float32)  # 5 apart


def family_of(unit=1.0, penalty=10.0, **settings):
    oracle = Critic(
        penalty=penalty * unit,
        critic=Potential(width=32, depth=2),
        optimizer=Optimizer(learning_rate=2e-3, b1=0.5, b2=0.9, schedule="cosine"),
        **settings,
    )
    config = Config(
        name="t",
        data=Grid(),
        cost=Cost(name="l2"),
        batch=Batch(size=64),
        oracle=oracle,
        train=Train(steps=300),
    )
    form = Form((2,), False, (2.0 * unit, 2.0 * unit), 3.0 * unit, 1)
    return make_family(oracle, make_problem(config, form, Players(TRANSLATION)))


def solved(family, unit=1.0, solves=300):
    data = BatchSource(jnp.asarray(unit * REAL[None]))
    players = Players(jnp.asarray(unit * FAKE))
    solve = jax.jit(family.solve)
    state, held, info = jax.jit(family.init)(jax.random.key(0)), None, {}
    for k in range(solves):
        state, held, info = solve(state, players, data, jax.random.key(k))
    return jax.tree.map(lambda leaf: leaf[0], held), info, players, data


@pytest.mark.parametrize(
    ("penalty", "epsilon", "converged"), [(10.0, 0.2, False), (50.0, 0.1, True)]
)
def test_two_points_get_the_penalized_w1(penalty, epsilon, converged):
    """With all mass in x and in y, L apart, D is a ramp of slope s, and s L - penalty (s - 1)^2 is
    largest at s = 1 + L / (2 penalty).
    """
    family = family_of(penalty=penalty, epsilon=epsilon)
    held, info, players, data = solved(family)
    length, slope = 5.0, 1 + 5.0 / (2 * penalty)
    np.testing.assert_allclose(info["dual_value"], slope * length, rtol=0.02)
    np.testing.assert_allclose(info["dual_gap"], slope - 1, atol=0.02)
    assert bool(info["dual_converged"]) == converged
    loss, gradient = jax.value_and_grad(lambda b: family.loss(held, Players(b), data))(
        players.generator
    )
    np.testing.assert_allclose(loss, info["dual_value"], rtol=1e-5)
    # downhill is towards the data
    np.testing.assert_allclose(gradient, slope * (FAKE - REAL) / length, atol=0.1)


def test_the_unit_of_the_data_is_the_unit_of_the_value():
    _, plain, *_ = solved(family_of(), solves=5)
    _, large, *_ = solved(family_of(unit=100.0), unit=100.0, solves=5)
    np.testing.assert_allclose(large["dual_value"], 100 * plain["dual_value"], rtol=0.02)
    np.testing.assert_allclose(large["dual_gap"], plain["dual_gap"], rtol=0.02)


def test_slopes_are_those_of_finite_differences(x64):
    weights = np.random.default_rng(0).normal(size=(2, 3, 3, 1))
    network = Network(
        lambda key: None,
        lambda params, x: (
            jnp.sin(x * weights[:1]).sum((1, 2, 3)) + (x * weights[1:]).sum((1, 2, 3)) ** 2
        ),
    )
    x, step = np.random.default_rng(1).normal(size=(5, 3, 3, 1)), 1e-6
    moved = x[:, None] + step * np.array([1, -1])[:, None, None, None, None, None] * np.eye(
        9
    ).reshape(9, 3, 3, 1)
    up, down = (np.stack([network.apply(None, side[i]) for i in range(5)]) for side in moved)
    np.testing.assert_allclose(
        slopes(network, None, jnp.asarray(x)),
        np.linalg.norm((up - down) / (2 * step), axis=1),
        rtol=1e-6,
    )


def test_a_flat_critic_has_finite_gradients():
    flat = Network(lambda key: None, lambda a, x: a * x.sum(1))
    gradient = jax.grad(lambda a: jnp.sum((slopes(flat, a, jnp.ones((3, 2))) - 1) ** 2))(0.0)
    assert np.isfinite(gradient)


def test_the_steps_and_examples_are_counted():
    family = family_of(critic_steps=3)
    _, info, *_ = solved(family, solves=1)
    assert info["dual_iterations"] == 3
    assert info["examples"] == 2 * 64 * 4
    assert family.always_ready
