"""The numbers of runs: by name, as means and standard deviations over seeds, as JSON and as CSV. No JAX."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from otgan import console
from otgan.console import MEANINGS, SHARES
from otgan.evaluation.protocol import differing
from otgan.report.ledger import Sweep, groups
from otgan.report.read import Plain, Run, number
from otgan.results.state import RunState
from otgan.sweep.ledger import names as axis_names
from otgan.sweep.table import Spread, spread

RATIO = "w2 / w2_floor"
BESIDE = ("w2_floor", "mode_kl_floor", "lam", "epsilon", "lam_over_mean_cost", "epsilon_over_mean_cost")  # no results by themselves
BETTER = {RATIO: "lower", "w2": "lower", "mode_kl": "lower", "modes": "higher", "high_quality": "higher", "converged_share": "higher"}
SHARE = "converged_share"


class Protocols(NamedTuple):
    """By which protocols the scores of several runs were measured."""

    names: dict[tuple[str, str], str]  # by metric and fingerprint: the metric, with its fingerprint where there are several
    notes: list[str]  # in which fields they differ


def protocols(runs: Iterable[Run]) -> Protocols:
    """The names of the runs' scores: scores of one metric that were measured differently get different names."""
    seen: dict[str, dict[str, Plain]] = {}
    for run in runs:
        for score in run.scores:
            seen.setdefault(score["metric"], {}).setdefault(score["fingerprint"], score["protocol"])
    names, notes = {}, []
    for metric, prints in seen.items():
        (first, protocol), *rest = prints.items()
        name = f"{metric} (judged)" if metric in MEANINGS else metric  # a summary has a number of that name, by its own protocol
        names |= {(metric, print_): f"{name} ({print_})" if rest else name for print_ in prints}
        for print_, other in rest:
            fields = ", ".join(differing(protocol, other)) or "nothing that is recorded"
            notes.append(f"{metric} was measured in different ways, which are not comparable: {first} and {print_} differ in {fields}")
    return Protocols(names, notes)


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


def numbers(run: Run, names: Mapping[tuple[str, str], str]) -> dict[str, float]:
    """What a run came to, by name: its newest scores, W2 in multiples of its floor, then the numbers of its summary."""
    found = {names[key]: float(score["mean"]) for key, score in scores_of_the_end(run).items()}
    summary = {key: value for key, raw in run.summary.items() if (value := number(raw)) is not None}
    if summary.get("w2_floor", 0.0) > 0 and "w2" in summary:
        found[RATIO] = summary["w2"] / summary["w2_floor"]
    return found | {key: summary[key] for key in MEANINGS if key in summary and key not in BESIDE}


def better(name: str, runs: Iterable[Run], names: Mapping[tuple[str, str], str]) -> str:
    """Whether lower or higher is better; empty where neither is."""
    told = (str(score.get("better", "")) for run in runs for key, score in newest_scores(run).items() if names[key] == name)
    return BETTER.get(name) or next(told, "")


def floors(runs: Iterable[Run], names: Mapping[tuple[str, str], str]) -> dict[str, float]:
    """What real examples get, by the name of the score."""
    found = ((names[key], number(score.get("floor"))) for run in runs for key, score in newest_scores(run).items())
    return {name: floor for name, floor in found if floor is not None}


def in_order(of_runs: Iterable[Mapping[str, float]]) -> list[str]:
    """The names of all numbers: scores first, then W2 over its floor, then the summary's."""
    present = dict.fromkeys(name for found in of_runs for name in found)
    order = [RATIO, *(key for key in MEANINGS if key not in BESIDE)]
    return [name for name in present if name not in order] + [name for name in order if name in present]


def shown(name: str, value: float | None) -> str:
    """A number as text; shares are never rounded up to all."""
    if value is None:
        return ""
    return f"{value:.0%}" if name.endswith("_share") and value in (0, 1) else console.shown(name, value)


def deviation(name: str, found: Spread) -> str:
    """A standard deviation as text, in the number's own unit; empty for one seed."""
    if found.sd is None:
        return ""
    return f" ± {100 * found.sd:.2g}%" if name in SHARES else f" ± {found.sd:.2g}"


def meaning(name: str, run: Run) -> str:
    """What a number of a summary is, in words."""
    if name == RATIO:
        return "1 is what real points get"
    told = {"modes_total": run.summary.get("modes_total", "all"), "gap_kind": run.gap_kind or "reported", "gap_of": run.gap_of}
    warned = console.warning(name, number(run.summary.get(name)))
    return " ! ".join(filter(None, [MEANINGS[name].format(**told) if name in MEANINGS else "", warned]))


def of_runs(runs: list[Run]) -> Plain:
    """The numbers of runs, as plain data."""
    names, notes = protocols(runs)
    return {"kind": "runs", "runs": [_record(run, names) for run in runs], "notes": notes}


def of_sweep(sweep: Sweep) -> Plain:
    """The numbers of a sweep, as plain data: its cells, and their means over seeds."""
    names, notes = protocols(sweep.cells)
    cells = [{"values": cell.values, "seed": cell.seed, **_record(cell, names)} for cell in sweep.cells]
    means = []
    for group in groups(sweep):
        found = [numbers(cell, names) for cell in group.finished]
        spreads = {name: spread([f[name] for f in found if name in f]) for name in in_order(found)}
        told = {name: {"mean": s.mean, "sd": s.sd, "n": len(s.values)} for name, s in spreads.items()}
        means.append({"values": group.values, **group.counts, "numbers": told})
    head = {"kind": "sweep", "experiment": sweep.experiment, "axes": sweep.axes, "seeds": sweep.seeds}
    return {**head, "cells": cells, "means": means, "notes": [*sweep.problems, *notes]}


def as_json(found: Plain) -> str:
    """As strict JSON."""
    return json.dumps(_strict(found), indent=2, allow_nan=False) + "\n"


def as_csv(found: Plain) -> str:
    """A line a run, or a cell: its folder, its values and seed, its state, its numbers. An axis called as a number is has its whole key."""
    rows = found.get("cells", found.get("runs", []))
    axes = list(found.get("axes", {}))
    columns = in_order(row["numbers"] for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    seed = ["seed"] if "cells" in found else []
    called = [key if name in columns else name for key, name in axis_names(axes).items()]
    writer.writerow(["folder", *called, *seed, "state", "step", *columns])
    for row in rows:
        values = [row["values"][key] for key in axes] + [row["seed"] for _ in seed]
        writer.writerow([row["folder"], *values, row["state"], row["step"], *(row["numbers"].get(name, "") for name in columns)])
    return text.getvalue()


def _record(run: Run, names: Mapping[tuple[str, str], str]) -> Plain:
    about = {"folder": str(run.path), "name": run.name, "state": run.state, "step": run.step, "gap_kind": run.gap_kind}
    return {**about, "numbers": numbers(run, names), "scores": list(newest_scores(run).values()), "problems": run.problems}


def _strict(tree: Any) -> Any:
    """Plain data with null for what JSON has no number for."""
    if isinstance(tree, dict):
        return {key: _strict(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_strict(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
