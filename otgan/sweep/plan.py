"""From what a user types to the cells of a sweep, every one of them resolved and validated.
No JAX.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from otgan import suggest
from otgan.errors import UserError
from otgan.plain import flat, nested
from otgan.results.sweep import described
from otgan.sweep.folder import SEED, Cell, SweepRecord


class SweepPlan(NamedTuple):
    """A sweep, and its cells in the order in which they are begun: all values with the first seed,
    then with the next.
    """

    sweep: SweepRecord
    cells: list[Cell]


def make_plan(
    target: str,
    overrides: Mapping[str, Any],
    axes: Mapping[str, Sequence[Any]],
    seeds: int | None,
    measures: Sequence[str] = (),
    source: str | None = None,
    data_dir: Path | None = None,
) -> SweepPlan:
    """The grid over all values of all axes, with seeds 0 to `seeds` - 1.

    Args:
        target: an experiment's name, or a path to a file of one.
        overrides: values that all cells share, by dotted key.
        axes: the values to try, by dotted key.
        seeds: how many; None for one that nobody asked for.
        measures: what every cell is judged by.
        source: where the data come from.
        data_dir: where TFDS has prepared data.

    Raises:
        UserError: there is neither an axis nor a number of seeds, a cell's values are wrong, or two
            cells are the same.
    """
    if not axes and seeds is None:
        raise UserError(
            "there is nothing to sweep: give an axis, such as --lam 0.01,0.1,1, or --seeds 3"
        )
    if SEED in overrides or SEED in axes:
        raise UserError(f"{SEED}: seeds are not set one by one; --seeds 3 takes 0, 1 and 2")
    axes = {key: _distinct(values) for key, values in axes.items()}
    cells: dict[str, Cell] = {}
    numbers = range(seeds or 1)
    for seed, combination in itertools.product(numbers, itertools.product(*axes.values())):
        values = dict(zip(axes, combination, strict=True))
        config = suggest.resolve(target, {**overrides, **values, SEED: seed}, source, data_dir)
        cell = Cell(config, values, seed)
        if cell.id in cells:
            same = f"{described(cells[cell.id].values)} and {described(values)}"
            raise UserError(
                f"{same} are the same cell: give each value once, and what says how long to train"
                " as one value for all"
            )
        cells[cell.id] = cell
    found = [*cells.values()]
    sweep = SweepRecord(
        found[0].config.name,
        shared(found, axes),
        {k: [*v] for k, v in axes.items()},
        [*numbers],
        [*measures],
    )
    return SweepPlan(sweep, found)


def shared(cells: Sequence[Cell], axes: Mapping[str, Any]) -> dict[str, Any]:
    """The config that all cells have in common, without the axes and the seed.

    An axis that chooses a table takes its keys along.
    """
    leaves = [flat(cell.config.model_dump(mode="json")) for cell in cells]
    common = {
        k: v for k, v in leaves[0].items() if all(k in other and other[k] == v for other in leaves)
    }
    return nested({key: value for key, value in common.items() if key not in axes and key != SEED})


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for i, value in enumerate(values) if value not in values[:i]]
