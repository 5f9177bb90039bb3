"""What a run came to."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from otgan.results.quality import quality
from otgan.results.quantities import KNOWN, Known, ratio

if TYPE_CHECKING:
    import numpy as np


def summary_table(name: str, summary: Mapping[str, Any], known: Known = KNOWN) -> Table:
    """A run's summary, a row a number, with what it means.

    Then what must be known of them, and its scores.
    """
    table = Table(
        title=f"summary of {name}",
        title_justify="left",
        show_header=False,
        box=None,
        pad_edge=False,
    )
    if said := quality(summary):
        table.add_row(Text("samples", style="bold"), "", Text(said))
    numbers = {
        key: value
        for key, value in {**summary, **ratio(summary)}.items()
        if isinstance(value, int | float)
    }
    for key, value in numbers.items():
        table.add_row(Text(key), known[key].text(value), Text(known[key].sentence(summary)))
    for key, value in numbers.items():
        if sentence := known[key].warning(value):
            table.add_row(Text("warning", style="bold"), "", Text(sentence))
    scores = {m: v for m, v in summary.get("scores", {}).items() if m not in summary}
    for metric, value in scores.items():
        table.add_row(
            Text(metric),
            known[metric].text(value),
            "at the end; its protocol and floor are in eval/scores.jsonl",
        )
    if "unjudged" in summary:
        table.add_row("scores", "none", Text(summary["unjudged"]))
    return table


def push_errors(errors: np.ndarray) -> str:
    """How exactly points went through a map, (n,): certified distances in units of the data."""
    if not math.isfinite(errors.max()):
        return (
            "nothing is certified of how exact they are: the run's potential is not convex, or"
            " hardly"
        )
    return (
        f"each is at most {errors.max():.2g} away from where the map sends it ({errors.mean():.2g}"
        " on average, units of the data)"
    )
