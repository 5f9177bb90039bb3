"""The numbers of runs: by name, as means and standard deviations over seeds, as JSON and as CSV. No JAX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otgan.evaluation.protocol import differing
from otgan.report.ledger import Sweep, groups
from otgan.report.read import Plain, Run, number
from otgan.results.quantities import KNOWN, RATIO, SHARE, Known, known, ratio
from otgan.results.quantity import Quantity
from otgan.results.state import RunState
from otgan.sweep.ledger import names as axis_names
from otgan.sweep.table import spread

__all__ = ["RATIO", "SHARE"]


class Protocols(NamedTuple):
    """By which protocols the scores of several runs were measured."""

    names: dict[tuple[str, str], str]  # by metric and fingerprint: the metric, with its fingerprint where there are several
    notes: list[str]  # in which fields they differ
    known: Known  # what the runs' numbers are: those of the table, those that their families declared, and scores by these names


def protocols(runs: Iterable[Run]) -> Protocols:
    """The names of the runs' scores: scores of one metric that were measured differently get different names."""
    seen: dict[str, dict[str, Plain]] = {}
    runs = list(runs)
    for run in runs:
        for score in run.scores:
            seen.setdefault(score["metric"], {}).setdefault(score["fingerprint"], score["protocol"])
    names, notes = {}, []
    for metric, prints in seen.items():
        (first, protocol), *rest = prints.items()
        name = f"{metric} (judged)" if metric in KNOWN else metric  # a summary has a number of that name, by its own protocol
        names |= {(metric, print_): f"{name} ({print_})" if rest else name for print_ in prints}
        for print_, other in rest:
            fields = ", ".join(differing(protocol, other)) or "nothing that is recorded"
            notes.append(f"{metric} was measured in different ways, which are not comparable: {first} and {print_} differ in {fields}")
    scores = {names[key]: str(score.get("better") or "") for run in runs for key, score in newest_scores(run).items()}
    judged = [Quantity(name, better=way if way in ("lower", "higher") else "") for name, way in scores.items()]
    return Protocols(names, notes, known([*(quantity for run in runs for quantity in run.declared), *judged]))


def newest_scores(run: Run) -> dict[tuple[str, str], Plain]:
    """The score of each metric and protocol at the latest step; of equal ones, what was written last."""
    by_step = sorted(run.scores, key=lambda score: step if isinstance(step := score.get("step"), int) else -1)
    return {(score["metric"], score["fingerprint"]): score for score in by_step}


def scores_of_the_end(run: Run) -> dict[tuple[str, str], Plain]:
    """Those of a finished run's last step: of an older checkpoint's no mean is made. Of other runs the newest."""
    return {
        key: score
        for key, score in newest_scores(run).items()
        if run.state is not RunState.FINISHED or score.get("step") in (run.step, None)
    }


def marks_of(score: Plain) -> list[str]:
    """What a reader must know of a score; empty where a record says nothing that can be read."""
    marks = score.get("marks")
    return [str(mark) for mark in marks] if isinstance(marks, list) else []


def marked(runs: Sequence[Run], labels: Sequence[str], names: Mapping[tuple[str, str], str]) -> list[str]:
    """The marks of several runs' scores, in a sentence each: of which score, and of which runs."""
    found: dict[tuple[str, str], list[str]] = {}
    for run, label in zip(runs, labels, strict=True):
        for key, score in scores_of_the_end(run).items():
            for mark in marks_of(score):
                found.setdefault((names[key], mark), []).append(label)
    return [f"{name} of {_few(of)}: {mark}" for (name, mark), of in found.items()]


def _few(labels: Sequence[str]) -> str:
    return "; ".join(labels) if len(labels) <= 3 else f"{len(labels)} runs"


def numbers(run: Run, judged: Protocols) -> dict[str, float]:
    """What a run came to, by name: its newest scores, W2 in multiples of its floor, then the numbers of its summary."""
    found = {judged.names[key]: float(score["mean"]) for key, score in scores_of_the_end(run).items()}
    summary = {key: value for key, raw in run.summary.items() if (value := number(raw)) is not None}
    return found | ratio(summary) | {key: summary[key] for key in summary if judged.known[key].over_seeds != "none"}


def floors(runs: Iterable[Run], names: Mapping[tuple[str, str], str]) -> dict[str, float]:
    """What real examples get, by the name of the score."""
    found = ((names[key], number(score.get("floor"))) for run in runs for key, score in newest_scores(run).items())
    return {name: floor for name, floor in found if floor is not None}


def in_order(of_runs: Iterable[Mapping[str, float]], judged: Protocols) -> list[str]:
    """The names of all numbers: scores first, then those of the table in its order, then families' own."""
    scores = list(dict.fromkeys(judged.names.values()))
    order = {name: place for place, name in enumerate([*scores, *(name for name in judged.known if name not in scores)])}
    return sorted(dict.fromkeys(name for found in of_runs for name in found), key=lambda name: order.get(name, len(order)))


def of_runs(runs: list[Run]) -> Plain:
    """The numbers of runs, as plain data."""
    judged = protocols(runs)
    return {"kind": "runs", "runs": [_record(run, judged) for run in runs], "columns": _columns(runs, judged), "notes": judged.notes}


def of_sweep(sweep: Sweep) -> Plain:
    """The numbers of a sweep, as plain data: its cells, and their means over seeds."""
    judged = protocols(sweep.cells)
    cells = [{"values": cell.values, "seed": cell.seed, **_record(cell, judged)} for cell in sweep.cells]
    means = []
    for group in groups(sweep):
        found = [numbers(cell, judged) for cell in group.finished]
        spreads = {name: spread([f[name] for f in found if name in f]) for name in in_order(found, judged)}
        told = {name: {"mean": s.mean, "sd": s.sd, "n": len(s.values)} for name, s in spreads.items()}
        means.append({"values": group.values, **group.counts, "numbers": told})
    head = {"kind": "sweep", "experiment": sweep.experiment, "axes": sweep.axes, "seeds": sweep.seeds}
    return {**head, "cells": cells, "means": means, "columns": _columns(sweep.cells, judged), "notes": [*sweep.problems, *judged.notes]}


def as_json(found: Plain) -> str:
    """As strict JSON."""
    return json.dumps(_strict(found), indent=2, allow_nan=False) + "\n"


def as_csv(found: Plain) -> str:
    """A line a run, or a cell: its folder, its values and seed, its state, its numbers. An axis called as a number is has its whole key."""
    rows = found.get("cells", found.get("runs", []))
    axes = list(found.get("axes", {}))
    columns = list(found["columns"])
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    seed = ["seed"] if "cells" in found else []
    called = [key if name in columns else name for key, name in axis_names(axes).items()]
    writer.writerow(["folder", *called, *seed, "state", "step", *columns])
    for row in rows:
        values = [row["values"][key] for key in axes] + [row["seed"] for _ in seed]
        writer.writerow([row["folder"], *values, row["state"], row["step"], *(row["numbers"].get(name, "") for name in columns)])
    return text.getvalue()


def _columns(runs: Sequence[Run], judged: Protocols) -> Plain:
    """What the numbers of runs are, by name."""
    told = in_order([numbers(run, judged) for run in runs], judged)
    return {name: {key: value for key, value in judged.known[name].record().items() if key != "name"} for name in told}


def _record(run: Run, judged: Protocols) -> Plain:
    about = {"folder": str(run.path), "name": run.name, "state": run.state, "step": run.step, "gap_kind": run.gap_kind}
    return {**about, "numbers": numbers(run, judged), "scores": list(newest_scores(run).values()), "problems": run.problems}


def _strict(tree: Any) -> Any:
    """Plain data with null for what JSON has no number for."""
    if isinstance(tree, dict):
        return {key: _strict(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_strict(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
