"""The table of quantities: every number that the loop, its own families and its measures record,
and what it means. No JAX.

A family of another package declares its own (`Family.quantities`); a run's folder carries what its
family declared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from otgan.results.quantity import Curve, Quantity, Warned

Q = Quantity

RATIO = "w2 / w2_floor"
SHARE = "converged_share"
FINGERPRINTS = "fingerprints"
"""What a summary calls the fingerprints of those of its numbers that are scores, by name; version
0.1.0 wrote none.
"""

# --- of a run's end, by the loop ------------------------------------------------------------------

POINTS = (
    Q(RATIO, "1 is what real points get", better="lower", brief="1 is real points"),
    Q(
        "modes",
        "modes with a sample within 3 sd, of {modes_total}",
        better="higher",
        brief="of {modes_total}",
    ),
    Q(
        "high_quality",
        "share of the first samples (2,000 at most) within 3 sd of a mode",
        better="higher",
        format="share",
        brief="within 3 sd of a mode",
    ),
    Q(
        "w2",
        "exact W2 of as many samples as held-out points (2,000 at most), mean of 4 sets",
        better="lower",
    ),
    Q("w2_floor", "the same for real points", over_seeds="none"),
    Q(
        "mode_kl",
        "KL of the modes' masses from uniform, 20,000 samples",
        better="lower",
        format="fine",
    ),
    Q("mode_kl_floor", "the same of the training data", format="fine", over_seeds="none"),
    Q("modes_total", "modes of the data", over_seeds="none"),
    Q(
        "mode_width",
        "spread of the samples within 3 sd of a mode, over its sd, mean of the modes",
    ),
    Q("mode_width_floor", "the same for real points", over_seeds="none"),
    Q(
        "precision",
        "share of samples in a neighborhood of a held-out point, as many of both (2,000 at most)",
        better="higher",
        format="share",
        brief="of the samples lie on the data",
    ),
    Q("precision_floor", "the same for real points", format="share", over_seeds="none"),
    Q(
        "recall",
        "share of held-out points in a neighborhood of a sample: how much of the data is there",
        better="higher",
        format="share",
        brief="of the data is there",
    ),
    Q("recall_floor", "the same for real points", format="share", over_seeds="none"),
    Q(
        "density",
        "mean number of neighborhoods of held-out points that hold a sample, over their size",
    ),
    Q("density_floor", "the same for real points", over_seeds="none"),
    Q(
        "coverage",
        "share of neighborhoods of held-out points that hold a sample",
        format="share",
    ),
    Q("coverage_floor", "the same for real points", format="share", over_seeds="none"),
)

MAPS = (
    Q(
        "uvp",
        "unexplained variance: 100 E|T - T*|^2 / Var T* of the map T on the points of truth,"
        " percent",
        better="lower",
        brief="percent of the true map's variance",
    ),
    Q("uvp_of_affine_map", "no affine map gets below this there, percent", over_seeds="none"),
)

# --- of every step, whatever the family -----------------------------------------------------------

STEPS = (
    Q(
        "loss",
        "last window's loss",
        over_window="mean of updates",
        must_be_finite=True,
        brief="last window",
        curve=Curve(
            "Loss",
            "At the fixed dual, units of the cost. The generator descends it, unless its pulls are"
            " made even.",
        ),
    ),
    Q("dual_value", "what the dual reached", "cost", must_be_finite=True, summarized=False),
    Q(
        "dual_gap",
        "how far from its optimum the dual may be, the largest of a window; of families whose gap"
        " is a residual, that",
        "cost",
        over_window="largest",
        must_be_finite=True,
        summarized=False,
        curve=Curve(
            "Gap of the dual",
            "The largest of each window, on a log scale, beside epsilon; of one in multiples of the"
            " mean cost its mean over the window.",
        ),
    ),
    Q("dual_converged", "whether the gap is at most epsilon", summarized=False),
    Q(
        "ready",
        "whether the players may move now; always, unless a family cuts its solves into chunks",
        summarized=False,
    ),
    Q("updates", "of the players", over_window="sum", summarized=False),
    Q(
        "dual_iterations",
        "iterations of the dual's solver",
        format="count",
        over_window="sum",
        summarized=False,
        curve=Curve("Dual iterations in a step", "Of the dual's solver."),
    ),
    Q(
        "gradient_norm",
        "of the player that moved",
        over_window="mean of updates",
        must_be_finite=True,
        summarized=False,
        curve=Curve("Gradient norm", "Of the player that moved."),
    ),
    Q(
        "parameter_norm",
        "of the player that moved",
        over_window="mean of updates",
        must_be_finite=True,
        summarized=False,
    ),
)

# --- of families ----------------------------------------------------------------------------------

REGULARIZED = (
    Q("loss_at_least", "with duals solved exactly the loss would lie between this"),
    Q("loss_at_most", "and this"),
    Q(
        "misplaced_mass",
        "last window's largest share of a plan's mass that is not where the marginals want it",
        format="share",
        over_window="largest",
    ),
    Q(
        "far_off_steps",
        "steps that moved by a plan with more than half of its mass in the wrong place",
        format="count",
    ),
    Q(
        "dual_floor",
        "the part of the gap that rounding makes: no epsilon below it can be certified",
        over_window="largest",
    ),
)
ADAPTIVE = (
    Q(
        "gradient_noise",
        "root mean square distance of a batch's gradient, in the generator's parameters, from the"
        " expected one, of the last measurements",
        must_be_finite=True,
    ),
    Q(
        "gradient_constant",
        "K in K sqrt(2 gap / lam), by which the dual's error in that gradient is judged; 0 as long"
        " as nothing is known of it",
        must_be_finite=True,
    ),
    Q(
        "bias_over_noise",
        "that error over that noise, the last window's largest: by a bound, or as calibrated",
        over_window="largest",
        warned=Warned(
            1.0,
            "the dual's error in the gradient may be {shown} times the gradient's noise, more than"
            " any dual that was asked for: by a bound that takes the worst pair of examples for all"
            " (try --epsilon calibrated), or because epsilon was not reached; docs/adaptive.md",
        ),
    ),
)
NEURAL = (
    Q(
        "uncovered_reals",
        "share of the mass, last window, that potentials send to real points beyond their due",
        format="share",
    ),
    Q(
        "estimated_gap",
        "of the networks, on a fresh batch of 4 times the size",
        "cost",
        better="lower",
    ),
)
SCALES = (
    Q("mean_cost", "last window's mean cost of a real and a generated point"),
    Q("lam", "weight of the regularizer", "cost", over_seeds="none"),
    Q(
        "lam_over_mean_cost",
        "the same in multiples of the mean cost",
        over_seeds="none",
        warned=Warned(
            1e3,
            "lam is {shown} times the mean cost: every plan is the product of its marginals but"
            " for rounding. Is lam meant in multiples of the mean cost, as in --lam 0.1x?",
        ),
    ),
    Q("epsilon", "accuracy asked of the dual", "gap", over_seeds="none"),
    Q("epsilon_over_mean_cost", "the same in multiples of the mean cost", over_seeds="none"),
)
CONVEX = (
    Q(
        "potential_w2_squared",
        "by the averaged potential on all held-out points: unbiased for a lower bound of the true"
        " W2 squared",
    ),
    Q(
        "potential_w2_squared_standard_error",
        "its standard error: only less two or three of these is it a bound",
    ),
    Q(
        "clouds_w2_squared_at_least",
        "W2 squared of two clouds of such points (2,048 of each at most) lies between this",
    ),
    Q(
        "clouds_w2_squared_at_most",
        "and this; clouds are further apart than what they were drawn from: no lower bound of the"
        " true W2 squared",
    ),
    Q("convex", "1 where the averaged potential is convex", summarized=False),
    Q("strong_convexity", "its modulus, in coordinates of variance 1", summarized=False),
    Q("conjugate_residual_worst", "of the inner problems there", "data", summarized=False),
    Q(
        "conjugate_converged_share",
        "of the inner problems there",
        better="higher",
        format="share",
        summarized=False,
    ),
    Q(
        "push_error_mean",
        "how far a sample may be from where the map sends it, certified, units of the data: mean",
        better="lower",
    ),
    Q("push_error_worst", "and the largest", better="lower"),
)
SEMIDISCRETE = (
    Q(
        "semidual_value",
        "on fresh points, units of the cost: at most the transport cost to the whole training set",
    ),
    Q(
        "missed_value",
        "how much it rises at once, at least, if the potentials of points without mass fall until a"
        " fresh point goes there",
    ),
    Q(
        "missed_value_share",
        "of what it would be then: by so much at least the value above is too low",
        better="lower",
        format="share",
        warned=Warned(
            0.01,
            "training points that got no mass carry {shown} of the cost: however evenly it lies on"
            " the others, the value is too low by that and the generator is not drawn to them. Few"
            " points far away are beyond what OTS reaches: leave them out, or clip them",
        ),
    ),
    Q(
        "unevenness_of_memory",
        "chi-square of the training points' masses in the last round, net of the noise of counting",
        better="lower",
    ),
    Q(
        "without_mass_of_memory",
        "training points that no generated point was assigned to in the last round",
        better="lower",
        format="share",
    ),
    Q("unevenness_of_fresh", "the same of fresh points at the last potentials", better="lower"),
    Q("plan_cost", "what the assignments of the last window cost on average", "cost"),
    Q("rounds", "of OTS and FIT that have ended", format="count", over_window="largest"),
    Q(
        "least_bin",
        "of the histogram over the points' indices, over the mean bin",
        summarized=False,
    ),
    Q("worst_bin", "the same of the fullest", summarized=False),
    Q(
        "chi_square",
        "of the points' masses, less what counting alone brings about",
        summarized=False,
    ),
    Q("chi_square_of_bins", "the same of the histogram's bins", summarized=False),
    Q("without_mass", "share of the points that received none", format="share", summarized=False),
)

# --- of every run ---------------------------------------------------------------------------------

RUN = (
    Q(
        "held_out",
        "held-out examples, with which samples are compared",
        format="count",
        over_seeds="none",
    ),
    Q(
        SHARE,
        "{gap_of} that reached epsilon, by their {gap_kind} gap",
        better="higher",
        format="share",
        brief="of {gap_of} within epsilon, {gap_kind}",
    ),
    Q("seconds", "of training, without compilation"),
    Q(
        "generator_steps",
        "updates of the generator",
        format="count",
        over_window="sum",
        summarized=False,
    ),
    Q(
        "examples",
        "real and generated examples that the solves looked at",
        format="count",
        over_window="sum",
        summarized=False,
    ),
    Q(
        "dual_iterations_per_step",
        "iterations of the dual's solver in a step",
        format="tenths",
        brief="",
    ),
    Q("steps_per_second", "without compilation", format="tenths", brief=""),
    Q("peak_memory_bytes", "peak memory", format="bytes"),
)

TABLE = (
    *POINTS,
    *MAPS,
    *STEPS,
    *REGULARIZED,
    *ADAPTIVE,
    *SCALES,
    *CONVEX,
    *NEURAL,
    *SEMIDISCRETE,
    *RUN,
)
OF_UPDATES = tuple(quantity.name for quantity in TABLE if quantity.over_window == "mean of updates")
"""Means over a step's updates; 0 in a step that has none."""
TOTALS = tuple(
    quantity.name
    for quantity in TABLE
    if quantity.over_window == "sum" and quantity.name != "updates"
)
"""Counts of which a run's lines carry the total so far, and its summary that of all steps."""


class Known(dict[str, Quantity]):
    """Quantities by name, in the order of the table.

    Of a number that nobody declared, no more than its name.
    """

    def __missing__(self, name: str) -> Quantity:
        return Quantity(name)


def known(declared: Iterable[Quantity] = ()) -> Known:
    """The table, and what else was declared. No declaration changes what a number of the
    table is.
    """
    table = {quantity.name: quantity for quantity in TABLE}
    return Known(
        {
            **table,
            **{quantity.name: quantity for quantity in declared if quantity.name not in table},
        }
    )


def recorded(declared: Iterable[Quantity]) -> list[dict[str, Any]]:
    """What a run's folder must say of its numbers, as plain data: what is not in the table."""
    return [quantity.record() for quantity in declared if quantity not in TABLE]


def ratio(summary: Mapping[str, Any]) -> dict[str, float]:
    """W2 in multiples of its floor, by name; nothing where a summary has not both."""
    w2, floor = summary.get("w2"), summary.get("w2_floor")
    return (
        {RATIO: w2 / floor}
        if isinstance(w2, float | int) and isinstance(floor, float | int) and floor > 0
        else {}
    )


KNOWN = known()
INFO = {
    name: KNOWN[name]
    for name in (
        "dual_value",
        "dual_gap",
        "dual_iterations",
        "dual_converged",
        "epsilon",
        "examples",
    )
}
"""What every solve must say of itself, whatever the family."""
PLAN_INFO = {name: KNOWN[name] for name in ("misplaced_mass",)}
"""And those that solve each batch for a plan: far too much of it ends the run."""
