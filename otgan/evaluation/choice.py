"""Which measures a plan stands for on given data: those that can be had, from enough examples.

And the protocols of their numbers.
"""

from __future__ import annotations

from typing import NamedTuple

from otgan import versions
from otgan.data import Dataset
from otgan.errors import UserError
from otgan.evaluation.measure import Counts, Measure
from otgan.evaluation.measures import of_flag
from otgan.evaluation.plan import EvalPlan
from otgan.evaluation.protocol import Protocol
from otgan.evaluation.stats import KEPT
from otgan.features import Features
from otgan.metrics.points import COUNTED

ALL_THE_SAME = "all the same, and marks it"


class Choice(NamedTuple):
    """The measures that are taken, with what must be known of each; and why others are not."""

    measures: list[tuple[Measure, tuple[str, ...]]]
    notes: list[str]


def usual_samples(dataset: Dataset) -> int:
    """How many examples are generated where nothing else is said; so many of them are kept, too."""
    return KEPT if dataset.is_images else COUNTED


def choose(plan: EvalPlan, size: int, dataset: Dataset, features: Features) -> Choice:
    """What a plan stands for, with so many generated examples.

    Raises:
        UserError: a measure that is asked for by name cannot be had, or none can.
    """
    chosen, notes, spared = [], [], False
    for flag in plan.kinds(dataset.is_images):
        group = [measure for measure in of_flag(flag) if measure.at_end or not plan.at_end]
        lacks = [measure.lacks(dataset, features) for measure in group]
        if all(lacks):
            if not plan.lenient:
                raise UserError(f"--{flag}: {lacks[-1]}")
            notes.append(f"{flag} left out: {lacks[-1]}")
        for measure in (measure for measure, lack in zip(group, lacks, strict=True) if not lack):
            few = _few(plan, measure, size, dataset, features)
            if few and (measure.companion or (plan.lenient and not plan.allow_few)):
                notes.append(f"left out: {few}")
                spared |= not (measure.companion or plan.allow_few)
            elif few and not plan.allow_few:
                raise UserError(f"{few}; --allow-few computes it {ALL_THE_SAME}")
            else:
                chosen.append((measure, (few,) if few else ()))
    if spared:
        notes.append(f"--allow-few computes what needs more examples {ALL_THE_SAME}")
    if not chosen:
        raise UserError("; ".join(["there is no measure that can be had", *notes]))
    return Choice(chosen, notes)


def require(plan: EvalPlan, dataset: Dataset, features: Features) -> None:
    """See, before anything is drawn, that a plan's measures can be had.

    Raises:
        UserError: one of them cannot.
    """
    choose(plan, plan.samples or usual_samples(dataset), dataset, features)


def _few(plan: EvalPlan, measure: Measure, size: int, dataset: Dataset, features: Features) -> str:
    needed, counts = measure.needed(features), measure.counts(size, dataset, plan.split)
    there = counts.generated if measure.alone else min(counts)
    if there >= needed:
        return ""
    which = f"{size:,} generated" if size < needed else f"{there:,} real"
    return (
        f"{_named(measure.names[0], measure, features)} needs {needed:,} examples, and there are"
        f" {which} ones"
    )


def _named(number: str, measure: Measure, features: Features) -> str:
    return features.names(number) if measure.of == "features" else number


def protocols(
    plan: EvalPlan, measure: Measure, counts: Counts, dataset: Dataset, features: Features
) -> dict[str, Protocol]:
    """Of each number of a measure."""
    raw = "pixels" if dataset.is_images else "points"
    words = "x / 127.5 - 1" if dataset.is_images else "as they are"
    looks = (
        (features.name, features.digest, features.preparation)
        if measure.of == "features"
        else (raw, "none", words)
    )
    version = features.version if measure.of == "features" else versions.NETWORKS[raw]
    return {
        name: Protocol(
            metric=_named(name, measure, features),
            settings=measure.protocol_settings(dataset),
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
            versions=measure.versions(version),
        )
        for name in measure.names
    }
