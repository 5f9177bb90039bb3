"""The field against a plain double loop, its scales, and what it cannot do: move mass between modes
that are far apart.
"""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from pydantic import ValidationError

from otgan.batches import BatchSource
from otgan.config import Batch, Config, Cost, Drifting, Encoder, Grid
from otgan.costs import squared_l2
from otgan.data import Form
from otgan.models import Network
from otgan.oracles import Players, make_family
from otgan.oracles.drifting import drift, field, mean_distance, windowed
from otgan.oracles.entropic import solve_entropic
from otgan.problem import make_problem
from tests.support import REPOSITORY

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)


def by_loops(y, x, temperature):
    """The field as it is written down, a number at a time."""
    seen = [*x, *y]
    kernel = [[np.exp(-np.linalg.norm(a - b) / temperature) for b in seen] for a in y]
    for i in range(len(y)):
        kernel[i][len(x) + i] = 0.0
    out = np.zeros_like(y)
    for i in range(len(y)):
        weights = [
            k / np.sqrt(sum(kernel[i]) * sum(row[j] for row in kernel))
            for j, k in enumerate(kernel[i])
        ]
        for j in range(len(x)):
            for k in range(len(y)):
                out[i] += weights[j] * weights[len(x) + k] * (x[j] - y[k])
    return out


@pytest.mark.parametrize(("n", "m", "d"), [(5, 7, 3), (6, 2, 1), (2, 2, 4)])
@pytest.mark.parametrize("temperature", [0.3, 2.0])
def test_the_field_is_that_of_a_double_loop(n, m, d, temperature, x64):
    y, x = RNG.normal(size=(n, d)), RNG.normal(1.0, size=(m, d))
    np.testing.assert_allclose(
        field(jnp.asarray(y), jnp.asarray(x), temperature),
        by_loops(y, x, temperature),
        rtol=1e-9,
        atol=1e-12,
    )


def test_fields_of_all_temperatures_count_alike_and_are_added(x64):
    y, x, temperatures = RNG.normal(size=(9, 2)), RNG.normal(2.0, size=(11, 2)), (0.1, 0.5)
    found = drift(jnp.asarray(y), jnp.asarray(x), temperatures)
    distances = [np.linalg.norm(a - b) for i, a in enumerate(y) for b in [*x, *y[:i], *y[i + 1 :]]]
    scale = np.mean(distances) / np.sqrt(2)
    fields = [
        by_loops(y / scale, x / scale, temperature * np.sqrt(2)) for temperature in temperatures
    ]
    sizes = [np.sqrt(np.mean(V**2)) for V in fields]
    np.testing.assert_allclose(found.scale, scale, rtol=1e-9)
    np.testing.assert_allclose(found.sizes, sizes, rtol=1e-8)
    np.testing.assert_allclose(
        found.total,
        sum(V / size for V, size in zip(fields, sizes, strict=True)),
        rtol=1e-7,
        atol=1e-10,
    )


def test_neither_the_unit_nor_the_place_of_features_matters(x64):
    y, x = jnp.asarray(RNG.normal(size=(8, 3))), jnp.asarray(RNG.normal(size=(8, 3)))
    plain, moved = drift(y, x, (0.1,)), drift(100 * y + 7, 100 * x + 7, (0.1,))
    np.testing.assert_allclose(moved.total, plain.total, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(moved.scale, 100 * plain.scale, rtol=1e-9)
    np.testing.assert_allclose(
        mean_distance(y / plain.scale, x / plain.scale), np.sqrt(3), rtol=1e-9
    )


def test_points_in_one_place_have_no_field_and_no_nan():
    still = drift(jnp.ones((4, 2)), jnp.ones((5, 2)), (0.02, 0.2))
    assert not np.asarray(still.total).any()
    assert not np.asarray(still.sizes).any()


# --- the family -----------------------------------------------------------------------------------

# the parameters are the points
FREE = Network(init=lambda key: jnp.zeros((6, 2)), apply=lambda points, z: points)
TWO_COLUMNS, TWO_WINDOWS = (lambda _, x: (x[:, :1], x[:, 1:])), (lambda _, x: (x[:, :, None],))
TWO_GROUPS = Network(init=lambda key: None, apply=lambda params, x: (x[:, :1], 3 * x))


def family_of(encoder=None, **settings):
    config = Config(
        name="t",
        data=Grid(),
        cost=Cost(name="l2"),
        batch=Batch(size=6),
        oracle=Drifting(**settings),
    )
    return make_family(
        config.oracle,
        make_problem(config, Form((2,), False, (0.0, 0.0), 1.0, 1), Players(FREE, encoder)),
    )


def solved(family):
    data = BatchSource(jnp.asarray(np.random.default_rng(7).normal(3.0, size=(20, 2)), jnp.float32))
    players = Players(jnp.asarray(np.random.default_rng(6).normal(size=(6, 2)), jnp.float32))
    _, held, info = family.solve((), players, data, jax.random.key(0))
    return jax.tree.map(lambda leaf: leaf[0], held), info, players, data


@pytest.mark.parametrize("encoder", [None, TWO_GROUPS])
def test_the_loss_is_the_distance_to_targets_that_stay(encoder):
    family = family_of(encoder)
    held, info, players, data = solved(family)
    groups = windowed(
        (players.generator,) if encoder is None else encoder.apply(None, players.generator)
    )
    assert len(held.targets) == len(groups)
    expected = sum(
        np.mean(((y - t) / s[None, :, None]) ** 2)
        for y, t, s in zip(groups, held.targets, held.scales, strict=True)
    )
    loss, gradient = jax.value_and_grad(lambda points: family.loss(held, Players(points), data))(
        players.generator
    )
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(info["dual_value"], loss, rtol=1e-4)
    if encoder is None:  # downhill is towards the targets
        np.testing.assert_allclose(
            gradient,
            2 * (groups[0] - held.targets[0])[:, 0] / float(held.scales[0][0]) ** 2 / 12,
            rtol=1e-4,
            atol=1e-6,
        )


def test_a_window_drifts_by_itself():
    """Two windows are two groups, but for their mean in place of their sum."""
    apart, cut = (
        solved(family_of(TWO_GROUPS._replace(apply=apply)))[0]
        for apply in (TWO_COLUMNS, TWO_WINDOWS)
    )
    # two programs round the distance of points that nearly meet in two ways
    np.testing.assert_allclose(
        cut.targets[0], np.concatenate(apart.targets, axis=1), rtol=1e-4, atol=5e-5
    )
    np.testing.assert_allclose(cut.scales[0], np.concatenate(apart.scales), rtol=1e-5)


def test_the_gap_is_the_largest_field():
    _, info, *_ = solved(family_of(temperatures=(0.1, 0.5), epsilon=100.0))
    assert info["dual_gap"] == max(info["field_0.1"], info["field_0.5"]) > 0
    assert info["dual_converged"]


def test_a_config_that_makes_no_sense_is_refused():
    for temperatures in [(), (0.1, 0.1), (0.0,)]:
        with pytest.raises(ValidationError, match="temperatures"):
            Drifting(temperatures=temperatures)
    learned = Cost(name="l2", features="learned", encoder=Encoder(kind="mlp"))
    with pytest.raises(
        ValidationError, match="'drifting' has no loss that an encoder could make larger"
    ):
        Config(name="t", data=Grid(), cost=learned, oracle=Drifting())


# --- what it cannot do ----------------------------------------------------------------------------


def two_modes(apart, generated=(36, 4), real=(20, 20)):
    """Generated and real points of two modes, so far apart, with unequal masses."""
    rng = np.random.default_rng(1)

    def draw(counts):
        places = np.repeat([[0.0, 0.0], [apart, 0.0]], counts, axis=0)
        return jnp.asarray(places + 0.3 * rng.standard_normal((sum(counts), 2)))

    return draw(generated), draw(real)


@pytest.mark.parametrize(("generated", "rate"), [((36, 4), 1.0), ((40, 0), 0.5)])
def test_what_a_far_mode_adds_to_the_field_falls_exponentially(generated, rate, x64):
    """The field on a mode's points is that of this mode alone, up to exp(-distance / T); to the
    root of that where the other has no point.

    What the other adds falls by that rate from each distance to the next, whatever mass is missing
    there.
    """
    added = []
    for apart in (10.0, 20.0, 30.0):
        y, x = two_modes(apart, generated)
        alone = field(y[: generated[0]], x[:20], 1.0)
        added.append(np.abs(np.asarray(field(y, x, 1.0))[: generated[0]] - alone).max() / apart)
    np.testing.assert_allclose(np.diff(np.log(added)), -10 * rate, rtol=0.1)
    assert added[1] < 10 * np.exp(-20 * rate)


def test_the_plan_moves_the_mass_that_the_field_leaves(x64):
    """On the same points, at any distance: 0.4 of the mass goes to the mode that lacks it."""
    for apart in (10.0, 30.0):
        y, x = two_modes(apart)
        cost = squared_l2(x, y)
        solution = solve_entropic(
            cost,
            jnp.asarray(1.0),
            1e-5 * jnp.mean(cost),
            iterations_per_check=10,
            max_iterations=5_000,
        )
        assert solution.converged
        np.testing.assert_allclose(np.sum(np.asarray(solution.plan)[20:, :36]), 0.4, atol=0.01)


def test_free_points_stay_with_the_field_and_go_with_the_plan(monkeypatch):
    """What scripts/drifting_failure.py prints, in short: points that nothing holds back, the same
    steps and optimizer.
    """
    monkeypatch.syspath_prepend(REPOSITORY / "scripts")
    script = importlib.import_module("drifting_failure")
    starts = {"unequal": [jnp.asarray(script.draw((0.9, 0.1), script.SIZE, 0))]}
    (stays,), (goes,) = (
        script.measure(family, "points", starts, 400)["unequal"]
        for family in ("drifting, 0.02 0.05 0.2", "sinkhorn")
    )
    before, after, _, reached = stays
    assert after == before == pytest.approx(0.1, abs=0.01)
    assert reached == 1  # its residual is content
    assert goes[1] == pytest.approx(0.5, abs=0.06)
