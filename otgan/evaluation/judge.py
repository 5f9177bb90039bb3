"""Judge a subject: look at its examples and at real ones, compute the measures asked for, and their floors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cache as remembered
from typing import Any, Literal, NamedTuple

import numpy as np

from otgan import __version__, cache
from otgan.config import Measures
from otgan.data import Dataset, with_channels_of
from otgan.errors import UserError
from otgan.evaluation.evidence import Evidence, gather, gather_real, real_examples, unseen
from otgan.evaluation.measures import FLAGS, Counts, Measure, Real, of_flag, values
from otgan.evaluation.protocol import Protocol, Score
from otgan.evaluation.seen import MARK, is_among
from otgan.evaluation.subjects import Subject
from otgan.features import Features, Show
from otgan.metrics.neighbours import nearest
from otgan.results.judged import code_digest

SAMPLES = 10_000
ROWS, COLUMNS = 8, 8  # of the picture of neighbours: a sample, then its nearest training examples

Marked = tuple[Measure, tuple[str, ...]]
Look = Callable[[str, int, int], Evidence]  # at a set of so many real examples of a part, once


@dataclass(frozen=True)
class Plan:
    """What to measure, and how.

    Attributes:
        flags: the kinds of measures; a kind that is named and cannot be had is refused.
        samples: how many generated examples a seed; None takes 10,000, or all that there are.
        split: the real examples to compare with.
        seeds: sets of samples, whose spread is shown.
        rounded: whether generated images are rounded to bytes first.
        batch_size: examples in one go through the network; changes no score beyond rounding.
        allow_few: whether a measure may have fewer examples than it needs; its scores are marked.
        everything: whether the flags stand for whatever can be had.
    """

    flags: tuple[Measures, ...] = FLAGS
    samples: int | None = None
    split: Literal["test", "train"] = "test"
    seeds: int = 1
    rounded: bool = True
    batch_size: int = 200
    allow_few: bool = False
    everything: bool = False


class Judged(NamedTuple):
    """What came of it."""

    scores: list[Score]
    notes: list[str]  # what was left out, and why
    neighbours: np.ndarray | None  # (8, 8, h, w, c): a sample, then its nearest training examples, row by row


def judge(plan: Plan, subject: Subject, dataset: Dataset, features: Features, show: Show = lambda text: None) -> Judged:
    """All scores of a subject under a plan.

    Raises:
        UserError: a measure cannot be had, examples are too few, or they are not finite, all the same, or of another shape.
    """
    size = _size(plan, subject)
    parts = {"test": dataset.test, "train": dataset.train}
    other = "train" if plan.split == "test" else "test"
    chosen, notes = _choose(plan, size, dataset, features)
    found: list[Evidence] = []
    for seed in range(plan.seeds):
        show(f"generated examples through {features.name}, seed {seed}")
        chunks = _checked(_take(subject.draw(seed), size), dataset.shape, subject.name)
        found.append(_not_constant(gather(features, chunks, plan.batch_size), subject.name))
    show(f"real examples through {features.name}")
    look = remembered(lambda split, size, which: gather_real(features, dataset, split, size, plan.batch_size, which))
    reference = look(plan.split, len(parts[plan.split]), 0)
    own = (MARK,) if is_among(features, subject.trained_on) else ()
    scores = []
    for measure, marks in chosen:
        marks += own if measure.of == "features" else ()
        counts = measure.counts(size, dataset, plan.split)
        protocols = _protocols(plan, measure, counts, dataset, features)
        show(", ".join(protocol.metric for protocol in protocols.values()))
        real = Real(dataset, reference.spaced(counts.real))
        numbers = [measure.compute(evidence.first(counts.generated), real) for evidence in found]
        floors, fewer = _floors(plan, measure, real, look, "test" if measure.whole else other, counts.generated, protocols)
        scores += [
            Score(protocols[q.name], tuple(float(n[q.name]) for n in numbers), floors.get(q.name), q.better, marks + fewer, q.meaning)
            for q in measure.quantities
        ]
    wanted = "nearest" in plan.flags and dataset.is_images
    return Judged(scores, notes, _neighbours(found[0], dataset) if wanted else None)


def require(plan: Plan, dataset: Dataset, features: Features) -> None:
    """See, before anything is drawn, that a plan's measures can be had.

    Raises:
        UserError: one of them cannot.
    """
    _choose(plan, plan.samples or SAMPLES, dataset, features)


# --- what is measured -----------------------------------------------------------------------------------------------------------------


def _size(plan: Plan, subject: Subject) -> int:
    if subject.available is None:
        return plan.samples or SAMPLES
    each = subject.available // plan.seeds
    if plan.samples and plan.samples > each:
        raise UserError(f"{subject.name} holds {subject.available:,} examples; {plan.seeds} x {plan.samples:,} are asked for")
    return plan.samples or min(SAMPLES, each)


def _choose(plan: Plan, size: int, dataset: Dataset, features: Features) -> tuple[list[Marked], list[str]]:
    """The measures that can be had, with their marks; and why others cannot."""
    chosen, notes = [], []
    for flag in plan.flags:
        group = of_flag(flag)
        lacks = [measure.lacks(dataset, features) for measure in group]
        if all(lacks):
            if not plan.everything:
                raise UserError(f"--{flag}: {lacks[-1]}")
            notes.append(f"{flag} left out: {lacks[-1]}")
        for measure in (measure for measure, lack in zip(group, lacks, strict=True) if not lack):
            few = _few(plan, measure, size, dataset, features)
            if few and (measure.companion or (plan.everything and not plan.allow_few)):
                notes.append(f"left out: {few}")
            elif few and not plan.allow_few:
                raise UserError(f"{few}; --allow-few computes it all the same, and marks it")
            else:
                chosen.append((measure, (few,) if few else ()))
    if not chosen:
        raise UserError("; ".join(["there is no measure that can be had", *notes]))
    return chosen, notes


def _few(plan: Plan, measure: Measure, size: int, dataset: Dataset, features: Features) -> str:
    needed, counts = measure.needed(features), measure.counts(size, dataset, plan.split)
    there = counts.generated if measure.alone else min(counts)
    if there >= needed:
        return ""
    which = f"{size:,} generated" if size < needed else f"{there:,} real"
    return f"{_named(measure.names[0], measure, features)} needs {needed:,} examples, and there are {which} ones"


def _named(number: str, measure: Measure, features: Features) -> str:
    return features.names(number) if measure.of == "features" else number


def _protocols(plan: Plan, measure: Measure, counts: Counts, dataset: Dataset, features: Features) -> dict[str, Protocol]:
    """Of each number of a measure."""
    raw = ("pixels", "none", "x / 127.5 - 1") if dataset.is_images else ("points", "none", "as they are")
    looks = (features.name, features.digest, features.preparation) if measure.of == "features" else raw
    return {
        name: Protocol(
            metric=_named(name, measure, features),
            settings=dict(measure.settings),
            features=looks[0],
            weights=looks[1],
            preparation=looks[2],
            quantisation="bytes" if plan.rounded and dataset.is_images else "none",
            samples=counts.generated,
            reference=dataset.name,
            reference_hash=dataset.fingerprint,
            split="train" if measure.whole else plan.split,
            references=counts.real,
            seeds=tuple(range(plan.seeds)),
            version=f"{__version__}+{code_digest()}",
        )
        for name in measure.names
    }


def _floors(
    plan: Plan, measure: Measure, real: Real, look: Look, other: str, size: int, protocols: dict[str, Protocol]
) -> tuple[dict[str, float], tuple[str, ...]]:
    """The same numbers of as many real examples of the other part, a set for each seed as far as it goes; computed once.

    Also a mark, where the other part has not so many.
    """
    part = real.dataset.train if other == "train" else real.dataset.test
    there = min(size, len(part))
    sets = min(plan.seeds, len(part) // there)
    fewer = (f"its floor is of {there:,} examples: {real.dataset.name} has no more to {other} with",) if there < size else ()
    key = replace(next(iter(protocols.values())), seeds=(), quantisation="bytes").fingerprint
    path = cache.folder() / "floors" / f"{key}-{sets}x{there}.npz"
    if (cached := cache.read(path)) and set(cached) == set(measure.names):
        return {name: float(value) for name, value in cached.items()}, fewer
    if measure.paired:
        real = Real(real.dataset, real.reference.spaced(there))
    seen = look if measure.of == "features" else lambda *which: unseen(real_examples(real.dataset, *which))
    each = [measure.compute(seen(other, there, which), real) for which in range(sets)]
    floors = {name: float(np.mean([numbers[name] for numbers in each])) for name in measure.names}
    cache.write(path, {name: np.asarray(value) for name, value in floors.items()})
    return floors, fewer


# --- examples -------------------------------------------------------------------------------------------------------------------------


def _take(chunks: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    left = size
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return


def _checked(chunks: Iterator[np.ndarray], shape: tuple[int, ...], name: str) -> Iterator[np.ndarray]:
    for chunk in (with_channels_of(chunk, shape) for chunk in chunks):
        if chunk.shape[1:] != shape:
            raise UserError(f"{name} holds examples of shape {chunk.shape[1:]}, the reference of shape {shape}: they must agree")
        if not np.isfinite(chunk).all():
            raise UserError(f"{name} holds examples that are not finite")
        yield chunk


def _not_constant(evidence: Evidence, name: str) -> Evidence:
    if (evidence.examples == evidence.examples[:1]).all():
        raise UserError(f"all examples of {name} are the same: there is nothing to judge")
    return evidence


def _neighbours(evidence: Evidence, dataset: Dataset) -> np.ndarray:
    shown = evidence.examples[:ROWS]
    index, _ = nearest(values(shown), dataset.train, k=COLUMNS - 1)
    return np.concatenate([np.rint(shown).astype(np.uint8)[:, None], dataset.train[index]], axis=1)


def records(judged: Judged, subject: Subject) -> list[dict[str, Any]]:
    """The scores as plain data, a line each."""
    return [score.record(subject.name, subject.step) for score in judged.scores]
