"""The numbers of runs and sweeps as JSON and as CSV. No JAX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

from otgan.files import Plain
from otgan.results.aggregate import Comparison, aggregate, compare, in_order, numbers
from otgan.results.run import Run
from otgan.results.sweep import Sweep
from otgan.results.sweep import names as axis_names


def of_runs(runs: list[Run]) -> Plain:
    """The numbers of runs, as plain data."""
    comparison = compare(runs)
    told = [_record(run, comparison) for run in runs]
    return {
        "kind": "runs",
        "runs": told,
        "columns": _columns(told, comparison),
        "notes": comparison.notes,
    }


def of_sweep(sweep: Sweep) -> Plain:
    """The numbers of a sweep, as plain data: its cells, and their means over seeds."""
    found = aggregate(sweep)
    cells = [
        {"values": cell.values, "seed": cell.seed, **_record(cell, found.comparison)}
        for cell in sweep.cells
    ]
    means = []
    for group in found.groups:
        spreads = {name: spread for name in found.names if (spread := found.spread(group, name))}
        told = {
            name: {"mean": s.mean, "sd": s.sd, "n": len(s.values)} for name, s in spreads.items()
        }
        means.append({"values": group.values, **group.counts, "numbers": told})
    head = {
        "kind": "sweep",
        "experiment": sweep.experiment,
        "axes": sweep.axes,
        "seeds": sweep.seeds,
    }
    notes = [*sweep.problems, *found.comparison.notes]
    return {
        **head,
        "cells": cells,
        "means": means,
        "columns": _columns(cells, found.comparison),
        "notes": notes,
    }


def as_json(found: Plain) -> str:
    """As strict JSON."""
    return json.dumps(_strict(found), indent=2, allow_nan=False) + "\n"


def as_csv(found: Plain) -> str:
    """A line a run, or a cell: its folder, its values and seed, its state, its numbers.

    An axis called as a number is has its whole key.
    """
    rows = found.get("cells", found.get("runs", []))
    axes = list(found.get("axes", {}))
    columns = list(found["columns"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    seed = ["seed"] if "cells" in found else []
    called = [key if name in columns else name for key, name in axis_names(axes).items()]
    writer.writerow(["folder", *called, *seed, "state", "step", *columns])
    for row in rows:
        values = [row["values"][key] for key in axes] + [row["seed"] for _ in seed]
        writer.writerow(
            [
                row["folder"],
                *values,
                row["state"],
                row["step"],
                *(row["numbers"].get(name, "") for name in columns),
            ]
        )
    return text.getvalue()


def _columns(records: Sequence[Plain], comparison: Comparison) -> Plain:
    """What the numbers are, by name."""
    names = in_order((record["numbers"] for record in records), comparison)
    return {
        name: {
            key: value for key, value in comparison.known[name].record().items() if key != "name"
        }
        for name in names
    }


def _record(run: Run, comparison: Comparison) -> Plain:
    about = {
        "folder": str(run.path),
        "name": run.name,
        "state": run.state,
        "step": run.step,
        "gap_kind": run.gap_kind,
    }
    return {
        **about,
        "numbers": numbers(run, comparison),
        "scores": list(run.newest_scores.values()),
        "problems": run.problems,
    }


def _strict(tree: Any) -> Any:
    """Plain data with null for what JSON has no number for."""
    if isinstance(tree, dict):
        return {key: _strict(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_strict(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
