"""What a measure is: what it computes from generated examples and real ones, on what, and how many
of each it needs.

A measure compares generated examples with real ones: those of the protocol's split or, where memory
of the training set is the point, the whole training set. Applied to the real examples of the other
part it gives its own floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from otgan.data import Dataset
from otgan.evaluation.stats import KEPT, FeatureStats
from otgan.features import Features
from otgan.results.declared import Declared
from otgan.results.quantity import Quantity
from otgan.versions import SAMPLING, TRANSPORT


@dataclass(frozen=True)
class Real:
    """What generated examples are compared with."""

    dataset: Dataset
    reference: FeatureStats  # of the protocol's split


class Counts(NamedTuple):
    """How many examples a measure looks at."""

    generated: int
    real: int


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        declared: the version of its numbers, and what each of them is.
        flag: the option that asks for it.
        compute: generated examples, real ones -> numbers by name.
        of: whether it looks at features, which then name its numbers, or at the values of pixels
            and coordinates.
        needed: how many examples of a kind it needs at least.
        most: how many of a kind it looks at; None is all. Only moments and classes are kept of all,
            the rest of the first ones.
        all_real: whether it looks at all real ones nevertheless.
        sets: of generated ones that it looks at, each of as many as real ones; 0 where the numbers
            need not agree.
        alone: whether it looks at no real ones.
        settings: its own part of the protocol.
        whole: whether it compares with the whole training set.
        companion: whether it only goes with another measure of its flag, and is left out where
            examples are too few for it.
        at_end: whether it is taken at the end of every run, and stands in its summary.
        solver: whether its numbers depend on the solver of entropic transport.
        labeled: whether they depend on the labels of the data.
        lacks: why it cannot be had for these data and features; empty where it can.
    """

    declared: Declared
    flag: str
    compute: Callable[[FeatureStats, Real], dict[str, float]]
    of: Literal["features", "values"] = "features"
    needed: Callable[[Features], int] = lambda features: 2
    most: int | None = KEPT
    all_real: bool = False
    sets: int = 0
    alone: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    companion: bool = False
    at_end: bool = False
    solver: bool = False
    labeled: bool = False
    lacks: Callable[[Dataset, Features], str] = lambda dataset, features: ""

    @property
    def quantities(self) -> tuple[Quantity, ...]:
        """What its numbers are."""
        return self.declared.quantities

    @property
    def names(self) -> list[str]:
        """Of its numbers."""
        return [quantity.name for quantity in self.quantities]

    def versions(self, features: int) -> dict[str, int]:
        """Of all that its numbers depend on, given that of what it looks at."""
        found = {"measure": self.declared.version, "features": features, "sampling": SAMPLING}
        return {**found, "transport": TRANSPORT} if self.solver else found

    def protocol_settings(self, dataset: Dataset) -> dict[str, Any]:
        """Its own part of the protocol, on given data."""
        return {**self.settings, **({"labels": dataset.labels_digest} if self.labeled else {})}

    def counts(self, generated: int, dataset: Dataset, split: str) -> Counts:
        """Of so many generated examples, and of the real ones of a split, how many it looks at."""
        if self.alone:
            return Counts(_at_most(generated, self.most), 0)
        if self.whole:
            return Counts(_at_most(generated, self.most), len(dataset.train))
        real = _at_most(
            len(dataset.test if split == "test" else dataset.train),
            None if self.all_real else self.most,
        )
        return (
            self.paired(generated, real)
            if self.sets
            else Counts(_at_most(generated, self.most), real)
        )

    def paired(self, generated: int, real: int) -> Counts:
        """The same of one that looks at sets of as many."""
        each = min(generated, real, generated if self.most is None else self.most)
        return Counts(each * min(self.sets, generated // each), each)


def _at_most(count: int, most: int | None) -> int:
    return count if most is None else min(count, most)
