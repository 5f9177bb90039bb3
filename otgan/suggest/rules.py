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
NEAR = 0.07  # of the mean cost: neighbors that are further apart say nothing of a structure
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
SETS = 4  # of points that are compared with the held-out ones, as at the end of a run
MOST_JUDGED = 2_000


class Setting(NamedTuple):
    """A value, by dotted key, and why it is what it is."""

    key: str
    value: Any
    why: str

    def __str__(self) -> str:
        value = f"{self.value:.4g}" if isinstance(self.value, float) else self.value
        return f"{self.key} = {value}: {self.why}"


def points(facts: Facts) -> list[Setting]:
    """Of points, whatever their number of coordinates."""
    near = min(facts.local, NEAR * facts.mean_cost)
    lam, between = LAM * near, float(np.sqrt(near * facts.mean_cost))
    seen = (
        f"the squared distance of neighbors in a batch, {facts.local:.2g}"
        if near == facts.local
        else f"{near:.2g}, {NEAR:g} of the squared distance of any two: neighbors are hardly nearer"
    )
    settings = [
        Setting(
            "oracle.lam",
            _rounded(lam),
            f"{LAM:g} times {seen}; a larger one does not see what lies closer together",
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
            f"as many latents as coordinates, {MOST_LATENTS} at most: fewer make samples that fill"
            " fewer dimensions",
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
            Setting("batch.latents", "iid", f"more than {EVEN} latents cannot either"),
        ]
    held_out, judged = _judged(facts, POINT_STEPS, SETS)
    left = facts.size - held_out
    if left < BATCH:
        settings.append(Setting("batch.size", left, f"all that are left, fewer than {BATCH}"))
    return [*settings, *judged]


def pictures(facts: Facts) -> list[Setting]:
    """Of pictures, whatever their size."""
    height, width, channels = facts.shape
    cuts = _cuts(height, width)
    wide = _wide(height, width)
    flat = [f"pixels/{count}-mean" for count in (cuts, wide) if count]
    of_color = [*flat, "pixels@1"] if channels > 1 else []
    layers = [f"pixels/{cuts}", *of_color, f"conv_0/{cuts}"] if cuts > 1 else ["pixels"]
    halves = ["conv_0/2"] if cuts > 1 and _cut(height, width, 2) else ["conv_0"]
    settings = [
        Setting(
            "cost.features",
            "random:" + "+".join(dict.fromkeys([*layers, *halves, "conv_1", "conv_2"])),
            f"{_seen_by(facts, cuts, wide)}; and the layers of an untrained network, which every"
            " picture suits; a network of your own is better: otgan features train",
        ),
        Setting(
            "generator.depth",
            max(1, round(np.log2(min(height, width) / GRID))),
            f"so many doublings lead from a grid of about {GRID} x {GRID} to {width} x {height}",
        ),
    ]
    held_out, judged = _judged(facts, PICTURE_STEPS, 1)
    left = facts.size - held_out
    if left < REALS:
        settings.append(Setting("batch.reals", left, f"all that are left, fewer than {REALS}"))
    return [*settings, *judged]


def _judged(facts: Facts, steps: int, sets: int) -> tuple[int, list[Setting]]:
    """How many examples are held out, and how samples are compared with them as training goes: so
    many sets of as many.
    """
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
        Setting("train.eval_measures", ["pr"], "precision and recall show it"),
        Setting(
            "train.eval_samples",
            sets * min(held_out, MOST_JUDGED),
            "as many as held-out examples" + (f", {sets} times" if sets > 1 else ""),
        ),
    ]


def scaled(sizes: Set[tuple[int, int]]) -> list[Setting]:
    """How pictures of such widths and heights are brought to one size, if they must be: none is
    enlarged, except to 16 pixels, the smallest side.
    """
    if not sizes or (sizes <= {(side, side) for side in SIDES} and len(sizes) == 1):
        return []
    smallest = min(map(min, sizes))
    side = max((side for side in SIDES if side <= min(smallest, SIDE)), default=SIDES[0])
    if side == SIDE:
        why = f"{side} pixels a side train in minutes"
    elif side <= smallest:
        why = f"at {side} pixels a side none is enlarged"
    else:
        which = "some" if len(sizes) > 1 else "they"
        why = f"{side} a side are the fewest that the rules are made for, so {which} are enlarged"
    return [
        Setting("data.resize", side, f"pictures {_what(sizes)}: {why}"),
        Setting("data.crop", "center", "what is not square keeps its middle"),
    ]


def _what(sizes: Set[tuple[int, int]]) -> str:
    """Why pictures of such sizes do not stay as they are."""
    if len(sizes) > 1:
        return "of several sizes"
    ((width, height),) = sizes
    if min(width, height) < SIDES[0]:
        return f"of fewer than {SIDES[0]} pixels a side"
    if width != height:
        return "that are not square"
    return f"of {width} pixels a side" + (", which windows do not divide" if width % WINDOW else "")


def _seen_by(facts: Facts, cuts: int, wide: int | None) -> str:
    """What a cost on pixels, cut into so many windows to a side, sees of them."""
    height, width, channels = facts.shape
    if cuts == 1:
        return (
            f"all pixels at once, as no windows of {WINDOW} x {WINDOW} pixels or more divide both"
            f" {width} x {height} and the first layer's map"
        )
    windows = f"windows of {width // cuts} x {height // cuts} pixels"
    wider = "and wider ones " if wide else ""
    flat = f"; these {wider}without their mean, so that flat ones stay flat; the mean color"
    return windows + (flat if channels > 1 else "")


def _cuts(height: int, width: int) -> int:
    """Into how many windows a side is cut, so that pixels and the first layer's map divide."""
    most = min(height, width) // WINDOW
    return max(cuts for cuts in range(1, most + 1) if _cut(height, width, cuts))


def _wide(height: int, width: int) -> int | None:
    """The same for windows twice as wide, of pixels alone, inside which the smaller ones meet."""
    least, most = 2, _cuts(height, width) - 1
    return max(
        (cuts for cuts in range(least, most + 1) if not (height % cuts or width % cuts)),
        key=lambda cuts: -abs(min(height, width) / cuts - 2 * WINDOW),
        default=None,
    )


def _cut(height: int, width: int, cuts: int) -> bool:
    sides = (height, width, -(-height // 2), -(-width // 2))
    return not any(side % cuts for side in sides)


def _rounded(value: float) -> float:
    """Three digits, as a reader would write it."""
    return float(f"{value:.3g}")


RULES: Mapping[str, Callable[[Facts], list[Setting]]] = {"points": points, "pictures": pictures}
