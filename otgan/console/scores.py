"""Scores beside their floors, of one subject or of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from otgan.files import number


def print_scores(console: Console, records: list[dict[str, Any]]) -> None:
    """Scores of one subject beside their floors, and below them the protocols that they share."""
    first = records[0]
    table = Table(box=None, pad_edge=False, header_style="bold")
    longest = max(len(record["metric"]) for record in records) + 2
    table.add_column("metric", min_width=longest, no_wrap=True)  # the name says by which network
    for name in ("score", "sd", "floor", "better", "of", "fingerprint"):
        table.add_column(
            name, justify="right" if name in ("score", "sd", "floor") else "left", overflow="fold"
        )
    for record in records:
        protocol = record["protocol"]
        compared = f"{protocol['samples']:,} with {protocol['references']:,} {protocol['split']}"
        marked = " *" if record["marks"] else ""
        numbers = (
            "" if record[key] is None else f"{record[key]:.4g}" for key in ("mean", "sd", "floor")
        )
        table.add_row(
            Text(record["metric"] + marked),
            *numbers,
            record["better"],
            compared,
            record["fingerprint"],
        )
    where = "" if first["step"] is None else f", step {first['step']:,}"
    marks = sorted({f"* {mark}" for record in records for mark in record["marks"]})
    for part in (f"scores of {first['subject']}{where}", table, *_looks(records), *marks):
        console.print(part, markup=False, soft_wrap=isinstance(part, str))


def _looks(records: list[dict[str, Any]]) -> list[str]:
    """How the examples were looked at, said once."""
    protocols = [record["protocol"] for record in records]
    first = protocols[0]
    looks = dict.fromkeys((p["features"], p["weights"], p["preparation"]) for p in protocols)
    words = [
        f"{name}{'' if digest == 'none' else f' ({digest})'}: {preparation}"
        for name, digest, preparation in looks
    ]
    seeds = " ".join(map(str, first["seeds"]))
    kept = "rounded to bytes" if first["quantisation"] == "bytes" else "as they are"
    real = (
        f"real: {first['reference']} ({first['reference_hash']}); generated: seeds {seeds}, {kept};"
        f" otgan {records[0]['otgan']}"
    )
    return [*words, real, "floor: the same of as many real examples of the other part"]


def compared_table(
    scores: Mapping[str, Mapping[str, Mapping[str, Any]]], subjects: list[str]
) -> Table:
    """One metric a row, one subject a column."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("metric", *subjects, "floor", "better", "fingerprint"):
        table.add_column(Text(name))
    for metric, row in scores.items():
        one = next(iter(row.values()))  # floor, direction and fingerprint are everybody's
        cells = [_cell(row[subject]) if subject in row else "" for subject in subjects]
        floor = "" if (level := number(one.get("floor"))) is None else f"{level:.4g}"
        table.add_row(
            Text(metric), *cells, floor, Text(str(one.get("better") or "")), one["fingerprint"]
        )
    return table


def _cell(record: Mapping[str, Any]) -> str:
    marked = " *" if record.get("marks") else ""
    return (
        f"{record['mean']:.4g}"
        + ("" if (sd := number(record.get("sd"))) is None else f" ± {sd:.2g}")
        + marked
    )


def compared_marks(scores: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """What a reader of `compared_table` must know of its starred scores: a line for each subject
    and mark.
    """
    metrics: dict[tuple[str, str], list[str]] = {}
    for metric, row in scores.items():
        for subject, record in row.items():
            for mark in record.get("marks") or ():
                metrics.setdefault((subject, mark), []).append(metric)
    return [f"* {', '.join(of)} of {subject}: {mark}" for (subject, mark), of in metrics.items()]
