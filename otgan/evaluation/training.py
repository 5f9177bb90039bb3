"""Scores while training and at its end, by the same code as `otgan eval`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from otgan.config import Config
from otgan.data import Dataset
from otgan.evaluation.choice import require
from otgan.evaluation.command import keep
from otgan.evaluation.judge import judge
from otgan.evaluation.neutrality import neutral_name, training_networks
from otgan.evaluation.plan import AT_END, EvalPlan
from otgan.evaluation.protocol import Score
from otgan.evaluation.sources import SampleSource
from otgan.features import Features, make_features
from otgan.results.quantities import FINGERPRINTS, KNOWN
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
    plan = EvalPlan(flags=config.train.eval_measures, samples=config.train.eval_samples)
    features = _features(config, dataset)
    require(plan, dataset, features)
    examples = jnp.asarray(source.train) if source else None

    def score(state: TrainState, step: int, folder: Path) -> dict[str, float]:
        found = _judged(plan, config, dataset, features, system, state, examples, step, folder)
        return {score.protocol.metric: score.mean for score in found}

    return score


def numbers_at_end(
    config: Config, dataset: Dataset, system: System, state: TrainState, examples: Any, step: int, folder: Path
) -> dict[str, Any]:
    """What the summary of every run on points holds: `otgan eval` measures the same of the same checkpoint.

    Args:
        config: the run's.
        dataset: its data.
        system: what computes.
        state: its state, whose averaged generator is judged.
        examples: those that take the place of latents, or None.
        step: how far it is.
        folder: its folder of scores, in which these are kept with their protocols.

    Returns:
        Each measure's number by its name and, of those that have one in the table of quantities, its floor; `modes_total`; and under
        `fingerprints` those of the scores that the numbers are.

    Raises:
        UserError: the samples are not finite, or all the same.
    """
    scores = _judged(AT_END, config, dataset, _features(config, dataset), system, state, examples, step, folder)
    found: dict[str, Any] = {}
    for score in scores:
        name = score.protocol.metric
        found[name] = score.mean
        if f"{name}_floor" in KNOWN:
            found[f"{name}_floor"] = score.floor
    if dataset.centers is not None:
        found["modes_total"] = len(dataset.centers)
    return {**found, FINGERPRINTS: {score.protocol.metric: score.protocol.fingerprint for score in scores}}


def _features(config: Config, dataset: Dataset) -> Features:
    return make_features(neutral_name(config.data.kind, dataset.shape, training_networks(config)), dataset.shape)


def _judged(
    plan: EvalPlan,
    config: Config,
    dataset: Dataset,
    features: Features,
    system: System,
    state: TrainState,
    examples: Any,
    step: int,
    folder: Path,
) -> list[Score]:
    """Judge the averaged generator, and keep the scores."""
    name = str(folder.parent.resolve())
    networks = training_networks(config)
    source = SampleSource(name, step, lambda seed: draw(system, state, seed, examples, plan.rounded), None, dataset.shape, networks)
    judged = judge(plan, source, dataset, features)
    keep(judged, source, folder)
    return judged.scores
