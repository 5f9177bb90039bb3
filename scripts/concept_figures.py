"""The figures of docs/concepts: computed by this package's own solvers and metrics, from one seed,
in about a minute.

    python scripts/concept_figures.py --out docs/pictures
    python scripts/concept_figures.py --out docs/pictures --only lambda floor

Points are real ones of the 5 x 5 grid of Gaussians, or of three small clusters where single points
must be seen. "Generated" points are fresh normal ones, as of a generator at its start: no figure
needs a training run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from otgan import experiments
from otgan.costs import squared_l2
from otgan.data import load
from otgan.diagnosis.gradients import gradient_errors
from otgan.metrics.wasserstein import exact_wasserstein
from otgan.oracles.entropic import solve_entropic, value_at
from otgan.oracles.solution import Solution

SEED = 2018
REAL, GENERATED = "0.25", "tab:blue"
SMALL = 18  # points of each cloud where single points are seen
BATCH = 128
WIDE = (8.2, 3.6)  # inches of a figure of two panels
SETS = 4  # of points in a mean W2

jitted = jax.jit(solve_entropic, static_argnames=("anneal", "iterations_per_check"))


def main() -> None:
    """Draw all figures, or those that are named."""
    figures: dict[str, Callable[[], Figure]] = {
        "dual": dual,
        "certificate": certificate,
        "lambda": lambdas,
        "epsilon": epsilons,
        "floor": floors,
    }
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the pictures")
    parser.add_argument(
        "--only", nargs="+", choices=figures, default=list(figures), help="which ones"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in args.only:
        path = args.out / f"concept-{name}.png"
        figures[name]().savefig(path, dpi=125)
        print(path)


# --- clouds ---------------------------------------------------------------------------------------


def clusters() -> tuple[np.ndarray, np.ndarray]:
    """Few real points in three clusters, and as many generated ones in one between them."""
    rng = np.random.default_rng(SEED)
    centers = np.array([(-2.2, 1.2), (2.2, 1.4), (0.2, -2.0)])
    real = np.repeat(centers, SMALL // 3, axis=0) + 0.35 * rng.standard_normal((SMALL, 2))
    return real, 0.7 * rng.standard_normal((SMALL, 2)) + (0.2, 0.1)


def grid_batch() -> tuple[np.ndarray, np.ndarray]:
    """A batch of the grid, and as many normal points of about its spread."""
    rng = np.random.default_rng(SEED)
    train = load(experiments.resolve("sinkhorn-grid").data, None).train
    return train[rng.choice(len(train), BATCH, replace=False)], 2.5 * rng.standard_normal(
        (BATCH, 2)
    )


def costs_of(real: np.ndarray, generated: np.ndarray) -> Array:
    """Squared distances, rows real, in the precision of the points."""
    return squared_l2(jnp.asarray(real), jnp.asarray(generated))


def solved(cost: Array, lam: float, epsilon: float) -> Solution:
    """The dual at a lam and an epsilon that are multiples of the mean cost."""
    mean = float(cost.mean())
    return jitted(cost, lam * mean, epsilon * mean)


# --- figures --------------------------------------------------------------------------------------


def dual() -> Figure:
    """Prices of all points, and the cost that they leave over: mass goes where nothing is left."""
    real, generated = clusters()
    cost = costs_of(real, generated)
    found = solved(cost, 0.01, 1e-4)
    order = np.argsort(np.asarray(found.plan).argmax(0))
    left_over = np.asarray(cost - found.f[:, None] - found.g[None, :])[:, order]
    figure = Figure(figsize=(8.6, 4.0), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.1))
    draw_plan(left, real, generated, np.asarray(found.plan))
    prices = np.concatenate([found.f - found.f.mean(), found.g - found.g.mean()])
    reach = float(np.abs(prices).max())
    for points, price, marker in ((real, found.f, "s"), (generated, found.g, "o")):
        shown = left.scatter(
            *points.T,
            c=price - price.mean(),
            s=62,
            cmap="coolwarm",
            vmin=-reach,
            vmax=reach,
            marker=marker,
            zorder=3,
        )
        shown.set_edgecolor("black")
    figure.colorbar(
        shown, ax=left, label="price of a point, less the mean of its cloud", shrink=0.85
    )
    left.set_title("prices, and their plan\n(squares real, circles generated)")
    mesh = right.imshow(np.maximum(left_over, 0), cmap="Greys", aspect="auto")
    rows, columns = np.nonzero(np.asarray(found.plan)[:, order] > 0.1 / SMALL)
    masses = np.asarray(found.plan)[:, order][rows, columns] * SMALL
    right.scatter(columns, rows, s=46 * masses, color="tab:red")
    right.set(
        xlabel="generated point",
        ylabel="real point",
        title="cost less both prices:\nmass goes where little is left over",
    )
    right.set_xticks(range(0, SMALL, 3))
    right.set_yticks(range(0, SMALL, 3))
    figure.colorbar(mesh, ax=right, label="left over (dots: mass of the plan)", shrink=0.85)
    return figure


def certificate() -> Figure:
    """What the solver knows after every iteration: a value below the optimum, and a bound
    above it.
    """
    cost = costs_of(*grid_batch())
    mean, lam = float(cost.mean()), 0.01
    counts = np.arange(2, 81, 2)
    runs = [
        jitted(cost, lam * mean, 0.0, anneal=1.0, iterations_per_check=2, max_iterations=int(k))
        for k in counts
    ]
    value, gap = (
        np.asarray([getattr(run, name) for run in runs]) / mean for name in ("value", "gap")
    )
    optimum, missing = optimum_and_missing(cost, lam, runs)
    figure = Figure(figsize=WIDE, layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(counts, value, color="tab:blue", label="value of the dual")
    left.plot(counts, value + gap, color="tab:orange", label="value + gap")
    left.fill_between(counts, value, value + gap, color="0.9")
    left.axhline(optimum, color="black", linestyle=":", label="optimum, in double precision")
    left.set(
        xlabel="iterations",
        ylabel="in mean costs",
        title="the optimum is caught between",
        ylim=(0, 2 * optimum),
    )
    left.legend(fontsize=8)
    right.semilogy(counts, gap, color="tab:orange", label="certified gap")
    right.semilogy(counts, missing, color="tab:blue", label="true distance from the optimum")
    for epsilon, style in ((0.3, "--"), (0.01, "-.")):
        stop = counts[int(np.argmax(gap <= epsilon))]
        right.axhline(
            epsilon,
            color="0.5",
            linestyle=style,
            label=f"epsilon = {epsilon:g}x: stops after {stop}",
        )
        right.plot(stop, gap[int(np.argmax(gap <= epsilon))], "o", color="tab:red", markersize=5)
    right.set(xlabel="iterations", ylabel="in mean costs", title="the gap is never below the truth")
    right.legend(fontsize=8)
    return figure


def optimum_and_missing(cost: Array, lam: float, runs: list[Solution]) -> tuple[float, np.ndarray]:
    """The optimum, and how far below it each run's potential is, judged in double precision.

    Multiples of the mean cost.
    """
    mean = float(cost.mean())
    with jax.enable_x64(True):
        exact = jnp.asarray(np.asarray(cost), jnp.float64)
        truth = solve_entropic(
            exact, jnp.asarray(lam * mean), jnp.asarray(1e-10 * mean), max_iterations=20_000
        )
        values = [
            float(
                value_at(
                    exact, jnp.asarray(np.asarray(run.g), jnp.float64), jnp.asarray(lam * mean)
                )
            )
            for run in runs
        ]
    return float(truth.value) / mean, (float(truth.value) - np.asarray(values)) / mean


def lambdas() -> Figure:
    """The plan at four weights of the regularizer, and where it pulls generated points."""
    real, generated = clusters()
    cost = costs_of(real, generated)
    figure = Figure(figsize=(8.2, 7.0), layout="constrained")
    panels = figure.subplots(2, 2, sharex=True, sharey=True).ravel()
    for axes, lam in zip(panels, (0.003, 0.03, 0.3, 3.0), strict=True):
        plan = np.asarray(solved(cost, lam, 1e-4).plan)
        share = plan / plan.sum(0)
        partners = np.exp(
            -np.sum(np.where(share > 0, share * np.log(np.maximum(share, 1e-30)), 0.0), axis=0)
        )
        targets = share.T @ real
        draw_plan(axes, real, generated, plan)
        axes.scatter(*real.T, color=REAL, s=26, marker="s", label="real", zorder=3)
        axes.scatter(*generated.T, color=GENERATED, s=26, label="generated", zorder=3)
        axes.scatter(*targets.T, color="tab:red", s=26, marker="x", label="pulled to", zorder=4)
        axes.set_title(
            f"lambda = {lam:g}x\na point has {np.median(partners):.1f} partners", fontsize=10
        )
    figure.legend(
        *figure.axes[0].get_legend_handles_labels(), fontsize=9, loc="outside lower center", ncols=3
    )
    return figure


def epsilons() -> Figure:
    """Errors of the plan and of the gradient, beside what the theory allows."""
    real, generated = (np.asarray(points, np.float64) for points in grid_batch())
    wanted = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003, 0.001, 0.0003)
    figure = Figure(figsize=WIDE, layout="constrained")
    left, right = figure.subplots(1, 2)
    with jax.enable_x64(True):
        cost, pull = jax.vjp(lambda y: squared_l2(jnp.asarray(real), y), jnp.asarray(generated))
        mean = float(cost.mean())
        steepest = 2 * float(jnp.sqrt(cost.max()))  # of |x - y|^2 in y, over all pairs
        loose = partial(jitted, anneal=1.0, iterations_per_check=1)
        strict = jax.jit(partial(solve_entropic, max_iterations=20_000))
        for lam, line, color in ((0.1, "o-", "C0"), (0.01, "s-", "C1")):
            lams, asked = [lam * mean], [epsilon * mean for epsilon in wanted]
            rows = gradient_errors(
                cost, lambda plan: pull(plan)[0], loose, strict, true_value, lams, asked, steepest
            )
            missing = np.asarray([row.suboptimality for row in rows]) / mean
            apart = [plan_error(cost, lam * mean, epsilon, loose, strict) for epsilon in asked]
            left.loglog(missing, apart, line, color=color, label=f"lambda = {lam:g}x")
            left.loglog(missing, np.sqrt(2 * missing / lam), "--", color=color)
            right.loglog(
                wanted,
                [row.error / row.gradient_norm for row in rows],
                line,
                color=color,
                label=f"lambda = {lam:g}x",
            )
            right.loglog(wanted, [row.bound / row.gradient_norm for row in rows], "--", color=color)
    left.set(
        xlabel="true distance from the optimum, in mean costs",
        ylabel="sum of |P - P*|",
        title="error of the plan",
    )
    right.set(
        xlabel="epsilon asked for, in mean costs",
        ylabel="error over the gradient's length",
        title="error of the gradient",
    )
    for axes in (left, right):
        axes.legend(title="dashed: the bound", fontsize=9, title_fontsize=9)
    return figure


def true_value(cost: Array, g: Array, lam: float) -> Array:
    """The dual value at the columns' potential, in the precision of the costs."""
    return value_at(cost, g, jnp.asarray(lam))


def plan_error(
    cost: Array,
    lam: float,
    epsilon: float,
    loose: Callable[..., Solution],
    strict: Callable[..., Solution],
) -> float:
    """The sum of absolute differences between the plan at an epsilon and the exact one."""
    return float(jnp.abs(loose(cost, lam, epsilon).plan - strict(cost, lam, 1e-7).plan).sum())


def floors() -> Figure:
    """W2 of real points against other real ones, beside that of points that lack modes, or are
    spread too far.
    """
    rng = np.random.default_rng(SEED)
    data = load(experiments.resolve("sinkhorn-grid").data, None)
    centers = np.asarray(data.centers)
    real, other = np.split(rng.permutation(data.train), 2)
    home = np.argmin(((real[:, None] - centers[None]) ** 2).sum(-1), axis=1)
    sizes = (50, 100, 200, 500, 1_000)
    figure = Figure(figsize=WIDE, layout="constrained")
    left, right = figure.subplots(1, 2)
    for points, color, label in (
        (real[home >= 5], "tab:red", "real points of 20 of the 25 modes"),
        (real, "black", "real points: the floor"),
    ):
        left.plot(sizes, [mean_w2(points, other, n) for n in sizes], "o-", color=color, label=label)
    left.set(
        xlabel="number of points",
        ylabel="W2 to as many other real points",
        title="a floor falls with the number",
        ylim=(0, None),
    )
    left.set(xscale="log")
    left.set_xticks(sizes, [f"{size:,}" for size in sizes])
    left.minorticks_off()
    left.legend(fontsize=8)
    n, spreads, middle = sizes[-1], np.linspace(0, 4, 9), centers[home]
    floor = mean_w2(real, other, n)
    ratios = [mean_w2(middle + spread * (real - middle), other, n) / floor for spread in spreads]
    right.plot(spreads, ratios, "o-", color="tab:blue", label=f"{n:,} points")
    right.axhline(1, color="black", linestyle=":", label="the floor")
    right.set(
        xlabel="spread inside a mode (1: the data's)",
        ylabel="W2 over its floor",
        title="below the floor is not better",
    )
    right.legend(fontsize=8)
    return figure


def mean_w2(points: np.ndarray, others: np.ndarray, size: int) -> float:
    """The mean over a few pairs of sets of so many points."""
    return float(
        np.mean(
            [
                exact_wasserstein(points[i : i + size], others[i : i + size], 2)
                for i in range(0, SETS * size, size)
            ]
        )
    )


def draw_plan(axes: Any, real: np.ndarray, generated: np.ndarray, plan: np.ndarray) -> None:
    """A line for every pair, as dark as the pair's mass."""
    lines = [(x, y) for x in real for y in generated]
    strength = np.clip(plan.ravel() * len(generated), 0, 1)
    colors = [(0.2, 0.2, 0.2, value) for value in strength]
    axes.add_collection(LineCollection(lines, colors=colors, linewidths=1.4))
    axes.set(xticks=[], yticks=[], aspect="equal", xlim=(-3.4, 3.4), ylim=(-3.2, 2.8))


if __name__ == "__main__":
    main()
