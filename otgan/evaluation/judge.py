"""The evaluator: statistics of generated examples and of real ones, the measures of a plan, and
their floors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache as remembered
from typing import Any, NamedTuple

import numpy as np

from otgan.data import Dataset, with_channels_of
from otgan.errors import UserError
from otgan.evaluation.choice import choose, protocols, usual_samples
from otgan.evaluation.compute import values
from otgan.evaluation.floors import RealStats, floors
from otgan.evaluation.measure import Measure, Real
from otgan.evaluation.neutrality import MARK, was_trained_on
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.protocol import Score
from otgan.evaluation.sources import SampleSource
from otgan.evaluation.stats import FeatureStats, extract, extract_real
from otgan.features import Features, Tell
from otgan.metrics.neighbors import nearest

ROWS, COLUMNS = 8, 8  # of the picture of neighbors: a sample, then its nearest training examples


class Judged(NamedTuple):
    """What came of it."""

    scores: list[Score]
    notes: list[str]  # what was left out, and why
    # (8, 8, h, w, c): a sample, then its nearest training examples, row by row
    neighbors: np.ndarray | None


def judge(
    plan: EvalPlan,
    source: SampleSource,
    dataset: Dataset,
    features: Features,
    show: Tell = lambda text: None,
) -> Judged:
    """All scores of generated examples under a plan.

    Raises:
        UserError: a measure cannot be had, examples are too few, or they are not finite, all the
            same, or of another shape.
    """
    size = _size(plan, source, dataset)
    chosen, notes = choose(plan, size, dataset, features)
    generated: list[FeatureStats] = []
    for seed in range(plan.seeds):
        show(f"generated examples through {features.name}, seed {seed}")
        chunks = _checked(_take(source.draw(seed), size), dataset.shape, source.name)
        found = extract(features, chunks, plan.batch_size, kept=usual_samples(dataset))
        generated.append(_not_constant(found, source.name))
    show(f"real examples through {features.name}")
    stats = remembered(
        lambda split, size, which: extract_real(
            features, dataset, split, size, plan.batch_size, which
        )
    )
    own = (MARK,) if was_trained_on(features, source.trained_on) else ()
    scores = []
    for measure, marks in chosen:
        show(", ".join(measure.names))
        marks += own if measure.of == "features" else ()
        scores += _scores(plan, measure, marks, generated, stats, size, dataset, features)
    wanted = "nearest" in plan.flags or (plan.everything and not plan.flags)
    return Judged(
        scores, notes, _neighbors(generated[0], dataset) if wanted and dataset.is_images else None
    )


def _scores(
    plan: EvalPlan,
    measure: Measure,
    marks: tuple[str, ...],
    generated: list[FeatureStats],
    stats: RealStats,
    size: int,
    dataset: Dataset,
    features: Features,
) -> list[Score]:
    """Of one measure: each of its numbers for every seed, and their floors."""
    part, other = (dataset.test, "train") if plan.split == "test" else (dataset.train, "test")
    counts = measure.counts(size, dataset, plan.split)
    told = protocols(plan, measure, counts, dataset, features)
    real = Real(dataset, stats(plan.split, len(part), 0).spaced(counts.real))
    numbers = [measure.compute(each.first(counts.generated), real) for each in generated]
    least = floors(
        measure, real, stats, "test" if measure.whole else other, counts.generated, plan.seeds, told
    )
    return [
        Score(
            told[q.name],
            tuple(float(n[q.name]) for n in numbers),
            least.numbers.get(q.name),
            q.better,
            marks + least.marks,
            q.meaning,
        )
        for q in measure.quantities
    ]


def records(judged: Judged, source: SampleSource) -> list[dict[str, Any]]:
    """The scores as plain data, a line each."""
    return [score.record(source.name, source.step) for score in judged.scores]


# --- examples -------------------------------------------------------------------------------------


def _size(plan: EvalPlan, source: SampleSource, dataset: Dataset) -> int:
    usual = usual_samples(dataset)
    if source.available is None:
        return plan.samples or usual
    each = source.available // plan.seeds
    if plan.samples and plan.samples > each:
        raise UserError(
            f"{source.name} holds {source.available:,} examples; {plan.seeds} x {plan.samples:,}"
            " are asked for"
        )
    return plan.samples or min(usual, each)


def _take(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    left = size
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _checked(
    chunks: Iterator[np.ndarray], shape: tuple[int, ...], name: str
) -> Iterator[np.ndarray]:
    for chunk in (with_channels_of(chunk, shape) for chunk in chunks):
        if chunk.shape[1:] != shape:
            raise UserError(
                f"{name} holds examples of shape {chunk.shape[1:]}, the reference of shape {shape}:"
                " they must agree"
            )
        if not np.isfinite(chunk).all():
            raise UserError(f"{name} holds examples that are not finite")
        yield chunk


def _not_constant(stats: FeatureStats, name: str) -> FeatureStats:
    if (stats.examples == stats.examples[:1]).all():
        raise UserError(f"all examples of {name} are the same: there is nothing to judge")
    return stats


def _neighbors(stats: FeatureStats, dataset: Dataset) -> np.ndarray:
    shown = stats.examples[:ROWS]
    index, _ = nearest(values(shown), dataset.train, k=COLUMNS - 1)
    return np.concatenate([np.rint(shown).astype(np.uint8)[:, None], dataset.train[index]], axis=1)
