"""Transport whose costs are made in blocks: what the matrices give, certified, within the memory
that it is given.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from otgan.config import Amount, Regularized, Size, parse_size
from otgan.costs import GroundCost
from otgan.data import Form
from otgan.errors import UserError
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.pairs import basis_of, pairs_of
from otgan.oracles.regularized import RegularizedDual
from otgan.oracles.room import LEAST_ROWS, MOST_ROWS, block_rows
from otgan.oracles.terms import Amounts, BatchFeatures, mean_cost_of, solve_problems
from otgan.problem import NOBODY, Problem, each_of_all
from tests.support.commands import SMALL, otgan
from tests.support.semidual import optimum

N, M, D = 47, 30, 5
ROWS = 16  # three blocks, the last of which lacks a row
COSTS = ("squared_l2", "l2", "l1", "cosine")

CASES = {  # the oracle, whether the cost is learned
    **{cost: ({"loss": "regot"}, cost, False) for cost in COSTS},
    "a cloud and itself": ({}, "squared_l2", False),
    "learned": ({}, "cosine", True),
    "independent": ({"self_term": "independent"}, "l2", False),
    "halves": ({"loss": "energy"}, "squared_l2", True),
    "relaxed": ({"loss": "regot", "tau": 1.0}, "squared_l2", False),
    "from known potentials": ({"loss": "regot", "warm_start": True}, "squared_l2", False),
    "a falling lam": ({"loss": "regot", "lam": "0.005x"}, "squared_l2", False),
}


def groups(n, seed):
    """One in two windows, and one that is as a whole."""
    draw = np.random.default_rng(seed)
    return tuple(jnp.asarray(draw.normal(size=shape), jnp.float32) for shape in ((n, 2, D), (n, D)))


def batch(n, m, oracle, learned):
    second = oracle.self_term == "independent"
    x, y = groups(n, 0), groups(m, 1)
    return BatchFeatures(
        x, y, groups(n, 2) if second and learned else None, groups(m, 3) if second else None
    )


@cache
def solved(case, rows, n=N, m=M):
    changes, name, learned = CASES[case]
    oracle = Regularized.model_validate({"lam": "0.1x", "epsilon": "0.001x", **changes})
    assert isinstance(oracle.epsilon, Amount)
    given_amounts = oracle.lam, oracle.epsilon
    cost = GroundCost(name, learned=learned)
    problem = jax.tree.map(lambda leaf: leaf[None], batch(n, m, oracle, learned))
    known = jnp.sin(jnp.arange(n)).at[2].set(jnp.nan) if oracle.warm_start else None

    def solve(problem):
        mean = mean_cost_of([problem], oracle.loss, cost, each_of_all, rows)
        tau = jnp.asarray(oracle.tau.times(mean)) if oracle.tau.finite else None
        lam, epsilon = (jnp.asarray(given.times(mean)) for given in given_amounts)
        amounts = Amounts(lam, epsilon, tau)
        return mean, solve_problems(oracle, cost, [problem], amounts, each_of_all, rows, known)

    mean, (duals, [found]) = jax.jit(solve)(problem)
    return float(mean), duals, found


def slow_but(quick, every):
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in every]


@pytest.mark.parametrize("case", slow_but(["squared_l2", "a cloud and itself"], CASES))
def test_blocks_give_what_matrices_give(case):
    n, m = (48, 30) if case == "halves" else (N, M)
    (mean, held, whole), (mean_o, online, blocks) = (solved(case, r, n, m) for r in (None, ROWS))
    assert mean_o == pytest.approx(mean, rel=1e-6)
    assert np.all(online.converged)
    np.testing.assert_array_equal(online.iterations, held.iterations)
    for of in ("value", "gap", "misplaced", "floor"):
        found, expected = getattr(online, of), getattr(held, of)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=2e-6 * mean, err_msg=of)
    np.testing.assert_allclose(blocks.f, whole.f, rtol=1e-5, atol=1e-5 * mean)
    for found, expected in zip(
        jax.tree.leaves(blocks.pulls), jax.tree.leaves(whole.pulls), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.slow
@pytest.mark.parametrize("rows", [1, 7, N, 10 * N])
def test_blocks_of_any_size_do(rows):
    _, held, whole = solved("squared_l2", None)
    _, online, blocks = solved("squared_l2", rows)
    np.testing.assert_allclose(online.value, held.value, rtol=1e-6)
    np.testing.assert_allclose(
        blocks.pulls[1], whole.pulls[1], rtol=1e-4, atol=1e-5 * np.abs(whole.pulls[1]).max()
    )


@pytest.mark.slow
@pytest.mark.parametrize("relative", [1e-3, 0.03, 1.0])
def test_what_is_certified_of_many_blocks_is_true(relative):
    """Sums over a hundred blocks, against the optimum in double precision."""
    x, y = ((groups(n, seed)[1],) for n, seed in ((100, 0), (60, 1)))
    cost = GroundCost("squared_l2")
    C = np.asarray(cost.between(x, y), float)
    lam, epsilon = float(np.float32(relative * C.mean())), float(1e-6 * C.mean())

    def solve(x, y):
        costs = pairs_of(cost, basis_of(cost, x, y, 1), 1)
        return solve_entropic(costs, lam, epsilon, max_iterations=3_000)

    found, best = jax.jit(solve)(x, y), optimum(C, lam)
    missing, gap = best.value - float(found.value), float(found.gap)
    assert -float(found.floor) <= missing <= gap < 1e-3 * C.mean()


# --- the memory that it takes ---------------------------------------------------------------------


def shapes_of(*shapes: tuple[int, ...]) -> BatchFeatures:
    sides: Any = [(jax.ShapeDtypeStruct(shape, jnp.float32),) for shape in shapes]
    return BatchFeatures(*sides)


def compiled(oracle, n, m, d, name="squared_l2", learned=False):
    dual = RegularizedDual(
        oracle,
        Problem(GroundCost(name, learned=learned), NOBODY, Form((), True, (), 1.0, 0), m, n, 2, 1),
    )
    features = shapes_of((n, d), (m, d))
    program = jax.jit(lambda f: dual.pulled(f, dual.fixed_epsilon, jnp.ones(()))[:2])
    return program.lower(features).compile().memory_analysis().temp_size_in_bytes


def rows_of(oracle, n, m, d, name="squared_l2"):
    features = shapes_of((1, n, d), (1, m, d))
    return block_rows(oracle, GroundCost(name), [features])


@pytest.mark.parametrize(
    ("loss", "name", "learned"),
    [
        ("regot", "squared_l2", False),
        pytest.param("sinkhorn", "l2", True, marks=pytest.mark.slow),
        pytest.param("energy", "l1", False, marks=pytest.mark.slow),
    ],
)
def test_the_program_keeps_to_its_memory(loss, name, learned):
    n, m, d = 2_048, 2_000, 12
    memory = parse_size("6MB")
    oracle = Regularized(loss=loss, max_memory=memory)
    assert LEAST_ROWS <= rows_of(oracle, n, m, d, name) < MOST_ROWS
    held = compiled(oracle, n, m, d, name, learned)
    assert held <= memory.bytes < 0.4 * 4 * n * m


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["regot", "sinkhorn", "energy"])
@pytest.mark.parametrize("name", COSTS)
def test_matrices_that_are_said_to_fit_do(loss, name):
    n, m, d = 600, 512, 8

    def fit(size):
        try:
            return rows_of(Regularized(loss=loss, max_memory=size), n, m, d, name) is None
        except UserError:
            return False

    least = next(size for size in (Size(k * n * m) for k in range(1, 400)) if fit(size))
    assert compiled(Regularized(loss=loss), n, m, d, name) <= 1.1 * least.bytes


def test_memory_enough_for_matrices_changes_nothing():
    oracle, sizes = Regularized(max_memory=parse_size("1GB")), (256, 256, 784)
    assert rows_of(oracle, *sizes) is None
    assert rows_of(Regularized(), *sizes) is None


def test_the_smallest_memory_that_works_is_named():
    sizes = 32_768, 32_768, 784
    with pytest.raises(UserError, match="does not hold one block") as refused:
        rows_of(Regularized(max_memory=parse_size("100MB")), *sizes)
    least = parse_size(str(refused.value).rpartition(" ")[2])
    assert LEAST_ROWS <= rows_of(Regularized(max_memory=least), *sizes) < 2 * LEAST_ROWS
    with pytest.raises(UserError):
        rows_of(Regularized(max_memory=Size(least.bytes - 10**7)), *sizes)
    assert rows_of(Regularized(max_memory=parse_size("4GB")), *sizes) == MOST_ROWS


@pytest.mark.parametrize(
    ("raw", "number", "written"),
    [
        ("4GB", 4 * 10**9, "4GB"),
        ("4000MB", 4 * 10**9, "4GB"),
        ("2GiB", 2**31, "2GiB"),
        ("2.01GB", 2_010_000_000, "2010MB"),
        ("1.5 GB", 1_500_000_000, "1500MB"),
        (1_234, 1_234, "1234B"),
    ],
)
def test_sizes_are_read_and_written(raw, number, written):
    size = parse_size(raw)
    assert (size.bytes, str(size)) == (number, written)
    assert parse_size(written) == size


@pytest.mark.parametrize("raw", ["", "GB", "-1GB", "4gb", "4 apples", "0MB", "1e3MB", "infGB"])
def test_other_words_are_no_sizes(raw):
    with pytest.raises(ValueError, match="needs a size such as"):
        parse_size(raw)


@pytest.mark.slow
@pytest.mark.usefixtures("elsewhere")
def test_a_run_within_the_least_memory_records_what_a_run_with_matrices_does():
    told, words = {}, ["sinkhorn-grid", *SMALL, "--steps", "4", "--quiet"]
    for out, memory in (("matrices", []), ("online", ["--memory", "492KB"])):
        done = otgan("run", *words, *memory, "--out", out)
        assert done.exit_code == 0, done.output
        lines = Path(out, "metrics.jsonl").read_text().splitlines()
        told[out] = [json.loads(line) for line in lines]
    config = json.loads(Path("online/config.json").read_text())
    assert config["oracle"]["max_memory"] == "492KB"
    for held, online in zip(told["matrices"], told["online"], strict=True):
        assert held.keys() == online.keys()
        assert online["dual_value"] == pytest.approx(held["dual_value"], rel=1e-4)
