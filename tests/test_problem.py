"""A problem's draws: of a batch's size or another, of a source in place of latents, of what a
network sees of the real examples.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.batches import BatchSource
from otgan.data import Form
from otgan.models import Network
from otgan.problem import Players, make_problem
from otgan.system import make_mesh
from tests.support.helpers import tiny_config

POINTS = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
SQUARES = Network(
    init=lambda key: jnp.ones(2), apply=lambda scale, x: (scale[None] * x**2, x[:, :1])
)
FORM = Form((2,), False, (0.0, 0.0), 1.0, 50)


def problem_of(encoder=None, mesh=None, **changes):
    config = tiny_config(
        **{"batch.size": 8, "batch.reals": 12, "generator.latent_dim": 3, **changes}
    )
    return make_problem(
        config, FORM, Players(Network(lambda key: {}, lambda _, z: z), encoder), mesh
    )


@pytest.mark.parametrize("mesh", [None, make_mesh(1)])
def test_batches_are_of_their_sizes_and_the_same_on_a_mesh(mesh):
    problem, data, key = problem_of(mesh=mesh), BatchSource(jnp.asarray(POINTS)), jax.random.key(3)
    x, z = problem.draw_reals(data, key), problem.draw_latents(data, key)
    assert (x.shape, z.shape, problem.draw_latents(data, key, 5).shape) == ((12, 2), (8, 3), (5, 3))
    assert np.array_equal(x, POINTS[np.asarray(problem.draw_places(data, key))])
    assert np.array_equal(z, problem_of().draw_latents(data, key))


def test_a_source_takes_the_place_of_latents():
    source = POINTS + 100
    problem, data = problem_of(), BatchSource(jnp.asarray(POINTS), source=jnp.asarray(source))
    z = np.asarray(problem.draw_latents(data, jax.random.key(0)))
    assert z.shape == (8, 2)
    assert all((source == row).all(1).any() for row in z)
    assert np.array_equal(problem.every_latent(data, jax.random.key(0)), source)
    assert problem.every_latent(data._replace(source=None), jax.random.key(0)).shape == (50, 3)


def test_a_cost_sees_players_features_or_those_of_a_frozen_network_kept_or_not():
    problem, places, players = (
        problem_of(SQUARES),
        jnp.asarray([4, 7]),
        Players({}, jnp.asarray([1.0, 2.0])),
    )
    data = BatchSource(jnp.asarray(POINTS))
    learned = problem.real_features(players, data, places)
    np.testing.assert_allclose(learned[0], [1.0, 2.0] * POINTS[[4, 7]] ** 2, rtol=1e-6)
    frozen = data._replace(frozen=jnp.asarray([3.0, 3.0]))
    anew = problem.real_features(players, frozen, places)
    np.testing.assert_allclose(anew[0], 3 * POINTS[[4, 7]] ** 2, rtol=1e-6)
    kept = problem.real_features(
        players,
        frozen._replace(features=SQUARES.apply(jnp.asarray([3.0, 3.0]), jnp.asarray(POINTS))),
        places,
    )
    assert all(np.allclose(a, b) for a, b in zip(kept, anew, strict=True))
    (itself,) = problem_of().real_features(players, data, places)
    assert np.array_equal(itself, POINTS[[4, 7]])
