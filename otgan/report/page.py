"""The page: one HTML file with its styles, scripts, charts and pictures, that asks nothing of a
network. No JAX.

All text goes through the template engine's escaping, the charts' data through its JSON filter,
which leaves no `<` in them. A content security policy allows the page's own two scripts by their
hashes and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from otgan import __version__
from otgan.files import Plain
from otgan.report import charts, grids, views
from otgan.report.pictures import Film, films
from otgan.report.recipe import card, compared
from otgan.results.aggregate import (
    Comparison,
    Means,
    aggregate,
    compare,
    in_order,
    numbers,
    score_marks,
)
from otgan.results.quality import quality
from otgan.results.quantity import Curve
from otgan.results.run import Run
from otgan.results.state import STANDINGS, RunState
from otgan.results.sweep import SeedGroup, Sweep, label
from otgan.results.sweep import names as axis_names

TEMPLATES = Path(__file__).parent / "templates"
FRAMES = 40  # pictures of a kind in the page of one run
THUMBNAILS = 200  # in a page of many, a run has its share of these
SIDE = 320  # pixels of a thumbnail


class Shown(NamedTuple):
    """A run, prepared for its template."""

    id: str
    run: Run
    label: str
    ending: views.Word
    verdict: views.Word
    quality: str  # of its samples, in words
    facts: list[tuple[str, str]]
    headline: list[views.NumberRow]
    films: list[Film]
    charts: list[tuple[str, str, str]]  # key, title, sentence
    problems: list[str]


def render(target: Sweep | Sequence[Run]) -> str:
    """A page of a run, of several runs side by side, or of a sweep."""
    if isinstance(target, Sweep):
        return _sweep(target)
    return _run(target[0]) if len(target) == 1 else _runs(target)


def _run(run: Run) -> str:
    figures: Plain = {}
    comparison = compare([run])
    shown_run = _shown(run, "run-0", run.name, comparison, FRAMES, None, figures, charts.ROOM)
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
    shown_runs = _cells(runs, labels, comparison, figures)
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
        verdict=views.verdict_of_all(runs),
        notes=notes,
        **parts,
    )


def _sweep(sweep: Sweep) -> str:
    means, figures = aggregate(sweep), {}
    labels = list(map(label, sweep.cells))
    cells = _cells(sweep.cells, labels, means.comparison, figures)
    names = means.names
    slices = _slices(means)
    figures |= _grids(means, names, slices)
    called = axis_names(sweep.axes)
    parts = {
        "sweep": sweep,
        "cells": cells,
        "groups": [_group(means, group, names, cells) for group in means.groups],
        "chosen": _chosen(means, names),
        "axes": list(called.values()),
        "columns": _columns(names, means.comparison),
        "slices": [views.group_label(SeedGroup(fixed, [], 0)) for fixed in slices],
        "along": [
            (i, called[key]) for i, key in enumerate(sweep.plane) if len(sweep.axes[key]) > 1
        ],
        "panels": (
            [views.group_label(SeedGroup(panel, [], 0)) for panel in _panels(sweep)]
            if sweep.others
            else []
        ),
        "others": " and ".join(called[key] for key in sweep.others),
        "states": {
            state: sum(group.counts[state] for group in means.groups) for state in STANDINGS
        },
        "verdict": views.verdict_of_all(means.trained),
        "notes": [
            *sweep.problems,
            *means.comparison.notes,
            *score_marks(sweep.cells, labels, means.comparison),
        ],
    }
    return _page("sweep.html", f"sweep of {sweep.experiment}", figures, **parts)


def _page(template: str, title: str, figures: Plain, **parts: Any) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"allow_nan": False, "separators": (",", ":")}
    style, script = (
        (TEMPLATES / name).read_text(encoding="utf-8") for name in ("style.css", "page.js")
    )
    plotly = _plotly()
    hashes = " ".join(f"'sha256-{_digest(text)}'" for text in (plotly, script))
    common = {
        "title": title,
        "figures": figures,
        "style": style,
        "script": script,
        "plotly": plotly,
        "hashes": hashes,
    }
    return environment.get_template(template).render(**common, version=__version__, **parts)


def _shown(
    run: Run,
    id: str,
    label: str,
    comparison: Comparison,
    most: int,
    side: int | None,
    figures: Plain,
    room: int,
) -> Shown:
    drawn = charts.of_run(run, room)
    figures |= {f"{id}/{name}": figure for name, figure in drawn.items()}
    titles = charts.curves([run])
    told = {
        name: titles.get(name) or Curve(name.split(" ")[1] if " " in name else name, "By step.")
        for name in drawn
    }
    listed = [(f"{id}/{name}", curve.title, curve.sentence) for name, curve in told.items()]
    problems = list(run.problems)
    pictures = films(run.pictures, most, side, problems)
    facts, headline = views.facts(run), views.headline(run, comparison)
    return Shown(
        id,
        run,
        label,
        views.ending(run),
        views.verdict(run),
        quality(run.summary),
        facts,
        headline,
        pictures,
        listed,
        problems,
    )


def _cells(
    runs: Sequence[Run], labels: Sequence[str], comparison: Comparison, figures: Plain
) -> list[Shown]:
    """Runs of a page of many, in small."""
    most = max(1, min(12, THUMBNAILS // max(1, len(runs))))
    room = max(100, min(charts.ROOM, charts.MOST // max(1, len(runs))))
    labeled = enumerate(zip(runs, labels, strict=True))
    return [
        _shown(run, f"run-{i}", label, comparison, most, SIDE, figures, room)
        for i, (run, label) in labeled
    ]


def _columns(names: Sequence[str], comparison: Comparison) -> list[tuple[str, str, str]]:
    """Numbers as columns: name, which way is better, and the floor of scores."""
    known, floors = comparison.known, comparison.floors
    return [
        (name, known[name].better, f"{floors[name]:.4g}" if name in floors else "")
        for name in names
    ]


def _slices(means: Means) -> list[dict[str, str]]:
    """The combinations of the axes that a heat map has no room for."""
    found = [{key: group.values[key] for key in means.sweep.others} for group in means.groups]
    return [fixed for i, fixed in enumerate(found) if fixed not in found[:i]]


def _panels(sweep: Sweep) -> list[dict[str, str]]:
    """The values of the heat map's second axis."""
    return [{sweep.plane[1]: value} for value in sweep.axes[sweep.plane[1]]]


def _grids(means: Means, names: Sequence[str], slices: Sequence[dict[str, str]]) -> Plain:
    """Every figure that the page's choosers can ask for: by number, and by slice or panel."""
    sweep, found = means.sweep, {}
    for n, name in enumerate(names):
        for s, fixed in enumerate(slices):
            found[f"heat/{n}/{s}"] = grids.heat_map(means, name, fixed)
            for a, along in enumerate(sweep.plane):
                found[f"line/{n}/{s}/{a}"] = grids.lines(
                    means, name, along, [key for key in sweep.plane if key != along], fixed
                )
        for p, panel in enumerate(_panels(sweep) if sweep.others else []):
            found[f"panel/{n}/{p}"] = grids.lines(means, name, sweep.plane[0], sweep.others, panel)
    return found


def _group(means: Means, group: SeedGroup, names: Sequence[str], cells: Sequence[Shown]) -> Plain:
    """A combination, prepared for its row and its panel."""
    numbers_ = []
    for name in names:
        found = means.spread(group, name)
        numbers_.append(
            ""
            if found is None
            else f"{means.known[name].text(found.mean)}{means.known[name].deviation(found.sd)}"
        )
    own = [cell for cell in cells if any(cell.run is run for run in group.cells)]
    counts = [
        f"{s.symbol} {n} {s.word}" for s, n in group.counts.items() if n or s is RunState.FINISHED
    ]
    return {
        "label": views.group_label(group),
        "values": list(group.values.values()),
        "numbers": numbers_,
        "cells": own,
        "counts": " ".join(counts),
    }


def _chosen(means: Means, names: Sequence[str]) -> int:
    """The combination that is shown first: the best by the first number, where one is better.

    Else the first that has a number.
    """
    places = [i for i, group in enumerate(means.groups) if group.trained]
    if not names or not places:
        return 0
    sign = {"lower": 1.0, "higher": -1.0, "": 0.0}.get(means.known[names[0]].better, 0.0)

    def rank(place: int) -> float:
        found = means.spread(means.groups[place], names[0])
        return float("inf") if found is None else sign * found.mean

    return min(places, key=rank)


@cache
def _plotly() -> str:
    return get_plotlyjs()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
