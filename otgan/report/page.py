"""The page: one HTML file with its styles, scripts, charts and pictures, that asks nothing of a
network. No JAX.

All text goes through the template engine's escaping. The charts' data, and the library that draws
them, lie packed in the page as letters and digits: unpacked they would be most of it. A content
security policy allows the page's own script and that library by their hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from otgan import __version__
from otgan.files import Plain
from otgan.report import boards, charts, views
from otgan.report.recipe import card, compared
from otgan.report.room import alone, packed
from otgan.report.shown import first, several, shown
from otgan.results.aggregate import (
    Comparison,
    Means,
    aggregate,
    compare,
    in_order,
    numbers,
    score_marks,
)
from otgan.results.run import Run
from otgan.results.state import STANDINGS
from otgan.results.sweep import SeedGroup, Sweep, label
from otgan.results.sweep import names as axis_names

TEMPLATES = Path(__file__).parent / "templates"


def render(target: Sweep | Sequence[Run]) -> str:
    """A page of a run, of several runs side by side, or of a sweep."""
    if isinstance(target, Sweep):
        return _sweep(target)
    return _run(target[0]) if len(target) == 1 else _runs(target)


def _run(run: Run) -> str:
    figures: Plain = {}
    comparison = compare([run])
    shown_run = shown(run, 0, run.name, comparison, alone(), figures)
    parts = {
        "card": card(run),
        "values": compared(run),
        "numbers": views.all_numbers(run),
        "scores": views.scored(run),
    }
    parts["diagnosis"] = views.diagnosis(run)
    return _page(
        "run.html",
        run.name,
        figures,
        shown=shown_run,
        notes=comparison.notes,
        environment=views.environment(run),
        **parts,
    )


def _runs(runs: Sequence[Run]) -> str:
    labels = views.labels(runs)
    figures: Plain = {
        f"all/{name}": figure for name, figure in charts.of_runs(runs, labels).items()
    }
    overlaid = [
        (f"all/{name}", title, sentence)
        for name, (title, sentence) in charts.curves(runs).items()
        if f"all/{name}" in figures
    ]
    comparison = compare(runs)
    shown_runs = several(runs, labels, comparison, figures)
    found = [numbers(run, comparison) for run in runs]
    columns = in_order(found, comparison)
    rows = [[comparison.known[name].text(f.get(name)) for name in columns] for f in found]
    notes = [*comparison.notes, *score_marks(runs, labels, comparison)]
    parts = {
        "columns": _columns(columns, comparison),
        "rows": rows,
        "charts": overlaid,
        "differences": views.differences(runs),
    }
    title = (
        f"{len(runs)} runs"
        if len({run.name for run in runs}) > 1
        else f"{len(runs)} runs of {runs[0].name}"
    )
    return _page(
        "runs.html",
        title,
        figures,
        runs=shown_runs,
        first=first(shown_runs),
        verdict=views.verdict_of_all(runs),
        notes=notes,
        **parts,
    )


def _sweep(sweep: Sweep) -> str:
    means, figures = aggregate(sweep), {}
    labels = list(map(label, sweep.cells))
    cells = several(sweep.cells, labels, means.comparison, figures)
    names, slices = means.names, boards.slices(means)
    figures |= boards.figures(means, names, slices)
    chosen, why = boards.chosen(means, names)
    parts = {
        "sweep": sweep,
        "cells": cells,
        "groups": boards.grouped(means, names, cells),
        "chosen": chosen,
        "why": why,
        "columns": _columns(names, means.comparison),
        "parallel": boards.has_parallel(means),
        "verdict": views.verdict_of_all(means.trained),
        "notes": [
            *sweep.problems,
            *means.comparison.notes,
            *score_marks(sweep.cells, labels, means.comparison),
        ],
        **_axes(means, slices),
    }
    return _page("sweep.html", f"sweep of {sweep.experiment}", figures, **parts)


def _axes(means: Means, slices: Sequence[dict[str, str]]) -> Plain:
    """What the sweep's page calls its axes, their values, and the states of its cells."""
    sweep, called = means.sweep, axis_names(means.sweep.axes)
    along = [(i, called[key]) for i, key in enumerate(sweep.plane) if len(sweep.axes[key]) > 1]
    panels = boards.panels(sweep) if sweep.others else []
    states = {state: sum(group.counts[state] for group in means.groups) for state in STANDINGS}
    return {
        "axes": list(called.values()),
        "slices": [views.group_label(SeedGroup(fixed, [], 0)) for fixed in slices],
        "along": along,
        "panels": [views.group_label(SeedGroup(panel, [], 0)) for panel in panels],
        "others": " and ".join(called[key] for key in sweep.others),
        "states": states,
    }


def _page(template: str, title: str, figures: Plain, **parts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (
        (TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js")
    )
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (get_plotlyjs(), script))
    common = {
        "title": title,
        "figures": packed(_json(figures)),
        "style": style,
        "script": script,
        "plotly": _plotly(),
        "hashes": hashes,
    }
    return environment.get_template(template).render(**common, version=__version__, **parts)


def _json(figures: Plain) -> str:
    return json.dumps(figures, allow_nan=False, separators=(",", ":"))


def _columns(names: Sequence[str], comparison: Comparison) -> list[tuple[str, str, str]]:
    """Numbers as columns: name, which way is better, and the floor of scores."""
    known, floors = comparison.known, comparison.floors
    return [
        (name, known[name].better, f"{floors[name]:.4g}" if name in floors else "")
        for name in names
    ]


@cache
def _plotly() -> str:
    return packed(get_plotlyjs())


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
