"""Scores while training, by the same code as `otgan eval`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import jax.numpy as jnp

from otgan.config import Config
from otgan.data import Dataset
from otgan.evaluation.command import Order, keep, plan_of
from otgan.evaluation.judge import judge, require
from otgan.evaluation.seen import neutral_name, trained_on
from otgan.evaluation.subjects import Subject
from otgan.features import make_features
from otgan.sampling import draw
from otgan.step import TrainState
from otgan.system import System

Scorer = Callable[[TrainState, int, Path], dict[str, float]]
"""(state, step, the run's folder of scores) -> the mean of each score, by its metric. The scores are kept in the folder."""


def make_scorer(config: Config, dataset: Dataset, system: System, source: Dataset | None) -> Scorer | None:
    """What judges a run's averaged generator as it trains, if the config asks for it.

    Raises:
        UserError: what it asks for cannot be had.
    """
    if config.train.eval_every is None:
        return None
    plan = plan_of(Order(flags=config.train.eval_measures, samples=config.train.eval_samples), dataset)
    seen = trained_on(config)
    features = make_features(neutral_name(config.data.kind, dataset.shape, seen), dataset.shape)
    require(plan, dataset, features)
    examples = jnp.asarray(source.train) if source else None

    def score(state: TrainState, step: int, folder: Path) -> dict[str, float]:
        name = str(folder.parent.resolve())
        subject = Subject(name, step, lambda seed: draw(system, state, seed, examples, plan.rounded), None, dataset.shape, seen)
        judged = judge(plan, subject, dataset, features)
        keep(judged, subject, folder)
        return {score.protocol.metric: score.mean for score in judged.scores}

    return score
