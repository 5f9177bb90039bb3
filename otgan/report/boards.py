"""A sweep prepared for its template: its figures, its combinations, and which of them comes first.
No JAX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from otgan.files import Plain
from otgan.report import grids, views
from otgan.report.parallel import parallel, swept
from otgan.report.shown import Shown, first
from otgan.results.aggregate import Means
from otgan.results.state import RunState
from otgan.results.sweep import SeedGroup, Sweep

PLANE = 2  # axes that a heat map shows


class Group(NamedTuple):
    """A combination, prepared for its row, its panel and its place in the gallery."""

    label: str
    values: list[str]
    numbers: list[str]
    cells: list[Shown]
    first: int | None  # of its cells, that which is shown first
    counts: str


def slices(means: Means) -> list[dict[str, str]]:
    """The combinations of the axes that a heat map has no room for."""
    found = [{key: group.values[key] for key in means.sweep.others} for group in means.groups]
    return [fixed for i, fixed in enumerate(found) if fixed not in found[:i]]


def panels(sweep: Sweep) -> list[dict[str, str]]:
    """The values of the heat map's second axis."""
    return [{sweep.plane[1]: value} for value in sweep.axes[sweep.plane[1]]]


def figures(means: Means, names: Sequence[str], slices: Sequence[dict[str, str]]) -> Plain:
    """Every figure that the page's choosers can ask for: by number, and by slice or panel."""
    sweep, found = means.sweep, {}
    for n, name in enumerate(names):
        for s, fixed in enumerate(slices):
            found[f"heat/{n}/{s}"] = grids.heat_map(means, name, fixed)
            for a, along in enumerate(sweep.plane):
                found[f"line/{n}/{s}/{a}"] = grids.lines(
                    means, name, along, [key for key in sweep.plane if key != along], fixed
                )
        for p, panel in enumerate(panels(sweep) if sweep.others else []):
            found[f"panel/{n}/{p}"] = grids.lines(means, name, sweep.plane[0], sweep.others, panel)
        if has_parallel(means):
            found[f"parallel/{n}"] = parallel(means, name)
    return found


def has_parallel(means: Means) -> bool:
    """Whether there are more axes than a heat map shows."""
    return len(swept(means)) > PLANE


def grouped(means: Means, names: Sequence[str], cells: Sequence[Shown]) -> list[Group]:
    """Every combination with its cells, in the order of the axes."""
    of = {id(cell.run): cell for cell in cells}
    return [
        _group(means, group, names, [of[id(run)] for run in group.cells]) for group in means.groups
    ]


def _group(means: Means, group: SeedGroup, names: Sequence[str], cells: list[Shown]) -> Group:
    """A combination."""
    spreads = {name: means.spread(group, name) for name in names}
    numbers = [
        f"{means.known[name].text(found.mean)}{means.known[name].deviation(found.sd)}"
        if found
        else ""
        for name, found in spreads.items()
    ]
    counts = [
        f"{s.symbol} {n} {s.word}" for s, n in group.counts.items() if n or s is RunState.FINISHED
    ]
    label, values = views.group_label(group), list(group.values.values())
    return Group(label, values, numbers, cells, first(cells), " ".join(counts))


def chosen(means: Means, names: Sequence[str]) -> tuple[int, str]:
    """The combination that is shown first, and why: the best by the first number, where one way is
    better; else the first that came to its end, was begun, or is there at all.
    """
    trained = [i for i, group in enumerate(means.groups) if group.trained]
    better = means.known[names[0]].better if names else ""
    found = {
        i: sign * spread.mean
        for i in (trained if better else [])
        for sign in [1.0 if better == "lower" else -1.0]
        if (spread := means.spread(means.groups[i], names[0]))
    }
    if found:
        return min(found, key=found.__getitem__), f"the best by {names[0]}"
    if trained:
        return trained[0], "the first that came to its end"
    begun = [i for i, group in enumerate(means.groups) if len(group.cells) > _waiting(group)]
    return (begun[0], "none has come to its end") if begun else (0, "none has begun")


def _waiting(group: SeedGroup) -> int:
    return sum(cell.state is RunState.MISSING for cell in group.cells)
