"""Time and memory of transport against the number of points: with matrices of all pairs, and
online, in blocks of rows.

    python -m scripts.online                         # matrices to 8,192 points, online to 32,768
    python -m scripts.online --most 4096             # smaller

n points against as many, in 784 dimensions: the value of the entropic dual of squared distances,
its certificate, and the gradient in the points of one side, at lam 0.3 and epsilon 0.01 times the
mean cost, certified after every second iteration. Each row is a process of its own. Prints the
tables of docs/speed.md, and by which power of n their columns grow, fitted from 2,048 points on.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

from otgan.config import Regularized
from otgan.costs import GroundCost
from otgan.oracles.room import MOST_ROWS
from otgan.oracles.terms import Amounts, BatchFeatures, Solved, mean_cost_of, solve_problems
from otgan.problem import each_of_all

SIZES = [2**k for k in range(8, 16)]
MOST = {"matrix": 8_192, "online": 32_768}
FITTED = 2_048  # smaller ones are overheads
DIM, CLUSTERS = 784, 10
LAM, EPSILON = 0.3, 0.01  # times the mean cost
ORACLE = Regularized(loss="regot", iterations_per_check=2, max_iterations=100)


def clouds(n: int) -> BatchFeatures:
    """Ten clusters, around which the two clouds scatter differently."""
    draw = np.random.default_rng(0)
    centers = draw.random((CLUSTERS, DIM), np.float32)

    def cloud(scatter: float) -> jax.Array:
        points = np.float32(scatter) * draw.standard_normal((n, DIM), np.float32)
        points += centers[draw.integers(CLUSTERS, size=n)]
        return jnp.asarray(points)[None]

    return BatchFeatures((cloud(0.1),), (cloud(0.2),))


def transport(rows: int | None, features: BatchFeatures) -> tuple[jax.Array, Solved]:
    """The mean cost, and all that training needs of the dual."""
    cost = GroundCost("squared_l2")
    mean = mean_cost_of([features], ORACLE.loss, cost, each_of_all, rows)
    amounts = Amounts(LAM * mean, EPSILON * mean)
    _, (solved,) = solve_problems(ORACLE, cost, [features], amounts, each_of_all, rows)
    return mean, solved


def measure(n: int, way: str) -> dict[str, float]:
    """One row, in this process."""
    features = clouds(n)
    rows = min(n, MOST_ROWS) if way == "online" else None
    program = jax.jit(lambda features: transport(rows, features)).lower(features).compile()
    wall, cpu = time.monotonic(), time.process_time()
    mean, solved = jax.block_until_ready(program(features))
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    analysis = program.memory_analysis()
    assert analysis  # every backend that this runs on has one
    return {
        "n": n,
        "wall": wall,
        "cpu": cpu,
        "transport": analysis.temp_size_in_bytes,
        "process": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "iterations": int(solved.duals.iterations[0, 0]),
        "gap": float(solved.duals.gap[0, 0] / mean),
    }


def fitted(rows: list[dict[str, float]], key: str) -> str:
    """The power of n by which a column grows."""
    large = [row for row in rows if row["n"] >= FITTED]
    if len(large) < 2:
        return "-"
    slope = np.polyfit(np.log([row["n"] for row in large]), np.log([row[key] for row in large]), 1)
    return f"{slope[0]:.2f}"


def show(way: str, rows: list[dict[str, float]]) -> None:
    """The table of a way."""
    columns = f"n, {way}", "seconds", "of a core", "transport holds", "process", "iterations, gap"
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in rows:
        held, process = (f"{row[key] / 1e6:,.0f} MB" for key in ("transport", "process"))
        times = f"{row['wall']:.3g} | {row['cpu']:.3g}"
        how = f"{row['iterations']}, {row['gap']:.1g}"
        print(f"| {row['n']:,} | {times} | {held} | {process} | {how} |")
    powers = " | ".join(fitted(rows, key) for key in ("wall", "cpu", "transport", "process"))
    print(f"| power of n | {powers} | |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=max(SIZES), help="points at most")
    parser.add_argument("--one", nargs=2, metavar=("N", "WAY"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        print(json.dumps(measure(int(asked.one[0]), asked.one[1])))
        return
    for way, most in MOST.items():
        rows = []
        for n in (size for size in SIZES if size <= min(most, asked.most)):
            command = [sys.executable, "-m", "scripts.online", "--one", str(n), way]
            told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            rows.append(json.loads(told))
            print(told.strip(), file=sys.stderr, flush=True)
        show(way, rows)


if __name__ == "__main__":
    main()
