"""What every measure computes: the version of its numbers, and of each its name, its meaning, which
way is better. No JAX.
"""

from __future__ import annotations

from typing import NamedTuple

from otgan.results.quantity import Better, Quantity


class Declared(NamedTuple):
    """What a measure says of itself.

    Attributes:
        name: of the measure; not stored anywhere.
        version: raised where the same examples come to get other numbers.
        quantities: what each number is.
    """

    name: str
    version: int
    quantities: tuple[Quantity, ...]


def _number(name: str, meaning: str, better: Better = "") -> Quantity:
    return Quantity(name, meaning, better=better)


def _bounded(name: str, meaning: str) -> tuple[Quantity, ...]:
    bounds = (
        _number(f"{name}_at_least", "it is at least this"),
        _number(f"{name}_at_most", "and at most this"),
    )
    return _number(name, meaning, "lower"), *bounds


_MODES = (
    _number("modes", "modes with a sample of high quality", "higher"),
    _number("high_quality", "share of samples near a mode", "higher"),
)
_MODE_KL = _number("mode_kl", "KL of the modes' masses from those of the data", "lower")

_MANIFOLD = (
    _number("precision", "share of samples in some neighborhood of a real example", "higher"),
    _number("recall", "share of real examples in some neighborhood of a sample", "higher"),
    _number(
        "density", "mean number of real neighborhoods that hold a sample, over their size", "higher"
    ),
    _number("coverage", "share of real neighborhoods that hold a sample", "higher"),
)

FD = Declared("fid", 1, (_number("fid", "Frechet distance of the features", "lower"),))
FD_INFINITY = Declared(
    "fid_infinity",
    1,
    (_number("fid_infinity", "the same, extrapolated to infinitely many samples", "lower"),),
)
KERNEL = Declared(
    "kid",
    1,
    (
        _number("kid", "unbiased squared MMD of the features with a cubic kernel", "lower"),
        _number("kid_subset_sd", "its standard deviation over subsets"),
    ),
)
INCEPTION = Declared(
    "is",
    1,
    (
        _number(
            "is", "exp of the mean KL of a sample's classes from those of all samples", "higher"
        ),
        _number("is_split_sd", "its standard deviation over splits"),
    ),
)
MANIFOLD = Declared("pr", 1, _MANIFOLD)
MANIFOLD_OF_POINTS = Declared("pr_of_sets", 1, _MANIFOLD)
EXACT = Declared(
    "exact",
    1,
    (
        _number("w1", "exact W1 of as many samples as real examples", "lower"),
        _number("w2", "exact W2 of as many samples as real examples", "lower"),
    ),
)
EXACT_L1 = Declared(
    "exact_l1",
    1,
    (
        _number(
            "w1_l1", "exact W1 for the l1 distance of as many samples as real examples", "lower"
        ),
    ),
)
EXACT_W1 = Declared(
    "exact_w1_of_sets",
    1,
    (_number("w1", "exact W1 of as many samples as real examples, mean of 4 sets", "lower"),),
)
EXACT_W2 = Declared(
    "exact_w2_of_sets",
    1,
    (_number("w2", "exact W2 of as many samples as real examples, mean of 4 sets", "lower"),),
)
SLICED = Declared("sliced_w2", 1, (_number("sliced_w2", "W2 along random directions", "lower"),))
DIVERGENCE = Declared(
    "sinkhorn_divergence",
    1,
    _bounded("sinkhorn_divergence", "debiased regularized cost of transport between the features"),
)
W2_TRAIN = Declared("w2_train", 1, _bounded("w2_train", "W2 to the whole training set"))
GRID_MODES = Declared("grid_modes", 1, _MODES)
GRID_MASSES = Declared("grid_masses", 1, (_MODE_KL,))
GRID_WIDTHS = Declared(
    "grid_widths",
    1,
    (_number("mode_width", "spread of the samples around a mode over its sd, mean of the modes"),),
)
CLASS_MODES = Declared("class_modes", 1, (*_MODES, _MODE_KL))
LABELS = Declared(
    "labels",
    1,
    (
        _number("labels_hit", "labels that a sample has, taken from its nearest example", "higher"),
        _number("label_kl", "KL of the labels' shares from those of the data", "lower"),
    ),
)
MEMORIZATION = Declared(
    "memorization",
    1,
    (
        _number(
            "memorised",
            "share of samples at least as near to a training example as that is to another",
            "lower",
        ),
    ),
)

ALL = (
    FD,
    FD_INFINITY,
    KERNEL,
    INCEPTION,
    MANIFOLD,
    MANIFOLD_OF_POINTS,
    EXACT,
    EXACT_L1,
    EXACT_W1,
    EXACT_W2,
    SLICED,
    DIVERGENCE,
    W2_TRAIN,
    GRID_MODES,
    GRID_MASSES,
    GRID_WIDTHS,
    LABELS,
    CLASS_MODES,
    MEMORIZATION,
)
