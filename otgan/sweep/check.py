"""What must be in order before a sweep starts: the data, the networks on them, the runs that cells take networks from, the measures."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import jax

from otgan.assembly import assemble
from otgan.config import Config
from otgan.data import load
from otgan.evaluation.command import Order, plan_of
from otgan.evaluation.judge import require
from otgan.evaluation.seen import neutral_name, trained_on
from otgan.features import make_features
from otgan.results.sweep import described
from otgan.sweep.folder import Cell


def check(cells: Iterable[Cell], measures: Iterable[str], data_dir: Path | None) -> None:
    """Put every cell together as it would start, on one CPU device, and train nothing; of those that differ in their seed alone, one.

    Raises:
        UserError: a cell cannot start, or cannot be judged.
    """
    jax.config.update("jax_platforms", "cpu")  # the accelerators are the workers'
    datasets, judged = {}, set()
    for cell in {described(cell.values): cell for cell in cells}.values():
        key = cell.config.data.model_dump_json()
        dataset = datasets[key] = datasets.get(key) or load(cell.config.data, data_dir)
        assemble(cell.config, dataset, devices=1, looks=False)
        order = order_of(cell.config, measures)
        name = neutral_name(cell.config.data.kind, dataset.shape, trained_on(cell.config))
        if order.flags and (key, order.samples, name) not in judged:
            judged.add((key, order.samples, name))
            require(plan_of(order, dataset), dataset, make_features(name, dataset.shape))


def order_of(config: Config, measures: Iterable[str]) -> Order:
    """How a cell is judged: as while training, from as many samples."""
    return Order(flags=cast(Any, tuple(measures)), samples=config.train.eval_samples)
