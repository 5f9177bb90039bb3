"""What must be in order before a sweep starts: the data, the networks on them, the runs that cells
take networks from, the measures.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import jax

from otgan.assembly import assemble
from otgan.config import Config
from otgan.data import load
from otgan.evaluation.choice import require
from otgan.evaluation.neutrality import neutral_name, training_networks
from otgan.evaluation.plan import EvalPlan
from otgan.features import make_features
from otgan.loggers import require as require_loggers
from otgan.results.sweep import described
from otgan.sweep.folder import Cell


def check(cells: Iterable[Cell], measures: Iterable[str], data_dir: Path | None) -> None:
    """Put every cell together as it would start, on one CPU device, and train nothing.

    Of those that differ in their seed alone, one.

    Raises:
        UserError: a cell cannot start, or cannot be judged, or its logger is not installed.
    """
    cells = [*cells]
    require_loggers({name for cell in cells for name in cell.config.train.loggers})
    jax.config.update("jax_platforms", "cpu")  # the accelerators are the workers'
    datasets, judged = {}, set()
    for cell in {described(cell.values): cell for cell in cells}.values():
        key = cell.config.data.model_dump_json()
        dataset = datasets[key] = datasets.get(key) or load(cell.config.data, data_dir)
        assemble(cell.config, dataset, devices=1, looks=False)
        plan = eval_plan(cell.config, measures)
        name = neutral_name(cell.config.data.kind, dataset.shape, training_networks(cell.config))
        if plan.flags and (key, plan.samples, name) not in judged:
            judged.add((key, plan.samples, name))
            require(plan, dataset, make_features(name, dataset.shape))


def eval_plan(config: Config, measures: Iterable[str]) -> EvalPlan:
    """How a cell is judged: as while training, from as many samples."""
    return EvalPlan(flags=cast(Any, tuple(measures)), samples=config.train.eval_samples)
