"""From what is seen of data to the values of a recipe, each with its reason. No JAX.

They were chosen on sets of `scripts/unseen_data.py` marked for tuning, and judged on its others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from otgan.suggest.facts import Facts

# --- of points ------------------------------------------------------------------------------------
LAM, EPSILON = 2.0, 1.0  # of the local squared distance; of lam
FLOOR = 1e-4  # of the mean cost: about what rounding alone makes of a gap
CLIP = 0.15  # of the mean cost: 5 on the grid
MOST_LATENTS = 64
EVEN = 3  # coordinates that stratified reals and Sobol latents are even in
BATCH = 512
POINT_STEPS = 8_000
# --- of pictures ----------------------------------------------------------------------------------
SIDE, SIDES = 32, (16, 20, 24, 28, 32, 40, 48, 64)  # that windows and grids divide
WINDOW, GRID = 4, 5  # pixels
REALS = 256  # in a batch
PICTURE_STEPS = 1_000
# --- of both --------------------------------------------------------------------------------------
# held out: a tenth, or so many, as long as that is not a larger share
SHARE, LARGEST_SHARE, HELD_OUT = 0.1, 0.3, 500
LOOKS = 8  # at held-out examples while training
MOST_JUDGED = 2_000


class Setting(NamedTuple):
    """A value, by dotted key, and why it is what it is."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        return f"{self.key} = {self.value}: {self.why}"


def points(facts: Facts) -> list[Setting]:
    """Of points, whatever their number of coordinates."""
    lam, between = LAM * facts.local, float(np.sqrt(facts.local * facts.mean_cost))
    settings = [
        Setting(
            "oracle.lam",
            _rounded(lam),
            f"{LAM:g} times the squared distance of neighbors in a batch, {facts.local:.2g}: a"
            " larger one does not see their structure",
        ),
        Setting(
            "oracle.tau",
            _rounded(between),
            f"midway between that and the squared distance of any two, {facts.mean_cost:.3g}:"
            " dearer than a way within a cluster, cheaper than one to another, so that a batch's"
            " chance counts drag nothing across",
        ),
        Setting(
            "oracle.epsilon",
            _rounded(max(EPSILON * lam, FLOOR * facts.mean_cost)),
            "as exact as the structure is fine, and not finer than float32 can certify",
        ),
        Setting(
            "generator.latent_dim",
            min(facts.dimension, MOST_LATENTS),
            "as many latents as coordinates: fewer make samples that fill fewer dimensions",
        ),
        Setting(
            "generator.optimizer.clip",
            _rounded(CLIP * facts.mean_cost),
            "gradients grow with the squared distances",
        ),
    ]
    if facts.dimension > EVEN:
        settings += [
            Setting("batch.draw", "iid", f"more than {EVEN} coordinates cannot be drawn evenly"),
            Setting("batch.latents", "iid", "the same"),
        ]
    held_out, judged = _judged(facts, POINT_STEPS)
    left = facts.size - held_out
    if left < BATCH:
        settings.append(Setting("batch.size", left, f"all that are left, fewer than {BATCH}"))
    return [*settings, *judged]


def pictures(facts: Facts) -> list[Setting]:
    """Of square pictures whose side `scaled` has chosen."""
    side = facts.shape[0]
    windows = side // WINDOW
    settings = [
        Setting(
            "cost.features",
            f"random:pixels/{windows}+conv_0/{windows}+conv_0/2+conv_1+conv_2",
            f"windows of {WINDOW} x {WINDOW} pixels and the layers of an untrained network, which"
            " every picture suits; a network of your own is better: otgan features train",
        ),
        Setting(
            "generator.depth",
            max(1, round(np.log2(side / GRID))),
            f"so many doublings lead from a grid of about {GRID} x {GRID} to {side} x {side}",
        ),
    ]
    held_out, judged = _judged(facts, PICTURE_STEPS)
    left = facts.size - held_out
    if left < REALS:
        settings.append(Setting("batch.reals", left, f"all that are left, fewer than {REALS}"))
    return [*settings, *judged]


def _judged(facts: Facts, steps: int) -> tuple[int, list[Setting]]:
    """How many examples are held out, and how samples are compared with them as training goes."""
    share = min(LARGEST_SHARE, max(SHARE, HELD_OUT / facts.size))
    held_out = round(facts.size * share)
    few = f"{facts.size:,} examples are few: more are held out, so that samples can be judged"
    settings = [Setting("data.held_out", _rounded(share), few)] if share > SHARE else []
    return held_out, [
        *settings,
        Setting("train.steps", steps, "as many as a few minutes on two cores have room for"),
        Setting(
            "train.eval_every", steps // LOOKS, "a loss does not show whether samples come near"
        ),
        Setting("train.eval_measures", ["pr"], "precision and recall do"),
        Setting("train.eval_samples", min(held_out, MOST_JUDGED), "as many as held-out examples"),
    ]


def scaled(sizes: Set[tuple[int, int]]) -> list[Setting]:
    """How a folder's pictures of such widths and heights are brought to one size, if they must
    be.
    """
    if sizes <= {(side, side) for side in SIDES} and len(sizes) == 1:
        return []
    what = "of several sizes" if len(sizes) > 1 else "of a size that windows do not divide"
    why = f"pictures {what}: a square of {SIDE} pixels trains in minutes; --resize 64 shows more"
    return [
        Setting("data.resize", SIDE, why),
        Setting("data.crop", "center", "the middle of what is not square"),
    ]


def _rounded(value: float) -> float:
    """Three digits, as a reader would write it."""
    return float(f"{value:.3g}")


RULES: Mapping[str, Callable[[Facts], list[Setting]]] = {"points": points, "pictures": pictures}
