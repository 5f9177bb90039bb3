"""A run prepared for its template: what a page says of it, its pictures and its curves. No JAX."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from otgan.files import Plain
from otgan.report import charts, views
from otgan.report.pictures import Film, films
from otgan.report.room import Room, among
from otgan.results.again import Again, again
from otgan.results.aggregate import Comparison
from otgan.results.quality import quality
from otgan.results.quantity import Curve
from otgan.results.run import Run
from otgan.results.state import RunState


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
    timed: bool  # whether its curves can be drawn against seconds
    again: list[Again]
    problems: list[str]

    @property
    def seed(self) -> str:
        """Of a sweep's cell."""
        return "?" if self.run.seed is None else str(self.run.seed)


def shown(
    run: Run, i: int, label: str, comparison: Comparison, room: Room, figures: Plain
) -> Shown:
    """The i-th run of a page; `figures` gains its own."""
    id, clock = charts.run_key(i), charts.clock(run)
    listed = _charts(run, id, room, figures)
    if clock:
        figures[f"{id}/clock"] = clock
    problems = list(run.problems)
    pictures = films(run.pictures, room, problems)
    return Shown(
        id,
        run,
        label,
        views.ending(run),
        views.verdict(run),
        quality(run.summary),
        views.facts(run),
        views.headline(run, comparison),
        pictures,
        listed,
        bool(clock and listed),
        again(run),
        problems,
    )


def several(
    runs: Sequence[Run], labels: Sequence[str], comparison: Comparison, figures: Plain
) -> list[Shown]:
    """Runs of a page of many, in small."""
    room = among(len(runs))
    labeled = enumerate(zip(runs, labels, strict=True))
    return [shown(run, i, label, comparison, room, figures) for i, (run, label) in labeled]


def first(cells: Sequence[Shown]) -> int | None:
    """The place of the run that a page opens on: one that came to its end, else one at work, else
    one that was begun; None where there is none.
    """
    ranks = {RunState.FINISHED: 0, RunState.UNJUDGED: 1, RunState.RUNNING: 2, RunState.MISSING: 4}
    places = range(len(cells))
    return min(places, key=lambda i: ranks.get(cells[i].run.state, 3), default=None)


def _charts(run: Run, id: str, room: Room, figures: Plain) -> list[tuple[str, str, str]]:
    """A run's curves: their figures' keys, titles and sentences."""
    drawn = charts.of_run(run, room.points)
    figures |= {f"{id}/{name}": {**figure, "clocks": [id]} for name, figure in drawn.items()}
    titles = charts.curves([run])
    told = {
        name: titles.get(name) or Curve(name.split(" ")[1] if " " in name else name, "By step.")
        for name in drawn
    }
    return [(f"{id}/{name}", curve.title, curve.sentence) for name, curve in told.items()]
