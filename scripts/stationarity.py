r"""How near to stationary does an inexact dual let SGD come?

Sanjabi et al. (NeurIPS 2018, Theorem 4.2): along a run of T steps of SGD the least squared norm of
the gradient falls like T^(-1/2), down to a floor that epsilon / lam sets.

    python scripts/stationarity.py --epsilons 0.3x 0.03x 0.003x --seeds 0 1 2 \
        --out runs/stationarity
    python scripts/stationarity.py --sgd 0.01 --seeds 0 1 2 --out runs/stationarity-sgd

The first is Adam, as in all recipes, and the last step of each run, whose learning rate falls to
zero. The second is the theorem's own algorithm: plain SGD with a constant rate, here so much at the
shortest T and falling like T^(-1/2) with it, and one of its T iterates, drawn at random: the same
one for every epsilon.

Every point is a run of its own, without warm-up, whose duals are checked at every iteration. The
squared norm of the expected gradient at its end is estimated without bias from independent batches,
with duals solved to 0.001 of the mean cost whatever the run's epsilon was. Where the estimate is
less than two of its standard errors, an arrow hangs from where it ends with these added.
"""

from __future__ import annotations

import argparse
import csv
import io
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from otgan import data, experiments
from otgan.batches import make_batch_source
from otgan.config import Config
from otgan.data import Dataset, Form
from otgan.diagnosis.stationarity import exact_family, stationarity
from otgan.files import write_atomically
from otgan.system import build

# a dual is checked often, to stop close to epsilon
CHANGES = {"generator.optimizer.warmup": 0, "oracle.iterations_per_check": 1}
KEY = 7  # of the batches that are judged on: the same for all
STYLES = {"marker": "osD^v", "linestyle": ["-", "--", ":", "-."]}


class Row(NamedTuple):
    """One run."""

    epsilon: str
    steps: int
    seed: int
    squared_norm: float  # of the expected gradient
    standard_error: float
    exact: float  # share of the duals there that reached 0.001 of the mean cost
    reached: float  # share of the run's duals that reached its epsilon


def main() -> None:
    """Parse, train, write, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--experiment", default="regot-grid")
    parser.add_argument("--lam", default="0.01x")
    parser.add_argument("--epsilons", nargs="+", default=["0.3x", "0.03x", "0.003x"])
    parser.add_argument("--steps", type=int, nargs="+", default=[30, 100, 300, 1_000, 3_000])
    parser.add_argument(
        "--sgd", type=float, metavar="RATE", help="plain SGD, at this rate for the fewest steps"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--batches", type=int, default=256, help="for the norm of the expected gradient"
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder of the picture and the numbers"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = read(table := args.out / "stationarity.csv")
    for epsilon, steps, seed in product(args.epsilons, args.steps, args.seeds):
        if any(row[:3] == (epsilon, steps, seed) for row in rows):
            continue
        config = experiments.resolve(args.experiment, changes(args, epsilon, steps, seed))
        found = measure(config, data.load(config.data), args.batches)
        rows.append(Row(epsilon, steps, seed, *found))
        print(rows[-1], flush=True)
        write(rows, table)
    draw(rows, args.out / "stationarity.png", f"{args.experiment}, lam = {args.lam}")


def read(table: Path) -> list[Row]:
    """What an earlier call came to, whose runs need not be made again."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return [
            Row(epsilon, int(steps), int(seed), *map(float, rest))
            for epsilon, steps, seed, *rest in [*csv.reader(file)][1:]
        ]


def write(rows: list[Row], table: Path) -> None:
    """All lines, at once or not at all."""
    text = io.StringIO()
    csv.writer(text).writerows([Row._fields, *rows])
    write_atomically(table, text.getvalue())


def changes(args: argparse.Namespace, epsilon: str, steps: int, seed: int) -> dict[str, Any]:
    """What a run has of its own."""
    return {
        "oracle.lam": args.lam,
        "oracle.epsilon": epsilon,
        "train.steps": steps,
        "train.seed": seed,
        **CHANGES,
        **(plain(args.sgd, steps, min(args.steps), seed) if args.sgd else {}),
    }


def plain(rate: float, steps: int, fewest: int, seed: int) -> dict[str, Any]:
    """Changes that make it SGD, which stops at one of its iterates."""
    return {
        "generator.optimizer.kind": "sgd",
        "generator.optimizer.clip": None,
        "generator.optimizer.schedule": "constant",
        "generator.optimizer.learning_rate": rate * (fewest / steps) ** 0.5,
        "train.steps": int(np.random.default_rng((KEY, seed, steps)).integers(1, steps + 1)),
    }


def measure(config: Config, dataset: Dataset, batches: int) -> tuple[float, float, float, float]:
    """Train to the last step; the squared norm there, its standard error, and the shares of duals
    that were exact, and reached epsilon.
    """
    source = jax.tree.map(
        jnp.asarray, make_batch_source(dataset, config.batch, config.generator.latent_dim)
    )
    system = build(config, Form.of(dataset))

    @jax.jit
    def train(source):
        def step(state, _):
            state, record = system.stepper.step(state, source)
            return state, record["dual_converged"]

        return jax.lax.scan(step, system.stepper.init(), None, config.train.steps)

    state, reached = train(source)
    found = stationarity(
        exact_family(config.oracle, system.problem),
        state.dual,
        state.players,
        source,
        jax.random.key(KEY),
        batches,
    )
    return found.squared_norm, found.standard_error, found.converged_share, float(jnp.mean(reached))


def draw(rows: list[Row], path: Path, title: str) -> None:
    """Squared norms against T, means over the seeds with their standard errors, beside a line of
    slope -1/2.
    """
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for i, epsilon in enumerate(dict.fromkeys(row.epsilon for row in rows)):
        mine = [row for row in rows if row.epsilon == epsilon]
        steps = sorted({row.steps for row in mine})
        groups = [[row for row in mine if row.steps == T] for T in steps]
        means = np.array([np.mean([row.squared_norm for row in group]) for group in groups])
        errors = np.array([_error(group) for group in groups])
        drowned = means < 2 * errors
        shown = np.where(drowned, means.clip(0) + 2 * errors, means)
        marker, line = STYLES["marker"][i % 5], STYLES["linestyle"][i % 4]
        bars = np.where(drowned, shown / 3, errors)
        axes.errorbar(
            steps,
            shown,
            bars,
            uplims=drowned,
            marker=marker,
            linestyle=line,
            capsize=3,
            label=f"epsilon = {epsilon}",
        )
    T = np.array(sorted({row.steps for row in rows}), float)
    top = max(row.squared_norm for row in rows)
    axes.plot(T, top * (T / T[0]) ** -0.5, color="0.5", linewidth=1, label="slope -1/2")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="steps T",
        ylabel="squared norm of the expected gradient",
        title=title,
    )
    axes.set_xticks(T, [f"{t:.0f}" for t in T])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(path, dpi=110)


def _error(group: list[Row]) -> float:
    """Of a mean: from the spread over the seeds, or of the one estimate."""
    values = [row.squared_norm for row in group]
    return (
        float(np.std(values, ddof=1) / len(values) ** 0.5)
        if len(values) > 1
        else group[0].standard_error
    )


if __name__ == "__main__":
    main()
