"""The numbers of several runs: under which names they may stand side by side, and their means over
seeds. No JAX.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from otgan.files import number
from otgan.results.quantities import POINTS, RATIO, SHARE, Known, known, ratio
from otgan.results.quantity import Quantity
from otgan.results.run import Run
from otgan.results.scores import Key, columns
from otgan.results.sweep import SeedGroup, Sweep, groups

# --- several runs ---------------------------------------------------------------------------------


class Comparison(NamedTuple):
    """What may be compared of several runs.

    Attributes:
        names: what a score is called, by metric and fingerprint.
        known: what their numbers are: those of the table, those that their families declared, and
            the scores, by these names.
        scores: the names of those that stand in no summary.
        floors: what real examples get, by the name of the score.
        notes: what may not be compared, and why.
        apart: the scores that summaries hold under one name and that were measured in different
            ways: they stand under names of their own.
    """

    names: dict[Key, str]
    known: Known
    scores: list[str]
    floors: dict[str, float]
    notes: list[str]
    apart: set[Key]


def compare(runs: Sequence[Run]) -> Comparison:
    """Give every number of several runs a name that stands for one thing in all of them."""
    declared = known(quantity for run in runs for quantity in run.declared)
    apart = _measured_differently(runs)
    summarized = {key for run in runs for key in run.summarized_scores} - apart
    names, notes = columns((run.scores for run in runs), declared, summarized)
    scores = [
        (names[key], score)
        for run in runs
        for key, score in run.newest_scores.items()
        if key not in summarized
    ]
    floors = {
        name: floor for name, score in scores if (floor := number(score.get("floor"))) is not None
    }
    judged = [
        Quantity(name, better=way)
        for name, score in scores
        if (way := score.get("better")) in ("lower", "higher")
    ]
    beyond = dict.fromkeys(name for key, name in names.items() if key not in summarized)
    return Comparison(names, known([*declared.values(), *judged]), [*beyond], floors, notes, apart)


def _measured_differently(runs: Sequence[Run]) -> set[Key]:
    """The scores in summaries whose number another run's summary has by another protocol.

    Of one that names none it is not known.
    """
    named = {metric for run in runs for metric, _ in run.summarized_scores}
    prints: dict[str, set[str]] = {metric: set() for metric in named}
    for run in runs:
        told = dict(run.summarized_scores)
        for metric in named & run.summary.keys():
            prints[metric].add(told.get(metric, ""))
    return {
        (metric, print_)
        for metric, found in prints.items()
        if len(found) > 1
        for print_ in found
        if print_
    }


def numbers(run: Run, comparison: Comparison) -> dict[str, float]:
    """What a run came to, by name: its scores at its end, W2 in multiples of its floor, then the
    numbers of its summary.
    """
    scores = {comparison.names[key]: float(score["mean"]) for key, score in run.last_scores.items()}
    elsewhere = {metric for metric, _ in run.summarized_scores & comparison.apart}
    summary = {
        key: value
        for key, raw in run.summary.items()
        if (value := number(raw)) is not None and key not in elsewhere
    }
    return (
        scores
        | ratio(summary)
        | {
            key: value
            for key, value in summary.items()
            if comparison.known[key].over_seeds != "none"
        }
    )


def in_order(of_runs: Iterable[Mapping[str, float]], comparison: Comparison) -> list[str]:
    """The names of all numbers: scores first, then those of the table in its order, then families'
    own, then what nobody declared.
    """
    scores = dict.fromkeys(comparison.scores)
    order = {
        name: place
        for place, name in enumerate(
            [*scores, *(name for name in comparison.known if name not in scores)]
        )
    }
    return sorted(
        dict.fromkeys(name for found in of_runs for name in found),
        key=lambda name: order.get(name, len(order)),
    )


def score_marks(runs: Sequence[Run], labels: Sequence[str], comparison: Comparison) -> list[str]:
    """What must be known of several runs' scores, in a sentence each: of which score, and of which
    runs.
    """
    found: dict[tuple[str, str], list[str]] = {}
    for run, label in zip(runs, labels, strict=True):
        for key, score in run.last_scores.items():
            for mark in score.get("marks", []):
                found.setdefault((comparison.names[key], mark), []).append(label)
    return [f"{name} of {_few(of)}: {mark}" for (name, mark), of in found.items()]


def _few(labels: Sequence[str]) -> str:
    return "; ".join(labels) if len(labels) <= 3 else f"{len(labels)} runs"


# --- a sweep --------------------------------------------------------------------------------------


class Spread(NamedTuple):
    """A number over several seeds."""

    mean: float
    sd: float | None  # of a sample; None for one
    values: list[float]


def spread(values: list[float]) -> Spread:
    """Mean and standard deviation of one number or more."""
    return Spread(
        statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, values
    )


@dataclass(frozen=True)
class Means:
    """A sweep's numbers over its seeds; only cells that are trained to their end count.

    Attributes:
        sweep: its cells.
        groups: the combinations that they are seeds of.
        comparison: what the numbers are called.
        numbers: of every cell, by its identity.
    """

    sweep: Sweep
    groups: list[SeedGroup]
    comparison: Comparison
    numbers: Mapping[int, Mapping[str, float]]

    @property
    def known(self) -> Known:
        """What the numbers are."""
        return self.comparison.known

    @property
    def finished(self) -> list[Run]:
        """The cells that are trained, and judged as the sweep asks."""
        return [cell for group in self.groups for cell in group.finished]

    @property
    def trained(self) -> list[Run]:
        """The cells that count."""
        return [cell for group in self.groups for cell in group.trained]

    @property
    def names(self) -> list[str]:
        """The numbers that trained cells have."""
        return in_order((self.numbers[id(cell)] for cell in self.trained), self.comparison)

    def spread(self, group: SeedGroup, name: str) -> Spread | None:
        """A number over the trained cells of a combination; None where none has it."""
        values = [
            found[name] for cell in group.trained if name in (found := self.numbers[id(cell)])
        ]
        return spread(values) if values else None

    def within(self, values: Mapping[str, str]) -> list[SeedGroup]:
        """The combinations that have these values."""
        return [
            group
            for group in self.groups
            if all(group.values[key] == value for key, value in values.items())
        ]

    def short(self, judged: bool) -> list[str]:
        """The numbers of a short table.

        Scores, if the cells were to be judged, else the numbers of points or the loss; a family's
        own, where one way is better; the share of duals that reached epsilon, and the time.
        """
        names, scores, points = (
            self.names,
            set(self.comparison.scores),
            {quantity.name for quantity in POINTS},
        )
        results = [
            name for name in names if self.known[name].better and name not in (*scores, SHARE)
        ]
        of_points = [
            name for name in results if name in points and not (name == "w2" and RATIO in names)
        ]
        first = (
            [name for name in names if name in scores]
            if judged
            else of_points or [name for name in names if name == "loss"]
        )
        # the summary's numbers are scores, too
        if judged and set(of_points) & set(self.comparison.names.values()):
            first += of_points
        return [
            *first,
            *(name for name in results if name not in points),
            *(name for name in (SHARE, "seconds") if name in names),
        ]


def aggregate(sweep: Sweep) -> Means:
    """The numbers of a sweep's cells, by combination."""
    combinations = groups(sweep)
    comparison = compare([cell for group in combinations for cell in group.cells])
    return Means(
        sweep,
        combinations,
        comparison,
        {id(cell): numbers(cell, comparison) for cell in sweep.cells},
    )
