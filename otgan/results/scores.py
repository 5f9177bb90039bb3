"""Stored scores, and the one rule of which may be compared: those of one metric that were measured
by one protocol. No JAX.

A protocol is told by its fingerprint. Where the scores of several runs were measured differently,
every table, page and file gives each protocol a column of its own, and says in which fields they
differ (`columns`); what is asked to stand in one row is refused (`side_by_side`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from otgan.errors import UserError
from otgan.files import Plain, number, read_lines

Key = tuple[str, str]  # of a score: its metric and fingerprint


def read_scores(path: Path) -> list[Plain]:
    """The lines of a `scores.jsonl`.

    Half a line, of a process that was killed, is left out, and whatever else is no score.
    """
    return read_lines(path, is_score, [])


def is_score(line: Mapping[str, Any]) -> bool:
    """Whether a line has what every version writes of a score. What is no run's has no step."""
    words = isinstance(line.get("metric"), str) and isinstance(line.get("fingerprint"), str)
    marks = line.get("marks", [])
    words = words and isinstance(marks, list) and all(isinstance(mark, str) for mark in marks)
    sound = isinstance(line.get("step"), int | None) and number(line.get("mean")) is not None
    return words and sound and isinstance(line.get("protocol"), dict)


def is_undefined(line: Mapping[str, Any]) -> bool:
    """Whether a line is of a score that has no number, such as the width of modes that no sample
    has come near.
    """
    mean = line.get("mean")
    return isinstance(mean, float) and math.isnan(mean) and is_score({**line, "mean": 0.0})


def newest(scores: Iterable[Plain]) -> dict[Key, Plain]:
    """The score of each metric and protocol at the latest step.

    Of equal ones, what was written last.
    """
    by_step = sorted(scores, key=lambda score: -1 if (step := score.get("step")) is None else step)
    return {(score["metric"], score["fingerprint"]): score for score in by_step}


class Columns(NamedTuple):
    """What the scores of several runs are called where they stand in one table."""

    # by metric and fingerprint: the metric, with its fingerprint where there are several
    names: dict[Key, str]
    notes: list[str]  # in which fields they differ


def columns(
    of_runs: Iterable[Iterable[Plain]], taken: Iterable[str] = (), own: Collection[Key] = ()
) -> Columns:
    """A column for each metric and protocol.

    Args:
        of_runs: the scores of each run.
        taken: names that stand for a number of a summary: another score of such a name is called
            `w2 (judged)`.
        own: the scores that are those numbers of summaries.
    """
    seen: dict[str, dict[str, Plain]] = {}
    for scores in of_runs:
        for score in scores:
            seen.setdefault(score["metric"], {}).setdefault(score["fingerprint"], score["protocol"])
    names, notes, taken = {}, [], set(taken)
    for metric, found in seen.items():
        names |= {(metric, print_): metric for print_ in found if (metric, print_) in own}
        prints = {
            print_: protocol for print_, protocol in found.items() if (metric, print_) not in own
        }
        if not prints:
            continue
        (first, protocol), *rest = prints.items()
        name = f"{metric} (judged)" if metric in taken else metric
        names |= {(metric, print_): f"{name} ({print_})" if rest else name for print_ in prints}
        for print_, other in rest:
            fields = ", ".join(differing(protocol, other)) or "nothing that is recorded"
            notes.append(
                f"{metric} was measured in different ways, which are not comparable: {first} and"
                f" {print_} differ in {fields}"
            )
    return Columns(names, notes)


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The fields in which two protocols, as plain data, differ: `samples (10000 against 2000)`."""
    names = [name for name in {**one, **other} if one.get(name) != other.get(name)]
    return [f"{name} ({one.get(name)} against {other.get(name)})" for name in names]


def side_by_side(
    records: Iterable[tuple[str, Iterable[Mapping[str, Any]]]],
) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Scores of several subjects at their newest steps, for a table: by metric, then by subject.

    The newest that were measured alike.

    Args:
        records: a subject's name, and its lines of `scores.jsonl`, oldest first.

    Raises:
        UserError: no scores of a metric were measured by one protocol; the sentence names the
            fields in which the newest differ.
    """
    by_metric: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for subject, lines in records:
        for line in _of_newest_step(list(lines)):
            by_metric.setdefault(line["metric"], {}).setdefault(subject, []).append(line)
    return {metric: _alike(metric, rows) for metric, rows in by_metric.items()}


def _of_newest_step(lines: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    newest = max((line["step"] for line in lines if line.get("step") is not None), default=None)
    return [line for line in lines if line.get("step") == newest]


def _alike(
    metric: str, rows: Mapping[str, list[Mapping[str, Any]]]
) -> dict[str, Mapping[str, Any]]:
    first, *others = rows
    shared = set.intersection(*({line["fingerprint"] for line in lines} for lines in rows.values()))
    chosen = next(
        (line["fingerprint"] for line in reversed(rows[first]) if line["fingerprint"] in shared),
        None,
    )
    if chosen is None:
        one = rows[first][-1]
        name, other = next(
            (name, rows[name][-1])
            for name in others
            if rows[name][-1]["fingerprint"] != one["fingerprint"]
        )
        fields = ", ".join(differing(one["protocol"], other["protocol"]))
        raise UserError(
            f"{metric} of {first} and of {name} cannot be compared: they differ in {fields}. Judge"
            " both alike"
        )
    return {
        subject: next(line for line in reversed(lines) if line["fingerprint"] == chosen)
        for subject, lines in rows.items()
    }
