from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError
from scipy.spatial.distance import cdist

from otgan.costs import for_each, make_cost, squared_l2

METRICS: dict[str, Any] = {"l1": "cityblock", "squared_l2": "sqeuclidean", "cosine": "cosine"}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_matches_scipy(name, offset):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(n, 3, 2)).astype(np.float32) + np.float32(offset) for n in (7, 5))
    expected = cdist(x.reshape(7, -1), y.reshape(5, -1), METRICS[name])
    np.testing.assert_allclose(
        make_cost(name)(jnp.asarray(x), jnp.asarray(y)),
        expected,
        rtol=2e-3 if offset else 1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("name", METRICS)
def test_the_gradient_is_finite_where_points_coincide_or_vanish(name):
    x = jnp.stack([jnp.zeros(4), jnp.ones(4)])
    gradient = jax.grad(lambda x: make_cost(name)(x, jnp.stack([jnp.zeros(4), jnp.ones(4)])).sum())(
        x
    )
    assert bool(jnp.isfinite(gradient).all())


@pytest.mark.parametrize("name", METRICS)
def test_the_gradient_matches_finite_differences(x64, name):
    rng = np.random.default_rng(1)
    x, y, direction, weights = (
        jnp.asarray(rng.normal(size=size)) for size in ((4, 3), (5, 3), (4, 3), (4, 5))
    )

    def total(x):
        return (weights * make_cost(name)(x, y)).sum()

    slope = (total(x + 1e-6 * direction) - total(x - 1e-6 * direction)) / 2e-6
    np.testing.assert_allclose((jax.grad(total)(x) * direction).sum(), slope, rtol=1e-6)


def test_the_gradient_of_l1_takes_memory_for_the_matrix_alone():
    n, d = 256, 784
    x, y, pull = (
        jnp.asarray(np.random.default_rng(2).normal(size=s)) for s in ((n, d), (n, d), (n, n))
    )

    def total(x, y):
        return (pull * make_cost("l1")(x, y)).sum()

    program = jax.jit(jax.grad(total, (0, 1))).lower(x, y).compile()
    assert program.memory_analysis().temp_size_in_bytes < 10 * 4 * (n * n + 2 * n * d)
    signs = np.sign(np.asarray(x)[:, None] - np.asarray(y)[None])
    for found, expected in zip(
        program(x, y),
        (np.einsum("nm,nmd->nd", pull, signs), -np.einsum("nm,nmd->md", pull, signs)),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_what_is_made_of_l1_takes_memory_for_the_matrix_alone():
    n, d = 256, 784

    def sums(x, y):
        cost = make_cost("l1")(x, y)
        return jnp.exp(-cost / jnp.mean(cost)), jnp.min(cost, axis=1)

    points = jax.ShapeDtypeStruct((n, d), jnp.float32)
    program = jax.jit(sums).lower(points, points).compile()
    assert program.memory_analysis().temp_size_in_bytes < 3 * 4 * n * n


def test_an_unknown_cost_is_refused():
    with pytest.raises(ValueError, match="no cost is called 'l3'"):
        make_cost("l3")


def test_annotations_are_checked_in_tests():
    """See tests/conftest.py. Without that, sizes of 1 would be broadcast."""
    x = jnp.ones((3, 4))
    others: list[Any] = [jnp.ones((5, 1)), np.ones((5, 4), np.float32)]
    for other in others:
        with pytest.raises(TypeCheckError, match="squared_l2"):
            squared_l2(x, other)


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_of_many_problems_each_ends_by_itself_on_a_cpu_alone(platform, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    starts = jnp.asarray([1.0, 3.0, 900.0])

    def halved(start):
        return jax.lax.while_loop(
            lambda state: state[0] > 1, lambda state: (state[0] / 2, state[1] + 1), (start, 0)
        )

    ends, counts = for_each(halved, starts)
    np.testing.assert_array_equal(ends, [1.0, 0.75, 900 / 1024])
    np.testing.assert_array_equal(counts, [0, 2, 10])
    program = str(jax.make_jaxpr(lambda x: for_each(halved, x))(starts))
    assert ("scan[" in program) == (platform == "cpu")
    np.testing.assert_array_equal(for_each(halved, starts[1:2])[1], [2])


@pytest.mark.parametrize("name", ["squared_l2", "l2", "cosine"])
def test_both_sides_have_their_gradient(x64, name):
    rng = np.random.default_rng(3)
    x, y, weights = (jnp.asarray(rng.normal(size=size)) for size in ((4, 3), (5, 3), (4, 5)))

    def total(x, y):
        return (weights * make_cost(name)(x, y)).sum()

    for k, gradient in enumerate(jax.grad(total, (0, 1))(x, y)):
        direction = jnp.asarray(rng.normal(size=gradient.shape))
        ends = [
            total(
                *(
                    side + sign * 1e-6 * direction if i == k else side
                    for i, side in enumerate((x, y))
                )
            )
            for sign in (1, -1)
        ]
        slope = (ends[0] - ends[1]) / 2e-6
        np.testing.assert_allclose((gradient * direction).sum(), slope, rtol=1e-6)
