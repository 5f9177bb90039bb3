"""`otgan diagnose`: a run's checkpoint, its batch, its oracle in float64, and the three diagnoses
as plain data.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from otgan.batches import BatchSource, draw_reals, make_batch_source
from otgan.config import Amount, Regularized
from otgan.costs import Groups
from otgan.data import load
from otgan.diagnosis.bias import BLOCK, batch_costs, reference
from otgan.diagnosis.gradients import (
    GradientError,
    Solver,
    Value,
    gradient_errors,
    lipschitz,
    slope,
)
from otgan.diagnosis.picture import draw
from otgan.diagnosis.stationarity import exact_family, stationarity
from otgan.errors import UserError
from otgan.features import Tell
from otgan.files import write_atomically
from otgan.oracles import entropic, quadratic
from otgan.oracles.terms import Amounts, solve_term
from otgan.restore import Restored, restore
from otgan.runs import RunFolder
from otgan.sight import make_sight
from otgan.system import build

SEED = 2023
PAIRS = 128  # examples of a kind in the batch whose gradient is looked at
SAMPLES, FRESH = 1_000, 4_000  # for the cost of transport to the whole training set
# how a dual that counts as the truth is solved
EXACTLY = {"max_iterations": 100_000, "anneal": 8.0}
# examples in a batch that is transported exactly, which takes time as the cube of it
LARGEST = 8_192


def diagnose(
    folder: RunFolder,
    epsilons: tuple[Amount, ...],
    lams: tuple[Amount, ...],
    sizes: tuple[int, ...],
    batches: int,
    step: int | None,
    data_dir: Path | None,
    show: Tell,
) -> dict[str, Any]:
    """All three, as plain data.

    Gradients are of the generator's parameters as they are trained; batches are drawn from their
    moving average, as samples are.

    Raises:
        UserError: the run trains no generator, or is not there.
    """
    run = restore(folder, step)
    if not run.config.trains_generator:
        raise UserError(f"{folder.path} trains no generator: there is no gradient to diagnose")
    dataset = load(run.config.data, data_dir)
    dataset.in_memory("a diagnosis")
    if max(sizes) > min(LARGEST, len(dataset.train)):
        raise UserError(
            f"batches of {max(sizes):,} are too large: give sizes of at most"
            f" {min(LARGEST, len(dataset.train)):,}"
        )
    sight = make_sight(run.config.cost, dataset, show)
    frozen, features = (sight.parameters, sight.features) if sight else (None, None)
    data = make_batch_source(
        dataset, run.config.batch, run.config.generator.latent_dim, None, frozen, features
    )
    data = jax.tree.map(jnp.asarray, data)
    if sight:
        run = run._replace(system=build(run.config, run.form, network=sight.network))
    show("gradients")
    found: dict[str, Any] = {
        "run": str(folder.path),
        "step": run.step,
        **_gradients(run, data, epsilons, lams),
    }
    show("stationarity")
    key = jax.random.key(SEED)
    players = run.state.players
    family = exact_family(run.config.oracle, run.system.problem)
    found["stationarity"] = {
        **stationarity(family, run.state.dual, players, data, key, batches)._asdict(),
        "batches": batches,
    }
    show("batches")
    return {**found, **_bias(run, data, sizes, batches)}


def _gradients(
    run: Restored, data: BatchSource, epsilons: tuple[Amount, ...], lams: tuple[Amount, ...]
) -> dict[str, Any]:
    """Errors on one batch of the gradient of the dual that trains, in float64."""
    config, players = run.config, run.state.players
    size = min(PAIRS, config.batch.size)
    key_x, key_z = jax.random.split(jax.random.key(SEED))
    problem, data = run.system.problem, data._replace(bounds=None, sobol=None)
    x, z = draw_reals(data, key_x, size), problem.draw_latents(data, key_z, size)
    with jax.enable_x64(True):
        x, z, players, frozen = _in_double((x, z, players, data.frozen))
        features = partial(problem.features, players, data._replace(frozen=frozen))
        cost = problem.cost.between

        def matrix(theta: Any) -> Array:
            return cost(features(x), features(problem.generate(theta, z)))

        def pair(theta: Any, x_i: Array, z_j: Array) -> Array:
            return cost(features(x_i[None]), features(problem.generate(theta, z_j[None])))[0, 0]

        costs, pull = jax.vjp(matrix, players.generator)
        mean = float(jnp.mean(costs))
        if not np.isfinite(mean) or not np.isfinite(jnp.asarray(costs, jnp.float32)).all():
            raise UserError(
                f"at step {run.step} the generator's samples are as good as infinite: diagnose an"
                " earlier step (--checkpoint)"
            )
        constant = lipschitz(pair, players.generator, x, z)
        absolute = (
            [lam.times(mean) for lam in lams],
            [epsilon.times(mean) for epsilon in epsilons],
        )
        oracle = config.oracle if isinstance(config.oracle, Regularized) else Regularized()
        ours, exactly = (
            _solver(oracle, mean, jnp.float32),
            _solver(oracle.model_copy(update=EXACTLY), mean, jnp.float64),
        )
        solvers = ours, exactly, _value(oracle, mean)
        errors = gradient_errors(
            costs,
            lambda plan: pull(jnp.asarray(plan, jnp.float64))[0],
            *solvers,
            *absolute,
            constant,
        )
    return {
        "batch": size,
        "mean_cost": mean,
        "L0": constant,
        "own_dual": oracle is config.oracle,
        **_told(errors, absolute[0]),
    }


def _in_double(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf), jnp.float64), tree)


def _told(errors: list[GradientError], lams: list[float]) -> dict[str, Any]:
    """Errors as plain data, each beside its bound, and the slope at every lam."""
    return {
        "gradients": [
            {**e._asdict(), "ratio": e.error / e.bound if e.bound else None} for e in errors
        ],
        "slopes": [slope([e for e in errors if e.lam == lam]) for lam in lams],
    }


def _solver(oracle: Regularized, mean_cost: float, dtype: Any) -> Solver:
    """An oracle's solve between real and generated points, with its cadence, its tau and its
    budget, in a precision.
    """
    tau = jnp.asarray(oracle.tau.times(mean_cost), dtype) if oracle.tau.finite else None
    solve = jax.jit(partial(solve_term, oracle))
    return lambda costs, lam, epsilon: solve(
        jnp.asarray(costs, dtype),
        Amounts(jnp.asarray(lam, dtype), jnp.asarray(epsilon, dtype), tau),
    )


def _value(oracle: Regularized, mean_cost: float) -> Value:
    """The dual value of what an oracle solves, in float64."""
    tau = jnp.asarray(oracle.tau.times(mean_cost), jnp.float64) if oracle.tau.finite else None
    at = jax.jit(
        quadratic.value_at if oracle.regularizer == "l2" else partial(entropic.value_at, tau=tau)
    )
    return lambda costs, g, lam: at(costs, *(jnp.asarray(value, jnp.float64) for value in (g, lam)))


def _bias(run: Restored, data: BatchSource, sizes: tuple[int, ...], batches: int) -> dict[str, Any]:
    """Costs of batches, and of transport to the whole training set, on the run's own cost."""
    state, problem, data = run.state, run.system.problem, data._replace(bounds=None, sobol=None)
    features = jax.jit(partial(problem.features, state.players, data))
    cost = jax.jit(problem.cost.between)
    key, real = jax.random.split(jax.random.key(SEED + 1))

    def generated(size: int, number: int) -> Groups:
        z = problem.draw_latents(data, jax.random.fold_in(key, number), size)
        return features(run.system.family.generate(state.dual, state.average, z))

    def pairs(size: int, k: int) -> tuple[Groups, Groups]:
        number = size * 1_000 + k
        return features(draw_reals(data, jax.random.fold_in(real, number), size)), generated(
            size, number
        )

    parts = [
        features(problem.reals_at(data, jnp.arange(i, min(i + BLOCK, len(data.examples)))))
        for i in range(0, len(data.examples), BLOCK)
    ]
    bounds = reference(cost, parts, generated(SAMPLES, 1), generated(FRESH, 2))
    rows = [
        row._asdict() for row in batch_costs(lambda x, y: cost(y, x), pairs, sorted(sizes), batches)
    ]
    return {
        "batches": rows,
        "reference": {**bounds._asdict(), "train": len(data.examples), "samples": SAMPLES},
    }


def require_writable(folder: RunFolder) -> None:
    """See that the diagnosis can be kept, before it is made.

    Raises:
        UserError: it cannot.
    """
    place = folder.eval if folder.eval.exists() else folder.path
    if not os.access(place, os.W_OK):
        raise UserError(f"cannot write to {place}, where the diagnosis would be kept")


def keep(found: dict[str, Any], folder: RunFolder) -> list[str]:
    """Write the numbers and a picture of them into the run's folder. Returns where."""
    folder.eval.mkdir(exist_ok=True)
    numbers, picture = (
        folder.eval / f"diagnosis-{found['step']:07d}.{ending}" for ending in ("json", "png")
    )
    write_atomically(numbers, json.dumps(found, indent=2, allow_nan=False) + "\n")
    draw(found, picture)
    return [str(numbers), str(picture)]
