"""A sweep over more than two axes as parallel coordinates: a line for every combination, across all
axes to its number. No JAX.

Drawn as ordinary lines: plotly's own kind compiles code as it runs, which the page's policy
forbids, and asks for WebGL, which a print has not.
"""

from __future__ import annotations

import math

from otgan.files import Plain
from otgan.report.charts import Figure, is_wide, text
from otgan.report.grids import hover
from otgan.results.aggregate import Means, Spread
from otgan.results.sweep import SeedGroup, names

BEST = 0.25  # of the lines stand out
FAN = 0.5  # of the distance between two values, over which the lines through one of them fan out


def swept(means: Means) -> list[str]:
    """The axes that have more than one value."""
    return [key for key, values in means.sweep.axes.items() if len(values) > 1]


def parallel(means: Means, name: str) -> Figure:
    """Every combination that has a number, from axis to axis, and on the last one the number.

    Lines through one value fan out by the number, the lowest below. The best ones are thick and
    drawn last. A click's `customdata` is the combination's place in the means.
    """
    axes = swept(means)
    found = {i: s for i, group in enumerate(means.groups) if (s := means.spread(group, name))}
    heights = _heights({i: s.mean for i, s in found.items()})
    best = _best(found, means.known[name].better)
    traces = [
        _line(means, name, axes, (i, found[i]), heights[i], i in best)
        for i in sorted(found, key=lambda i: i in best)
    ]
    called = names(means.sweep.axes)
    titles = [*(text(called[key]) for key in axes), text(name)]
    return {
        "data": traces,
        "layout": {
            "xaxis": _stations(titles),
            "yaxis": {"visible": False, "range": [-0.1, 1.1], "fixedrange": True},
            "shapes": [_post(i) for i in range(len(titles))],
            "annotations": _ticks(means, name, axes, found),
            "hovermode": "closest",
            "showlegend": False,
        },
        "wide": len(titles),
        "chooses": True,
    }


def _heights(values: dict[int, float]) -> dict[int, float]:
    """Numbers between 0 and 1: by their logarithm where they span more than two decades."""
    log = is_wide(values.values())
    tones = {i: math.log10(value) if log else value for i, value in values.items()}
    least, most = min(tones.values(), default=0.0), max(tones.values(), default=0.0)
    return {
        i: (tone - least) / (most - least) if most > least else 0.5 for i, tone in tones.items()
    }


def _best(found: dict[int, Spread], better: str) -> set[int]:
    """The best of them; none where neither way is better."""
    if not better:
        return set()
    ranked = sorted(found, key=lambda i: found[i].mean, reverse=better == "higher")
    return set(ranked[: math.ceil(BEST * len(ranked))])


def _place(values: list[str], value: str) -> float:
    return values.index(value) / (len(values) - 1)


def _line(
    means: Means, name: str, axes: list[str], at: tuple[int, Spread], height: float, best: bool
) -> Plain:
    """A combination's line."""
    place, spread = at
    group: SeedGroup = means.groups[place]
    told = hover(name, spread, group, means.known)
    steps = []
    for key in axes:
        values = means.sweep.axes[key]
        fan = FAN * min(1 / (len(values) - 1), 0.4) * (height - 0.5)
        steps.append(_place(values, group.values[key]) + fan)
    color = "--accent" if best else "--muted"
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [*range(len(axes) + 1)],
        "y": [round(y, 4) for y in (*steps, height)],
        "line": {"color": color, "width": 3 if best else 1.2},
        "marker": {"color": color, "size": 8 if best else 5},
        "opacity": 1.0 if best else 0.6,
        "hovertext": told,
        "hoverinfo": "text",
        "customdata": [place] * (len(axes) + 1),
    }


def _stations(titles: list[str]) -> Plain:
    """The axes, side by side, called above."""
    return {
        "tickvals": [*range(len(titles))],
        "ticktext": [f"<b>{title}</b>" for title in titles],
        "range": [-0.35, len(titles) - 0.45],
        "side": "top",
        "showgrid": False,
        "zeroline": False,
        "fixedrange": True,
    }


def _post(i: int) -> Plain:
    edges = {"x0": i, "x1": i, "y0": -0.08, "y1": 1.08}
    return {"type": "line", **edges, "line": {"color": "--muted", "width": 1}, "layer": "below"}


def _ticks(means: Means, name: str, axes: list[str], found: dict[int, Spread]) -> list[Plain]:
    """What stands at the axes: their values, and the least and the greatest number."""
    words = [
        (i, _place(values, value), value)
        for i, key in enumerate(axes)
        for values in [means.sweep.axes[key]]
        for value in values
    ]
    ends = _ends([spread.mean for spread in found.values()])
    words += [(len(axes), y, means.known[name].text(value)) for y, value in ends]
    return [
        {
            "x": x,
            "y": y,
            "text": text(word),
            "showarrow": False,
            "xanchor": "right" if x < len(axes) else "left",
            "xshift": -8 if x < len(axes) else 8,
            "bgcolor": "--paper",
            "font": {"color": "--ink"},
        }
        for x, y, word in words
    ]


def _ends(values: list[float]) -> list[tuple[float, float]]:
    """The least and the greatest number, each behind its height."""
    if not values:
        return []
    least, most = min(values), max(values)
    return [(0.5, least)] if least == most else [(0.0, least), (1.0, most)]
