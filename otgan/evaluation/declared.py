"""What every number is that a measure computes: its name, its meaning, which way is better."""

from __future__ import annotations

from otgan.results.quantity import Better, Quantity


def _number(name: str, meaning: str, better: Better = "") -> Quantity:
    return Quantity(name, meaning, better=better)


def _bounded(name: str, meaning: str) -> tuple[Quantity, ...]:
    bounds = _number(f"{name}_at_least", "it is at least this"), _number(f"{name}_at_most", "and at most this")
    return _number(name, meaning, "lower"), *bounds


FD = _number("fid", "Frechet distance of the features", "lower")
FD_INFINITY = _number("fid_infinity", "the same, extrapolated to infinitely many samples", "lower")
KERNEL = (
    _number("kid", "unbiased squared MMD of the features with a cubic kernel", "lower"),
    _number("kid_subset_sd", "its standard deviation over subsets"),
)
INCEPTION = (
    _number("is", "exp of the mean KL of a sample's classes from those of all samples", "higher"),
    _number("is_split_sd", "its standard deviation over splits"),
)
MANIFOLD = (
    _number("precision", "share of samples in some neighborhood of a real example", "higher"),
    _number("recall", "share of real examples in some neighborhood of a sample", "higher"),
    _number("density", "mean number of real neighborhoods that hold a sample, over their size", "higher"),
    _number("coverage", "share of real neighborhoods that hold a sample", "higher"),
)
WASSERSTEIN = (
    _number("w1", "exact W1 of as many samples as real examples", "lower"),
    _number("w2", "exact W2 of as many samples as real examples", "lower"),
)
SLICED_W2 = _number("sliced_w2", "W2 along random directions", "lower")
DIVERGENCE = _bounded("sinkhorn_divergence", "debiased regularized cost of transport between the features")
W2_TRAIN = _bounded("w2_train", "W2 to the whole training set")
MODES = (
    _number("modes", "modes with a sample of high quality", "higher"),
    _number("high_quality", "share of samples near a mode", "higher"),
)
MODE_KL = _number("mode_kl", "KL of the modes' masses from those of the data", "lower")
MEMORISATION = _number("memorised", "share of samples at least as near to a training example as that is to another", "lower")
