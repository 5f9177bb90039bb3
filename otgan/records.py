"""The numbers of a run as it goes: windows of steps, to `metrics.jsonl` and TensorBoard's event
files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from otgan.events import Events
from otgan.files import append_line
from otgan.loggers import Loggers
from otgan.results.quantities import KNOWN, Known
from otgan.results.quantity import Window
from otgan.runs import RunFolder


class Recorder:
    """Writes windows to a run's folder, beginning after a step, and to its other loggers.

    What an earlier process wrote beyond it is dropped.
    """

    def __init__(self, folder: RunFolder, step: int, loggers: Loggers | None = None):
        folder.truncate_metrics(step)
        self._metrics, self._loggers = folder.metrics, loggers
        self._events = Events(folder.path, step + 1)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._events.close()

    def flush(self) -> None:
        """See that all that was written is on disk."""
        self._events.flush()

    def write(self, window: Mapping[str, Any]) -> None:
        """Append one window."""
        append_line(self._metrics, json.dumps(window))
        scalars = {
            name: value
            for name, value in window.items()
            if name not in ("step", "steps") and np.isfinite(value)
        }
        self._events.write(window["step"], scalars)
        if self._loggers:
            self._loggers.scalars(window["step"], scalars)


def windows(
    records: Mapping[str, np.ndarray], first: int, every: int, known: Known = KNOWN
) -> list[dict[str, Any]]:
    """Condense the records of consecutive steps into windows that end on multiples of `every`, or
    with the last step.

    Args:
        records: by name, one value a step.
        first: the number of the first of these steps, from 1.
        every: steps in a window.
        known: what the numbers are, which says how each is condensed.

    Returns:
        For each window `step` (its last), `steps` (how many), and of every name the mean, the sum
        or the largest; `dual_converged` is thus the share of certified steps. The loss and its like
        are means over the steps that had an update, and absent where none had.
    """
    count = len(next(iter(records.values())))
    ends = [s for s in range(first, first + count) if s % every == 0 or s == first + count - 1]
    out, begin = [], 0
    for end in ends:
        stop = end - first + 1
        part = {name: values[begin:stop] for name, values in records.items()}
        moved = part.pop("updates") > 0
        how: dict[str, Window] = {name: known[name].over_window for name in part}
        part = {
            name: values[moved] if how[name] == "mean of updates" else values
            for name, values in part.items()
        }
        condensed = {
            name: _condense(how[name], values) for name, values in part.items() if len(values)
        }
        out.append({"step": end, "steps": stop - begin, **condensed})
        begin = stop
    return out


def _condense(how: Window, values: np.ndarray) -> float:
    """One number for the steps of a window: of an error the largest, for a mean would hide the step
    that missed.
    """
    values = values.astype(np.float64)
    if how == "largest":
        return float(values.max())
    return float(values.sum() if how == "sum" else values.mean())
