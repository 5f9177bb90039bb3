import json

import jax
import jax.numpy as jnp
import numpy as np
import ot
import pytest
from commands import SMALL, TINY, otgan

from otgan.costs import squared_l2
from otgan.diagnosis.bias import batch_costs, exact_cost, reference
from otgan.diagnosis.gradients import gradient_errors, lipschitz, of_mass_one, slope
from otgan.diagnosis.stationarity import from_products
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic


def generator(theta, z):
    return jnp.tanh(z @ theta["w"]) @ theta["v"]


def problem(seed=0):
    keys = jax.random.split(jax.random.key(seed), 4)
    theta = {"w": jax.random.normal(keys[0], (3, 5), jnp.float64), "v": jax.random.normal(keys[1], (5, 2), jnp.float64)}
    return theta, 2 * jax.random.normal(keys[2], (24, 2), jnp.float64), jax.random.normal(keys[3], (24, 3), jnp.float64)


def pair(theta, x_i, z_j):
    return jnp.sum((x_i - generator(theta, z_j[None])[0]) ** 2)


@pytest.mark.parametrize("regularizer", ["kl", "l2"])
@pytest.mark.parametrize("seed", range(3))
def test_the_error_keeps_its_bound_at_the_true_suboptimality(x64, regularizer, seed):
    theta, x, z = problem(seed)
    costs, pull = jax.vjp(lambda t: squared_l2(x, generator(t, z)), theta)
    oracle = {"kl": solve_entropic, "l2": solve_quadratic}[regularizer]

    def solve(costs, lam, epsilon):
        found = oracle(costs, lam, epsilon, iterations_per_check=1, max_iterations=20_000)
        return of_mass_one(found, lam) if regularizer == "kl" else found

    constant = lipschitz(pair, theta, x, z)
    errors = gradient_errors(costs, lambda plan: pull(plan)[0], solve, [10.0, 1.0, 0.1], [3.0, 0.3, 0.03, 0.003, 0.0003], constant)
    assert len(errors) == 15
    for e in errors:
        assert -1e-9 <= e.suboptimality <= e.gap <= e.epsilon
        assert e.error <= constant * (2 * max(e.suboptimality, 0) / e.lam) ** 0.5 + 1e-9
        assert e.bound == pytest.approx(constant * (2 * e.epsilon / e.lam) ** 0.5)
    assert max(e.error for e in errors) > 100 * min(e.error for e in errors)


def test_the_constant_is_the_largest_gradient_of_a_pair(x64):
    theta, x, z = problem()
    jacobian = jax.jacrev(lambda t: squared_l2(x, generator(t, z)))(theta)
    flat = np.concatenate([np.asarray(leaf).reshape(24, 24, -1) for leaf in jax.tree.leaves(jacobian)], axis=2)
    assert lipschitz(pair, theta, x, z) == pytest.approx(np.linalg.norm(flat, axis=2).max())


def test_the_slope_of_a_power_is_its_exponent(x64):
    from otgan.diagnosis.gradients import GradientError

    errors = [GradientError(1.0, s, s, s, 3 * s**0.7, 1.0, 1.0, 1) for s in (1e-4, 1e-2, 1.0)]
    assert slope(errors) == pytest.approx(0.7)


def test_the_squared_norm_is_estimated_without_bias():
    rng = np.random.default_rng(0)
    mean = np.array([0.3, -0.2, 0.1])
    draws = [from_products(jnp.asarray(g @ g.T)) for g in mean + rng.standard_normal((2_000, 8, 3))]
    values = np.array([d.squared_norm for d in draws])
    assert values.mean() == pytest.approx(mean @ mean, abs=4 * values.std() / len(values) ** 0.5)
    assert np.mean([d.standard_error for d in draws]) == pytest.approx(values.std(), rel=0.2)
    assert np.mean([d.batch_squared_norm for d in draws]) == pytest.approx(mean @ mean + 3, rel=0.02)


def test_batches_cost_what_the_network_simplex_says():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 40, 3))
    costs = ot.dist(x, y)
    assert exact_cost(costs) == pytest.approx(ot.emd2([], [], costs))


def test_larger_batches_cost_less_and_the_reference_is_below():
    """In one dimension, where the truth is known: two Gaussians, of the same variance, a distance of 1 apart."""

    def pairs(size, k):
        keys = jax.random.split(jax.random.key(size + k))
        return jax.random.normal(keys[0], (size, 1)), 1 + jax.random.normal(keys[1], (size, 1))

    small, large = batch_costs(squared_l2, pairs, [8, 128], 640)
    assert (small.batches, large.batches) == (640, 40)
    noise = 3 * (small.standard_error + large.standard_error)
    assert small.mean - large.mean > noise
    assert large.mean == pytest.approx(1, abs=noise + 0.05)
    train = jax.random.normal(jax.random.key(1), (6_000, 1))
    x, fresh = (1 + jax.random.normal(jax.random.key(seed), (size, 1)) for seed, size in ((2, 400), (3, 4_000)))
    found = reference(squared_l2, train, x, fresh)
    assert found.lower - 3 * found.lower_standard_error < 1.0 < found.upper + 0.1
    assert found.upper - found.lower < 0.4


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "grid"
    assert otgan("run", "sinkhorn-grid", *TINY, *SMALL, "--out", path).exit_code == 0
    return path


FEW = ["--lams", "1,0.1x", "--epsilons", "0.1,0.01", "--batch-sizes", "32,64", "--batches", "4"]


def test_a_run_is_diagnosed(elsewhere, run):
    done = otgan("diagnose", run, *FEW, "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert [round(row["lam"] / found["mean_cost"], 6) for row in found["gradients"]] == [1, 1, 0.1, 0.1]
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
        (["--lams", "0,1"], "must be larger than zero"),
        (["--epsilons", "small"], "is no list of numbers"),
        (["--batch-sizes", "1.5"], "is no list of numbers"),
        (["--checkpoint", "5"], "keeps no checkpoint of step 5"),
    ],
)
def test_what_cannot_be_diagnosed_is_refused(elsewhere, run, words, sentence):
    done = otgan("diagnose", run, *words)
    assert done.exit_code == 2
    assert sentence in done.output


def test_no_run_is_refused(elsewhere):
    assert "nothing is no run folder" in otgan("diagnose", "nothing").output
