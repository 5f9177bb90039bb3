"""A sweep's folder as plain data: its axes, its cells in whatever state, and the combinations that
they are seeds of. No JAX.

sweep.json              which experiment, on which axes, with which seeds and measures
cells/ID/               a run folder for every cell; ID is the hash of its resolved config
cells/ID/cell.json      its values on the axes, and its seed
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from otgan.config import parse_accuracy, parse_amount
from otgan.errors import UserError
from otgan.files import read_table, table
from otgan.results.run import Run, read_run
from otgan.results.state import STANDINGS, RunState
from otgan.runs import CELL, CELLS, OF_A_SWEEP, SWEEP, RunFolder, require_no_link

FORMAT = 1
FIRST = ("oracle.lam", "oracle.epsilon")  # the axes of a heat map, where they are swept


@dataclass(frozen=True)
class Sweep:
    """A sweep, as far as it can be read.

    Attributes:
        path: its folder.
        experiment: what it varies.
        axes: by dotted key, the values in ascending order, as text.
        seeds: of every combination.
        cells: those that were begun, with their values as text.
        problems: what could not be read, in sentences.
    """

    path: Path
    experiment: str
    axes: dict[str, list[str]]
    seeds: list[int]
    cells: list[Run]
    problems: list[str] = field(default_factory=list)

    @property
    def plane(self) -> list[str]:
        """The axes of a heat map: across, then up; lam and epsilon first, those of one value last.

        One where only one is swept.
        """
        return sorted(
            self.axes,
            key=lambda key: (
                len(self.axes[key]) < 2,
                FIRST.index(key) if key in FIRST else len(FIRST),
            ),
        )[:2]

    @property
    def others(self) -> list[str]:
        """The axes that a heat map has no room for."""
        return [key for key in self.axes if key not in self.plane]


class SeedGroup(NamedTuple):
    """A combination of values, and its cells."""

    values: dict[str, str]
    cells: list[Run]
    absent: int  # seeds without a cell

    @property
    def finished(self) -> list[Run]:
        """The cells that are trained, and judged as the sweep asks."""
        return [cell for cell in self.cells if cell.state is RunState.FINISHED]

    @property
    def trained(self) -> list[Run]:
        """The cells that count in a mean: those of which a measure is lacking count in the means of
        the numbers that they have.
        """
        return [cell for cell in self.cells if cell.state.trained]

    @property
    def counts(self) -> dict[RunState, int]:
        """Cells by how they stand; seeds without a cell have not begun."""
        found = Counter(cell.state.standing for cell in self.cells)
        found[RunState.MISSING] += self.absent
        return {state: found[state] for state in STANDINGS}


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return (path / SWEEP).is_file()


def read_sweep(path: Path, only: Container[str] | None = None) -> Sweep:
    """Read a sweep's folder in any state; a cell that cannot be placed is named and left out.

    Args:
        path: the folder.
        only: the cells to read, by the names of their folders, and then no other values of the
            axes; by default all.
    """
    problems: list[str] = []
    record = read_table(path / SWEEP, problems)
    if record.get("format") != FORMAT:
        problems.append(
            f"{SWEEP} is of format {record.get('format')!r}, and this version knows {FORMAT}:"
            " something may be missing"
        )
    cells = [cell for folder in _folders(path, only, problems) if (cell := _cell(folder, problems))]
    recorded = {
        key: values for key, values in table(record.get("axes")).items() if isinstance(values, list)
    }
    axes = {
        key: list(map(text, values)) if only is None else [] for key, values in recorded.items()
    }
    for key in {key: None for cell in cells for key in cell.values}:
        axes[key] = ordered(
            [*axes.get(key, []), *(cell.values[key] for cell in cells if key in cell.values)]
        )
    placed = [cell for cell in cells if cell.values.keys() == axes.keys()]
    problems += [
        f"cell {cell.path.name} has no value of every axis and is left out"
        for cell in cells
        if cell not in placed
    ]
    told = record.get("seeds")
    seeds = {
        seed
        for seed in (told if isinstance(told, list) and only is None else [])
        if isinstance(seed, int)
    }
    seeds |= {cell.seed for cell in placed if cell.seed is not None}
    name = str(record.get("experiment") or path.resolve().name)
    return Sweep(
        path,
        name,
        {key: ordered(values) for key, values in axes.items()},
        sorted(seeds),
        placed,
        problems,
    )


def groups(sweep: Sweep) -> list[SeedGroup]:
    """Every combination of the axes' values, with its cells by seed."""
    keys = list(sweep.axes)
    found = []
    for combination in product(*sweep.axes.values()):
        values = dict(zip(keys, combination, strict=True))
        cells = sorted(
            (cell for cell in sweep.cells if cell.values == values), key=lambda cell: cell.seed or 0
        )
        found.append(SeedGroup(values, cells, max(0, len(sweep.seeds) - len(cells))))
    return found


def text(value: Any) -> str:
    """A value in one spelling: 1e-1, 0.1 and "0.10" are the same."""
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        for parse in (parse_amount, parse_accuracy):
            with suppress(ValueError):
                return str(parse(value))
    return value if isinstance(value, str) else json.dumps(value)


def ordered(values: Iterable[str]) -> list[str]:
    """Distinct values: amounts ascending, absolute ones before those in multiples of the mean cost,
    words as they come.
    """
    return sorted(dict.fromkeys(values), key=_rank)


def amount(value: str) -> float | None:
    """The number of an amount, be it absolute or in multiples; None for a word."""
    try:
        return parse_amount(value).value
    except ValueError:
        return None


def _rank(value: str) -> tuple[int, float]:
    number = amount(value)
    return (2, 0.0) if number is None else (int(value.endswith("x")), number)


def _folders(path: Path, only: Container[str] | None, problems: list[str]) -> list[Path]:
    """The cells' folders, by name; none that a link leads to."""
    try:
        require_no_link(path / CELLS, OF_A_SWEEP)
    except UserError as error:
        problems.append(f"all cells are left out: {error}")
        return []
    return sorted(
        folder
        for folder in (path / CELLS).glob("*")
        if folder.is_dir() and (only is None or folder.name in only)
    )


def _cell(folder: Path, problems: list[str]) -> Run | None:
    try:
        RunFolder(folder).require_own()  # what else it shows may be a file of the reader's
    except UserError as error:
        problems.append(f"cell {folder.name} is left out: {error}")
        return None
    told = read_table(folder / CELL, [])
    seed, values = told.get("seed"), told.get("values")
    try:
        cell = read_run(folder)
    except UserError:
        cell = None
    if cell is None or not isinstance(values, dict):
        problems.append(
            f"cell {folder.name} is left out:"
            f" {f'its {CELL} names no values' if cell else 'it holds no run'}"
        )
        return None
    last = RunFolder(folder).last_words
    died = (
        [f"its log ends: {last[:300]}"]
        if last and not (cell.state.trained or cell.state is RunState.RUNNING)
        else []
    )
    placed = {str(key): text(value) for key, value in values.items()}
    return replace(
        cell,
        values=placed,
        seed=seed if isinstance(seed, int) else None,
        problems=[*cell.problems, *died],
    )


def names(axes: Iterable[str]) -> dict[str, str]:
    """What a reader calls the axes: the last word of the key, or the whole key where two share
    their last word.
    """
    keys = [*axes]
    last = [key.rpartition(".")[2] for key in keys]
    return {
        key: word if last.count(word) == 1 else key for key, word in zip(keys, last, strict=True)
    }


def described(values: Mapping[str, Any]) -> str:
    """Values on axes, for a reader: `lam=0.1 epsilon=0.3x`."""
    return " ".join(f"{name}={values[key]}" for key, name in names(values).items())


def listed(values: Mapping[str, Any]) -> str:
    """The same in a sentence: `lam 0.1, epsilon 0.3x`."""
    return ", ".join(f"{name} {values[key]}" for key, name in names(values).items())


def label(cell: Run) -> str:
    """A cell by its values and its seed."""
    seed = "" if cell.seed is None else f"seed {cell.seed}"
    return ", ".join(filter(None, [listed(cell.values), seed]))
