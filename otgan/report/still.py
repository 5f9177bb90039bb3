"""A sweep as a picture for a paper or a README: its numbers along one axis, a line for every
combination of the others.

Matplotlib's own, since what plotly draws becomes a picture in a browser only. Lines differ in dash
and symbol as well as in color.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from otgan.report.charts import is_wide
from otgan.report.grids import is_numeric
from otgan.results.aggregate import Means, aggregate
from otgan.results.quantities import RATIO
from otgan.results.sweep import Sweep, amount, names

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DASHES, SYMBOLS = ("-", "--", ":", "-."), "osD^vPX*"
ACROSS = 3  # panels
LINE = 36  # characters of values that stand side by side below a panel
ARROWS = {"lower": "lower is better", "higher": "higher is better"}


def still(sweep: Sweep) -> Figure:
    """Every number of a sweep that has a better and a worse, in a panel of its own, with its
    standard deviation over the seeds.
    """
    from matplotlib.figure import Figure

    means = aggregate(sweep)
    drawn = {name: way for name in means.names if (way := means.known[name].better)}
    if RATIO in drawn:
        drawn.pop("w2", None)  # the same in other units
    across, down = min(ACROSS, max(1, len(drawn))), -(-len(drawn) // ACROSS) or 1
    figure = Figure(figsize=(0.6 + 3.6 * across, 0.7 + 2.7 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    real = means.comparison.floors
    for panel, (name, way) in zip(panels, drawn.items(), strict=False):
        _panel(panel, means, name, sweep.plane[0])
        if name in real:
            panel.axhline(real[name], color="0.4", linestyle=(0, (1, 3)), label="real examples")
        panel.set_title(f"{name.replace('_', ' ')}, {ARROWS.get(way, way)}", fontsize=10)
    for panel in panels[len(drawn) :]:
        panel.set_axis_off()
    seeds = len(sweep.seeds)
    title = f"{sweep.experiment}, {seeds} seed{'s' if seeds > 1 else ''}"
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title=title,
        loc="outside upper center",
        ncols=4,
        frameon=False,
    )
    return figure


def _panel(panel: Any, means: Means, name: str, along: str) -> None:
    """One number."""
    values, called = means.sweep.axes[along], names(means.sweep.axes)
    by = [key for key in means.sweep.axes if key != along and len(means.sweep.axes[key]) > 1]
    numeric, heights = is_numeric(values), []
    for i, combination in enumerate(
        dict.fromkeys(tuple(group.values[key] for key in by) for group in means.groups)
    ):
        groups = means.within(dict(zip(by, combination, strict=True)))
        points = [
            (group.values[along], found) for group in groups if (found := means.spread(group, name))
        ]
        x = [amount(value) if numeric else values.index(value) for value, _ in points]
        label = (
            ", ".join(f"{called[key]} {value}" for key, value in zip(by, combination, strict=True))
            or means.sweep.experiment
        )
        style = {
            "linestyle": DASHES[i % len(DASHES)],
            "marker": SYMBOLS[i % len(SYMBOLS)],
            "color": f"C{i}",
            "markersize": 5,
        }
        panel.errorbar(
            x,
            [s.mean for _, s in points],
            [s.sd or 0.0 for _, s in points],
            label=label,
            capsize=3,
            **style,
        )
        heights += [s.mean for _, s in points]
    if numeric:
        panel.set_xscale("log")
    slanted = {"rotation": 30, "ha": "right"} if len("".join(values)) > LINE else {}
    panel.set_xticks(
        [amount(value) if numeric else i for i, value in enumerate(values)], values, **slanted
    )
    panel.minorticks_off()
    if means.known[name].format == "share":
        panel.set_ylim(-0.03, 1.03)
    elif is_wide(heights):
        panel.set_yscale("log")
    panel.set_xlabel(called[along])
    panel.grid(alpha=0.25)
