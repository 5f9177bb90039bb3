import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from scipy.stats import norm

from otgan import data, experiments
from otgan.batches import BatchSource, make_batch_source
from otgan.costs import squared_l2
from otgan.data import Form
from otgan.diagnosis.bias import batch_costs, exact_cost, reference
from otgan.diagnosis.gradients import gradient_errors, lipschitz, slope
from otgan.diagnosis.stationarity import exact_family, from_products, stationarity
from otgan.oracles import Family, Players, entropic, quadratic
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.system import build
from tests.support.commands import SMALL, TINY, otgan
from tests.support.semidual import _kl_rows, _l2_rows, optimum

pytestmark = pytest.mark.slow

VALUES = {"kl": jax.jit(entropic.value_at), "l2": jax.jit(quadratic.value_at)}


def generator(theta, z):
    return jnp.tanh(z @ theta["w"]) @ theta["v"]


def problem(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    theta = {
        "w": jax.random.normal(keys[0], (3, 5), jnp.float64),
        "v": jax.random.normal(keys[1], (5, 2), jnp.float64),
    }
    return (
        theta,
        2 * jax.random.normal(keys[2], (24, 2), jnp.float64),
        jax.random.normal(keys[3], (24, 3), jnp.float64),
    )


def pair(theta, x_i, z_j):
    return jnp.sum((x_i - generator(theta, z_j[None])[0]) ** 2)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_keeps_its_bound_at_the_true_suboptimality(x64, regularizer, seed):
    theta, x, z = problem(seed)
    costs, pull = jax.vjp(lambda t: squared_l2(x, generator(t, z)), theta)
    oracle = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]
    solve = partial(oracle, iterations_per_check=1, max_iterations=20_000)
    constant, value = lipschitz(pair, theta, x, z), VALUES[regularizer]
    ladder = [10.0, 1.0, 0.1], [3.0, 0.3, 0.03, 0.003, 0.0003]
    errors = gradient_errors(
        costs, lambda plan: pull(plan)[0], solve, solve, value, *ladder, constant
    )
    assert len(errors) == 15
    for e in errors:
        assert -1e-9 <= e.suboptimality <= e.gap <= e.epsilon
        assert e.error <= constant * (2 * max(e.suboptimality, 0) / e.lam) ** 0.5 + 1e-9
        assert e.bound == pytest.approx(constant * (2 * e.epsilon / e.lam) ** 0.5)
    assert max(e.error for e in errors) > 100 * min(e.error for e in errors)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
def test_the_suboptimality_of_a_dual_in_single_precision_is_known_to_double(x64, regularizer):
    """A common offset of the costs rounds the value that a solve reports by far more than the dual
    is wrong.
    """
    theta, x, z = problem()
    costs, lam = 1e4 + np.asarray(squared_l2(x, generator(theta, z))), 1.0
    solve = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]

    def single(costs, lam, epsilon):
        return solve(
            *(jnp.asarray(a, jnp.float32) for a in (costs, lam, epsilon)),
            iterations_per_check=1,
            max_iterations=30,
        )

    exactly = partial(solve, iterations_per_check=1, max_iterations=20_000)
    (error,) = gradient_errors(
        jnp.asarray(costs),
        lambda plan: plan,
        single,
        exactly,
        VALUES[regularizer],
        [lam],
        [1e-4],
        1.0,
    )
    g = np.asarray(single(costs, lam, 1e-4).g, float)
    rows = {"kl": _kl_rows, "l2": _l2_rows}[regularizer]
    missing = optimum(costs, lam, None, regularizer).value - (rows(g, costs, lam)[0] + g.mean())
    assert error.suboptimality == pytest.approx(missing, abs=2e-7)
    assert not error.converged
    assert error.measured


def test_the_constant_is_the_largest_gradient_of_a_pair(x64):
    theta, x, z = problem()
    jacobian = jax.jacrev(lambda t: squared_l2(x, generator(t, z)))(theta)
    flat = np.concatenate(
        [np.asarray(leaf).reshape(24, 24, -1) for leaf in jax.tree.leaves(jacobian)], axis=2
    )
    assert lipschitz(pair, theta, x, z) == pytest.approx(np.linalg.norm(flat, axis=2).max())


def test_the_slope_of_a_power_is_its_exponent(x64):
    from otgan.diagnosis.gradients import GradientError

    errors = [
        GradientError(1.0, s, s, s, 3 * s**0.7, 1.0, 1.0, 1, 6e-6, 1e-9, 0.0, True, True)
        for s in (1e-4, 1e-2, 1.0)
    ]
    assert slope(errors) == pytest.approx(0.7)
    late = [e._replace(measured=False, error=9.0) for e in errors] + [
        e._replace(suboptimality=5e-5, error=9.0) for e in errors
    ]
    blurred = [e._replace(floor=e.suboptimality / 5, error=9.0) for e in errors]
    # what tells nothing has no part in it
    assert slope([*errors, *late, *blurred]) == pytest.approx(0.7)
    # a dual worse than it should be is measured too
    assert slope([e._replace(converged=False) for e in errors]) == pytest.approx(0.7)
    assert slope(errors[:1]) is None


def test_the_squared_norm_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    mean = np.array([0.3, -0.2, 0.1])
    draws = [from_products(jnp.asarray(g @ g.T)) for g in mean + rng.standard_normal((2_000, 8, 3))]
    values = np.array([d.squared_norm for d in draws])
    assert values.mean() == pytest.approx(mean @ mean, abs=4 * values.std() / len(values) ** 0.5)
    assert np.mean([d.standard_error for d in draws]) == pytest.approx(values.std(), rel=0.2)
    assert np.mean([d.batch_squared_norm for d in draws]) == pytest.approx(
        mean @ mean + 3, rel=0.02
    )


def test_stationarity_is_that_of_the_gradient_of_the_held_loss():
    """A loss |theta - z|^2 / 2 of one latent, whose expected gradient is theta and whose noise has
    variance 1 in each coordinate.
    """
    theta = jnp.asarray([0.3, -0.4, 0.0])

    def solve(state, players, data, key):
        return (
            state,
            jax.random.normal(key, (1, 3)),
            {"dual_converged": jax.random.uniform(key) > 0.5},
        )

    family = Family(
        init=lambda key: (),
        solve=solve,
        loss=lambda z, players, data: jnp.sum((players.generator - z) ** 2) / 2,
        generate=lambda state, parameters, z: z,
        gap_kind="residual",
    )
    found = stationarity(
        family, (), Players(theta), BatchSource(jnp.zeros((1, 3))), jax.random.key(0), 1_000
    )
    assert found.squared_norm == pytest.approx(0.25, abs=4 * found.standard_error)
    assert 0 < found.standard_error < 0.05
    assert found.batch_squared_norm == pytest.approx(3.25, rel=0.1)
    assert 0.4 < found.converged_share < 0.6


@pytest.mark.parametrize(
    ("epsilon", "expected"),
    [("0.3x", 0.001), ("0.0005x", 0.0005), ("2.0", 0.001), ("calibrated", 0.001)],
)
def test_the_family_that_is_diagnosed_solves_its_duals_exactly(epsilon, expected):
    config = experiments.resolve(
        "sinkhorn-grid", {"oracle.epsilon": epsilon, "batch.size": 32, "generator.width": 8}
    )
    dataset = data.load(config.data)
    system = build(config, Form.of(dataset))
    batches = jax.tree.map(
        jnp.asarray, make_batch_source(dataset, config.batch, config.generator.latent_dim)
    )
    family, state = exact_family(config.oracle, system.problem), system.stepper.init()
    _, _, info = family.solve(state.dual, state.players, batches, jax.random.key(0))
    assert info["dual_converged"]
    assert float(info["dual_gap"]) <= expected * float(info["mean_cost"])


def test_batches_cost_what_the_network_simplex_says():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 40, 3))
    costs = np.asarray(ot.dist(x, y))
    assert exact_cost(costs) == pytest.approx(ot.emd2([], [], costs))


def test_larger_batches_cost_less_and_the_reference_is_below():
    """In one dimension, where the truth is known: two Gaussians, of the same variance, a distance
    of 1 apart.
    """

    def pairs(size, k):
        keys = jax.random.split(jax.random.key(size + k))
        return jax.random.normal(keys[0], (size, 1)), 1 + jax.random.normal(keys[1], (size, 1))

    small, large = batch_costs(squared_l2, pairs, [8, 128], 640)
    assert (small.batches, large.batches) == (640, 40)
    noise = 3 * (small.standard_error + large.standard_error)
    assert small.mean - large.mean > noise
    assert large.mean == pytest.approx(1, abs=noise + 0.05)
    train = jax.random.normal(jax.random.key(1), (6_000, 1))
    x, fresh = (
        1 + jax.random.normal(jax.random.key(seed), (size, 1))
        for seed, size in ((2, 400), (3, 4_000))
    )
    found = reference(squared_l2, [train[:5_000], train[5_000:]], x, fresh)
    # in one dimension the optimal map is that of the quantiles
    quantiles = (np.arange(60_000) + 0.5) / 60_000
    points = np.sort(np.asarray(train)[:, 0])[(quantiles * len(train)).astype(int)]
    truth = np.mean((1 + norm.ppf(quantiles) - points) ** 2)
    assert 0.97 * truth < found.lower + 3 * found.lower_standard_error
    assert found.lower - 3 * found.lower_standard_error < truth
    ours = np.sort(np.asarray(x)[:, 0])[(quantiles * len(x)).astype(int)]
    best = np.mean((ours - points) ** 2)  # of these samples
    assert best <= found.upper <= best + 0.02


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "grid"
    assert otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--out", path).exit_code == 0
    return path


FEW = ["--lams", "1x,3", "--epsilons", "0.1x,0.01x", "--batch-sizes", "32,64", "--batches", "4"]


def test_a_run_is_diagnosed(elsewhere, run):
    done = otgan("diagnose", run, *FEW, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [row["lam"] for row in found["gradients"]] == pytest.approx(
        [found["mean_cost"]] * 2 + [3.0] * 2
    )
    assert all(
        row["converged"] and row["truth_gap"] < 1e-4 * found["mean_cost"]
        for row in found["gradients"]
    )
    assert found["stationarity"]["converged_share"] == 1
    assert all(row["error"] <= row["bound"] for row in found["gradients"])
    assert [row["size"] for row in found["batches"]] == [32, 64]
    assert (run / "eval/diagnosis-0000006.json").is_file()
    assert (run / "eval/diagnosis-0000006.png").is_file()
    shown = otgan("diagnose", run, *FEW)
    assert "error / bound" in shown.output
    assert "to all 2,000 training examples" in shown.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lams", "0,1"], "must be above 0"),
        (["--lams", "inf"], "must be finite"),
        (["--epsilons", "small"], "needs a number such as 0.5"),
        (["--batch-sizes", "1.5"], "needs whole numbers"),
        (["--batch-sizes", "64,1000000"], "give sizes of at most 2,000"),
        (["--checkpoint", "5"], "keeps no checkpoint of step 5"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(elsewhere, run, words, sentence):
    done = otgan("diagnose", run, *words)
    assert done.exit_code == 2
    assert sentence in done.output


def test_one_point_has_no_slope_and_the_numbers_are_still_json(elsewhere, run):
    done = otgan("diagnose", run, *FEW[4:], "--lams", "1x", "--epsilons", "0.1x", "--json")
    assert json.loads(done.output, parse_constant=pytest.fail)["slopes"] == [None]


def test_a_generator_that_is_not_finite_is_refused(elsewhere, tmp_path):
    broken = ["--set", "generator.optimizer.learning_rate=1e18", "--out", tmp_path / "broken"]
    assert otgan("run", "sinkhorn-grid", *TINY, *SMALL, *broken).exit_code == 1
    done = otgan("diagnose", tmp_path / "broken")
    assert done.exit_code == 2
    assert "as good as infinite" in done.output


def test_a_dual_that_ran_out_of_iterations_is_still_measured(elsewhere, tmp_path):
    short = [
        "--set",
        "oracle.max_iterations=10",
        "--set",
        "oracle.anneal=1.0",
        "--out",
        tmp_path / "short",
    ]
    assert otgan("run", "sinkhorn-grid", *TINY, *SMALL, *short).exit_code == 0
    done = otgan(
        "diagnose", tmp_path / "short", *FEW[4:], "--lams", "0.01x", "--epsilons", "0.0001x"
    )
    assert (
        "in 1 of the rows the dual did not come as near as epsilon: they are measurements of a"
        " worse one" in done.output
    )
    assert "no measurements" not in done.output


def test_no_run_is_refused(elsewhere):
    assert "nothing is no run folder" in otgan("diagnose", "nothing").output
