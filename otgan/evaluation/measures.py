"""The table of measures: what each computes from two sets of examples, on what, how many it needs, which direction is better.

A measure compares generated examples with real ones: those of the protocol's split or, where memory of the training set is the point,
the whole training set. Applied to the real examples of the other part it gives its own floor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from otgan import plugins
from otgan.config import Measures
from otgan.data import Dataset
from otgan.evaluation.declared import (
    DIVERGENCE,
    FD,
    FD_INFINITY,
    INCEPTION,
    KERNEL,
    MANIFOLD,
    MEMORISATION,
    MODE_KL,
    MODES,
    SLICED_W2,
    W2_TRAIN,
    WASSERSTEIN,
)
from otgan.evaluation.evidence import KEPT, Evidence
from otgan.features import DIGIT_READERS, Features
from otgan.metrics.classes import inception_score
from otgan.metrics.frechet import frechet_distance, frechet_infinity, needed_infinity
from otgan.metrics.kernel import kernel_distance
from otgan.metrics.manifold import DENSITY_NEIGHBOURS, PRECISION_NEIGHBOURS, manifold_scores
from otgan.metrics.modes import mode_index, modes
from otgan.metrics.neighbours import MEMORISATION_SAMPLES as MEMORISED
from otgan.metrics.neighbours import memorisation
from otgan.metrics.points import JUDGED, judge_modes, mode_kl
from otgan.metrics.transport import Bounds, sinkhorn_divergence, sliced_wasserstein, transport_to_all
from otgan.metrics.wasserstein import exact_wasserstein
from otgan.results.quantity import Quantity

FLAGS: tuple[Measures, ...] = get_args(Measures)
SEED = 2022  # of subsets and projections


@dataclass(frozen=True)
class Real:
    """What generated examples are compared with."""

    dataset: Dataset
    reference: Evidence  # of the protocol's split


class Counts(NamedTuple):
    """How many examples a measure looks at."""

    generated: int
    real: int


@dataclass(frozen=True)
class Measure:
    """One line of the table.

    Attributes:
        flag: the option that asks for it.
        quantities: what each number is that it computes.
        compute: generated examples, real ones -> numbers by name.
        of: whether it looks at features, which then name its numbers, or at the values of pixels and coordinates.
        needed: how many examples of a kind it needs at least.
        most: how many of a kind it looks at; None is all. Only moments and classes are kept of all, the rest of the first `KEPT`.
        all_real: whether it looks at all real ones nevertheless.
        paired: whether it looks at as many of either kind.
        alone: whether it looks at no real ones.
        settings: its own part of the protocol.
        whole: whether it compares with the whole training set.
        companion: whether it only goes with another measure of its flag, and is left out where examples are too few for it.
        lacks: why it cannot be had for these data and features; empty where it can.
    """

    flag: Measures
    quantities: tuple[Quantity, ...]
    compute: Callable[[Evidence, Real], dict[str, float]]
    of: Literal["features", "values"] = "features"
    needed: Callable[[Features], int] = lambda features: 2
    most: int | None = KEPT
    all_real: bool = False
    paired: bool = False
    alone: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    whole: bool = False
    companion: bool = False
    lacks: Callable[[Dataset, Features], str] = lambda dataset, features: ""

    @property
    def names(self) -> list[str]:
        """Of its numbers."""
        return [quantity.name for quantity in self.quantities]

    def counts(self, generated: int, dataset: Dataset, split: str) -> Counts:
        """Of so many generated examples, and of the real ones of a split, how many it looks at."""
        if self.alone:
            return Counts(_at_most(generated, self.most), 0)
        if self.whole:
            return Counts(_at_most(generated, self.most), len(dataset.train))
        real = len(dataset.test if split == "test" else dataset.train)
        found = Counts(_at_most(generated, self.most), _at_most(real, None if self.all_real else self.most))
        return Counts(min(found), min(found)) if self.paired else found


def _at_most(count: int, most: int | None) -> int:
    return count if most is None else min(count, most)


def values(examples: np.ndarray) -> np.ndarray:
    """Points as they are, pixels in [-1, 1], flattened: n d."""
    flat = examples.reshape(len(examples), -1).astype(np.float32)
    return flat / np.float32(127.5) - 1 if examples.ndim > 2 else flat


# --- what they compute ----------------------------------------------------------------------------------------------------------------


def _fid(generated: Evidence, real: Real) -> dict[str, float]:
    return {"fid": frechet_distance(generated.moments, real.reference.moments)}


def _fid_infinity(generated: Evidence, real: Real) -> dict[str, float]:
    return {"fid_infinity": frechet_infinity(generated.features, real.reference.moments, SEED)}


def _kid(generated: Evidence, real: Real) -> dict[str, float]:
    size = min(KID["size"], len(generated.features), len(real.reference.features))
    mean, sd = kernel_distance(generated.features, real.reference.features, subsets=KID["subsets"], size=size, seed=SEED)
    return {"kid": mean, "kid_subset_sd": sd}


def _is(generated: Evidence, real: Real) -> dict[str, float]:
    del real
    assert generated.probabilities is not None
    mean, sd = inception_score(generated.probabilities[:, 0], IS["splits"])
    return {"is": mean, "is_split_sd": sd}


def _pr(generated: Evidence, real: Real) -> dict[str, float]:
    return {name: float(value) for name, value in manifold_scores(generated.features, real.reference.features)._asdict().items()}


def _exact(generated: Evidence, real: Real) -> dict[str, float]:
    x, y = values(generated.examples), values(real.reference.examples)
    return {"w1": exact_wasserstein(x, y, 1), "w2": exact_wasserstein(x, y, 2)}


def _sliced(generated: Evidence, real: Real) -> dict[str, float]:
    x, y = values(generated.examples), values(real.reference.examples)
    return {"sliced_w2": sliced_wasserstein(x, y, projections=SLICED["projections"], seed=SEED)}


def _sinkhorn(generated: Evidence, real: Real) -> dict[str, float]:
    found = sinkhorn_divergence(generated.features, real.reference.features, **SINKHORN)
    return _bounded("sinkhorn_divergence", found)


def _to_all(generated: Evidence, real: Real) -> dict[str, float]:
    return _bounded("w2_train", transport_to_all(values(generated.examples), real.dataset.train))


def _bounded(name: str, found: Bounds) -> dict[str, float]:
    return {name: found.value, f"{name}_at_least": found.lower, f"{name}_at_most": found.upper}


def _memory(generated: Evidence, real: Real) -> dict[str, float]:
    return {"memorised": memorisation(values(generated.examples), real.dataset.train)}


def _grid_modes(generated: Evidence, real: Real) -> dict[str, float]:
    assert real.dataset.centers is not None
    assert real.dataset.sd is not None
    found = judge_modes(generated.examples, real.dataset.centers, real.dataset.sd)
    return {name: found[name] for name in ("modes", "high_quality")}


def _grid_masses(generated: Evidence, real: Real) -> dict[str, float]:
    assert real.dataset.centers is not None
    return {"mode_kl": mode_kl(generated.examples, real.dataset.centers)}


def _digit_modes(generated: Evidence, real: Real) -> dict[str, float]:
    assert generated.probabilities is not None
    found = modes(generated.probabilities, _mode_shares(real.reference))
    return {"modes": found.hit, "mode_kl": found.kl, "high_quality": found.high_quality}


def _mode_shares(real: Evidence) -> np.ndarray:
    """How probable each mode is: the classes of a channel as often as in the real ones, the channels independent of each other."""
    assert real.probabilities is not None
    k = real.probabilities.shape[2]
    shares = [np.bincount(mode_index(channel[:, None]), minlength=k) for channel in np.moveaxis(real.probabilities, 1, 0)]
    return reduce(np.multiply.outer, shares).reshape(-1).astype(np.float64)


# --- what they need -------------------------------------------------------------------------------------------------------------------


def _no_classes(dataset: Dataset, features: Features) -> str:
    if features.name in DIGIT_READERS and dataset.shape[-1] > 1:
        return f"{features.name} knows the classes of each channel by itself; the score is of one distribution over classes: see --modes"
    return "" if features.classifies else f"the features {features.name} know no classes: choose those of a classifier"


def _no_centers(dataset: Dataset, features: Features) -> str:
    return "" if dataset.centers is not None else "these data have no known modes"


def _no_digits(dataset: Dataset, features: Features) -> str:
    readers = " or ".join(DIGIT_READERS)
    return "" if features.name in DIGIT_READERS else f"modes are counted on the grid, and by {readers} on digits and stacked digits"


EXACT = 2_000  # the assignment problem takes seconds at this size, and grows with its cube
TO_ALL = 1_000
KID = {"subsets": 100, "size": 1_000}
IS = {"splits": 10}
PR = {"precision_neighbours": PRECISION_NEIGHBOURS, "density_neighbours": DENSITY_NEIGHBOURS}
SLICED = {"projections": 512}
SINKHORN = {"lam": 1.0, "epsilon": 1e-5}  # both in multiples of the mean cost; with a small lam the floor is high


MEASURES: tuple[Measure, ...] = (
    Measure("fid", (FD,), _fid, needed=lambda features: features.dimension, most=None),
    Measure(
        "fid",
        (FD_INFINITY,),
        _fid_infinity,
        needed=lambda features: needed_infinity(features.dimension),
        all_real=True,
        companion=True,
    ),
    Measure("kid", KERNEL, _kid, needed=lambda features: KID["size"], settings=KID),
    Measure(
        "is",
        INCEPTION,
        _is,
        needed=lambda features: 1_000,
        most=None,
        alone=True,
        settings=IS,
        lacks=_no_classes,
    ),
    Measure(
        "pr",
        MANIFOLD,
        _pr,
        needed=lambda features: 1_000,
        settings=PR,
    ),
    Measure("wasserstein", WASSERSTEIN, _exact, of="values", needed=lambda features: EXACT, most=EXACT, paired=True),
    Measure("wasserstein", (SLICED_W2,), _sliced, of="values", settings=SLICED),
    Measure(
        "wasserstein",
        DIVERGENCE,
        _sinkhorn,
        needed=lambda features: EXACT,
        most=EXACT,
        settings=SINKHORN,
    ),
    Measure(
        "wasserstein",
        W2_TRAIN,
        _to_all,
        of="values",
        needed=lambda features: TO_ALL,
        most=TO_ALL,
        whole=True,
    ),
    Measure("modes", MODES, _grid_modes, of="values", most=JUDGED, lacks=_no_centers),
    Measure("modes", (MODE_KL,), _grid_masses, of="values", lacks=_no_centers),
    Measure("modes", (*MODES, MODE_KL), _digit_modes, most=None, lacks=_no_digits),
    Measure("nearest", (MEMORISATION,), _memory, of="values", needed=lambda features: MEMORISED, most=MEMORISED, whole=True),
)


def of_flag(flag: str) -> list[Measure]:
    """The measures that an option asks for: of the table, or of another package.

    Raises:
        UserError: the package cannot be imported, or brings something else.
    """
    if flag in FLAGS:
        return [measure for measure in MEASURES if measure.flag == flag]
    brought = plugins.load(plugins.Kind.MEASURE, flag)
    measures = [brought] if isinstance(brought, Measure) else [*brought] if isinstance(brought, list | tuple) else []
    if not measures or not all(isinstance(measure, Measure) and measure.flag == flag for measure in measures):
        raise plugins.refuse(plugins.Kind.MEASURE, flag, f"it must be one or more otgan.evaluation.measures.Measure with flag {flag!r}")
    return measures
