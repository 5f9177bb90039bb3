"""The table of a sweep: a row for every combination of values, mean and standard deviation over the seeds. No JAX."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from otgan.errors import UserError
from otgan.evaluation.protocol import read_scores, side_by_side
from otgan.results.quantity import percentage
from otgan.results.state import RunState, status
from otgan.sweep.ledger import Cell, Ledger, described, names

SHARED = ("within epsilon", "seconds")


class Spread(NamedTuple):
    """A number of several seeds."""

    mean: float
    sd: float | None  # of a sample; None for one
    values: list[float]


@dataclass(frozen=True)
class Row:
    """One combination of values.

    Attributes:
        values: on the axes, by dotted key.
        finished: seeds that are.
        asked: seeds in all.
        numbers: by column; one that no seed has is absent.
    """

    values: dict[str, Any]
    finished: int
    asked: int
    numbers: dict[str, Spread]


class Tabled(NamedTuple):
    """A sweep's numbers."""

    axes: dict[str, str]  # what a reader calls them, by dotted key
    columns: list[str]
    rows: list[Row]
    gaps: list[str]  # of what the shares within epsilon are, and how they were measured
    notes: list[str]  # what was left out, and why; what marks scores


def tabulate(ledger: Ledger, cells: Sequence[Cell], measures: Sequence[str]) -> Tabled:
    """The numbers of all finished cells.

    Args:
        ledger: the sweep's folder.
        cells: which to show.
        measures: what they are judged by; where there are none, the summaries of the runs are shown.
    """
    done = [cell for cell in cells if ledger.state(cell.id, measures) is RunState.FINISHED]
    found = {cell.id: status(ledger.folder(cell.id)).get("summary", {}) for cell in done}
    scores, notes = _scores(ledger, done) if measures else ({}, [])
    numbers = {id_: {**(scores.get(id_, {}) if measures else of_summary(summary)), **_of_every(summary)} for id_, summary in found.items()}
    columns = [*dict.fromkeys(name for cell in done for name in numbers[cell.id] if name not in SHARED), *SHARED]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(described(cell.values), []).append(cell)
    rows = [_row(group, numbers, columns) for group in groups.values()]
    kinds = {(summary.get("gap_of", "solved duals"), summary["gap_kind"]) for summary in found.values() if "gap_kind" in summary}
    gaps = [f"{what}, {kind} gap" for what, kind in sorted(kinds)]
    return Tabled(names(cells[0].values), columns, rows, gaps, notes)


def of_summary(summary: Mapping[str, Any]) -> dict[str, float]:
    """What stands in the table of a run that was not judged: the scores of points; of images the last loss."""
    if "w2" not in summary:
        return {"loss": summary["loss"]} if "loss" in summary else {}
    ratio = {"w2 / floor": summary["w2"] / summary["w2_floor"]} if summary.get("w2_floor") else {"w2": summary["w2"]}
    return {**{name: float(summary[name]) for name in ("modes", "high_quality") if name in summary}, **ratio}


def _of_every(summary: Mapping[str, Any]) -> dict[str, float]:
    named = {"within epsilon": "converged_share", "seconds": "seconds"}
    return {column: float(summary[name]) for column, name in named.items() if name in summary}


def _scores(ledger: Ledger, cells: Sequence[Cell]) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The scores of every cell at its end, without metrics that were not measured alike in all, and why."""
    lines = {cell.id: read_scores(ledger.folder(cell.id).scores) for cell in cells}
    steps = {cell.id: status(ledger.folder(cell.id)).get("step") for cell in cells}
    last = {id_: [line for line in known if line.get("step") == steps[id_]] for id_, known in lines.items()}
    by_cell: dict[str, dict[str, float]] = {}
    notes = []
    for metric in dict.fromkeys(line["metric"] for known in last.values() for line in known):
        try:
            table = side_by_side((id_, [line for line in known if line["metric"] == metric]) for id_, known in last.items())
        except UserError as error:
            notes.append(f"left out: {error}")
            continue
        for id_, line in table[metric].items():
            by_cell.setdefault(id_, {})[metric] = line["mean"]
        marks = Counter(mark for line in table[metric].values() for mark in line.get("marks") or ())
        notes += [f"{metric} of {n} of {len(table[metric])} runs: {mark}" for mark, n in marks.items()]
    return by_cell, notes


def _row(group: Sequence[Cell], numbers: Mapping[str, Mapping[str, float]], columns: Sequence[str]) -> Row:
    done = [numbers[cell.id] for cell in group if cell.id in numbers]
    values = {name: [each[name] for each in done if name in each] for name in columns}
    return Row(group[0].values, len(done), len(group), {name: spread(each) for name, each in values.items() if each})


def spread(values: list[float]) -> Spread:
    """Mean and standard deviation of one number or more."""
    return Spread(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, values)


def shown(name: str, number: Spread) -> str:
    """A number for a reader: `0.93 ± 0.02`, shares in percent."""
    percent = name in ("within epsilon", "high_quality")
    mean, sd = (percentage(number.mean), number.sd and number.sd * 100) if percent else (f"{number.mean:.4g}", number.sd)
    return mean + ("" if sd is None else f" ± {sd:.2g}") + (" %" if percent else "")
