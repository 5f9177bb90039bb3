"""Scores while training and at its end, by the same code as `otgan eval`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from otgan.config import Config, UserData
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


@dataclass(frozen=True, eq=False)
class RunJudge:
    """Judges a run's averaged generator at a step, and keeps the scores in the run's folder of
    scores.

    Attributes:
        config: the run's.
        dataset: its data.
        system: what computes.
        source: the examples that take the place of latents, if any do.
    """

    config: Config
    dataset: Dataset
    system: System
    source: Dataset | None

    def require(self) -> None:
        """See that the scores can be had that the config asks for while training.

        Raises:
            UserError: they cannot.
        """
        if self.config.train.eval_every is not None:
            require(self.plan, self.dataset, self.features)

    def while_training(self, state: TrainState, step: int, folder: Path) -> list[Score]:
        """The scores that the config asks for.

        Raises:
            UserError: the samples cannot be judged.
        """
        return self._scores(self.plan, state, step, folder)

    def at_end(self, state: TrainState, step: int, folder: Path) -> dict[str, Any]:
        """What the summary of every run on points holds: `otgan eval` measures the same of the same
        checkpoint.

        Returns:
            Each measure's number by its name and, of those that have one in the table of
            quantities, its floor; `modes_total`; and under `fingerprints` those of the scores that
            the numbers are.

        Raises:
            UserError: the samples are not finite, or all the same.
        """
        scores = self._scores(AT_END, state, step, folder)
        found: dict[str, Any] = {}
        for score in scores:
            name = score.protocol.metric
            found[name] = score.mean
            if f"{name}_floor" in KNOWN:
                found[f"{name}_floor"] = score.floor
        if self.dataset.centers is not None:
            found["modes_total"] = len(self.dataset.centers)
        return {
            **found,
            FINGERPRINTS: {score.protocol.metric: score.protocol.fingerprint for score in scores},
        }

    @property
    def plan(self) -> EvalPlan:
        """What the config asks for while training."""
        train = self.config.train
        # of data that are the user's own there may be few: better a score with a mark than none
        few = isinstance(self.config.data, UserData)
        return EvalPlan(flags=train.eval_measures, samples=train.eval_samples, allow_few=few)

    @cached_property
    def features(self) -> Features:
        """Those of a network that the generator was not trained on."""
        name = neutral_name(
            self.config.data.kind, self.dataset.shape, training_networks(self.config)
        )
        return make_features(name, self.dataset.shape)

    def _scores(self, plan: EvalPlan, state: TrainState, step: int, folder: Path) -> list[Score]:
        examples = jnp.asarray(self.source.train) if self.source else None
        source = SampleSource(
            name=str(folder.parent.resolve()),
            step=step,
            draw=lambda seed: draw(self.system, state, seed, examples, plan.rounded),
            available=None,
            shape=self.dataset.shape,
            trained_on=training_networks(self.config),
        )
        judged = judge(plan, source, self.dataset, self.features)
        keep(judged, source, folder)
        return judged.scores
