"""What `otgan diagnose` found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console

from otgan.console.tables import plain_table
from otgan.results.quantity import percentage


def print_diagnosis(console: Console, found: Mapping[str, Any]) -> None:
    """The three diagnoses of `otgan.diagnosis.command.diagnose`."""
    console.print(
        f"diagnosis of {found['run']}, step {found['step']:,}", markup=False, soft_wrap=True
    )
    _print_gradients(console, found, found["mean_cost"])
    _print_batches(console, found)
    _print_stationarity(console, found["stationarity"])


def _print_gradients(console: Console, found: Mapping[str, Any], mean: float) -> None:
    whose = (
        "the dual that trains"
        if found["own_dual"]
        else "a KL-regularized dual, which this run does not train by"
    )
    console.print(
        f"\nthe gradient of {whose}, on a batch of {found['batch']}; mean cost {mean:.4g}, L0"
        f" {found['L0']:.4g}"
    )
    rows = [
        (
            f"{r['lam'] / mean:.3g}x",
            f"{r['epsilon'] / mean:.3g}x",
            *(f"{r[k]:.3g}" for k in ("suboptimality", "error", "bound", "ratio")),
        )
        for r in found["gradients"]
    ]
    console.print(
        plain_table(
            ("lam", "epsilon", "true suboptimality", "error", "bound", "error / bound"), rows
        )
    )
    _print_slopes(console, found, mean)


def _print_slopes(console: Console, found: Mapping[str, Any], mean: float) -> None:
    lams = dict.fromkeys(r["lam"] for r in found["gradients"])
    fitted = [
        (lam, slope) for lam, slope in zip(lams, found["slopes"], strict=True) if slope is not None
    ]
    slopes = (
        ", ".join(f"{slope:.2f} at lam {lam / mean:.3g}x" for lam, slope in fitted)
        or "too few points"
    )
    console.print(
        f"log-log slope of the error in the true suboptimality: {slopes} (the theory: at least 0.5"
        " in the limit)",
        soft_wrap=True,
    )
    if short := sum(not r["converged"] for r in found["gradients"]):
        told = (
            f"in {short} of the rows the dual did not come as near as epsilon: they are"
            " measurements of a worse one, and the bound, which"
        )
        console.print(f"{told} is at epsilon, is not theirs", soft_wrap=True)
    if unknown := sum(not r["measured"] for r in found["gradients"]):
        told = (
            f"in {unknown} of the rows the true dual is not known closely enough to tell it from"
            " the one that trains"
        )
        console.print(f"{told}: their numbers are no measurements", soft_wrap=True)


def _print_batches(console: Console, found: Mapping[str, Any]) -> None:
    console.print("\ncost of exact transport between two batches")
    costs = [
        (f"{r['size']:,}", f"{r['mean']:.4g}", f"{r['standard_error']:.2g}", str(r["batches"]))
        for r in found["batches"]
    ]
    console.print(plain_table(("batch size", "mean", "standard error", "batches"), costs))
    whole = found["reference"]
    bounds = (
        f"between {whole['lower']:.4g} (standard error {whole['lower_standard_error']:.2g}) and"
        f" {whole['upper']:.4g}"
    )
    console.print(f"to all {whole['train']:,} training examples: {bounds}")


def _print_stationarity(console: Console, still: Mapping[str, Any]) -> None:
    squared = f"{still['squared_norm']:.3g} (standard error {still['standard_error']:.2g})"
    console.print(
        f"\nsquared norm of the expected gradient of the run's loss: {squared}; of one batch's:"
        f" {still['batch_squared_norm']:.3g}"
    )
    if still["converged_share"] < 1:
        console.print(
            f"of its duals only {percentage(still['converged_share'])} % came as near as they were"
            " asked to"
        )
