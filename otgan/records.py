"""The numbers of a run as it goes: windows of steps, to `metrics.jsonl` and TensorBoard's event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from otgan.runs import RunFolder
from otgan.step import OF_UPDATES

WORST = ("dual_gap", "dual_floor", "misplaced_mass")  # of a window the largest is kept: a mean would hide the step that missed
TOTALS = ("dual_iterations", "generator_steps", "examples")  # of a window the sum; the run's lines carry their totals so far


class Recorder:
    """Writes windows to a run's folder, beginning after a step; what an earlier process wrote beyond it is dropped."""

    def __init__(self, folder: RunFolder, step: int):
        folder.truncate_metrics(step)
        self._lines = folder.metrics.open("a", encoding="utf-8")
        self._events = SummaryWriter(str(folder.path), purge_step=step + 1, flush_secs=10)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._events.close()

    def write(self, window: Mapping[str, Any]) -> None:
        """Append one window."""
        self._lines.write(json.dumps(window) + "\n")
        self._lines.flush()
        for name, value in window.items():
            if name not in ("step", "steps") and np.isfinite(value):
                self._events.add_scalar(name, value, window["step"])


def windows(records: Mapping[str, np.ndarray], first: int, every: int) -> list[dict[str, Any]]:
    """Condense the records of consecutive steps into windows that end on multiples of `every`, or with the last step.

    Args:
        records: by name, one value a step.
        first: the number of the first of these steps, from 1.
        every: steps in a window.

    Returns:
        For each window `step` (its last), `steps` (how many), and of every name the mean, but of the gap the largest and of counts the
        sum; `dual_converged` is thus the share of certified steps. The loss and its like are means over the steps that had an update,
        and absent where none had.
    """
    count = len(next(iter(records.values())))
    ends = [s for s in range(first, first + count) if s % every == 0 or s == first + count - 1]
    out, begin = [], 0
    for end in ends:
        stop = end - first + 1
        part = {name: values[begin:stop] for name, values in records.items()}
        moved = part.pop("updates") > 0
        part = {name: values[moved] if name in OF_UPDATES else values for name, values in part.items()}
        out.append({"step": end, "steps": stop - begin, **{name: _condense(name, values) for name, values in part.items() if len(values)}})
        begin = stop
    return out


def _condense(name: str, values: np.ndarray) -> float:
    values = values.astype(np.float64)
    if name in WORST:
        return float(values.max())
    return float(values.sum()) if name in TOTALS else float(values.mean())
