"""The diagnosis as one picture: errors of the gradient beside their bound, and what batches of a
size cost.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

MARKERS = "osD^vPX"


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw what `otgan.diagnosis.command.diagnose` found."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    draw_gradients(left, found)
    _batches(right, found)
    figure.savefig(path, dpi=120)


def draw_gradients(axes: Any, found: dict[str, Any]) -> None:
    """The error against the true suboptimality, and the bound against epsilon, a line a lam."""
    for i, lam in enumerate(dict.fromkeys(row["lam"] for row in found["gradients"])):
        rows = [row for row in found["gradients"] if row["lam"] == lam]
        marker, color = MARKERS[i % len(MARKERS)], f"C{i}"
        slope = found["slopes"][i]
        name = f"lam = {lam / found['mean_cost']:.3g}x" + (
            "" if slope is None else f", slope {slope:.2f}"
        )
        seen = [r for r in rows if r["suboptimality"] > r["floor"]]  # others are rounding
        axes.loglog(
            [r["suboptimality"] for r in seen],
            [r["error"] for r in seen],
            marker=marker,
            color=color,
            label=name,
        )
        axes.loglog(
            [r["epsilon"] for r in rows],
            [r["bound"] for r in rows],
            linestyle="--",
            marker=marker,
            fillstyle="none",
            color=color,
        )
    axes.set(
        xlabel="suboptimality of the dual (filled: true; open: epsilon)",
        ylabel="norm",
        title="error of the gradient (dashed: the bound)",
    )
    axes.legend(fontsize=8)


def _batches(axes: Any, found: dict[str, Any]) -> None:
    rows, reference = found["batches"], found["reference"]
    sizes, means = [r["size"] for r in rows], [r["mean"] for r in rows]
    axes.errorbar(
        sizes,
        means,
        [2 * r["standard_error"] for r in rows],
        marker="o",
        capsize=3,
        label="two batches, exactly",
    )
    axes.axhspan(
        reference["lower"],
        reference["upper"],
        alpha=0.3,
        color="0.5",
        label=f"to all {reference['train']:,} training examples",
    )
    axes.set(
        xscale="log",
        xlabel="batch size",
        ylabel="cost of transport",
        title="what a batch does not see",
        ylim=(0, None),
    )
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.legend(fontsize=8)
