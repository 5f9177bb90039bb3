"""The floor of a score: the same number of as many real examples of the other part of the data,
computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from otgan import cache
from otgan.evaluation.measure import Measure, Real
from otgan.evaluation.protocol import Protocol
from otgan.evaluation.stats import FeatureStats, real_examples, without_features

RealStats = Callable[[str, int, int], FeatureStats]
"""(part of the data, how many examples, which of the sets of so many) -> what is known of them."""


class Floors(NamedTuple):
    """Of the numbers of a measure, by name; and what must be known of them."""

    numbers: dict[str, float]
    marks: tuple[str, ...]


def floors(
    measure: Measure,
    real: Real,
    stats: RealStats,
    other: str,
    size: int,
    seeds: int,
    protocols: dict[str, Protocol],
) -> Floors:
    """Of real examples in the place of generated ones: a set for each seed as far as they go, and a
    mark where there are not so many.

    Args:
        measure: what is computed.
        real: what generated examples are compared with.
        stats: of real examples; of the features that the measure looks at.
        other: the part of the data that takes the place of generated examples.
        size: how many generated examples the measure looks at.
        seeds: how many sets of them.
        protocols: of the measure's numbers.
    """
    part = real.dataset.train if other == "train" else real.dataset.test
    there = min(size, len(part))
    if measure.sets:
        there, each = measure.paired(there, len(real.reference.examples))
        real = Real(real.dataset, real.reference.spaced(each))
    sets = min(seeds, len(part) // there)
    fewer = (
        (f"its floor is of {there:,} examples: {real.dataset.name} has no more to {other} with",)
        if there < size
        else ()
    )
    key = replace(next(iter(protocols.values())), seeds=(), quantisation="bytes").fingerprint
    path = cache.folder() / "floors" / f"{key}-{sets}x{there}.npz"
    if (cached := cache.read(path)) and set(cached) == set(measure.names):
        return Floors({name: float(value) for name, value in cached.items()}, fewer)
    found = (
        stats
        if measure.of == "features"
        else lambda *which: without_features(real_examples(real.dataset, *which))
    )
    every = [measure.compute(found(other, there, which), real) for which in range(sets)]
    numbers = {name: float(np.mean([each[name] for each in every])) for name in measure.names}
    cache.write(path, {name: np.asarray(value) for name, value in numbers.items()})
    return Floors(numbers, fewer)
