"""Are the plans that move the players what their certificates say?

On hard problems, and in the steps of a recipe.

    python -m scripts.plans clouds
    python -m scripts.plans recipe sinkhorn-mnist --steps 301

`clouds` solves small problems in single precision (two seeds, six kinds of clouds, lam from 1e-6 to
1 and epsilon from 0.001 to 0.3 of the mean cost, four first values of lam; balanced and relaxed)
and judges every solve that says it converged in double precision, against the semi-dual's optimum
by `tests/support/semidual.py`. `recipe` trains, and at every tenth step compares the plan between
real and generated points that was held with one solved to 1e-5 of the mean cost in double
precision: its mass, and the error of the generator's gradient.

Only what has been there from the first version on is used, so that older ones can be judged by the
same file.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from otgan import data, experiments
from otgan.batches import make_batch_source
from otgan.costs import make_cost
from otgan.data import Form
from otgan.oracles.entropic import solve_entropic
from otgan.oracles.quadratic import solve_quadratic
from otgan.oracles.terms import Amounts, solve_term
from otgan.system import build
from tests.support.semidual import optimum

SIZE = 64
LAMS, EPSILONS, TAU = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0), (0.3, 0.01, 0.001), 0.03
CADENCES = {1.0: 5, 4.0: 10, 8.0: 10, 10.0: 5}  # anneal: iterations per check
EVERY = 10


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = parser.add_subparsers(required=True)
    kinds.add_parser("clouds").set_defaults(measure=lambda args: judge_clouds())
    recipe = kinds.add_parser("recipe")
    recipe.add_argument("name")
    recipe.add_argument("--steps", type=int, default=301)
    recipe.add_argument("--data-dir", type=Path)
    recipe.set_defaults(measure=lambda args: judge_recipe(args.name, args.steps, args.data_dir))
    args = parser.parse_args()
    print(args.measure(args))


# --- clouds ---------------------------------------------------------------------------------------


def judge_clouds() -> str:
    """Counts over all problems."""
    solvers = {
        a: jax.jit(partial(solve_entropic, anneal=a, iterations_per_check=k))
        for a, k in CADENCES.items()
    }
    count = converged = beyond = above = 0
    mass = rows = worst = 0.0
    for C, lam, tau in problems():
        best = optimum(C, float(lam), None if tau is None else float(tau))
        for solve in solvers.values():
            for epsilon in EPSILONS:
                found = solve(C, lam, np.float32(epsilon * C.mean()), tau)
                plan, gap = np.asarray(found.plan, float), float(found.gap)
                count, converged = count + 1, converged + bool(found.converged)
                if not found.converged:
                    continue
                ratio = np.abs(plan - best.plan).sum() / np.sqrt(2 * gap / float(lam))
                beyond += ratio > 1 + 1e-5
                above += best.value - float(found.value) > gap
                worst, mass = max(worst, ratio), max(mass, abs(plan.sum() - 1))
                rows = max(rows, np.abs(SIZE * plan.sum(1) - 1).max())
    return (
        f"{count} solves, {converged} converged; of these {beyond} plans further off than sqrt(2"
        f" gap / lam) (worst ratio {worst:.3g}), {above} gaps below the suboptimality; mass off by"
        f" at most {mass:.2g}, a row by {rows:.2g}"
    )


def problems() -> Iterator[tuple[np.ndarray, Any, Any]]:
    """Costs, lam, and tau or None, in single precision."""
    for seed in range(2):
        for C in clouds(np.random.default_rng(seed)).values():
            for lam in LAMS:
                for tau in (None, np.float32(TAU * C.mean())):
                    yield C, np.float32(lam * C.mean()), tau


def clouds(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Squared distances by name."""

    def grid(size: int) -> np.ndarray:
        return 2.0 * rng.integers(-2, 3, size=(size, 2)) + 0.1 * rng.normal(size=(size, 2))

    n = SIZE
    pairs = {
        "gaussian": (rng.normal(size=(n, 2)), 0.5 + 0.7 * rng.normal(size=(n, 2))),
        "collapsed": (grid(n), np.array([0.7, -0.3]) + 1e-3 * rng.normal(size=(n, 2))),
        "clustered": (grid(n), grid(n)),
        "duplicated": (
            np.repeat(grid(n // 4), 4, 0),
            np.repeat(3 * rng.normal(size=(n // 4, 2)), 4, 0),
        ),
        "heavy-tailed": (rng.standard_t(1.2, size=(n, 2)), rng.standard_t(1.2, size=(n, 2))),
        "high-dimensional": (rng.normal(size=(n, 16)), 0.3 + rng.normal(size=(n, 16))),
    }
    return {
        name: ((x[:, None] - y[None]) ** 2).sum(-1).astype(np.float32)
        for name, (x, y) in pairs.items()
    }


# --- recipes --------------------------------------------------------------------------------------


def judge_recipe(name: str, steps: int, data_dir: Path | None) -> str:
    """Quantiles over the steps looked at."""
    config = experiments.resolve(name)
    dataset = data.load(config.data, data_dir)
    system = build(config, Form.of(dataset))
    batches = jax.tree.map(
        jnp.asarray, make_batch_source(dataset, config.batch, config.generator.latent_dim)
    )
    state, step, solve = (
        system.stepper.init(),
        jax.jit(system.stepper.step),
        jax.jit(system.family.solve),
    )
    matrix = make_cost(config.cost.name)
    masses, errors = [], []
    for k in range(steps):
        if k % EVERY == 0:
            _, held, info = solve(state.dual, state.players, batches, jax.random.key(k))
            x, z = held.drawn.x[0][0], held.drawn.z[0]
            costs, pull = jax.vjp(
                lambda theta, x=x, z=z: matrix(x, system.networks.generator.apply(theta, z)),
                state.players.generator,
            )
            plan, true = (
                own_plan(config.oracle, costs, info),
                exact_plan(config.oracle, costs, info),
            )
            norm = optax.tree.norm(pull(true)[0])
            masses.append(float(plan.sum()))
            errors.append(float(optax.tree.norm(pull(plan - true)[0]) / norm))
        state, _ = step(state, batches)
    told = (
        f"{label} {' / '.join(f'{q:.3g}' for q in np.quantile(v, (0, 0.5, 1)))}"
        for label, v in (("mass", masses), ("error", errors))
    )
    return (
        f"{name}, steps 1 to {steps}, least / median / largest: {'; '.join(told)} (of the gradient,"
        " over its norm)"
    )


def own_plan(oracle: Any, costs: jax.Array, info: dict[str, Any]) -> jax.Array:
    """The plan that trains."""
    tau = jnp.asarray(oracle.tau.times(float(info["mean_cost"]))) if oracle.tau.finite else None
    return solve_term(
        oracle, costs, Amounts(jnp.asarray(info["lam"]), jnp.asarray(info["epsilon"]), tau)
    ).plan


def exact_plan(oracle: Any, costs: jax.Array, info: dict[str, Any]) -> jax.Array:
    """Of the same problem, in double precision, to 1e-5 of the mean cost."""
    mean = float(info["mean_cost"])
    with jax.enable_x64(True):
        C, lam, epsilon = (
            jnp.asarray(np.asarray(costs), jnp.float64),
            jnp.asarray(float(info["lam"])),
            jnp.asarray(1e-5 * mean),
        )
        if oracle.regularizer == "l2":
            found = solve_quadratic(C, lam, epsilon, iterations_per_check=2, max_iterations=1_000)
        else:
            tau = jnp.asarray(oracle.tau.times(mean)) if oracle.tau.finite else None
            found = solve_entropic(C, lam, epsilon, tau, max_iterations=50_000)
    return jnp.asarray(np.asarray(found.plan), jnp.float32)


if __name__ == "__main__":
    main()
