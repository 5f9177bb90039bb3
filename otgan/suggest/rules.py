"""From what is seen of data to the values of a recipe, each with its reason. No JAX.

They were chosen on sets of `scripts/unseen_data.py` marked for tuning, and judged on its others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from otgan.suggest.facts import Facts

LAM, EPSILON = 5.0, 1.0  # of the local squared distance; of lam
FLOOR = 1e-4  # of the mean cost: about what rounding alone makes of a gap
CLIP = 0.15  # of the mean cost: 5 on the grid
MOST_LATENTS = 64
EVEN = 3  # coordinates that stratified reals and Sobol latents are even in


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
    return settings


def pictures(facts: Facts) -> list[Setting]:
    """Of pictures, whatever their size."""
    return []


def _rounded(value: float) -> float:
    """Three digits, as a reader would write it."""
    return float(f"{value:.3g}")


RULES: Mapping[str, Callable[[Facts], list[Setting]]] = {"points": points, "pictures": pictures}
