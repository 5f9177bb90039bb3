"""Runs as plotly's figures, plain data: what a dual's accuracy was at every step, beside what was
made of it. No JAX.

A color is the name of one of the page's, such as `--accent`, which the page replaces by that of its
light or dark theme. No curve is told from another by its color alone: each has its own dash and
symbol, and steps above epsilon are shaded and crossed.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from otgan.files import Plain, dig, number
from otgan.report.room import CURVE, points, spread_out
from otgan.results.quantities import known
from otgan.results.quantity import Curve
from otgan.results.run import Run

Figure = dict[str, Any]
Points = tuple[list[float], list[float]]

SPANS = 60  # shaded spans at most
TICKS = 60  # of a run's clock
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "cross", "triangle-down")
COLORS = 8
TOLD = 16  # curves that a reader can tell apart, with a legend


def curves(runs: Iterable[Run]) -> dict[str, Curve]:
    """What is drawn of every run: by name in `metrics.jsonl`, title and sentence."""
    known_ = known(quantity for run in runs for quantity in run.declared)
    return {name: quantity.curve for name, quantity in known_.items() if quantity.curve}


def text(words: object) -> str:
    """Words for a figure: plotly reads tags in them, so there are none."""
    return html.escape(str(words), quote=False)


def curve(run: Run, name: str) -> Points:
    """A run's numbers by step; of the iterations, which are recorded as a total, those in a
    step.
    """
    points = [
        (float(line["step"]), value)
        for line in run.lines
        if (value := number(line.get(name))) is not None
    ]
    if name == "dual_iterations":
        points = [
            (b[0], (b[1] - a[1]) / (b[0] - a[0]))
            for a, b in pairwise([(0.0, 0.0), *points])
            if b[0] > a[0]
        ]
    return [x for x, _ in points], [y for _, y in points]


def thin(points: Points, room: int = CURVE) -> Points:
    """A curve of at most `room` points, in whose stretches the least and the greatest value are
    kept, so that no spike is lost.
    """
    xs, ys = points
    if len(xs) <= room:
        return points
    width = -(-len(xs) // (room // 2))
    kept: list[int] = []
    for begin in range(0, len(xs), width):
        stretch = range(begin, min(begin + width, len(xs)))
        kept += sorted({min(stretch, key=ys.__getitem__), max(stretch, key=ys.__getitem__)})
    return [xs[i] for i in kept], [ys[i] for i in kept]


def uncertified(run: Run) -> list[tuple[float, float]]:
    """The spans of steps in which a solved dual did not reach epsilon: (after this step, up to this
    one), touching ones joined.
    """
    spans: list[tuple[float, float]] = []
    for line in run.lines:
        reached, solved = number(line.get("dual_converged")), number(line.get("ready"))
        if reached is None or reached >= (1.0 if solved is None else solved):
            continue
        end = float(line["step"])
        begin = end - (number(line.get("steps")) or 1.0)
        if spans and begin <= spans[-1][1]:
            begin = spans.pop()[0]
        spans.append((begin, end))
    return spans


def of_run(run: Run, room: int = CURVE) -> dict[str, Figure]:
    """A run's figures by name; those of which nothing is recorded are left out."""
    spans = uncertified(run)
    shapes = [_shade(span) for span in _joined(spans, min(SPANS, room))]
    found = {}
    for name, (title, _) in curves([run]).items():
        drawn = curve(run, name)
        if not drawn[0]:
            continue
        traces = [_line(thin(drawn, room), title.lower(), 0)]
        if name == "dual_gap":
            traces += _epsilon(run, room)
        traces += _crosses(drawn, spans, room)
        log = name == "dual_gap" or is_wide(drawn[1])
        found[name] = {
            "data": traces,
            "layout": {**_layout(log), "shapes": shapes, "showlegend": len(traces) > 1},
        }
    return found | _scores_by_step(run)


def of_runs(runs: Sequence[Run], labels: Sequence[str]) -> dict[str, Figure]:
    """The same curves of several runs, one over the other.

    Which is which, a legend tells of a few, and hovering of many.
    """
    room, told = points(len(runs)), len(runs) <= TOLD
    found = {}
    for name in curves(runs):
        of = {i: drawn for i, run in enumerate(runs) if (drawn := curve(run, name))[0]}
        if of:
            traces = [_line(thin(drawn, room), labels[i], i, told) for i, drawn in of.items()]
            log = name == "dual_gap" or is_wide([y for _, ys in of.values() for y in ys])
            found[name] = {
                "data": traces,
                "layout": {**_layout(log), "showlegend": told},
                "clocks": [run_key(i) for i in of],
            }
    return found


def run_key(i: int) -> str:
    """What the i-th run of a page is called in it."""
    return f"run-{i}"


def clock(run: Run) -> Plain | None:
    """How many seconds a run had trained by which step, by which a page turns steps into seconds.

    None where it did not record them.
    """
    ticks = [(0.0, 0.0)]
    for line in spread_out(run.lines, TICKS):
        step, seconds = float(line["step"]), number(line.get("seconds"))
        if seconds is not None and step > ticks[-1][0] and seconds > ticks[-1][1]:
            ticks.append((step, seconds))
    if len(ticks) < 2:
        return None
    return {"steps": [step for step, _ in ticks], "seconds": [_short(s) for _, s in ticks]}


def is_wide(values: Iterable[float]) -> bool:
    """Whether values span more than two decades, and have a logarithm."""
    values = list(values)
    return bool(values) and min(values) > 0 and max(values) > 100 * min(values)


def look(i: int) -> Plain:
    """How the i-th curve of a figure is told from the others: by its color, and by its dash and
    symbol.
    """
    color = f"--curve-{i % COLORS}"
    symbol = SYMBOLS[i % len(SYMBOLS)]
    return {
        "line": {"color": color, "dash": DASHES[i % len(DASHES)], "width": 1.8},
        "marker": {"symbol": symbol, "color": color, "size": 8},
    }


def _line(points: Points, label: str, i: int, symbols: bool = False) -> Plain:
    """A curve, with or without a handful of symbols on it."""
    drawn = look(i)
    hover = "step %{x:,}: %{y:.4g}" + f"<extra>{text(label)}</extra>"
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": points[0],
        "y": [_short(y) for y in points[1]],
        "name": text(label),
    }
    more = (
        {"mode": "lines+markers", "marker": {**drawn["marker"], "maxdisplayed": 6}}
        if symbols
        else {}
    )
    return {**line, **more, "line": drawn["line"], "hovertemplate": hover}


def _epsilon(run: Run, room: int) -> list[Plain]:
    points = curve(run, "epsilon")
    if not points[0]:
        return []
    asked = dig(run.config, "oracle.epsilon")
    label = "epsilon" if asked is None else f"epsilon = {asked}"
    return [
        {
            **_line(thin(points, room), label, 0),
            "line": {"color": "--muted", "dash": "dash", "width": 1.8},
        }
    ]


def _crosses(points: Points, spans: list[tuple[float, float]], room: int) -> list[Plain]:
    """A cross at the values of windows that had a step above epsilon."""
    ends = iter([*spans, (float("inf"), float("inf"))])
    begin, end = next(ends)
    xs, ys = [], []
    for x, y in zip(*points, strict=True):
        while x > end:
            begin, end = next(ends)
        if begin < x:
            xs.append(x)
            ys.append(y)
    if not xs:
        return []
    xs, ys = thin((xs, ys), min(400, room))
    marker = {
        "symbol": "x-thin",
        "size": 7,
        "color": "--warn",
        "line": {"color": "--warn", "width": 1.5},
    }
    plain = {
        "type": "scatter",
        "mode": "markers",
        "x": xs,
        "y": [_short(y) for y in ys],
        "name": "above epsilon",
        "marker": marker,
    }
    return [{**plain, "hovertemplate": "step %{x:,}: %{y:.4g}<extra>above epsilon</extra>"}]


def _shade(span: tuple[float, float]) -> Plain:
    edges = {"x0": span[0], "x1": span[1], "y0": 0, "y1": 1}
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        **edges,
        "fillcolor": "--shade",
        "line": {"width": 0},
        "layer": "below",
    }


def _joined(spans: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most so many spans: those that are nearest to each other are joined."""
    if len(spans) <= most:
        return spans
    widest = sorted((b[0] - a[1] for a, b in pairwise(spans)), reverse=True)[most - 1]
    joined = [spans[0]]
    for span in spans[1:]:
        if span[0] - joined[-1][1] > widest:
            joined.append(span)
        else:
            joined[-1] = (joined[-1][0], span[1])
    return joined


def _scores_by_step(run: Run) -> dict[str, Figure]:
    """Scores that were taken at several steps, with their floor."""
    series: dict[tuple[str, str], dict[int, Plain]] = {}
    for score in run.scores:
        if isinstance(score.get("step"), int):
            series.setdefault((score["metric"], score["fingerprint"]), {})[score["step"]] = score
    found = {}
    for (metric, print_), by_step in series.items():
        if len(by_step) < 2:
            continue
        steps = sorted(by_step)
        means = [float(by_step[step]["mean"]) for step in steps]
        bars = [number(by_step[step].get("sd")) or 0.0 for step in steps]
        line = {
            **_line(([float(s) for s in steps], means), metric, 0),
            "mode": "lines+markers",
            "marker": look(0)["marker"],
        }
        traces = [line | ({"error_y": {"array": bars, "color": "--accent"}} if any(bars) else {})]
        floor = number(by_step[steps[-1]].get("floor"))
        if floor is not None:
            level = _line(
                ([float(steps[0]), float(steps[-1])], [floor, floor]), "floor: real examples", 0
            )
            traces.append({**level, "line": {"color": "--muted", "dash": "dash", "width": 1.8}})
        found[f"score {metric} {print_}"] = {
            "data": traces,
            "layout": {**_layout(False), "showlegend": len(traces) > 1},
        }
    return found


def _layout(log: bool) -> Plain:
    axis = {"type": "log", "exponentformat": "power"} if log else {"type": "linear"}
    return {
        "xaxis": {"title": {"text": "step"}, "rangemode": "tozero"},
        "yaxis": axis,
        "hovermode": "closest",
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")
