"""Sweeps as plotly's figures, plain data: a heat map of a number over two axes, and lines along
each axis. No JAX.

Every cell of a heat map carries its number, and lines differ in dash and symbol: nothing is told by
color alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from otgan.files import Plain
from otgan.report.charts import Figure, is_wide, look, text
from otgan.results.aggregate import Means, Spread
from otgan.results.quantities import KNOWN, SHARE, Known
from otgan.results.state import RunState
from otgan.results.sweep import SeedGroup, amount, names

MARKS = {  # of combinations without a number
    RunState.RUNNING: "circle-open",
    RunState.FAILED: "x-thin-open",
    RunState.INTERRUPTED: "line-ns-open",
    RunState.UNJUDGED: "circle-open-dot",
    RunState.MISSING: "line-ew-open",
}
HEAT = {  # how a heat map looks
    "texttemplate": "%{text}",
    "hoverinfo": "text",
    "colorscale": "Cividis",
    "showscale": False,
    "xgap": 3,
    "ygap": 3,
}


def heat_map(means: Means, name: str, fixed: Mapping[str, str]) -> Figure:
    """A number over the sweep's plane, the other axes held fixed.

    A click's `customdata` is the combination's place in the means.
    """
    across, up = [*means.sweep.plane, "", ""][:2]
    columns, rows = (means.sweep.axes.get(key, [""]) for key in (across, up))
    called = names(means.sweep.axes)
    here = {
        (group.values.get(across, ""), group.values.get(up, "")): group
        for group in means.within(fixed)
    }
    spreads = {place: means.spread(group, name) for place, group in here.items()}
    place = {id(group): i for i, group in enumerate(means.groups)}

    def grid(value):
        return [[value((x, y)) for x in columns] for y in rows]

    z = grid(lambda at: None if (found := spreads[at]) is None else found.mean)
    heat = {
        "type": "heatmap",
        "x": list(map(text, columns)),
        "y": list(map(text, rows)),
        "z": _tones(z),
        "text": grid(lambda at: _cell_text(name, spreads[at], here[at], means)),
        "hovertext": grid(lambda at: hover(name, spreads[at], here[at], means.known)),
        "customdata": grid(lambda at: place[id(here[at])]),
        **HEAT,
    }
    empty = [
        _empty(
            state,
            [at for at in here if spreads[at] is None and _standing(here[at]) == state],
            here,
            place,
        )
        for state in MARKS
    ]
    layout = {
        "xaxis": _categories(called.get(across)),
        "yaxis": _categories(called.get(up)),
        "hovermode": "closest",
        "showlegend": False,
    }
    return {
        "data": [heat, *(trace for trace in empty if trace["x"])],
        "layout": layout,
        "rows": len(rows),
        "columns": len(columns),
        "chooses": True,
    }


def lines(
    means: Means, name: str, along: str, by: Sequence[str], fixed: Mapping[str, str]
) -> Figure:
    """A number along an axis with its deviation over seeds, a line for each combination of the axes
    `by`, the others held fixed.
    """
    values = means.sweep.axes[along]
    numeric, called = is_numeric(values), names(means.sweep.axes)
    combinations = list(
        dict.fromkeys(tuple(group.values[key] for key in by) for group in means.within(fixed))
    )
    traces = []
    for i, combination in enumerate(combinations):
        picked = dict(zip(by, combination, strict=True))
        label = ", ".join(f"{called[key]} {value}" for key, value in picked.items()) or name
        traces += _line(means, name, along, {**fixed, **picked}, text(label), look(i))
    ticks = (
        {"type": "log", "tickvals": [amount(v) for v in values], "ticktext": values}
        if numeric
        else {"type": "category"}
    )
    log = (
        {"type": "log", "exponentformat": "power"}
        if is_wide([y for trace in traces for y in trace["y"]])
        else {}
    )
    axes = {
        "xaxis": {"title": {"text": text(called[along])}, **ticks},
        "yaxis": {"title": {"text": text(name)}, **log},
    }
    return {
        "data": traces,
        "layout": {**axes, "showlegend": len(traces) > 1, "hovermode": "closest"},
    }


def _line(
    means: Means,
    name: str,
    along: str,
    fixed: Mapping[str, str],
    label: str,
    drawn: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """The line of one combination, with bars where it has several seeds; none without numbers."""
    points = [(group, s) for group in means.within(fixed) if (s := means.spread(group, name))]
    if not points:
        return []
    at = [group.values[along] for group, _ in points]
    trace = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [*map(amount if is_numeric(means.sweep.axes[along]) else text, at)],
        "y": [s.mean for _, s in points],
        "name": label,
        "hovertext": [hover(name, s, group, means.known) for group, s in points],
        "hoverinfo": "text",
        **drawn,
    }
    if any(s.sd for _, s in points):
        bars = {"color": drawn["line"]["color"], "thickness": 1.2, "width": 4}
        trace["error_y"] = {"array": [s.sd or 0.0 for _, s in points], **bars}
    return [trace]


def is_numeric(values: list[str]) -> bool:
    """Whether values have a place on a log scale: amounts of one kind."""
    found = [amount(value) for value in values]
    return (
        all(v is not None and math.isfinite(v) for v in found)
        and len({value.endswith("x") for value in values}) == 1
    )


def _standing(group: SeedGroup) -> RunState:
    """Why a combination has no number."""
    return next((state for state in MARKS if group.counts[state]), RunState.MISSING)


def _cell_text(name: str, found: Spread | None, group: SeedGroup, means: Means) -> str:
    if found is None:
        return ""
    share, seeds = means.spread(group, SHARE), len(group.cells) + group.absent
    parts = [
        f"<b>{means.known[name].text(found.mean)}</b>",
        means.known[name].deviation(found.sd).strip(),
        f"{means.known[SHARE].text(share.mean)} ≤ ε" if share and name != SHARE else "",
        f"{len(found.values)} of {seeds} seeds" if len(found.values) < seeds else "",
    ]
    return "<br>".join(filter(None, parts))


def hover(name: str, found: Spread | None, group: SeedGroup, known: Known) -> str:
    """What hovering tells of a combination: its values, its number, its seeds."""
    values = "<br>".join(
        f"{text(called)} {text(group.values[key])}" for key, called in names(group.values).items()
    )
    counts = ", ".join(f"{count} {state.word}" for state, count in group.counts.items() if count)
    if found is None:
        return f"{values}<br>{counts}"
    seeds = ", ".join(known[name].text(value) for value in found.values)
    mean = f"{known[name].text(found.mean)}{known[name].deviation(found.sd)}"
    return f"{values}<br><b>{text(name)} {mean}</b><br>seeds: {seeds}<br>{counts}"


def _empty(
    state: RunState,
    places: list[tuple[str, ...]],
    here: Mapping[tuple[str, ...], SeedGroup],
    place: Mapping[int, int],
) -> Plain:
    """Symbols where a heat map has no number, with the reason."""
    symbol, word = MARKS[state], state.word
    marker = {
        "symbol": symbol,
        "size": 12,
        "color": "--muted",
        "line": {"color": "--muted", "width": 2},
    }
    return {
        **{
            "type": "scatter",
            "mode": "markers+text",
            "text": [word] * len(places),
            "textposition": "bottom center",
            "hoverinfo": "text",
        },
        **{
            "x": [text(x) for x, _ in places],
            "y": [text(y) for _, y in places],
            "marker": marker,
            "textfont": {"color": "--muted"},
        },
        "hovertext": [hover("", None, here[at], KNOWN) for at in places],
        "customdata": [place[id(here[at])] for at in places],
    }


def _tones(z: list[list[float | None]]) -> list[list[float | None]]:
    """Numbers as colors: by their logarithm where they span more than two decades."""
    if not is_wide([value for row in z for value in row if value is not None]):
        return z
    return [[None if value is None else math.log10(value) for value in row] for row in z]


def _categories(name: str | None) -> Plain:
    title = {"title": {"text": text(name)}} if name else {"showticklabels": False}
    return {"type": "category", "showgrid": False, "zeroline": False, **title}
