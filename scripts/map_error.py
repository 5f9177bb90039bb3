"""The map experiment of Taghvaei and Jalali (2019): error of the map against the number of points,
and seconds of an epoch.

    python scripts/map_error.py --out runs/map --points 500 1000 2000 4000

From a mixture of Gaussians to that mixture warped, so that the true map T is known
(`otgan.data.points`). The error is the mean of |S(y) - T(y)|^2 over 2,000 points that no map was
fitted to, in percent of the target's variance. S is the map of an input-convex potential
(`experiments/convex-mixture.toml`, the same number of steps for every N), or the entropic one: the
barycentric projection of Sinkhorn's plan at lam, extended to new points by the potential (Pooladian
and Niles-Weed 2021). An epoch looks at every point once: N / batch steps of the potential, one
Sinkhorn iteration on the N x N matrix.
"""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
from jax import Array

from otgan import experiments
from otgan.batches import BatchSource
from otgan.config import Config, Convex, Mixture
from otgan.costs import squared_l2
from otgan.data import Form, points
from otgan.files import write_atomically
from otgan.models import Network
from otgan.oracles.contract import Players
from otgan.oracles.convex import make_convex
from otgan.oracles.entropic import solve_entropic
from otgan.problem import make_problem

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LAMS = (1.0, 0.1)  # the paper's, of the cost |x - y|^2
IDENTITY = Network(lambda key: {}, lambda params, z: z)


class Fit(NamedTuple):
    """A fitted map, and what an epoch of its fitting took."""

    transport: Callable[[Array], Array]
    seconds: float
    note: str


class Row(NamedTuple):
    """A line of the table."""

    method: str
    points: int
    seed: int
    error: float  # percent of the target's variance
    seconds: float  # of one epoch
    note: str


def main() -> None:
    """Parse, fit, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, nargs="+", default=[500, 1_000, 2_000, 4_000])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument(
        "--steps", type=int, help="of the potential, instead of the experiment's own"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the picture")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = read(table := args.out / "map_error.csv")
    for seed in args.seeds:
        for size in args.points:
            if not any((row.points, row.seed) == (size, seed) for row in rows):
                rows += compare(size, seed, args.steps)
                write(rows, table)
    print("\n".join(lines(rows)))
    draw(rows, args.out / "map_error.png")


def read(table: Path) -> list[Row]:
    """What an earlier call came to, whose sizes and seeds need not be fitted again."""
    if not table.is_file():
        return []
    with table.open(newline="") as file:
        return [
            Row(method, int(points), int(seed), float(error), float(seconds), note)
            for method, points, seed, error, seconds, note in [*csv.reader(file)][1:]
        ]


def write(rows: list[Row], table: Path) -> None:
    """All lines, at once or not at all."""
    text = io.StringIO()
    csv.writer(text).writerows([Row._fields, *rows])
    write_atomically(table, text.getvalue())


def compare(size: int, seed: int, steps: int | None) -> list[Row]:
    """All methods on `size` points of either side."""
    changes = {
        "data.size": size,
        "source.size": size,
        "data.seed": seed,
        "source.seed": seed,
        "batch.size": min(512, size),
    }
    config = experiments.resolve(
        "convex-mixture", changes | ({"train.steps": steps} if steps else {})
    )
    assert isinstance(config.data, Mixture)
    assert isinstance(config.source, Mixture)
    target, source = points.sample(config.data), points.sample(config.source)
    truth, variance = points.warp(config.data)(source.test), target.test.var(axis=0).sum()
    fits = {"convex": fit_convex(config, target.train, source.train)}
    fits |= {
        f"entropic, lam {lam:g}": fit_entropic(lam, target.train, source.train) for lam in LAMS
    }
    rows = []
    for method, fit in fits.items():
        error = ((np.asarray(fit.transport(jnp.asarray(source.test))) - truth) ** 2).sum(
            axis=1
        ).mean() / variance
        rows.append(Row(method, size, seed, 100 * float(error), fit.seconds, fit.note))
        print(lines(rows)[-1], flush=True)
    return rows


def fit_convex(config: Config, target: np.ndarray, source: np.ndarray) -> Fit:
    """The map of a potential trained for the experiment's number of steps."""
    assert isinstance(config.oracle, Convex)
    form = Form(
        target.shape[1:],
        False,
        tuple(target.mean(axis=0)),
        float(np.sqrt(target.var(axis=0).mean())),
        len(target),
    )
    family = make_convex(config.oracle, make_problem(config, form, Players(IDENTITY)))
    data, players = BatchSource(jnp.asarray(target), source=jnp.asarray(source)), Players({})
    keys = jax.random.split(jax.random.key(config.train.seed), config.train.steps)

    def run(state, keys):
        def step(state, key):
            state, _, info = family.solve(state, players, data, key)
            return state, {name: info[name] for name in ("dual_converged", "convex")}

        return jax.lax.scan(step, state, keys)

    state = family.init(keys[0])
    compiled = jax.jit(run).lower(state, keys).compile()
    start = time.perf_counter()
    state, seen = jax.block_until_ready(compiled(state, keys))
    seconds = (
        (time.perf_counter() - start)
        / (config.train.steps * config.oracle.dual_steps)
        * len(target)
        / config.batch.size
    )
    note = (
        f"{config.train.steps} solves, {100 * float(jnp.mean(seen['dual_converged'])):.1f}% of the"
        " conjugate solves within epsilon"
    )
    assert family.transport is not None
    transport = family.transport
    return Fit(jax.jit(lambda y: transport(state, y).points), seconds, note)


def fit_entropic(lam: float, target: np.ndarray, source: np.ndarray) -> Fit:
    """The barycentric map, which needs only the potential of the target's points."""
    x, y = jnp.asarray(target), jnp.asarray(source)
    solve = jax.jit(
        lambda x, y: solve_entropic(squared_l2(x, y), jnp.asarray(lam), jnp.asarray(0.01 * lam))
    )
    compiled = solve.lower(x, y).compile()
    start = time.perf_counter()
    solution = jax.block_until_ready(compiled(x, y))
    seconds = (time.perf_counter() - start) / max(1, int(solution.iterations))

    def transport(new: Array) -> Array:
        density = jax.nn.softmax((solution.f[:, None] - squared_l2(x, new)) / lam, axis=0)
        return density.T @ x

    note = f"{int(solution.iterations)} iterations, gap {float(solution.gap):.2g}"
    return Fit(jax.jit(transport), seconds, note)


def lines(rows: list[Row]) -> list[str]:
    """A Markdown table."""
    head = [
        "| method | points | seed | map error, % of variance | seconds of an epoch | |",
        "|---|---|---|---|---|---|",
    ]
    return [
        *head,
        *(
            f"| {r.method} | {r.points:,} | {r.seed} | {r.error:.3f} | {r.seconds:.4f} | {r.note} |"
            for r in rows
        ),
    ]


def draw(rows: list[Row], path: Path) -> None:
    """Error, and seconds of an epoch, against the number of points; means over seeds."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        sizes = sorted({row.points for row in mine})
        for axis, name in zip(axes, ("error", "seconds"), strict=True):
            axis.loglog(
                sizes,
                [
                    np.mean([getattr(row, name) for row in mine if row.points == size])
                    for size in sizes
                ],
                "o-",
                label=method,
            )
    for axis, title in zip(
        axes, ("map error, % of the target's variance", "seconds of an epoch"), strict=True
    ):
        axis.set(title=title, xlabel="points N")
    axes[0].legend()
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
